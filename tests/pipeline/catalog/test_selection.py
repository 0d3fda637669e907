"""A part of the catalog: patterns, the first images, a spread sample."""

import dataclasses
import json
import tracemalloc

import pytest

from pipeline.catalog import manifest
from pipeline.catalog.selection import WHOLE_CATALOG, Selection, matches, select
from pipeline.records import CatalogEntry, Reason

NAMES = ("a.jpg", "bags/b.jpg", "bags/red/c.png", "shoes/d.jpg", "shoes/thumbs/e.jpg", "z ü.jpg")


def entries(names=NAMES, base="s3://shop/p/"):
    return [CatalogEntry(base + name, base + name, i) for i, name in enumerate(names)]


def chosen(selection, of=None, folder="s3://shop/p/"):
    found = select(entries() if of is None else of, selection, folder)
    return [entry.uri.removeprefix("s3://shop/p/") for entry in found]


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("*.jpg", {"a.jpg", "bags/b.jpg", "shoes/d.jpg", "shoes/thumbs/e.jpg", "z ü.jpg"}),
        ("?.jpg", {"a.jpg", "bags/b.jpg", "shoes/d.jpg", "shoes/thumbs/e.jpg"}),
        ("/*.jpg", {"a.jpg", "z ü.jpg"}),
        ("shoes/*", {"shoes/d.jpg"}),
        ("shoes/**", {"shoes/d.jpg", "shoes/thumbs/e.jpg"}),
        ("shoes/", {"shoes/d.jpg", "shoes/thumbs/e.jpg"}),
        ("**/thumbs/*", {"shoes/thumbs/e.jpg"}),
        ("**/*.png", {"bags/red/c.png"}),
        ("bags/**/*", {"bags/b.jpg", "bags/red/c.png"}),
        ("*/red/*", {"bags/red/c.png"}),
        ("b*", {"bags/b.jpg"}),
        ("**", set(NAMES)),
        ("*.JPG", set()),
        ("shoes", set()),
        ("?.jpg|.*", set()),
        ("[a-z].jpg", set()),
    ],
)
def test_patterns(pattern, matching):
    assert {name for name in NAMES if matches(name, pattern)} == matching
    assert set(chosen(Selection(include=(pattern,)))) == matching
    assert set(chosen(Selection(exclude=(pattern,)))) == set(NAMES) - matching


def test_include_and_exclude_together():
    part = Selection(include=("shoes/**", "bags/*"), exclude=("**/thumbs/", "b.jpg"))
    assert chosen(part) == ["shoes/d.jpg"]


def test_paths_of_each_kind_of_input(local_files, s3_files, bucket, tmp_path):
    part = Selection(include=("shoes/**", "z ü.jpg"))
    expected = ["shoes/d.jpg", "shoes/thumbs/e.jpg", "z ü.jpg"]
    for name in NAMES:
        bucket.put(f"p/{name}", b"x")
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    listed = manifest.read_catalog(s3_files, bucket.uri("p/"), selection=part)
    assert [entry.uri for entry in listed] == [bucket.uri(f"p/{name}") for name in expected]
    listed = manifest.read_catalog(local_files, f"{tmp_path}/in/", selection=part)
    assert [entry.uri for entry in listed] == [
        (tmp_path / "in" / name).as_uri() for name in expected
    ]
    lines = ["shoes/d.jpg", "./shoes/thumbs/e.jpg", "s3://shop/z ü.jpg", "file:///shoes/a", "o/a"]
    (tmp_path / "m.txt").write_text("\n".join(lines))
    named = manifest.read_catalog(local_files, str(tmp_path / "m.txt"), selection=part)
    assert [entry.uri for entry in named] == lines[:4]


def test_a_broken_line_is_left_out_by_no_pattern(local_files, tmp_path):
    (tmp_path / "m.jsonl").write_text('{"uri": "s3://shop/a"}\n{\n{"uri": "s3://shop/b"}\n')
    part = Selection(include=("b",), exclude=("m.jsonl*",))
    broken, good = manifest.read_catalog(local_files, str(tmp_path / "m.jsonl"), selection=part)
    assert (broken.reason, good.uri) == (Reason.BAD_LINE, "s3://shop/b")


def test_limit_takes_the_first_images_and_reads_no_further():
    def endless():
        for entry in entries([".DS_Store"]):
            yield entry.rejected(Reason.NOT_AN_IMAGE, "a hidden file")
        yield from entries(["a", "b", "a", "c"])
        pytest.fail("read further")

    assert chosen(Selection(limit=2), endless()) == ["a", "b", "a"]
    assert chosen(Selection(limit=9)) == list(NAMES)


def test_patterns_come_before_the_limit():
    assert chosen(Selection(limit=1, include=("shoes/**",))) == ["shoes/d.jpg"]


def test_a_sample_is_spread_and_stays_the_same():
    names = [f"{i:05d}.jpg" for i in range(20_000)]
    part = Selection(sample=200)
    found = chosen(part, entries(names))
    assert len(found) == 200 and found == sorted(found)
    thirds = [sum(name < bound for name in found) for bound in ("05000.jpg", "10000.jpg")]
    assert 30 <= thirds[0] <= 70 and 75 <= thirds[1] <= 125
    assert chosen(part, reversed(entries(names))) == found
    # The next night: some images are gone, some are new.
    left = [name for name in found if name > "00400.jpg"]
    later = chosen(part, entries([*names[401:], *(f"new{i}" for i in range(400))]))
    assert len(set(left) & set(later)) > 180 and len(later) == 200
    assert chosen(Selection(sample=30_000), entries(names)) == names


def test_a_sample_keeps_all_mentions_of_its_images_in_little_memory():
    def repeated():
        for i in range(200_000):
            yield CatalogEntry(f"s3://shop/p/{i % 2}", "", i, reference_uri=str(i % 4))

    tracemalloc.start()
    found = list(select(repeated(), Selection(sample=1), None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert len({entry.uri for entry in found}) == 1
    assert sum(entry.mentions for entry in found) == 100_000
    assert [entry.position for entry in found] in ([0, 2], [1, 3])
    assert len({entry.reference_uri for entry in found}) == 2


def test_selections_as_text_and_json():
    part = Selection(sample=5, include=("a/**", "*.jpg"), exclude=("b",))
    assert str(part) == "--sample 5 --include a/**,*.jpg --exclude b"
    assert Selection.of_json(json.loads(json.dumps(dataclasses.asdict(part)))) == part
    assert Selection.of_json({}) == WHOLE_CATALOG and str(WHOLE_CATALOG) == ""


def test_which_selection_covers_which():
    shoes, few = Selection(include=("shoes/",)), Selection(limit=5)
    few_shoes = Selection(sample=5, include=("shoes/",))
    for part in (WHOLE_CATALOG, shoes, few, few_shoes):
        assert WHOLE_CATALOG.covers(part) and part.covers(part)
        assert not part.covers(WHOLE_CATALOG) or part == WHOLE_CATALOG
    assert shoes.covers(few_shoes) and not few_shoes.covers(shoes) and not few.covers(few_shoes)
