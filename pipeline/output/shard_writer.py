"""Writing rows to Parquet shards: bounded memory, and nothing half-written ever in sight."""

import hashlib
import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output import schema as row_schema
from pipeline.output.schema import Row
from pipeline.records import RunError, Shard
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_file
from pipeline.storage.routing import list_if_any

# A row group is what is held in memory, and what a reader reads in one piece.
_ROW_GROUP_BYTES = 16 << 20
_ROW_GROUP_ROWS = 20_000
_SHARD_BYTES = 256 << 20
# A kill costs the rows since the last shard: at most this share of the work done before. The
# shards grow with it, so that their number grows with the logarithm of the rows only.
_UNSAVED_SHARE = 0.04
# Work of a row without a new image, of which the size gate passes hundreds a second, when that
# of an upscaled one is 1.
_ROW_WORK = 0.02


class ShardWriter:
    """Collects rows in a local Parquet file and uploads it to the staging folder.

    A staged shard's name is the digest of its URIs: what is written twice lies there once.

    Args:
        files: where to upload.
        staging_folder: of the run.
        shard_bytes: size at which a shard is closed in any case.
    """

    def __init__(
        self, files: Storage, staging_folder: str, *, shard_bytes: int = _SHARD_BYTES
    ) -> None:
        self._files = files
        self._staging_folder = staging_folder
        self._shard_bytes = shard_bytes
        self._pending: list[Row] = []
        self._pending_bytes = 0
        self._file: _LocalShard | None = None
        self._saved_work = 0.0
        self._unsaved_work = 0.0

    def add(self, row: Row) -> Shard | None:
        """Takes a row; returns the shard that it completed, if any."""
        self._pending.append(row)
        self._pending_bytes += row.size_bytes
        self._unsaved_work += _ROW_WORK if row.inference_ms is None else 1
        if self._pending_bytes >= _ROW_GROUP_BYTES or len(self._pending) >= _ROW_GROUP_ROWS:
            self._write_row_group()
        is_due = self._unsaved_work >= max(1, _UNSAVED_SHARE * self._saved_work)
        is_full = self._file is not None and self._file.size_bytes >= self._shard_bytes
        return self.close() if is_due or is_full else None

    def close(self) -> Shard | None:
        """Uploads what is there; None if there is nothing. The writer can be used again."""
        self._write_row_group()
        if self._file is None:
            return None
        name = f"{_digest(self._file.uris)}.parquet"
        shard = self._file.upload(self._files, locations.join(self._staging_folder, name))
        self._saved_work += self._unsaved_work
        self.abandon()
        return shard

    def abandon(self) -> None:
        """Drops what was not uploaded, and the temporary file."""
        if self._file is not None:
            self._file.remove()
        self._file = None
        self._pending, self._pending_bytes, self._unsaved_work = [], 0, 0.0

    def _write_row_group(self) -> None:
        if not self._pending:
            return
        if self._file is None:
            self._file = _LocalShard()
        self._file.write(row_schema.to_batch(self._pending))
        self._pending, self._pending_bytes = [], 0


def count_shards(work: float) -> int:
    """How many shards one writer closes for so much work, where images are small.

    Args:
        work: 1 for each image to upscale, 0.02 for other rows.
    """
    saved, shards = 0, 0
    while saved < work:
        saved += max(1, math.ceil(_UNSAVED_SHARE * saved))
        shards += 1
    return shards


class _LocalShard:
    """A Parquet file of `rows.SCHEMA` in the making, in a temporary folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="shard-")
        self._path = Path(self._folder.name) / "shard.parquet"
        # Images are compressed already, and a dictionary of them would only cost memory.
        small = [name for name in row_schema.SCHEMA.names if name != "image"]
        self._writer = pq.ParquetWriter(
            self._path,
            row_schema.SCHEMA,
            compression={name: "zstd" for name in small} | {"image.bytes": "none"},
            use_dictionary=["status", "reason", "source_format", "source_mode", "model"],
        )
        self.uris: list[str] = []

    @property
    def size_bytes(self) -> int:
        return self._path.stat().st_size

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends one row group."""
        self._writer.write_batch(batch)
        self.uris += batch["uri"].to_pylist()

    def upload(self, files: Storage, uri: str) -> Shard:
        """Closes the file and copies it to its place."""
        self._writer.close()
        try:
            files.write_file(uri, self._path)
        except StorageError as error:
            raise RunError(f"cannot write rows to {uri}: {error.detail}") from error
        return Shard(uri, len(self.uris), self.size_bytes)

    def remove(self) -> None:
        self._writer.close()
        self._folder.cleanup()


def publish(
    files: Storage, shards: Iterable[Shard], rows_folder: str, *, part_bytes: int = _SHARD_BYTES
) -> list[str]:
    """Makes the run's parts of its staged shards, and removes files of an earlier attempt.

    Large shards become parts as they are, small ones are joined. A part's name is the digest of
    its shards' names, so that the function can be repeated after a crash: it finds the parts that
    it made before. Joined shards stay staged; whoever calls removes the folder at the very end.

    Args:
        files: where the shards lie.
        shards: all of the run.
        rows_folder: the run's partition.
        part_bytes: what the joined shards of a part come to.

    Returns:
        The URIs of the parts.

    Raises:
        RunError: if a shard is lost or cannot be moved.
    """
    parts = {
        locations.join(
            rows_folder, f"part-{_digest(_name(s.uri) for s in joined)}.parquet"
        ): joined
        for joined in _join_small(shards, part_bytes)
    }
    names = {_name(part) for part in parts}
    try:
        there = {_name(uri): uri for uri in list_if_any(files, rows_folder)}
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
    """Removes what lies in the staging folder of a finished run."""
    for uri in list_if_any(files, staging_folder):
        files.delete(uri)


def _join_small(shards: Iterable[Shard], part_bytes: int) -> Iterator[list[Shard]]:
    """Groups of shards: those of a quarter of a part and more alone, the others together."""
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
    """One part of several shards, row group by row group."""
    local = _LocalShard()
    try:
        waiting: list[pa.RecordBatch] = []
        for batch in _read_batches(files, shards):
            waiting.append(batch)
            if sum(one.nbytes for one in waiting) >= _ROW_GROUP_BYTES:
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
                yield from table.read_row_group(group).to_batches()


def _digest(names: Iterable[str]) -> str:
    """16 hexadecimal digits that depend on the names alone, not on their order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]
