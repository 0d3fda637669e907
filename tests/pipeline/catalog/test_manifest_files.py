"""Manifests as they come: packed, in UTF-16, with other delimiters and columns, several files."""

import codecs
import datetime
import decimal
import gzip
import io
import json
import os
import tracemalloc
import uuid
import zlib
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalog import manifest
from pipeline.catalog.manifests.columns import ManifestColumns
from pipeline.catalog.manifests.files import find_files
from pipeline.catalog.selection import matches
from pipeline.records import Reason, RunError
from pipeline.storage.base import StorageConfig
from pipeline.storage.routing import open_storage
from tests.pipeline.fault_proxy import fault_proxy

TEXTS = {
    "csv": "uri,product_id\ns3://shop/ä b.jpg,007\ns3://shop/2.jpg,\n",
    "tsv": "uri\tproduct_id\ns3://shop/ä b.jpg\t007\ns3://shop/2.jpg\t\n",
    "jsonl": '{"uri": "s3://shop/ä b.jpg", "product_id": "007"}\n{"uri": "s3://shop/2.jpg"}\n',
    "txt": "s3://shop/ä b.jpg\ns3://shop/2.jpg\n",
}
ENCODINGS = {
    "utf-8": str.encode,
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16-le": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16-be": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
}


def read(files, path, data, **options):
    """Entries, and what was told about the manifest."""
    path.write_bytes(data)
    told = []
    return list(manifest.read_catalog(files, str(path), tell=told.append, **options)), told


def parquet(columns, **options):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("suffix", TEXTS)
def test_packed_and_in_any_unicode(local_files, tmp_path, suffix, encoding, is_packed):
    data = ENCODINGS[encoding](TEXTS[suffix])
    data = gzip.compress(data) if is_packed else data
    name = f"m.{suffix}" + ".gz" * is_packed
    (first, second), told = read(local_files, tmp_path / name, data)
    assert (first.uri, second.uri) == ("s3://shop/ä b.jpg", "s3://shop/2.jpg")
    assert first.product_id == (None if suffix == "txt" else "007")
    assert (first.reason, second.reason, second.product_id) == (None, None, None)
    assert len(told) == (is_packed or "16" in encoding)
    assert all(name in line for line in told)
    assert ("gzip" in "".join(told), "UTF-16" in "".join(told)) == (is_packed, "16" in encoding)


def test_the_content_says_whether_it_is_packed(local_files, tmp_path):
    """Servers and browsers unpack on the way, or pack what has no suffix for it."""
    text = TEXTS["csv"].encode()
    assert len(read(local_files, tmp_path / "m.csv.gz", text)[0]) == 2
    assert len(read(local_files, tmp_path / "m.csv", gzip.compress(text))[0]) == 2
    several = gzip.compress(text) + gzip.compress(b"s3://shop/3.jpg,3\n")
    assert len(read(local_files, tmp_path / "n.csv.gz", several)[0]) == 3


def test_a_packed_manifest_that_ends_early_stops_the_run(local_files, tmp_path):
    lines = "".join(f"s3://shop/{os.urandom(9).hex()}.jpg\n" for _ in range(2000))
    packed = gzip.compress(lines.encode())
    for cut in (len(packed) // 2, len(packed) - 4, 5):
        with pytest.raises(RunError, match=r"m\.txt\.gz ends early, after .*copied"):
            read(local_files, tmp_path / "m.txt.gz", packed[:cut])
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 255
    with pytest.raises(RunError, match=r"m\.txt\.gz is damaged"):
        read(local_files, tmp_path / "m.txt.gz", bytes(damaged))


@pytest.mark.parametrize("name", ["m.csv.gz", "m.jsonl.gz", "m.txt.gz"])
def test_a_decompression_bomb_is_one_clear_line_in_little_memory(local_files, tmp_path, name):
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    data = packer.compress(b"uri\n") + b"".join(packer.compress(zeros) for _ in range(300))
    data += packer.flush()
    assert len(data) < 400_000
    tracemalloc.start()
    with pytest.raises(RunError, match=r"unpacks to more than 1[0-9.]+ MB"):
        read(local_files, tmp_path / name, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 << 20


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.txt"])
def test_broken_utf16_is_one_row(local_files, tmp_path, name):
    head, make = {
        "m.csv": ("uri\n", "{}\n"),
        "m.jsonl": ("", '{{"uri": "{}"}}\n'),
        "m.txt": ("", "{}\n"),
    }[name]
    text = head + make.format("s3://shop/\ud800x") + make.format("s3://shop/\U0001f45f.jpg")
    data = codecs.BOM_UTF16_LE + text.encode("utf-16-le", "surrogatepass")
    (broken, good), _ = read(local_files, tmp_path / name, data)
    assert broken.reason == Reason.BAD_LINE
    assert f"line {1 + bool(head)}:" in broken.detail
    assert (good.uri, good.reason) == ("s3://shop/\U0001f45f.jpg", None)


def test_utf16_that_ends_within_a_character_loses_its_last_line_only(local_files, tmp_path):
    data = codecs.BOM_UTF16_LE + "s3://shop/a\ns3://shop/b".encode("utf-16-le")
    (good, broken), _ = read(local_files, tmp_path / "m.txt", data[:-1])
    assert good.reason is None and "line 2:" in broken.detail


@pytest.mark.parametrize(
    ("name", "delimiter", "told"),
    [
        ("m.csv", ";", "semicolons"),
        ("m.csv", "\t", "tabs"),
        ("m.csv", "|", "vertical bars"),
        ("m.tsv", "\t", None),
        ("m.tsv", ",", "commas"),
        ("m.csv", ",", None),
    ],
)
def test_the_header_says_what_separates_the_columns(local_files, tmp_path, name, delimiter, told):
    rows = [
        ["product_id", "uri", "name"],
        ["1,5", "s3://shop/a;b.jpg" if delimiter != ";" else '"s3://shop/a;b.jpg"', "x"],
        ["2", "s3://shop/c.jpg"],
        ["3", "s3://shop/d.jpg", "y"],
    ]
    rows[1][0] = f'"{rows[1][0]}"'
    text = "\n".join(delimiter.join(row) for row in rows)
    (first, broken, last), lines = read(local_files, tmp_path / name, text.encode())
    assert (first.uri, first.product_id) == ("s3://shop/a;b.jpg", "1,5")
    assert broken.reason == Reason.BAD_LINE and "line 3: 2 fields" in broken.detail
    assert (last.uri, last.product_id) == ("s3://shop/d.jpg", "3")
    assert [told in line for line in lines] == ([True] if told else [])


def test_a_single_column_keeps_its_commas_away(local_files, tmp_path):
    entries, told = read(local_files, tmp_path / "m.csv", b"uri\ns3://shop/a;b.jpg\n")
    assert [entry.uri for entry in entries] == ["s3://shop/a;b.jpg"] and not told


COLUMNS = ManifestColumns(uri="image url", product_id="sku")
NAMED = {
    "m.csv": b"sku;uri;image url\n0012;s3://other/1;s3://shop/1\n",
    "m.jsonl": b'{"sku": "0012", "uri": 5, "image url": "s3://shop/1"}\n',
    "m.parquet": parquet({"sku": ["0012"], "uri": [5], "image url": ["s3://shop/1"]}),
}


@pytest.mark.parametrize("name", NAMED)
def test_columns_of_other_names(local_files, tmp_path, name):
    (entry,), _ = read(local_files, tmp_path / name, NAMED[name], columns=COLUMNS)
    assert (entry.uri, entry.product_id, entry.reason) == ("s3://shop/1", "0012", None)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_column_that_is_not_there_stops_the_run(local_files, tmp_path, name):
    for missing in ("uri", "product_id"):
        columns = ManifestColumns(**{"uri": "image url", "product_id": "sku", missing: "none"})
        option = {"uri": "--uri_column", "product_id": "--id_column"}[missing]
        with pytest.raises(RunError, match=f"no column none; {option} .*sku, uri, image url"):
            read(local_files, tmp_path / name, NAMED[name], columns=columns)


def test_a_key_that_a_line_lacks_is_named(local_files, tmp_path):
    (entry,), _ = read(local_files, tmp_path / "m.jsonl", b'{"uri": "a"}', columns=COLUMNS)
    assert "line 1: no image url" in entry.detail


UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([12345678901234567], pa.int64()), "12345678901234567"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([1000.0]), "1000"),
        (pa.array([1e22]), "10000000000000000000000"),
        (pa.array([1e-7]), "0.0000001"),
        (pa.array([decimal.Decimal("12.50")]), "12.50"),
        (pa.array([decimal.Decimal("0.0000000000")]), "0.0000000000"),
        (pa.array([UUID.bytes], pa.uuid()), str(UUID)),
        (pa.array([datetime.date(2026, 1, 2)]), "2026-01-02"),
        (pa.array([datetime.datetime(2026, 1, 2, 3, 4)]), "2026-01-02T03:04:00"),
        (pa.array(["0012"]), "0012"),
        (pa.array(["1.0e3"]), "1.0e3"),
        (pa.array(["0012"]).dictionary_encode(), "0012"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.type),
)
@pytest.mark.parametrize("store_schema", [True, False])
def test_ids_of_parquet_are_exact(local_files, tmp_path, column, text, store_schema):
    data = parquet({"uri": ["s3://shop/1"], "product_id": column}, store_schema=store_schema)
    (entry,), _ = read(local_files, tmp_path / "m.parquet", data)
    assert (entry.product_id, entry.reason) == (text, None)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("12345678901234567890123", "12345678901234567890123"),
        ("12.50", "12.50"),
        ("7.0", "7"),
        ("1.0e3", "1000"),
        ("1234567890123456789.0", "1234567890123456789"),
        ("0.1", "0.1"),
        ("1e-7", "0.0000001"),
        ("1e999999999", "1e999999999"),
        ("1e9999999999999999999", "1e9999999999999999999"),
        ("-1E-99999999999999999999", "-1E-99999999999999999999"),
        ("0e99999999999999999999", "0e99999999999999999999"),
        ("NaN", None),
        ('"1.0e3"', "1.0e3"),
    ],
)
def test_ids_of_json_are_exact(local_files, tmp_path, number, text):
    line = f'{{"uri": "s3://shop/1", "product_id": {number}}}'
    (entry,), _ = read(local_files, tmp_path / "m.jsonl", line.encode())
    assert (entry.product_id, entry.reason) == (text, None)


PARTS = {
    "part-0.parquet": parquet({"uri": ["s3://shop/a", None]}),
    "part-1.parquet": parquet({"uri": ["s3://shop/b", "s3://shop/a"], "product_id": [1, 2]}),
    "_SUCCESS": b"",
    "_temporary.parquet": b"unfinished",
    "part-2.parquet.crc": b"",
    "deep/part-3.parquet": parquet({"uri": ["s3://shop/c"]}),
}


@pytest.fixture(params=["s3", "local"])
def world(request, tmp_path):
    """(storage, place to write files to)."""
    if request.param == "local":
        return request.getfixturevalue("local_files"), str(tmp_path)
    return request.getfixturevalue("s3_files"), request.getfixturevalue("bucket").uri("deep")


def write_parts(world, folder):
    files, place = world
    for name, data in PARTS.items():
        files.write(f"{place}/{folder}/{name}", data)
    return files, f"{place}/{folder}"


@pytest.mark.parametrize("pattern", ["part-*.parquet", "part-?.parquet"])
def test_a_pattern_names_the_files_of_one_folder(world, pattern):
    files, folder = write_parts(world, "export")
    told = []
    found = list(manifest.read_catalog(files, f"{folder}/{pattern}", tell=told.append))
    a, broken, b, again = found
    assert [one.uri for one in (a, b, again)] == ["s3://shop/a", "s3://shop/b", "s3://shop/a"]
    assert broken.uri.endswith("export/part-0.parquet#line=2")
    assert [entry.position for entry in found] == [0, 1, 2, 3]
    assert (b.product_id, a.product_id) == ("1", None)
    assert told == [f"{folder}/{pattern} has 2 files"]


KEYS = [
    *(
        "part-1.txt",
        "part-2.txt",
        "part-10.txt",
        "part-[1].txt",
        "p.txt",
        "Part-1.txt",
        "other.txt",
    ),
    *("part-1.txt.gz", "part-old/part-3.txt", "images/part-4.txt", "images/a/b.jpg"),
]


@pytest.mark.parametrize(
    ("pattern", "start"),
    [
        ("part-*.txt", "part-"),
        ("part-?.txt", "part-"),
        ("part-[1]*.txt", "part-[1]"),
        ("part-**.txt", "part-"),
        ("?art-1.txt", ""),
        ("*.txt", ""),
    ],
)
def test_a_pattern_lists_only_what_begins_like_it(bucket, pattern, start):
    for key in KEYS:
        bucket.put(f"top/{key}", b"s3://shop/a.jpg")
    with fault_proxy(bucket.endpoint) as proxy:
        files = open_storage(StorageConfig(proxy.endpoint))
        found = find_files(files, bucket.uri(f"top/{pattern}"))
    assert found == sorted(bucket.uri(f"top/{key}") for key in KEYS if matches(key, f"/{pattern}"))
    listings = [parse_qs(urlsplit(path).query) for path in proxy.of("GET", "list-type=2")]
    assert [one["prefix"] for one in listings] == [[f"top/{start}"]]


def test_a_local_pattern_looks_into_no_subfolder(local_files, tmp_path, monkeypatch):
    for key in KEYS:
        local_files.write(str(tmp_path / key), b"s3://shop/a.jpg")
    looked, scandir = [], os.scandir
    monkeypatch.setattr("os.scandir", lambda folder: looked.append(folder) or scandir(folder))
    found = find_files(local_files, str(tmp_path / "part-**.txt"))
    names = ["part-1.txt", "part-10.txt", "part-2.txt", "part-[1].txt"]
    assert found == sorted((tmp_path / name).as_uri() for name in names)
    assert looked == [tmp_path]


@pytest.mark.parametrize("final", ["", "/"])
def test_a_folder_of_parquet(world, final):
    files, folder = write_parts(world, "export.parquet")
    entries = list(manifest.read_catalog(files, f"{folder}{final}"))
    assert [one.uri[-1] for one in entries if one.reason is None] == ["c", "a", "b", "a"]


def test_paths_in_several_files_start_at_one_folder(local_files, tmp_path):
    (tmp_path / "x.parquet").mkdir()
    (tmp_path / "x.parquet" / "1.parquet").write_bytes(parquet({"uri": ["images/a.jpg"]}))
    (entry,) = manifest.read_catalog(local_files, str(tmp_path / "x.parquet"))
    assert entry.location == str(tmp_path / "images/a.jpg")
    (tmp_path / "1.txt").write_text("images/a.jpg")
    (entry,) = manifest.read_catalog(local_files, str(tmp_path / "?.txt"))
    assert entry.location == str(tmp_path / "images/a.jpg")


def test_a_file_whose_name_is_a_pattern_is_that_file(world):
    files, place = world
    for name in ("m*.txt", "m1.txt"):
        files.write(f"{place}/{name}", f"s3://shop/{name}".encode())
    found = list(manifest.read_catalog(files, f"{place}/m*.txt"))
    assert [entry.uri for entry in found] == ["s3://shop/m*.txt"]


@pytest.mark.parametrize("name", ["none-*.parquet", "none.parquet/", "nowhere/*.csv"])
def test_files_that_are_not_there_stop_the_run(world, name):
    files, folder = write_parts(world, "export")
    with pytest.raises(RunError, match=r"no file's name is like this|no folder"):
        list(manifest.read_catalog(files, f"{folder}/{name}"))


def test_a_packed_file_in_jsonl_from_s3(s3_files, bucket):
    line = json.dumps({"uri": "s3://shop/a", "product_id": 7}).encode()
    uri = bucket.put("m.jsonl.gz", gzip.compress(line))
    (entry,) = manifest.read_catalog(s3_files, uri)
    assert (entry.uri, entry.product_id) == ("s3://shop/a", "7")
