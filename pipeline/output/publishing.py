"""Publishes a run's staged shards as the parts of its rows."""

import logging
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output import schema
from pipeline.output.shard_writer import ROW_GROUP_BYTES, SHARD_BYTES, LocalShard, digest_of
from pipeline.records import RunError, Shard
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.local import remove_unfinished
from pipeline.storage.ranged import open_file
from pipeline.storage.routing import list_if_any

_log = logging.getLogger(__name__)


def publish(
    files: Storage, shards: Iterable[Shard], rows_folder: str, *, part_bytes: int = SHARD_BYTES
) -> list[str]:
    """Turns a run's staged shards into its parts, and removes files of an earlier attempt.

    Large shards become parts as they are, small ones are joined. A part's name is the digest of
    its shards' names, so that the function can be repeated after a crash: it finds the parts that
    it wrote before. Joined shards stay staged until the caller removes the folder at the end.

    Args:
        files: where the shards lie.
        shards: all of the run.
        rows_folder: the run's partition.
        part_bytes: most bytes of the shards that are joined into one part.

    Returns:
        The URIs of the parts.

    Raises:
        RunError: if a shard is lost or cannot be moved.
    """
    parts = {
        locations.join(
            rows_folder, f"part-{digest_of(_name(s.uri) for s in joined)}.parquet"
        ): joined
        for joined in _join_small(shards, part_bytes)
    }
    names = {_name(part) for part in parts}
    try:
        there = {_name(item.uri): item.uri for item in list_if_any(files, rows_folder)}
        for name in there.keys() - names:
            files.delete(there[name])
        for part, joined in parts.items():
            if _name(part) in there:
                continue
            if len(joined) == 1:
                files.move(joined[0].uri, part)
            else:
                _write_joined(files, joined, part)
    except StorageError as error:
        raise RunError(f"cannot publish rows to {rows_folder}: {error.detail}") from error
    return list(parts)


def clear(files: Storage, staging_folder: str) -> None:
    """Removes all files in the staging folder of a finished run, unfinished ones too."""
    try:
        for item in list(list_if_any(files, staging_folder)):
            files.delete(item.uri)
        remove_unfinished(staging_folder)
    except (StorageError, RunError) as error:  # the run is complete all the same
        _log.warning("cannot empty %s: %s", staging_folder, error)


def _join_small(shards: Iterable[Shard], part_bytes: int) -> Iterator[list[Shard]]:
    """Yields groups of shards: one of a quarter of a part and more alone, others together."""
    joined: list[Shard] = []
    joined_bytes = 0
    for shard in sorted(shards):
        if shard.size_bytes >= part_bytes // 4:
            yield [shard]
            continue
        if joined and joined_bytes + shard.size_bytes > part_bytes:
            yield joined
            joined, joined_bytes = [], 0
        joined.append(shard)
        joined_bytes += shard.size_bytes
    if joined:
        yield joined


def _write_joined(files: Storage, shards: list[Shard], part: str) -> None:
    """Writes one part with the rows of several shards, row group by row group."""
    local = LocalShard()
    try:
        waiting: list[pa.RecordBatch] = []
        for batch in _read_batches(files, shards):
            waiting.append(batch)
            if sum(one.nbytes for one in waiting) >= ROW_GROUP_BYTES:
                local.write(pa.concat_batches(waiting))
                waiting = []
        if waiting:
            local.write(pa.concat_batches(waiting))
        local.upload(files, part)
    finally:
        local.remove()


def _read_batches(files: Storage, shards: list[Shard]) -> Iterator[pa.RecordBatch]:
    for shard in shards:
        with open_file(files, shard.uri) as file:
            table = pq.ParquetFile(file)
            for group in range(table.num_row_groups):
                for batch in table.read_row_group(group).to_batches():
                    yield schema.completed(batch, schema.SCHEMA.names)


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]
