"""Writing rows to Parquet shards: bounded memory, and nothing half-written ever in sight."""

import tempfile
import uuid
from pathlib import Path

import pyarrow.parquet as pq

from pipeline import rows as row_schema
from pipeline import storage
from pipeline.records import RunError, Shard
from pipeline.rows import Row
from pipeline.storage import Storage, StorageError

# A row group is what is held in memory, and what a reader reads in one piece.
_ROW_GROUP_BYTES = 16 << 20
_ROW_GROUP_ROWS = 20_000
_SHARD_BYTES = 256 << 20


class ShardWriter:
    """Collects rows in a local Parquet file and uploads it to the staging folder when it is full.

    A staged shard has a name of its own, so that a bundle which runs twice stages two shards; only
    the one whose bundle succeeds is made known and published.

    Args:
        files: where to upload.
        staging_folder: of the run.
        shard_bytes: size at which a shard is closed.
    """

    def __init__(
        self, files: Storage, staging_folder: str, *, shard_bytes: int = _SHARD_BYTES
    ) -> None:
        self._files = files
        self._staging_folder = staging_folder
        self._shard_bytes = shard_bytes
        self._pending: list[Row] = []
        self._pending_bytes = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._writer: pq.ParquetWriter | None = None
        self._first_uri = ""
        self._written_rows = 0
        self._written_bytes = 0

    def add(self, row: Row) -> Shard | None:
        """Takes a row; returns the shard that it completed, if any."""
        if not self._written_rows and not self._pending:
            self._first_uri = row.uri
        self._pending.append(row)
        self._pending_bytes += row.size_bytes
        if self._pending_bytes >= _ROW_GROUP_BYTES or len(self._pending) >= _ROW_GROUP_ROWS:
            self._write_row_group()
        return self.close() if self._written_bytes >= self._shard_bytes else None

    def close(self) -> Shard | None:
        """Uploads what is there; None if there is nothing. The writer can be used again."""
        self._write_row_group()
        if self._writer is None or self._folder is None:
            return None
        self._writer.close()
        uri = storage.join(self._staging_folder, f"{uuid.uuid4().hex}.parquet")
        try:
            self._files.write_file(uri, self._local_path)
        except StorageError as error:
            raise RunError(f"cannot write rows to {uri}: {error.detail}") from error
        shard = Shard(uri, self._first_uri, self._written_rows)
        self.abandon()
        return shard

    def abandon(self) -> None:
        """Drops what was not uploaded, and the temporary file."""
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = self._writer = None
        self._pending, self._pending_bytes = [], 0
        self._written_rows = self._written_bytes = 0

    @property
    def _local_path(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "shard.parquet"

    def _write_row_group(self) -> None:
        if not self._pending:
            return
        if self._writer is None:
            self._folder = tempfile.TemporaryDirectory(prefix="shard-")
            # Pictures are compressed already, and a dictionary of them would only cost memory.
            small = [name for name in row_schema.SCHEMA.names if name != "image"]
            self._writer = pq.ParquetWriter(
                self._local_path,
                row_schema.SCHEMA,
                compression={name: "zstd" for name in small} | {"image.bytes": "none"},
                use_dictionary=["status", "reason", "source_format", "source_mode", "model"],
            )
        self._writer.write_batch(row_schema.to_batch(self._pending))
        self._written_rows += len(self._pending)
        self._written_bytes += self._pending_bytes
        self._pending, self._pending_bytes = [], 0


def publish(files: Storage, shards: list[Shard], rows_folder: str) -> list[str]:
    """Moves staged shards to their final names and removes files of an earlier try.

    Safe to repeat: a shard that was moved before stays where it is.

    Args:
        files: where the shards lie.
        shards: all of the run.
        rows_folder: the run's partition.

    Returns:
        The URIs of the published files.

    Raises:
        RunError: if a shard is lost or cannot be moved.
    """
    ordered = sorted(shards, key=lambda shard: (shard.first_uri, shard.uri))
    targets = [storage.join(rows_folder, f"part-{i:05d}.parquet") for i in range(len(ordered))]
    keep = {target.rpartition("/")[2] for target in targets}
    try:
        for uri in storage.list_if_any(files, rows_folder):
            if uri.rpartition("/")[2] not in keep:
                files.delete(uri)
        for shard, target in zip(ordered, targets, strict=True):
            files.move(shard.uri, target)
    except StorageError as error:
        raise RunError(f"cannot publish rows to {rows_folder}: {error.detail}") from error
    return targets
