"""Writes rows to Parquet shards in bounded memory; no half-written file has a final name."""

import contextlib
import hashlib
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import columns
from pipeline.output import schema as row_schema
from pipeline.records import RunError, Shard
from pipeline.row.row import Row
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.temporary import temporary_file_errors

# A row group is held in memory, and a reader reads it in one piece.
ROW_GROUP_BYTES = 16 << 20
_ROW_GROUP_ROWS = 20_000
SHARD_BYTES = 256 << 20
# A kill costs the rows since the last shard: at most this share of the work done before. The
# shards grow with it, so that their number grows with the logarithm of the rows only.
_UNSAVED_SHARE = 0.04
# Work of a row without a new image, relative to that of an upscaled one: the size filter passes
# hundreds a second.
_ROW_WORK = 0.02


class ShardWriter:
    """Collects rows in a local Parquet file and uploads it to the staging folder.

    A staged shard's name is the digest of its URIs: the same rows written twice lie there once.

    Args:
        files: where to upload.
        staging_folder: of the run.
        shard_bytes: size at which a shard is closed in any case.

    Example:
        writer = ShardWriter(files, staging_folder)
        shards = [writer.add(row) for row in rows]  # None until a shard is complete
        shards.append(writer.close())
    """

    def __init__(
        self, files: Storage, staging_folder: str, *, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self._files = files
        self._staging_folder = staging_folder
        self._shard_bytes = shard_bytes
        self._pending: list[Row] = []
        self._pending_batches: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._file: LocalShard | None = None
        self._saved_work = 0.0
        self._unsaved_work = 0.0

    def add(self, row: Row) -> Shard | None:
        """Takes a row; returns the shard that it completed, if any.

        Raises:
            RunError: if the shard cannot be uploaded.
        """
        self._pending.append(row)
        self._unsaved_work += _ROW_WORK if row.timings.inference_ms is None else 1
        self._count(1, row.size_bytes)
        is_due = self._unsaved_work >= max(1, _UNSAVED_SHARE * self._saved_work)
        return self.close() if is_due or self._is_full else None

    def add_batch(self, batch: pa.RecordBatch) -> Shard | None:
        """Takes finished rows without images; returns the shard that they completed, if any.

        They are no work that a kill could cost: another attempt finds them again in seconds.

        Args:
            batch: of `schema.SCHEMA`.

        Raises:
            RunError: if the shard cannot be uploaded.
        """
        for start in range(0, batch.num_rows, _ROW_GROUP_ROWS):
            some = batch.slice(start, _ROW_GROUP_ROWS)
            self._pending_batches.append(some)
            self._count(some.num_rows, some.nbytes)
        return self.close() if self._is_full else None

    def _count(self, rows: int, size_bytes: int) -> None:
        """Counts pending rows; writes them if they are enough."""
        self._pending_rows += rows
        self._pending_bytes += size_bytes
        if self._pending_bytes >= ROW_GROUP_BYTES or self._pending_rows >= _ROW_GROUP_ROWS:
            self._write_row_group()

    @property
    def _is_full(self) -> bool:
        return self._file is not None and self._file.size_bytes >= self._shard_bytes

    def close(self) -> Shard | None:
        """Uploads the rows taken so far; returns None without any. The writer can be used again.

        Raises:
            RunError: if the shard cannot be uploaded.
        """
        self._write_row_group()
        if self._file is None:
            return None
        name = f"{self._file.digest}.parquet"
        shard = self._file.upload(self._files, locations.join(self._staging_folder, name))
        self._saved_work += self._unsaved_work
        self.abandon()
        return shard

    def abandon(self) -> None:
        """Drops the rows that were not uploaded, and the temporary file."""
        if self._file is not None:
            self._file.remove()
        self._file = None
        self._forget_pending()
        self._unsaved_work = 0.0

    def _write_row_group(self) -> None:
        if not self._pending_rows:
            return
        if self._file is None:
            self._file = LocalShard()
        if self._pending:
            self._pending_batches.append(row_schema.to_batch(self._pending))
        self._file.write(columns.concat(self._pending_batches, row_schema.SCHEMA))
        self._forget_pending()

    def _forget_pending(self) -> None:
        self._pending, self._pending_batches = [], []
        self._pending_rows = self._pending_bytes = 0


def count_shards(work: float) -> int:
    """Returns how many shards one writer closes for so much work, where images are small.

    Args:
        work: 1 for each image to upscale, 0.02 for other rows.
    """
    saved, shards = 0, 0
    while saved < work:
        saved += max(1, math.ceil(_UNSAVED_SHARE * saved))
        shards += 1
    return shards


class LocalShard:
    """An unfinished Parquet file of `schema.SCHEMA` in a temporary folder.

    Attributes:
        rows: how many it holds.

    Example:
        shard = LocalShard()
        shard.write(schema.to_batch(rows))
        shard.upload(files, "s3://shop/out/staging/1.parquet")
        shard.remove()
    """

    def __init__(self) -> None:
        # Images are compressed already, and a dictionary of them would cost memory only.
        small = [name for name in row_schema.SCHEMA.names if name != "image"]
        with temporary_file_errors():
            self._folder = tempfile.TemporaryDirectory(prefix="shard-")
            self._path = Path(self._folder.name) / "shard.parquet"
            self._writer = pq.ParquetWriter(
                self._path,
                row_schema.SCHEMA,
                compression={name: "zstd" for name in small} | {"image.bytes": "none"},
                use_dictionary=["status", "reason", "source_format", "source_mode", "model"],
            )
        self.rows = 0
        self._digests = 0

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that depend on the URIs of the rows alone, not on their order."""
        return f"{self._digests % (1 << 64):016x}"

    @property
    def size_bytes(self) -> int:
        """Size of the file so far."""
        return self._path.stat().st_size

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends one row group.

        Raises:
            RunError: if the temporary file cannot be written.
        """
        with temporary_file_errors():
            self._writer.write_batch(batch)
        self.rows += batch.num_rows
        for uri in batch["uri"].cast(pa.binary()).to_pylist():
            self._digests += int.from_bytes(hashlib.blake2b(uri, digest_size=8).digest())

    def upload(self, files: Storage, uri: str) -> Shard:
        """Closes the file and copies it to a URI.

        Raises:
            RunError: if it cannot be written there.
        """
        with temporary_file_errors():
            self._writer.close()
        try:
            files.write_file(uri, self._path)
        except StorageError as error:
            raise RunError(f"cannot write rows to {uri}: {error.detail}") from error
        return Shard(uri, self.rows, self.size_bytes)

    def remove(self) -> None:
        """Deletes the local file."""
        with contextlib.suppress(OSError):  # a full disk; nobody needs the end of the file
            self._writer.close()
        self._folder.cleanup()


def digest_of(names: Iterable[str]) -> str:
    """Returns 16 hexadecimal digits that depend on the names alone, not on their order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
