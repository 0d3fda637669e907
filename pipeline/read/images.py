"""Lists, reads and exports images of a run: from its rows, previous runs' rows or files."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.records import Reason
from pipeline.runs import reader
from pipeline.runs.layout import Layout
from pipeline.runs.reader import UnreadableRowsError
from pipeline.storage.base import Storage, StorageError

INDEX = "pictures.csv"
_MAX_STEM_CHARS = 80
# Spreadsheets take a cell that begins with one of these for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class RunImage:
    """An image of a run.

    Attributes:
        uri: of the source.
        file_name: safe name for the exported file, whatever the URI holds.
        image_uri: absolute, for `ImageReader`.

    Example:
        for image in list_images(files, "s3://shop/upscaled", "night1"):
            Path(image.file_name).write_bytes(reader.read(image.image_uri))
    """

    uri: str
    file_name: str
    image_uri: str


class ImageReader:
    """Reads images by absolute image URIs.

    It keeps the last row group: read the images of a Parquet file in the order of its rows.

    Args:
        files: storage of the images.

    Example:
        reader = ImageReader(files)
        data = reader.read("s3://shop/out/rows/run_id=night1/part-0.parquet#row=7")
    """

    def __init__(self, files: Storage) -> None:
        self._files = files
        self._part = ""
        self._rows = range(0)
        self._images: pa.ChunkedArray | None = None

    def read(self, image_uri: str) -> bytes:
        """Reads one image.

        Args:
            image_uri: absolute: a file of its own, or `<Parquet file>#row=<number>`; see
                `reader.absolute_pointer`.

        Returns:
            The encoded image.

        Raises:
            StorageError: if it cannot be read, or the row holds no image.
        """
        pointer = reader.split_pointer(image_uri)
        if pointer is None:
            return self._files.read(image_uri)
        part, number = pointer
        if part != self._part or number not in self._rows:
            self._load_row_group(part, number)
        assert self._images is not None
        image = self._images[number - self._rows.start].as_py()
        if image is None:
            raise StorageError(Reason.NOT_FOUND, f"the row {image_uri} holds no image")
        return image["bytes"]

    def _load_row_group(self, part: str, number: int) -> None:
        try:
            first, table = reader.read_row_group(self._files, part, number, ["image"])
        except UnreadableRowsError as error:  # it costs the images of this file, not the run's
            raise StorageError(Reason.NOT_FOUND, str(error)) from error
        self._images = table["image"]
        self._part, self._rows = part, range(first, first + table.num_rows)


def list_images(files: Storage, output: str, run_id: str) -> Iterator[RunImage]:
    """Lists the images of a run.

    A file name is the last part of the URI without unusual characters, and the beginning of the
    content key.

    Args:
        files: storage of the run.
        output: the run's `--output`.
        run_id: id of a finished run.

    Yields:
        The images in the order of the rows.

    Raises:
        RunError: if the rows cannot be read.
    """
    columns = ["uri", "content_key", "image_format", "image_uri"]
    parts = reader.parts_of(files, Layout(output, run_id))
    for part, first, batch in reader.read_batches(files, parts, columns):
        for number, row in enumerate(batch.to_pylist(), start=first):
            if row["image_format"] is None:
                continue
            stem = re.sub(r"[^A-Za-z0-9._-]+", "_", row["uri"].rpartition("/")[2])
            stem = stem[:_MAX_STEM_CHARS].lstrip(".")
            name = f"{stem}-{row['content_key'][:8]}.{row['image_format']}"
            pointer = row["image_uri"] or reader.image_pointer(part, number)
            image_uri = reader.absolute_pointer(part, pointer)
            yield RunImage(row["uri"], name, image_uri)


def export(
    files: Storage, images: Iterable[RunImage], folder: Path
) -> list[tuple[RunImage, StorageError]]:
    """Writes images to a folder, with the index `pictures.csv` of their URIs and file names.

    Args:
        files: storage of the run.
        images: see `list_images`.
        folder: created if it is missing.

    Returns:
        The images that could not be read, each with its error.

    Raises:
        OSError: if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image_reader, failed = ImageReader(files), []
    with (folder / INDEX).open("w", newline="", encoding="utf-8") as file:
        index = csv.writer(file)
        index.writerow(["uri", "file"])
        for image in sorted(images, key=lambda image: image.image_uri):
            try:
                data = image_reader.read(image.image_uri)
            except StorageError as error:
                failed.append((image, error))
                continue
            (folder / image.file_name).write_bytes(data)
            index.writerow([as_cell(image.uri), as_cell(image.file_name)])
    return failed


def as_cell(value: str) -> str:
    """Returns text that no spreadsheet takes for a formula: `=SUM(1)` becomes `'=SUM(1)`."""
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
