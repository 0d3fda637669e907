"""Copies images that a run refers to in older runs into the run's own folder.

The images go into Parquet files under `OUT/runs/<run_id>/images/`; then each part of the rows is
replaced by one with the same rows in the same order, whose pointers name these files. A part is
replaced in one step, after all its images are written: whenever this ends, each pointer leads to
an image, and the command can be repeated.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.output import schema
from pipeline.output.shard_writer import ROW_GROUP_BYTES, SHARD_BYTES, LocalShard, digest_of
from pipeline.prune.inventory import holders
from pipeline.read.images import ImageReader
from pipeline.records import Reason
from pipeline.runs import reader
from pipeline.runs.layout import Layout
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError

_log = logging.getLogger(__name__)

_COLUMNS = ("uri", "status", "processed_at", "image_uri", "image_sha256", "image_format")


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Attributes:
        images: number of images that were copied.
        image_bytes: their size.
        lost: number of images that could not be read; their pointers stay as they are.

    Example:
        compacted = compact(files, Layout("s3://shop/upscaled", "night7"), check=lambda: None)
        print(compacted.images)
    """

    images: int = 0
    image_bytes: int = 0
    lost: int = 0

    def __add__(self, other: "Compacted") -> "Compacted":
        return Compacted(
            self.images + other.images,
            self.image_bytes + other.image_bytes,
            self.lost + other.lost,
        )


def compact(
    files: Storage,
    layout: Layout,
    *,
    check: Callable[[], None],
    shard_bytes: int = SHARD_BYTES,
) -> Compacted:
    """Makes a finished run independent of older runs' Parquet files.

    Args:
        files: storage of the runs.
        layout: of the run.
        check: raises an error if another process took over; called before each replacement.
        shard_bytes: size at which a file of images is closed.

    Raises:
        RunError: if rows cannot be read or written.
        StorageError: if the storage does not answer.
    """
    total = Compacted()
    for part in reader.parts_of(files, layout):
        copied, moved = _copy_images(files, layout, part, shard_bytes)
        if moved:
            _replace(files, part, moved, check)
        total += copied
    return total


def count_images(files: Storage, layout: Layout) -> int:
    """Counts the images that `compact` would copy if each can be read; reads the rows alone.

    Args:
        files: storage of the runs.
        layout: of the run.

    Raises:
        RunError: if rows cannot be read.
    """
    parts = reader.parts_of(files, layout)
    return sum(len(_foreign_rows(files, layout, part)) for part in parts)


def _copy_images(
    files: Storage, layout: Layout, part: str, shard_bytes: int
) -> tuple[Compacted, dict[str, str]]:
    """Writes the images of a part's pointers into other runs; returns new pointers by old ones."""
    rows = _foreign_rows(files, layout, part)
    images = ImageReader(files)
    writer = _ImageWriter(files, layout, shard_bytes)
    lost = image_bytes = 0
    try:
        for row in rows:
            data = _read(images, part, row)
            if data is None:
                lost += 1
                continue
            writer.add(row, data)
            image_bytes += len(data)
        writer.close()
    finally:
        writer.abandon()
    return Compacted(len(writer.moved), image_bytes, lost), writer.moved


def _foreign_rows(files: Storage, layout: Layout, part: str) -> list[dict]:
    """One row for each pointer into another run, in the order in which the images lie there."""
    found: dict[str, dict] = {}
    for *_, batch in reader.read_batches(files, [part], _COLUMNS):
        for row, holder in zip(batch.to_pylist(), holders(batch["image_uri"]), strict=True):
            if holder not in (None, layout.run_id):
                found.setdefault(row["image_uri"], row)
    return sorted(found.values(), key=lambda row: reader.reading_order(row["image_uri"]))


def _read(images: ImageReader, part: str, row: Mapping) -> bytes | None:
    """The image of a row; None, with a warning, if it is gone or another one."""
    place = reader.absolute_pointer(part, row["image_uri"])
    try:
        return images.read(place, row["image_sha256"])
    except StorageError as error:
        if error.reason != Reason.NOT_FOUND:
            raise
        _log.warning("not copied: %s", error.detail)
        return None


class _ImageWriter:
    """Writes images to Parquet files of bounded size; `moved` has new pointers by old ones."""

    def __init__(self, files: Storage, layout: Layout, shard_bytes: int) -> None:
        self.moved: dict[str, str] = {}
        self._files = files
        self._layout = layout
        self._shard_bytes = shard_bytes
        self._pending: list[dict] = []
        self._pending_bytes = 0
        self._file: LocalShard | None = None
        self._in_file: list[str] = []

    def add(self, row: Mapping, data: bytes) -> None:
        """Takes a row of `_COLUMNS` and its image."""
        path = f"{row['image_sha256'][:16]}.{row['image_format']}"
        self._pending.append({**row, "image": {"bytes": data, "path": path}})
        self._in_file.append(row["image_uri"])
        self._pending_bytes += len(data)
        if self._pending_bytes >= ROW_GROUP_BYTES:
            self._write_row_group()
            if self._file and self._file.size_bytes >= self._shard_bytes:
                self.close()

    def close(self) -> None:
        """Uploads the images taken so far."""
        self._write_row_group()
        if self._file is None:
            return
        # The name depends on the rows alone: a repetition after a kill writes the same file.
        name = f"part-{digest_of(self._in_file)}.parquet"
        self._file.upload(self._files, locations.join(self._layout.copied_images, name))
        place = f"runs/{self._layout.run_id}/images/{name}"  # relative to the output
        for number, old in enumerate(self._in_file):
            self.moved[old] = reader.image_pointer(place, number)
        self.abandon()

    def abandon(self) -> None:
        """Drops images that were not uploaded, and the temporary file."""
        if self._file is not None:
            self._file.remove()
        self._file, self._in_file, self._pending, self._pending_bytes = None, [], [], 0

    def _write_row_group(self) -> None:
        if not self._pending:
            return
        if self._file is None:
            self._file = LocalShard()
        rows = [row | {"image_uri": None} for row in self._pending]
        self._file.write(pa.RecordBatch.from_pylist(rows, schema=schema.SCHEMA))
        self._pending, self._pending_bytes = [], 0


def _replace(
    files: Storage, part: str, moved: Mapping[str, str], check: Callable[[], None]
) -> None:
    """Replaces a part by one with the same rows and new pointers."""
    local = LocalShard()
    try:
        for batch in _with_pointers(reader.read_row_groups(files, part), moved):
            local.write(batch)
        check()
        local.upload(files, part)
    finally:
        local.remove()


def _with_pointers(
    batches: Iterator[pa.RecordBatch], moved: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    at = schema.SCHEMA.get_field_index("image_uri")
    for batch in batches:
        pointers = [moved.get(one, one) for one in batch[at].to_pylist()]
        yield batch.set_column(at, schema.SCHEMA.field(at), pa.array(pointers, pa.string()))
