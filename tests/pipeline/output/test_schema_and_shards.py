import dataclasses
import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.output import schema, shard_writer
from pipeline.output.schema import Row
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import RunError, Shard, Status

NOW = datetime.datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=datetime.UTC)


def make_row(uri="s3://b/a", image=None, **columns):
    struct = None if image is None else {"bytes": image, "path": "a.png"}
    return Row(uri=uri, status=Status.UPSCALED, processed_at=NOW, image=struct, **columns)


def test_schema_and_record_have_the_same_columns():
    assert set(schema.SCHEMA.names) == {field.name for field in dataclasses.fields(Row)}


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
    assert {name: str(schema.SCHEMA.field(name).type) for name in expected} == expected
    required = [field.name for field in schema.SCHEMA if not field.nullable]
    assert required == ["uri", "status", "processed_at"]


def test_rows_survive_the_round_trip(local_files, tmp_path):
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    first = make_row(image=b"\x00\xff" * 10, self_gain_db=2.5, source_bytes=2**40)
    second = make_row("s3://b/ü", detail="line")
    assert writer.add(first) is None and writer.add(second) is None
    shard = writer.close()
    assert shard.rows == 2 and shard.size_bytes == Path(shard.uri).stat().st_size
    table = pq.read_table(shard.uri)
    assert table.schema.equals(schema.SCHEMA)
    found = table.to_pylist()
    assert found[0] == dataclasses.asdict(first) | {"status": "upscaled"}
    assert found[1]["uri"] == "s3://b/ü" and found[1]["image"] is None


def test_row_groups_and_shards_are_bounded_in_bytes(local_files, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "_ROW_GROUP_BYTES", 10_000)
    writer = ShardWriter(local_files, str(tmp_path), shard_bytes=50_000)
    shards = [writer.add(make_row(f"s3://b/{i}", b"x" * 3000)) for i in range(40)]
    shards = [shard for shard in [*shards, writer.close()] if shard]
    assert len(shards) > 2
    assert max(shard.size_bytes for shard in shards) < 2 * 50_000
    assert sum(shard.rows for shard in shards) == 40
    for shard in shards:
        file = pq.ParquetFile(shard.uri)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert max(sizes) <= 3
    uris = [uri for shard in shards for uri in pq.read_table(shard.uri)["uri"].to_pylist()]
    assert uris == [f"s3://b/{i}" for i in range(40)]


def test_a_kill_costs_a_small_share_of_the_finished_work(local_files, tmp_path):
    """At any moment, what is not staged yet is at most 5 % of what is, or the latest image."""
    writer = ShardWriter(local_files, str(tmp_path))
    staged = shards = 0
    for i in range(1500):
        shard = writer.add(make_row(f"s3://b/{i}", b"x", inference_ms=9.0))
        if shard is not None:
            staged += shard.rows
            shards += 1
        assert i + 1 - staged <= max(1, 0.05 * staged)
    assert shards < 150


def test_rows_without_a_image_make_few_shards(local_files, tmp_path):
    writer = ShardWriter(local_files, str(tmp_path))
    row = Row(uri="s3://b/skipped", status=Status.SKIPPED, processed_at=NOW, reason="too_small")
    shards = [writer.add(dataclasses.replace(row, uri=f"s3://b/{i}")) for i in range(4000)]
    assert sum(shard is not None for shard in shards) < 60


def test_what_is_staged_twice_lies_there_once(local_files, tmp_path):
    for _ in range(2):
        writer = ShardWriter(local_files, str(tmp_path / "staging"))
        for uri in ("s3://b/1", "s3://b/2"):
            writer.add(make_row(uri))
        writer.close()
    assert len(list((tmp_path / "staging").iterdir())) == 1


def test_nothing_is_staged_for_no_rows_or_an_abandoned_bundle(local_files, tmp_path):
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    assert writer.close() is None
    writer.add(make_row("s3://b/lost"))
    writer.abandon()
    writer.add(make_row("s3://b/kept"))
    shard = writer.close()
    assert pq.read_table(shard.uri)["uri"].to_pylist() == ["s3://b/kept"]


@pytest.fixture
def staged(local_files, tmp_path):
    """Three staged shards: two small ones and a large one between them."""
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    shards = []
    for uri, image in (("s3://b/2", b"x"), ("s3://b/1", bytes(80_000)), ("s3://b/3", b"y")):
        writer.add(make_row(uri, image))
        shards.append(writer.close())
    return shards


def publish(files, shards, folder):
    parts = shard_writer.publish(files, shards, str(folder), part_bytes=200_000)
    assert sorted(Path(part).name for part in parts) == sorted(p.name for p in folder.iterdir())
    return sorted(sorted(pq.read_table(part)["uri"].to_pylist()) for part in parts)


PUBLISHED = [["s3://b/1"], ["s3://b/2", "s3://b/3"]]


def test_publish_joins_small_shards_and_is_safe_to_repeat(local_files, tmp_path, staged):
    folder = tmp_path / "rows/run_id=r"
    assert publish(local_files, staged, folder) == PUBLISHED
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert publish(local_files, staged[::-1], folder) == PUBLISHED
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    shard_writer.clear(local_files, str(tmp_path / "staging"))
    assert publish(local_files, staged, folder) == PUBLISHED


def test_joined_shards_keep_every_column_and_bounded_row_groups(
    local_files, tmp_path, monkeypatch
):
    monkeypatch.setattr(shard_writer, "_ROW_GROUP_BYTES", 10_000)
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    made, shards = [], []
    for i in range(12):
        made.append(make_row(f"s3://b/{i:02d}", bytes([i]) * 3000, self_gain_db=float(i)))
        writer.add(made[-1])
        shards.append(writer.close())
    (part,) = shard_writer.publish(local_files, shards, str(tmp_path / "rows"))
    file = pq.ParquetFile(part)
    assert file.schema_arrow.equals(schema.SCHEMA)
    assert file.num_row_groups == 3
    found = sorted(file.read().to_pylist(), key=lambda row: row["uri"])
    assert found == [dataclasses.asdict(row) | {"status": "upscaled"} for row in made]


@pytest.mark.parametrize("moved", [0, 1])
def test_publish_goes_on_where_a_crash_stopped_it(local_files, tmp_path, staged, moved):
    folder = tmp_path / "rows/run_id=r"
    parts = shard_writer.publish(local_files, staged, str(folder), part_bytes=200_000)
    gone = sorted(parts, key=lambda part: Path(part).stat().st_size)[moved]
    if moved:
        local_files.move(gone, staged[1].uri)  # the large one, that is not copied
    else:
        local_files.delete(gone)
    assert publish(local_files, staged, folder) == PUBLISHED


def test_publish_removes_parts_of_an_earlier_try(local_files, tmp_path, staged):
    folder = tmp_path / "rows/run_id=r"
    local_files.write(str(folder / "part-0123456789abcdef.parquet"), b"old")
    assert publish(local_files, staged, folder) == PUBLISHED


def test_a_lost_shard_is_an_error(local_files, tmp_path, staged):
    lost = Shard(str(tmp_path / "staging/none.parquet"), 1, 100)
    with pytest.raises(RunError, match="cannot publish"):
        shard_writer.publish(local_files, [*staged, lost], str(tmp_path / "rows"))


def test_rows_that_cannot_be_written_stop_the_run(local_files, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    writer = ShardWriter(local_files, str(tmp_path / "file/staging"))
    writer.add(make_row())
    with pytest.raises(RunError, match="cannot write rows"):
        writer.close()
