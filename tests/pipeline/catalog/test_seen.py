"""Which run saw all that another one saw, by their inputs and selections."""

import pytest

from pipeline.catalog.seen import Seen
from pipeline.catalog.selection import Selection

NIGHTS = [
    ("s3://shop/manifest-2026-11-26.csv", "s3://shop/manifest-2026-11-27.csv"),
    ("s3://shop/manifest_20261126.csv.gz", "s3://shop/manifest_20261201.csv.gz"),
    ("s3://shop/20261126T030000Z.parquet", "s3://shop/20261127T030501Z.parquet"),
    ("s3://shop/2026/11/26/*.csv", "s3://shop/2026/11/27/*.csv"),
    ("s3://shop/dt=2026-11-26/e.parquet/", "s3://shop/dt=2026-11-27/e.parquet/"),
    ("s3://shop/year=2026/month=11/day=26/m.csv", "s3://shop/year=2026/month=12/day=01/m.csv"),
    ("/data/26.11.2026.txt", "/data/27.11.2026.txt"),
    ("/data/2026-W48.jsonl", "/data/2026-W49.jsonl"),
    ("s3://shop/2026/10/export_03.csv", "s3://shop/2026/11/export_03.csv"),
    ("s3://shop/dt=2026-11-26/hour=03/m.csv", "s3://shop/dt=2026-11-27/hour=04/m.csv"),
    ("/data/export.csv", "/data/export.csv"),
    ("s3://shop/images/", "s3://shop/images/"),
]
OTHERS = [
    ("s3://shop-a/", "s3://shop-b/"),
    ("s3://shop/a/", "s3://shop/ab/"),
    ("/data/in/", "/data/in2/"),
    ("s3://shop-a/manifest.csv", "s3://shop-b/manifest.csv"),
    ("s3://shop/shop1.csv", "s3://shop/shop2.csv"),
    ("s3://shop/123456789012.csv", "s3://shop/123456789013.csv"),
    ("s3://shop/20012345.csv", "s3://shop/20012346.csv"),
    ("s3://shop/2001.csv", "s3://shop/2002.csv"),
    ("s3://shop/2026/11/26/1234.csv", "s3://shop/2026/11/26/1235.csv"),
    ("s3://shop/200112.csv", "s3://shop/200111.csv"),
    ("s3://2001/1234.csv", "s3://2002/1234.csv"),
    ("s3://shop/", "s3://shop/manifest.csv"),
    ("s3://shop/a/2026-11-26/", "s3://shop/a/2026-11-27/"),
    ("", "s3://shop/"),
]


@pytest.mark.parametrize(("one", "other"), NIGHTS)
def test_the_same_catalog_on_another_night(one, other):
    assert Seen.of(one).covers(Seen.of(other)) and Seen.of(other).covers(Seen.of(one))
    few = Seen.of(other, Selection(limit=3))
    assert Seen.of(one).covers(few) and not few.covers(Seen.of(one))


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_another_catalog(one, other):
    assert not Seen.of(one).covers(Seen.of(other)) and not Seen.of(other).covers(Seen.of(one))


def test_a_prefix_covers_those_within_it_if_it_saw_all():
    shop, shoes = Seen.of("s3://shop/"), Seen.of("s3://shop/shoes/")
    assert shop.covers(shoes) and not shoes.covers(shop)
    part = Seen.of("s3://shop/", Selection(exclude=("thumbs/",)))
    assert not part.covers(shoes) and part.overlaps(shoes) and not part.is_apart_from(shoes)


def test_only_prefixes_are_known_to_be_apart():
    a, b = Seen.of("s3://shop-a/"), Seen.of("s3://shop-b/")
    assert a.is_apart_from(b) and not a.is_apart_from(Seen.of("s3://shop-b/m.csv"))


def test_summaries_of_old_runs_say_less():
    assert Seen.of_summary(None) == Seen.of_summary({}) == Seen("")
    found = Seen.of_summary({"input": "s3://shop/", "selection": {"limit": 3}})
    assert found == Seen("s3://shop/", Selection(limit=3))


@pytest.mark.parametrize(
    ("now", "before", "is_gone"),
    [
        ("s3://shop-a/", "s3://shop-a/", True),
        ("s3://shop-a/", "s3://shop-a/shoes/", True),
        ("s3://shop-a/", "s3://shop-b/", False),
        ("s3://shop-a/shoes/", "s3://shop-a/", False),
        ("s3://shop/2026-11-27.csv", "s3://shop/2026-11-26.csv", True),
        ("s3://shop/2026-11-27.csv", "s3://shop/", False),
        ("s3://shop/", "", False),
    ],
)
def test_what_another_catalog_lists_has_not_disappeared(now, before, is_gone):
    assert Seen.of(now).misses_what_is_gone(Seen.of(before)) == is_gone
    trial = Seen.of(now, Selection(limit=9))
    assert not trial.misses_what_is_gone(trial)
    shoes = Seen.of(now, Selection(include=("shoes/",)))
    assert shoes.misses_what_is_gone(Seen.of(now, Selection(sample=5, include=("shoes/",))))
