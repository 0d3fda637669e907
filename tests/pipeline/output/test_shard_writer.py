import dataclasses
import json
import resource
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.output import schema, shard_writer
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import RunError, Status
from tests.pipeline.conftest import make_row
from tests.pipeline.output.test_schema import by_column


def test_rows_survive_the_round_trip(local_files, tmp_path):
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    first = make_row("s3://b/a", image=b"\x00\xff" * 10, self_gain_db=2.5, source_bytes=2**40)
    second = make_row("s3://b/ü", detail="line")
    assert writer.add(first) is None and writer.add(second) is None
    shard = writer.close()
    assert shard.rows == 2 and shard.size_bytes == Path(shard.uri).stat().st_size
    table = pq.read_table(shard.uri)
    assert table.schema.equals(schema.SCHEMA)
    # As `datasets.Features` reads it: load_dataset needs no cast of this column.
    info = json.loads(table.schema.metadata[b"huggingface"])["info"]
    assert info == {"features": {"image": {"_type": "Image"}}}
    found = table.to_pylist()
    assert found == [by_column(first), by_column(second)]
    assert found[1]["uri"] == "s3://b/ü" and found[1]["image"] is None


def test_row_groups_and_shards_are_bounded_in_bytes(local_files, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "ROW_GROUP_BYTES", 10_000)
    writer = ShardWriter(local_files, str(tmp_path), shard_bytes=50_000)
    shards = [writer.add(make_row(f"s3://b/{i}", image=b"x" * 3000)) for i in range(40)]
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
        shard = writer.add(make_row(f"s3://b/{i}", image=b"x", inference_ms=9.0))
        if shard is not None:
            staged += shard.rows
            shards += 1
        assert i + 1 - staged <= max(1, 0.05 * staged)
    assert shards < 150


def test_rows_without_an_image_make_few_shards(local_files, tmp_path):
    writer = ShardWriter(local_files, str(tmp_path))
    row = make_row("s3://b/skipped", Status.SKIPPED, reason="too_small")
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


def test_rows_that_cannot_be_written_stop_the_run(local_files, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    writer = ShardWriter(local_files, str(tmp_path / "file/staging"))
    writer.add(make_row("s3://b/a"))
    with pytest.raises(RunError, match="cannot write rows"):
        writer.close()


@pytest.fixture
def max_file_bytes():
    """Sets the size beyond which this process cannot write a file, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("image_bytes", [10, 1_000_000])
def test_no_room_for_the_temporary_file_is_one_line(
    image_bytes, local_files, tmp_path, max_file_bytes
):
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    writer.add(make_row("s3://b/a", image=bytes(image_bytes)))
    max_file_bytes(100)
    with pytest.raises(RunError) as caught:
        writer.close()
    assert str(caught.value) == (
        f"cannot write temporary files in {tempfile.gettempdir()}: File too large; free space, "
        "or set TMPDIR to another folder"
    )
    writer.abandon()


def test_no_temporary_folder_is_one_line(local_files, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    writer = ShardWriter(local_files, str(tmp_path / "staging"))
    writer.add(make_row("s3://b/a"))
    with pytest.raises(RunError, match="none: No such file or directory; free space"):
        writer.close()
