import dataclasses
import datetime

import pyarrow.parquet as pq
import pytest

from pipeline import rows, sink
from pipeline.records import RunError, Shard, Status
from pipeline.rows import Row
from pipeline.sink import ShardWriter

NOW = datetime.datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=datetime.UTC)


def make_row(uri="s3://b/a", image=None, **columns):
    picture = None if image is None else {"bytes": image, "path": "a.png"}
    return Row(uri=uri, status=Status.UPSCALED, processed_at=NOW, image=picture, **columns)


def test_schema_and_record_have_the_same_columns():
    assert set(rows.SCHEMA.names) == {field.name for field in dataclasses.fields(Row)}


def test_the_contract_s_columns_and_types():
    expected = {
        "uri": "string",
        "status": "string",
        "reason": "string",
        "source_bytes": "int64",
        "source_height": "int32",
        "image_bytes": "int64",
        "scale": "int32",
        "self_gain_db": "float",
        "reference_ssim": "float",
        "encode_ms": "float",
        "processed_at": "timestamp[us, tz=UTC]",
        "image": "struct<bytes: binary, path: string>",
    }
    assert {name: str(rows.SCHEMA.field(name).type) for name in expected} == expected
    required = [field.name for field in rows.SCHEMA if not field.nullable]
    assert required == ["uri", "status", "processed_at"]


def test_rows_survive_the_round_trip(local_files, tmp_path):
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    first = make_row(image=b"\x00\xff" * 10, self_gain_db=2.5, source_bytes=2**40)
    second = make_row("s3://b/ü", detail="line")
    assert writer.add(first) is None and writer.add(second) is None
    shard = writer.close()
    assert (shard.first_uri, shard.rows) == ("s3://b/a", 2)
    table = pq.read_table(shard.uri)
    assert table.schema.equals(rows.SCHEMA)
    found = table.to_pylist()
    assert found[0] == dataclasses.asdict(first) | {"status": "upscaled"}
    assert found[1]["uri"] == "s3://b/ü" and found[1]["image"] is None


def test_row_groups_and_shards_are_bounded_in_bytes(local_files, tmp_path, monkeypatch):
    monkeypatch.setattr(sink, "_ROW_GROUP_BYTES", 10_000)
    writer = ShardWriter(local_files, str(tmp_path), shard_bytes=50_000)
    shards = [writer.add(make_row(f"s3://b/{i}", b"x" * 3000)) for i in range(40)]
    shards = [shard for shard in [*shards, writer.close()] if shard]
    assert len(shards) == 3
    assert sum(shard.rows for shard in shards) == 40
    for shard in shards:
        file = pq.ParquetFile(shard.uri)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert max(sizes) <= 3
    uris = [uri for shard in shards for uri in pq.read_table(shard.uri)["uri"].to_pylist()]
    assert uris == [f"s3://b/{i}" for i in range(40)]


def test_nothing_is_staged_for_no_rows_or_an_abandoned_bundle(local_files, tmp_path):
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    assert writer.close() is None
    writer.add(make_row("s3://b/lost"))
    writer.abandon()
    writer.add(make_row("s3://b/kept"))
    shard = writer.close()
    assert pq.read_table(shard.uri)["uri"].to_pylist() == ["s3://b/kept"]
    assert shard.first_uri == "s3://b/kept"


@pytest.fixture
def staged(local_files, tmp_path):
    """Three staged shards with one row each, in no order."""
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    shards = []
    for uri in ("s3://b/2", "s3://b/1", "s3://b/3"):
        writer.add(make_row(uri))
        shards.append(writer.close())
    return shards


def published_uris(parts):
    return [pq.read_table(part)["uri"].to_pylist() for part in parts]


def test_publish_orders_shards_and_is_safe_to_repeat(local_files, tmp_path, staged):
    folder = str(tmp_path / "rows/run_id=r")
    parts = sink.publish(local_files, staged, folder)
    expected = [["s3://b/1"], ["s3://b/2"], ["s3://b/3"]]
    assert published_uris(parts) == expected
    assert published_uris(sink.publish(local_files, staged, folder)) == expected
    assert list((tmp_path / "staging").iterdir()) == []


def test_publish_goes_on_where_a_crash_stopped_it(local_files, tmp_path, staged):
    folder = str(tmp_path / "rows/run_id=r")
    local_files.move(
        sorted(staged, key=lambda shard: shard.first_uri)[0].uri, f"{folder}/part-00000.parquet"
    )
    assert published_uris(sink.publish(local_files, staged, folder)) == [
        ["s3://b/1"],
        ["s3://b/2"],
        ["s3://b/3"],
    ]


def test_publish_removes_parts_of_an_earlier_try_with_more_shards(local_files, tmp_path, staged):
    folder = tmp_path / "rows/run_id=r"
    for i in range(5):
        local_files.write(str(folder / f"part-{i:05d}.parquet"), b"old")
    sink.publish(local_files, staged, str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        f"part-{i:05d}.parquet" for i in range(3)
    ]


def test_a_lost_shard_is_an_error(local_files, tmp_path, staged):
    lost = Shard(str(tmp_path / "staging/none.parquet"), "s3://b/4", 1)
    with pytest.raises(RunError, match="cannot publish"):
        sink.publish(local_files, [*staged, lost], str(tmp_path / "rows"))


def test_rows_that_cannot_be_written_stop_the_run(local_files, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    writer = ShardWriter(local_files, str(tmp_path / "file/staging"))
    writer.add(make_row())
    with pytest.raises(RunError, match="cannot write rows"):
        writer.close()
