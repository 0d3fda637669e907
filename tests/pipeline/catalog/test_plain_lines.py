"""The columns of a Parquet manifest give the same as its records, whatever its lines hold."""

import decimal
import itertools
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalog import batches, manifest, plain_lines
from pipeline.catalog.manifests.columns import ManifestColumns
from pipeline.catalog.manifests.parquet_files import read_lines
from pipeline.records import Reason

KEYS = ["a.jpg", "b c,ü.jpg", "dt=2026/d:1.jpg", "a.jpg ", "%20/../é", "x\x00y", "猫.webp"]
BAD = ["", " ", "\t", "bare.jpg", "https://shop/a.jpg?sig=planted", "s3://shop", "s3://sh op/a"]
BAD += ["s3://K:planted@shop/a", "s3://shop/a;sig=planted", "s3://shop/a&token%3Dplanted", None]
ODD = [
    " s3://shop/pad.jpg",
    "s3://shop/end.jpg\n",
    "S3://shop/a.jpg",
    "s3://shop//a",
    "s3://shop/?",
]
URIS = [*(f"s3://shop/{key}" for key in KEYS), *BAD, *ODD, "s3://planted-in-key/a.jpg"]
PRODUCTS = [None, "", "7", " 7 ", "a b", "\u2003x", "ü", "https://u:planted@shop/", "k=planted"]
PRODUCTS += ["planted-secret", "x planted-secret y", "a\x1f"]
SHARPENINGS = [
    [None, 0.5, -0.0, -0.75, 1.5, 1.6, float("nan"), float("inf"), 0.70000004, 1.50004, 0.12345]
]
SHARPENINGS += [[None, 0, 1, 2], ["", "0.5", " unknown ", None, "sharp", "1,5"], [None]]


def both(files, path, **options):
    found = itertools.chain.from_iterable(
        map(batches.to_entries, manifest.read_batches(files, str(path), **options))
    )
    return list(found), list(manifest.read_catalog(files, str(path), **options))


@pytest.mark.parametrize("seed", range(20))
def test_columns_and_records_agree(local_files, tmp_path, monkeypatch, seed):
    """Hypothesis by hand: any mixture of good, odd and bad values, with repeats."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    rng = random.Random(seed)
    rows = rng.choice([1, 7, 300])
    columns = {"uri": rng.choices(URIS, k=rows), "product_id": rng.choices(PRODUCTS, k=rows)}
    if rng.random() < 0.5:
        columns["reference_uri"] = rng.choices(URIS, k=rows)
    if rng.random() < 0.7:
        columns["source_sharpening"] = rng.choices(rng.choice(SHARPENINGS), k=rows)
    pq.write_table(pa.table(columns), tmp_path / "m.parquet", row_group_size=100)
    found, expected = both(local_files, tmp_path / "m.parquet")
    assert found == expected
    assert sum(one.mentions for one in found) == rows
    assert "planted-secret" not in repr([one.product_ids for one in found])


TEXTS = ["s3://shop/a", "s3://shop/b", None, "s3://shop/a"]
KINDS = {
    "dictionary": pa.array(TEXTS).dictionary_encode(),
    "large": pa.array(TEXTS, pa.large_string()),
    "view": pa.array(TEXTS, pa.string_view()),
    "binary": pa.array([one and one.encode() for one in TEXTS]),
    "not_utf8": pa.array([b"s3://shop/\xff", *(one and one.encode() for one in TEXTS[1:])]),
    "numbers": pa.array([1, 2, None, 1]),
    "lists": pa.array([["s3://shop/a"], [], None, []]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_uris_of_all_types(local_files, tmp_path, kind):
    pq.write_table(pa.table({"uri": KINDS[kind]}), tmp_path / "m.parquet")
    found, expected = both(local_files, tmp_path / "m.parquet")
    assert found == expected


IDS = {
    "integers": pa.array([1, -7, None, 2**40]),
    "unsigned": pa.array([1, 2, None, 2**64 - 1], pa.uint64()),
    "floats": pa.array([7.0, float("nan"), 1.5, 1e300]),
    "decimals": pa.array([decimal.Decimal("1.50"), None, None, None]),
    "booleans": pa.array([True, False, None, True]),
}


@pytest.mark.parametrize("kind", IDS)
def test_product_ids_of_all_types(local_files, tmp_path, kind):
    uris = [f"s3://shop/{i}" for i in range(4)]
    table = pa.table({"uri": uris, "product_id": IDS[kind]})
    pq.write_table(table, tmp_path / "m.parquet")
    found, expected = both(local_files, tmp_path / "m.parquet")
    assert found == expected


def test_positions_go_on_through_all_files(local_files, tmp_path):
    for name, uris in {"1": ["s3://shop/a", None], "2": ["s3://shop/b"]}.items():
        pq.write_table(
            pa.table({"uri": pa.array(uris, pa.string())}), tmp_path / f"{name}.parquet"
        )
    found, expected = both(local_files, f"{tmp_path}/*.parquet")
    assert found == expected and [one.position for one in found] == [0, 1, 2]


def test_usual_lines_are_plain(tmp_path):
    """Else the columns would be no faster, and nothing else would tell."""
    uris = [f"s3://shop/dt=2026/猫 {i}.jpg" for i in range(100)]
    table = pa.table({"uri": [*uris, "s3://shop"], "product_id": np.arange(101)})
    pq.write_table(table, tmp_path / "m.parquet")
    with (tmp_path / "m.parquet").open("rb") as file:
        (lines,) = read_lines(file, "m.parquet", ManifestColumns())
    assert plain_lines.plain(lines, ManifestColumns()).tolist() == [True] * 100 + [False]


def test_a_manifest_of_broken_lines_alone_stops_the_run(local_files, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_MAX_BROKEN", 100)
    pq.write_table(pa.table({"uri": pa.nulls(150, pa.string())}), tmp_path / "m.parquet")
    with pytest.raises(Exception, match="101 broken lines") as caught:
        list(manifest.read_batches(local_files, str(tmp_path / "m.parquet")))
    with pytest.raises(type(caught.value), match=str(caught.value).replace(".", r"\.")):
        list(manifest.read_catalog(local_files, str(tmp_path / "m.parquet")))


def test_a_bad_line_is_one_row_with_its_reason(local_files, tmp_path):
    pq.write_table(pa.table({"uri": ["s3://shop/a", "", "ftp://x/y"]}), tmp_path / "m.parquet")
    found, _ = both(local_files, tmp_path / "m.parquet")
    assert [one.reason for one in found] == [None, Reason.BAD_LINE, Reason.SCHEME_NOT_ALLOWED]


def test_columns_that_the_rows_carry(local_files, tmp_path):
    table = pa.table({"uri": ["s3://shop/a", "s3://shop"], "colour": ["red", None]})
    pq.write_table(table, tmp_path / "m.parquet")
    columns = ManifestColumns(kept=("colour",))
    found, expected = both(local_files, tmp_path / "m.parquet", columns=columns)
    assert found == expected and found[0].catalog == '{"colour": "red"}'
