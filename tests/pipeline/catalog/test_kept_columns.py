"""Columns of a manifest that the rows carry: `--keep_columns`."""

import datetime
import decimal
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalog import batches, manifest
from pipeline.catalog.manifests.columns import ManifestColumns
from pipeline.catalog.selection import Selection
from pipeline.records import RunError

KEPT = ManifestColumns(kept=("brand", "price"))
LINES = [
    {"uri": "s3://shop/a.jpg", "colour": "red", "price": "9.90", "brand": "Größe, S"},
    {"uri": "s3://shop/b.jpg", "colour": None, "price": None, "brand": 'a "b"'},
    {"uri": "s3://shop/c.jpg", "colour": "blue", "price": "5.00", "brand": "third"},
]
CSV = (
    'uri,colour,price,brand\ns3://shop/a.jpg,red,9.90,"Größe, S"\ns3://shop/b.jpg,,,"a ""b"""\n'
    "s3://shop/c.jpg,blue,5.00,third\n"
)


def parquet(columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def json_lines(records):
    return "\n".join(json.dumps(record) for record in records).encode()


SAME = {
    "m.csv": CSV.encode(),
    "m.csv.gz": gzip.compress(CSV.encode()),
    "m.tsv": CSV.replace("Größe, S", "Größe; S").replace(",", "\t").replace("; S", ", S").encode(),
    "m.jsonl": json_lines(LINES),
    "m.jsonl.gz": gzip.compress(json_lines(LINES)),
    "m.parquet": parquet({key: [line[key] for line in LINES] for key in LINES[0]}),
}


def read(files, path, columns=KEPT, **options):
    return list(manifest.read_catalog(files, str(path), columns=columns, **options))


def texts(entry):
    return json.loads(entry.catalog)


@pytest.mark.parametrize("name", SAME)
def test_every_kind_of_manifest_keeps_the_same(local_files, tmp_path, name):
    (tmp_path / name).write_bytes(SAME[name])
    entries = read(local_files, tmp_path / name)
    assert [entry.catalog for entry in entries] == [
        '{"brand": "Größe, S", "price": "9.90"}',
        '{"brand": "a \\"b\\"", "price": null}',
        '{"brand": "third", "price": "5.00"}',
    ]
    packed = list(manifest.read_batches(local_files, str(tmp_path / name), columns=KEPT))
    assert [entry for batch in packed for entry in batches.to_entries(batch)] == entries


@pytest.mark.parametrize("name", SAME)
def test_without_the_option_nothing_is_kept(local_files, tmp_path, name):
    (tmp_path / name).write_bytes(SAME[name])
    entries = read(local_files, tmp_path / name, ManifestColumns())
    assert {entry.catalog for entry in entries} == {None}


def test_values_of_all_kinds_are_text_and_none_costs_its_line(local_files, tmp_path):
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5)
    kinds = {
        "decimal": (pa.array([decimal.Decimal("12.50")]), "12.50"),
        "integer": (pa.array([7]), "7"),
        "float": (pa.array([7.0]), "7"),
        "nan": (pa.array([float("nan")]), None),
        "truth": (pa.array([True]), "true"),
        "date": (pa.array([datetime.date(2026, 1, 2)]), "2026-01-02"),
        "moment": (pa.array([moment], pa.timestamp("us")), "2026-01-02T03:04:05"),
        "nanos": (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00"),
        "length": (pa.array([datetime.timedelta(1)]), "1 day, 0:00:00"),
        "not_utf8": (pa.array([b"a\xff"]), "a\ufffd"),
        "list": (pa.array([["a", "ü"]]), '["a", "ü"]'),
        "object": (pa.array([{"a": decimal.Decimal("1.5")}]), '{"a": 1.5}'),
        "dictionary": (pa.array(["x"]).dictionary_encode(), "x"),
        "secret": (pa.array(["https://shop.com/?X-Amz-Signature=planted"]), ...),
    }
    columns = {"uri": ["s3://shop/1"]} | {name: column for name, (column, _) in kinds.items()}
    (tmp_path / "m.parquet").write_bytes(parquet(columns))
    (entry,) = read(local_files, tmp_path / "m.parquet", ManifestColumns(kept=tuple(kinds)))
    found = texts(entry)
    assert "planted" not in found.pop("secret")
    assert found == {name: text for name, (_, text) in kinds.items() if text is not ...}
    assert list(found) == [name for name in kinds if name != "secret"]


# Values of Parquet that Python has not: as a type, the value in memory, and its text.
BEYOND_PYTHON = [
    (pa.date32(), 10**7, "29349-01-26"),
    (pa.timestamp("us"), 2**62, "<value out of range: 4611686018427387904>"),
    (pa.timestamp("ms"), 9223372036825200, "<value out of range: 9223372036825200>"),
    (pa.timestamp("ms", "Mars/Base"), 0, "1970-01-01 00:00:00.000Z"),
    (pa.duration("s"), 2**50, "1125899906842624"),
]


@pytest.mark.parametrize(("kind", "value", "text"), BEYOND_PYTHON, ids=str)
def test_a_value_that_python_has_not_is_text(local_files, tmp_path, kind, value, text):
    """Years beyond 9999, time zones that nobody knows: such a value ended the run."""
    number = pa.int32() if kind == pa.date32() else pa.int64()
    column = pa.array([value, None], number).cast(kind)
    columns = {
        "uri": ["s3://shop/1", "s3://shop/2"],
        "product_id": column,
        "brand": column,
        "list": pa.array([[value], None], pa.list_(number)).cast(pa.list_(kind)),
        "object": pa.StructArray.from_arrays([column], ["a"]),
    }
    (tmp_path / "m.parquet").write_bytes(parquet(columns))
    kept = ManifestColumns(kept=("brand", "list", "object"))
    first, second = read(local_files, tmp_path / "m.parquet", kept)
    assert (first.reason, first.product_id) == (None, text)
    as_json = {"list": json.dumps([text]), "object": json.dumps({"a": text})}
    assert texts(first) == {"brand": text} | as_json
    assert (second.reason, second.product_id, texts(second)["brand"]) == (None, None, None)


def test_a_text_in_a_list_that_is_not_utf8_is_null(local_files, tmp_path):
    tags = pa.array([[b"a\xff", b"b"]], pa.list_(pa.binary()))
    offsets, data = tags.offsets, tags.values
    broken = pa.Array.from_buffers(pa.string(), len(data), data.buffers())
    columns = {"uri": ["s3://shop/1"], "brand": pa.ListArray.from_arrays(offsets, broken)}
    (tmp_path / "m.parquet").write_bytes(parquet(columns))
    (entry,) = read(local_files, tmp_path / "m.parquet", ManifestColumns(kept=("brand",)))
    assert texts(entry) == {"brand": '[null, "b"]'}


def test_broken_bytes_cost_a_character(local_files, tmp_path):
    (tmp_path / "m.csv").write_bytes(b"uri,brand,price\ns3://shop/1,a\xffb, 3 \n")
    (entry,) = read(local_files, tmp_path / "m.csv")
    assert entry.reason is None and texts(entry) == {"brand": "a\ufffdb", "price": "3"}
    lines = b'{"uri": "s3://shop/1", "brand": "a\\ud800b", "price": 9.90}'
    (tmp_path / "m.jsonl").write_bytes(lines)
    (entry,) = read(local_files, tmp_path / "m.jsonl")
    assert texts(entry)["brand"] == "a\ufffdb" and texts(entry)["price"] == "9.90"


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_column_that_is_not_there_ends_the_run(local_files, tmp_path, name):
    (tmp_path / name).write_bytes(SAME[name])
    with pytest.raises(RunError) as told:
        read(local_files, tmp_path / name, ManifestColumns(kept=("brand", "size")))
    assert str(told.value).endswith(
        f"{name} has no column size; --keep_columns names another one. "
        "Received: uri, colour, price, brand"
    )


def test_a_key_of_ids_that_no_line_has_ends_the_run(local_files, tmp_path):
    lines = [{"uri": "s3://shop/a.jpg"}, {"uri": "s3://shop/b.jpg", "sku": "7"}]
    (tmp_path / "1.jsonl").write_bytes(json_lines(lines))
    with pytest.raises(RunError) as told:
        read(local_files, tmp_path / "1.jsonl", ManifestColumns(product_id="skuu"))
    assert str(told.value).endswith(
        "1.jsonl has the key skuu; --id_column names another one. Received: uri, sku"
    )
    found = read(local_files, tmp_path / "1.jsonl", ManifestColumns(product_id="sku"))
    assert [entry.product_ids for entry in found] == [(), ("7",)]
    # A night whose products have no ids yet is none of a wrong key.
    (tmp_path / "2.jsonl").write_bytes(json_lines([{"uri": "s3://shop/a.jpg", "sku": None}]))
    (entry,) = read(local_files, tmp_path / "2.jsonl", ManifestColumns(product_id="sku"))
    assert entry.product_ids == ()


def test_a_key_that_no_line_has_ends_the_run(local_files, tmp_path):
    columns = ManifestColumns(kept=("brand", "size"))
    few = [{"uri": "s3://shop/a.jpg", "brand": "x"}, {"uri": "s3://shop/b.jpg", "colour": "red"}]
    (tmp_path / "1.jsonl").write_bytes(json_lines(few))
    with pytest.raises(RunError) as told:
        read(local_files, tmp_path / "1.jsonl", columns)
    assert str(told.value).endswith(
        "1.jsonl has the key size; --keep_columns names another one. Received: uri, brand, colour"
    )
    # One line of one of the files is enough.
    (tmp_path / "2.jsonl").write_bytes(json_lines([{"uri": "s3://shop/c.jpg", "size": None}]))
    entries = read(local_files, tmp_path / "?.jsonl", columns)
    assert [texts(entry) for entry in entries] == [
        {"brand": "x", "size": None},
        {"brand": None, "size": None},
        {"brand": None, "size": None},
    ]
    # A trial stops before it could know.
    assert len(read(local_files, tmp_path / "1.jsonl", columns, selection=Selection(limit=1))) == 1
