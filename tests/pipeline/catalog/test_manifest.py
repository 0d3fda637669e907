import datetime
import decimal
import io
import json
import re
import tracemalloc
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalog import batches, manifest
from pipeline.catalog.places import BadUriError, Place
from pipeline.records import CatalogEntry, Reason, RunError


def read(files, tmp_path, name, content, schemes=()):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(manifest.read_catalog(files, str(path), schemes))


def parquet(columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


RECORDS = [
    {"uri": "s3://shop/a.jpg", "product_id": "1", "reference_uri": None},
    {"uri": "s3://shop/b c,ü.jpg", "product_id": None, "reference_uri": "s3://shop/b_hr.png"},
]
SAME_CATALOG = {
    "m.csv": 'product_id,uri,colour,reference_uri\n1,s3://shop/a.jpg,red,\n,"s3://shop/b c,ü.jpg",'
    "blue,s3://shop/b_hr.png\n",
    "m.jsonl": "\n".join(json.dumps(record) for record in RECORDS),
    "m.parquet": parquet({key: [record[key] for record in RECORDS] for key in RECORDS[0]}),
}


@pytest.mark.parametrize("name", SAME_CATALOG)
def test_formats_agree(local_files, tmp_path, name):
    first, second = read(local_files, tmp_path, name, SAME_CATALOG[name])
    assert (first.uri, first.location, first.product_id) == (
        "s3://shop/a.jpg",
        "s3://shop/a.jpg",
        "1",
    )
    assert (second.uri, second.product_id) == ("s3://shop/b c,ü.jpg", None)
    assert second.reference_location == "s3://shop/b_hr.png"
    assert [entry.reason for entry in (first, second)] == [None, None]
    assert [entry.position for entry in (first, second)] == [0, 1]


@pytest.mark.parametrize("name", ["m.txt", "m.jsonl"])
def test_lines_that_end_by_a_carriage_return_alone_are_told(local_files, tmp_path, name):
    """As old Macs ended them: all lines would be one URI. CSV allows them."""
    line = "s3://shop/{}.jpg" if name == "m.txt" else '{{"uri": "s3://shop/{}.jpg"}}'
    one, two = line.format(1), line.format(2)
    (entry,) = read(local_files, tmp_path, name, f"{one}\r{two}\r")
    assert entry.reason == Reason.BAD_LINE
    assert "end each line by" in entry.detail and "carriage return" in entry.detail
    entries = read(local_files, tmp_path, name, f"{one}\r\n{two}\r")
    assert [entry.uri for entry in entries] == ["s3://shop/1.jpg", "s3://shop/2.jpg"]


def test_txt_ignores_blank_lines_and_byte_order_mark(local_files, tmp_path):
    entries = read(
        local_files, tmp_path, "m.txt", b"\xef\xbb\xbfs3://shop/x.jpg\r\n\n  s3://shop/y.jpg "
    )
    assert [entry.uri for entry in entries] == ["s3://shop/x.jpg", "s3://shop/y.jpg"]


def test_plain_paths_start_at_the_manifest(local_files, tmp_path):
    entries = read(
        local_files, tmp_path, "m.txt", "sub/a.jpg\n/abs/b.jpg\nfile:///abs/c%20d.jpg\n"
    )
    assert [entry.location for entry in entries] == [
        str(tmp_path / "sub/a.jpg"),
        "/abs/b.jpg",
        "/abs/c d.jpg",
    ]
    assert entries[0].uri == "sub/a.jpg"


BROKEN = {
    "too_few.csv": ("uri,product_id\ns3://shop/1\ns3://shop/2,x\n", 2, "s3://shop/2"),
    "no_uri.csv": ("uri,product_id\n,x\ns3://shop/2,x\n", 2, "s3://shop/2"),
    "utf8.csv": (b"uri\ns3://shop/\xff\ns3://shop/2\n", 2, "s3://shop/2"),
    "json.jsonl": ('{"uri": "s3://shop/1\n{"uri": "s3://shop/2"}\n', 1, "s3://shop/2"),
    "list.jsonl": ('["s3://shop/1"]\n{"uri": "s3://shop/2"}\n', 1, "s3://shop/2"),
    "type.jsonl": ('{"uri": ["s3://shop/1"]}\n{"uri": "s3://shop/2"}\n', 1, "s3://shop/2"),
    "utf8.jsonl": (b'{"uri": "s3://shop/\xff"}\n{"uri": "s3://shop/2"}\n', 1, "s3://shop/2"),
    "utf8.txt": (b"s3://shop/\xff\ns3://shop/2\n", 1, "s3://shop/2"),
    "null.parquet": (parquet({"uri": [None, "s3://shop/2"]}), 1, "s3://shop/2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_one_rejected_entry(local_files, tmp_path, name):
    content, line, survivor = BROKEN[name]
    broken, good = read(local_files, tmp_path, name, content)
    assert broken.reason == Reason.BAD_LINE
    assert f"line {line}:" in broken.detail
    assert broken.uri.endswith(f"{name}#line={line}")
    assert (good.uri, good.reason) == (survivor, None)


SHARPENED = [0.7, "0.7", " " * 45 + "-0 ", "NaN", "", None]
TOLD = [0.7, 0.7, 0.0, None, None, None]
SHARPENED_CATALOG = {
    "m.csv": "source_sharpening,uri\n"
    + "".join(f"{'' if one is None else one},s3://shop/{i}\n" for i, one in enumerate(SHARPENED)),
    "m.jsonl": "\n".join(
        json.dumps({"uri": f"s3://shop/{i}", "source_sharpening": one})
        for i, one in enumerate(SHARPENED)
    ),
    "texts.parquet": parquet(
        {
            "uri": [f"s3://shop/{i}" for i in range(6)],
            "source_sharpening": ["0.7", "0.7", "-0", "nan", "", None],
        }
    ),
    "float32.parquet": parquet(
        {
            "uri": [f"s3://shop/{i}" for i in range(6)],
            "source_sharpening": pa.array(
                [0.7, 0.7, -0.0, None, float("nan"), None], pa.float32()
            ),
        }
    ),
}


@pytest.mark.parametrize("name", SHARPENED_CATALOG)
def test_each_line_may_say_how_its_image_was_sharpened(local_files, tmp_path, name):
    entries = read(local_files, tmp_path, name, SHARPENED_CATALOG[name])
    assert [entry.reason for entry in entries] == [None] * 6
    assert [entry.source_sharpening for entry in entries] == TOLD
    assert "-" not in repr(entries[2].source_sharpening)


@pytest.mark.parametrize(
    "value", [1.6, "strong", "1,5", "unknown", "-inf", "0.5" + "0" * 40 + "e5"]
)
def test_a_sharpening_that_no_network_learned_is_a_broken_line(local_files, tmp_path, value):
    lines = [{"uri": "s3://shop/a", "source_sharpening": value}, {"uri": "s3://shop/b"}]
    content = "\n".join(map(json.dumps, lines))
    broken, good = read(local_files, tmp_path, "m.jsonl", content)
    assert (broken.reason, good.reason) == (Reason.BAD_LINE, None)
    assert broken.detail.startswith(
        "line 1: source_sharpening must be empty or a number from -0.75 to 1.5"
    )
    assert broken.detail.endswith(f": {str(value)[:40]}")


STRANGE = {
    "m.csv": (b"uri,source_sharpening\ns3://shop/a,\xbd\ns3://shop/b,\n", "\ufffd"),
    "half.jsonl": (b'{"uri": "s3://shop/a", "source_sharpening": "\\ud800"}\n', "\ufffd"),
    "deep.jsonl": (
        b'{"uri": "s3://shop/a", "source_sharpening": ' + b"[" * 900 + b"]" * 900 + b"}\n",
        "list",
    ),
    "true.jsonl": (b'{"uri": "s3://shop/a", "source_sharpening": true}\n', "True"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_value_for_a_sharpening_is_a_broken_line(local_files, tmp_path, name):
    content, received = STRANGE[name]
    content += b'{"uri": "s3://shop/b"}' if name.endswith("jsonl") else b""
    broken, good = read(local_files, tmp_path, name, content)
    assert broken.reason == Reason.BAD_LINE and broken.detail.endswith(f": {received}")
    assert good.reason is None and batches.to_entries(*batches.from_entries([broken]))


@pytest.mark.parametrize("column", ["product_id", "source_sharpening"])
def test_a_doubled_column_stops_the_run(local_files, tmp_path, column):
    table = pa.table([["s3://shop/a"], ["1"], ["1"]], names=["uri", column, column])
    pq.write_table(table, tmp_path / "m.parquet")
    for name, content in (
        ("m.csv", f"uri,{column},{column}\ns3://shop/a,1,1\n"),
        ("m.parquet", (tmp_path / "m.parquet").read_bytes()),
    ):
        with pytest.raises(RunError, match=f"several columns {column}; rename"):
            read(local_files, tmp_path, name, content)


def test_a_line_with_a_bad_sharpening_does_not_hide_a_good_line_of_its_uri(local_files, tmp_path):
    columns = {"uri": ["s3://shop/a"] * 3, "source_sharpening": [9.0, 0.5, 0.5]}
    broken, good = read(local_files, tmp_path, "m.parquet", parquet(columns))
    assert (broken.reason, broken.mentions) == (Reason.BAD_LINE, 1)
    assert (good.uri, good.source_sharpening, good.mentions) == ("s3://shop/a", 0.5, 2)


def test_product_numbers_as_pandas_stores_them(local_files, tmp_path):
    columns = {"uri": [f"s3://shop/{i}" for i in range(3)], "product_id": [7.0, float("nan"), 1.5]}
    entries = read(local_files, tmp_path, "m.parquet", parquet(columns))
    assert [entry.product_id for entry in entries] == ["7", None, "1.5"]
    entries = read(local_files, tmp_path, "m.jsonl", '{"uri": "s3://shop/1", "product_id": 12}')
    assert entries[0].product_id == "12"


def test_an_open_quote_does_not_swallow_the_lines_after_it(local_files, tmp_path):
    content = 'uri,name\ns3://shop/1,x\ns3://shop/2,"open\ns3://shop/3,y\ns3://shop/4,"two\nlines"\ns3://shop/5,z\n'
    entries = read(local_files, tmp_path, "m.csv", content)
    assert [entry.uri.rpartition("/")[2] for entry in entries] == [
        "1",
        "m.csv#line=3",
        "3",
        "4",
        "5",
    ]
    assert [entry.reason for entry in entries] == [None, Reason.BAD_LINE, None, None, None]


def test_product_ids_of_all_kinds(local_files, tmp_path):
    """Each is a text, or its row's trouble; none ends the run."""
    kinds = {
        "decimal": (pa.array([decimal.Decimal("12.50")]), "12.50"),
        "date": (pa.array([datetime.date(2026, 1, 2)]), "2026-01-02"),
        "uuid": (pa.array([uuid.UUID(int=7).bytes], pa.uuid()), str(uuid.UUID(int=7))),
        "binary": (pa.array([b"abc"]), "abc"),
        "not_utf8": (pa.array([b"a\xff"]), None),
        "list": (pa.array([[1]]), None),
        "infinite": (pa.array([float("inf")]), "inf"),
        "huge": (pa.array([1e300]), str(int(1e300))),
    }
    for name, (column, expected) in kinds.items():
        table = parquet({"uri": ["s3://shop/1"], "product_id": column})
        (entry,) = read(local_files, tmp_path, f"{name}.parquet", table)
        assert entry.product_id == expected, name
        assert entry.reason == (None if expected else Reason.BAD_LINE), name


@pytest.mark.parametrize("digits", [401, 5001])
def test_product_ids_of_many_digits(local_files, tmp_path, digits):
    text = "9" * digits
    lines = f'{{"uri": "s3://shop/1", "product_id": {text}}}\n{{"uri": "s3://shop/2"}}'
    first, second = read(local_files, tmp_path, "m.jsonl", lines)
    if digits == 401:
        assert first.product_id == text
    else:  # Python refuses to read it
        assert first.reason == Reason.BAD_LINE and "line 1: no JSON" in first.detail
    assert second.reason is None
    (entry,) = read(local_files, tmp_path, "m.csv", f"uri,product_id\ns3://shop/1,{text}\n")
    assert entry.product_id == text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("file:///tmp/a%00b.jpg", Reason.BAD_URI),
        ("file://[abc/x.jpg", Reason.BAD_URI),
        ("file://other/x.jpg", Reason.BAD_URI),
        ("s3://KEY:planted@shop/a.jpg", Reason.BAD_URI),
        ("s3://KEY:pla/nted@shop/a.jpg", Reason.BAD_URI),
        ("ftp://user:planted@shop/a.jpg", Reason.SCHEME_NOT_ALLOWED),
        ("https://shop/a.jpg#access_token=planted", Reason.SCHEME_NOT_ALLOWED),
        ("s3://shop/a.jpg;sig=planted", Reason.BAD_URI),
        ("s3://shop/a.jpg#access_token=planted", Reason.BAD_URI),
    ],
)
def test_a_strange_uri_is_one_row_without_its_secret(local_files, tmp_path, line, reason):
    strange, good = read(local_files, tmp_path, "m.csv", f"uri\n{line}\ns3://shop/a.jpg\n")
    assert (strange.reason, good.reason) == (reason, None)
    assert "nted" not in repr(strange) and strange.uri != good.uri


def test_a_presigned_address_in_a_product_s_id(local_files, tmp_path):
    address = "https://shop/a.jpg?X-Amz-Signature=planted"
    (entry,) = read(local_files, tmp_path, "m.csv", f"uri,product_id\ns3://shop/a,{address}\n")
    assert entry.reason is None and "planted" not in repr(entry)


def test_a_text_that_is_not_utf8_in_parquet_is_one_row(local_files, tmp_path):
    buffers = pa.array([b"s3://shop/\xff", b"s3://shop/1"]).buffers()
    column = pa.Array.from_buffers(pa.string(), 2, buffers)
    broken, good = read(local_files, tmp_path, "m.parquet", parquet({"uri": column}))
    assert broken.reason == Reason.BAD_LINE and "row" not in broken.uri
    assert "line 1: uri is not valid UTF-8" in broken.detail
    assert (good.uri, good.reason) == ("s3://shop/1", None)


def test_a_damaged_page_in_parquet_is_one_clear_line(local_files, tmp_path):
    data = bytearray(
        parquet({"uri": [f"s3://shop/{i * 7919 % 99991}.jpg" for i in range(50_000)]})
    )
    data[len(data) // 3 : len(data) // 3 + 200] = bytes(200)
    with pytest.raises(RunError, match=r"m\.parquet is no Parquet file, or damaged") as caught:
        read(local_files, tmp_path, "m.parquet", bytes(data))
    assert "\n" not in str(caught.value)


def test_a_small_parquet_of_twenty_million_repeats(local_files, tmp_path):
    repeats = 20_000_000
    indices = pa.array(np.zeros(repeats, np.int32))
    uris = pa.DictionaryArray.from_arrays(indices, ["s3://shop/a.jpg"])
    pq.write_table(pa.table({"uri": uris}), tmp_path / "m.parquet", compression="zstd")
    assert (tmp_path / "m.parquet").stat().st_size < 100_000
    del indices, uris
    entries = list(manifest.read_catalog(local_files, str(tmp_path / "m.parquet")))
    assert len(entries) < 1000 and sum(entry.mentions for entry in entries) == repeats
    assert {entry.uri for entry in entries} == {"s3://shop/a.jpg"}


def test_the_first_of_repeats_counts_and_the_order_stays(local_files, tmp_path):
    uris = ["s3://shop/b", None, "s3://shop/a", "s3://shop/b", None, "s3://shop/a"]
    table = parquet({"uri": uris, "product_id": list("123166")})
    entries = read(local_files, tmp_path, "m.parquet", table)
    assert [(e.uri.rpartition("/")[2], e.product_id, e.mentions) for e in entries] == [
        ("b", "1", 2),
        ("m.parquet#line=2", None, 1),
        ("a", "3", 1),
        ("m.parquet#line=5", None, 1),
        ("a", "6", 1),  # another product's, which its row names too
    ]


def test_a_manifest_of_broken_lines_alone_stops_the_run(local_files, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_MAX_BROKEN", 1000)
    assert len(read(local_files, tmp_path, "some.jsonl", "x\n" * 1000)) == 1000
    with pytest.raises(RunError, match="1001 broken lines"):
        read(local_files, tmp_path, "many.jsonl", "x\n" * 2000)


@pytest.mark.parametrize("first", ["\n", "\r\n\r\n", " \n", ",\n"])
def test_empty_lines_before_the_header_of_a_csv(local_files, tmp_path, first):
    entries = read(local_files, tmp_path, "m.csv", f"{first}uri,product_id\ns3://shop/1,2\n")
    assert [(entry.uri, entry.product_id) for entry in entries] == [("s3://shop/1", "2")]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.txt"])
def test_a_line_of_hundreds_of_megabytes_is_one_row_in_little_memory(local_files, tmp_path, name):
    head = {"m.csv": "uri\n", "m.jsonl": "", "m.txt": ""}[name]
    good = '{"uri": "s3://shop/2"}' if name == "m.jsonl" else "s3://shop/2"
    path = tmp_path / name
    with path.open("w") as file:
        file.write(head + "s3://shop/")
        for _ in range(100):
            file.write("x" * 1_000_000)
        file.write(f"\n{good}\n")
    tracemalloc.start()
    entries = list(manifest.read_catalog(local_files, str(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [entry.reason for entry in entries] == [Reason.BAD_LINE, None]
    assert entries[1].uri == "s3://shop/2"
    assert peak < 60 << 20  # a copy in blocks of 16 MiB, and lines of one


def test_keys_that_end_in_a_space(local_files, tmp_path):
    key = "s3://shop/a.jpg "
    manifests = {
        "m.jsonl": json.dumps({"uri": key}),
        "m.parquet": parquet({"uri": [key]}),
        "m.csv": f'uri,product_id\n"{key}",1\n',
    }
    for name, content in manifests.items():
        (entry,) = read(local_files, tmp_path, name, content)
        assert (entry.uri, entry.location) == (key, key), name
    (padded,) = read(local_files, tmp_path, "padded.csv", f"uri,product_id\n {key} , 1 \n")
    assert (padded.uri, padded.product_id) == ("s3://shop/a.jpg", "1")


def test_a_huge_field_is_one_broken_line(local_files, tmp_path):
    entries = read(
        local_files, tmp_path, "m.csv", f"uri\ns3://shop/{'x' * 200_000}\ns3://shop/2\n"
    )
    assert [entry.reason for entry in entries] == [Reason.BAD_LINE, None]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.txt"])
def test_an_empty_manifest_has_no_entries(local_files, tmp_path, name):
    assert read(local_files, tmp_path, name, b"") == []


@pytest.mark.parametrize(
    ("name", "content"), [("m.csv", "url,id\na,b\n"), ("m.parquet", parquet({"url": ["a"]}))]
)
def test_a_manifest_without_the_column_stops_the_run(local_files, tmp_path, name, content):
    with pytest.raises(RunError, match=r"no column uri.*url"):
        read(local_files, tmp_path, name, content)


def test_a_file_that_is_no_parquet_stops_the_run(local_files, tmp_path):
    with pytest.raises(RunError, match="no Parquet file"):
        read(local_files, tmp_path, "m.parquet", b"PAR0")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("https://shop/a.jpg", Reason.SCHEME_NOT_ALLOWED),
        ("file:///etc/passwd", Reason.SCHEME_NOT_ALLOWED),
        ("/etc/passwd", Reason.SCHEME_NOT_ALLOWED),
        ("../../x.jpg", Reason.SCHEME_NOT_ALLOWED),
        ("s3://bucket", Reason.BAD_URI),
        ("s3:///key", Reason.BAD_URI),
        ("s3://bu cket/key", Reason.BAD_URI),
    ],
)
def test_what_a_manifest_on_s3_may_not_name(uri, reason):
    with pytest.raises(BadUriError) as caught:
        Place("s3://shop/m.csv").locate(uri)
    assert caught.value.reason == reason


def test_a_name_of_a_bucket_that_none_can_have_is_said_to_be_one():
    with pytest.raises(BadUriError, match="no bucket can have this name: a name has 3 to 63"):
        Place("/data/m.csv").locate("s3://b/k.jpg")


@pytest.mark.parametrize("reference", ["https://cdn.shop/hr/a.jpg", "s3://shop", "n/a"])
def test_a_bad_reference_costs_no_image(reference):
    entry = CatalogEntry("s3://shop/a.jpg", "", 0, reference_uri=reference)
    found = Place("s3://shop/m.csv").locate_entry(entry)
    assert (found.location, found.reference_location, found.reason) == (entry.uri, None, None)
    assert found.detail.startswith("not compared with the reference: ")


def test_allow_schemes_lets_a_manifest_on_s3_name_files():
    assert Place("s3://shop/m.csv", ["file"]).locate("file:///data/a.jpg") == "/data/a.jpg"


def test_keys_are_taken_literally():
    key = "s3://shop/a?b#c[1]*%20/../é.jpg"
    assert Place("s3://shop/m.csv").locate(key) == key


def test_presigned_addresses_lose_their_query(local_files, tmp_path):
    address = "https://user:pw@shop/a.jpg?X-Amz-Signature="
    first, second = read(local_files, tmp_path, "m.txt", f"{address}secret\n{address}secret2")
    assert re.fullmatch(r"https://shop/a\.jpg\?blake2b=[0-9a-f]{16}", first.uri)
    assert first.uri != second.uri  # other queries may be other images: a row for each
    assert first.reason == Reason.SCHEME_NOT_ALLOWED
    assert "secret" not in repr(first) and "pw" not in repr(first)


@pytest.mark.parametrize("query", ["X-Amz-Signature=planted", "AWSAccessKeyId=planted&Expires=1"])
def test_presigned_s3_uris_are_refused_without_their_secret(local_files, tmp_path, query):
    text = f"uri,reference_uri\ns3://bbb/a.jpg?{query},\ns3://bbb/b.jpg,s3://bbb/hr.jpg?{query}\n"
    entry, other = read(local_files, tmp_path, "m.csv", text)
    assert entry.reason == Reason.BAD_URI and "presigned" in entry.detail
    assert other.reason is None and other.reference_location is None
    assert "reference: a presigned URI" in other.detail
    assert "planted" not in repr(entry) + repr(other)


def test_a_question_mark_in_a_key_is_a_question_mark(local_files, tmp_path):
    (entry,) = read(local_files, tmp_path, "m.txt", "s3://bbb/what?.jpg")
    assert (entry.uri, entry.location) == ("s3://bbb/what?.jpg",) * 2


def test_a_prefix_lists_every_object_with_its_identity(s3_files, bucket):
    for key in ("p/b.jpg", "p/a.jpg", "p/deep/er/c.png", "other/d.jpg"):
        bucket.put(key, key.encode())
    bucket.put("p/folder/", b"")
    entries = list(manifest.read_catalog(s3_files, bucket.uri("p/")))
    assert [entry.uri for entry in entries] == [
        bucket.uri(key) for key in ("p/a.jpg", "p/b.jpg", "p/deep/er/c.png")
    ]
    head = bucket.client.head_object(Bucket=bucket.name, Key="p/a.jpg")
    assert entries[0].etag == head["ETag"].strip('"')
    assert entries[0].size_bytes == len("p/a.jpg")


def test_a_local_folder_lists_every_file(local_files, tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b ü.jpg", "a.jpg", "sub/c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    entries = list(manifest.read_catalog(local_files, f"{tmp_path}/"))
    assert [entry.uri for entry in entries] == [
        (tmp_path / name).as_uri() for name in ("a.jpg", "b ü.jpg", "sub/c.jpg")
    ]
    assert local_files.read(entries[1].location) == b"x"
