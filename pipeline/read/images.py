"""Lists and reads images of a run: from its rows, previous runs' rows or files."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.records import Reason
from pipeline.runs import reader
from pipeline.runs.layout import Layout
from pipeline.runs.reader import UnreadableRowsError
from pipeline.storage.base import Storage, StorageError


@dataclass(frozen=True)
class RunImage:
    """An image of a run.

    Attributes:
        uri: of the source.
        image_uri: absolute, for `ImageReader`.
        image_format: of the result, as in the rows.
        content_key: of the source.
        product_ids: from the manifest.
        sha256: of the result, as in the rows; None in rows without one.

    Example:
        for image in list_images(files, "s3://shop/upscaled", "night1"):
            print(image.uri, len(reader.read(image.image_uri, image.sha256)))
    """

    uri: str
    image_uri: str
    image_format: str
    content_key: str
    product_ids: tuple[str, ...] = ()
    sha256: str | None = None


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

    def read(self, image_uri: str, sha256: str | None = None) -> bytes:
        """Reads one image.

        Args:
            image_uri: absolute: a file of its own, or `<Parquet file>#row=<number>`; see
                `reader.absolute_pointer`.
            sha256: of the image, as its row says; None for any.

        Returns:
            The encoded image.

        Raises:
            StorageError: if it cannot be read, the row holds no image, or it is another one.
        """
        data = self._read(image_uri)
        if sha256 not in (None, hashlib.sha256(data).hexdigest()):
            what = f"the {len(data):,} bytes at {image_uri} are not the image of its row"
            raise StorageError(Reason.NOT_FOUND, f"{what}: damaged, or written again since")
        return data

    def _read(self, image_uri: str) -> bytes:
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

    Args:
        files: storage of the run.
        output: the run's `--output`.
        run_id: id of a finished run.

    Yields:
        The images in the order of the rows.

    Raises:
        RunError: if the rows cannot be read.
    """
    products = ("product_id", "product_ids")
    columns = ["uri", "content_key", "image_format", "image_uri", "image_sha256", *products]
    parts = reader.parts_of(files, Layout(output, run_id))
    for part, first, batch in reader.read_batches(files, parts, columns):
        for number, row in enumerate(batch.to_pylist(), start=first):
            if row["image_format"] is None:
                continue
            pointer = row["image_uri"] or reader.image_pointer(part, number)
            image_uri = reader.absolute_pointer(part, pointer)
            yield RunImage(
                row["uri"],
                image_uri,
                row["image_format"],
                row["content_key"],
                product_ids=_product_ids(row),
                sha256=row["image_sha256"],
            )


def list_sources(files: Storage, output: str, run_id: str) -> Iterator[str]:
    """Lists the sources of a run: those of all rows, whatever their status.

    Args:
        files, output, run_id: see `list_images`.

    Yields:
        Their URIs, and those of the reference images, as the manifest spells them.

    Raises:
        RunError: if the rows cannot be read.
    """
    parts = reader.parts_of(files, Layout(output, run_id))
    for _, _, batch in reader.read_batches(files, parts, ["uri", "reference_uri"]):
        for column in batch.columns:
            yield from column.drop_null().to_pylist()


def _product_ids(row: dict[str, Any]) -> tuple[str, ...]:
    """All product ids of a row, in the manifest's order; older versions wrote the first only."""
    if row["product_ids"]:
        return tuple(row["product_ids"])
    return () if row["product_id"] is None else (row["product_id"],)
