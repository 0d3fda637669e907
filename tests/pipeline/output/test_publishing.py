from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.output import publishing, schema
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import RunError, Shard
from tests.pipeline.conftest import make_row
from tests.pipeline.output.test_schema import by_column


@pytest.fixture
def staged(local_files, tmp_path):
    """Three staged shards: two small ones and a large one between them."""
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    shards = []
    for uri, image in (("s3://b/2", b"x"), ("s3://b/1", bytes(80_000)), ("s3://b/3", b"y")):
        writer.add(make_row(uri, image=image))
        shards.append(writer.close())
    return shards


def publish(files, shards, folder):
    parts = publishing.publish(files, shards, str(folder), part_bytes=200_000)
    assert sorted(Path(part).name for part in parts) == sorted(p.name for p in folder.iterdir())
    return sorted(sorted(pq.read_table(part)["uri"].to_pylist()) for part in parts)


PUBLISHED = [["s3://b/1"], ["s3://b/2", "s3://b/3"]]


def test_publish_joins_small_shards_and_is_safe_to_repeat(local_files, tmp_path, staged):
    folder = tmp_path / "rows/run_id=r"
    assert publish(local_files, staged, folder) == PUBLISHED
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert publish(local_files, staged[::-1], folder) == PUBLISHED
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    publishing.clear(local_files, str(tmp_path / "staging"))
    assert publish(local_files, staged, folder) == PUBLISHED


def test_joined_shards_keep_every_column_and_bounded_row_groups(
    local_files, tmp_path, monkeypatch
):
    monkeypatch.setattr(publishing, "ROW_GROUP_BYTES", 11_000)
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    made, shards = [], []
    for i in range(12):
        made.append(make_row(f"s3://b/{i:02d}", image=bytes([i]) * 3000, self_gain_db=float(i)))
        writer.add(made[-1])
        shards.append(writer.close())
    (part,) = publishing.publish(local_files, shards, str(tmp_path / "rows"))
    file = pq.ParquetFile(part)
    assert file.schema_arrow.equals(schema.SCHEMA)
    assert file.num_row_groups == 3
    found = sorted(file.read().to_pylist(), key=lambda row: row["uri"])
    assert found == [by_column(row) for row in made]


@pytest.mark.parametrize("moved", [0, 1])
def test_publish_goes_on_where_a_crash_stopped_it(local_files, tmp_path, staged, moved):
    folder = tmp_path / "rows/run_id=r"
    parts = publishing.publish(local_files, staged, str(folder), part_bytes=200_000)
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
        publishing.publish(local_files, [*staged, lost], str(tmp_path / "rows"))
