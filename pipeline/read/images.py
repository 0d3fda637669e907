"""Gets images out of a run, wherever they lie: in its rows, in a previous run's, in files.

    python -m pipeline.read upscaled/ images/
    python -m pipeline.read s3://shop/upscaled images/ --run_id night7 --uri s3://shop/a.jpg

Writes the images to a folder, with `pictures.csv` that names the URI of each.
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import Reason, RunError
from pipeline.runs import finished
from pipeline.runs.layout import Layout
from pipeline.runs.reader import ROW_MARK
from pipeline.storage.base import Storage, StorageConfig, StorageError
from pipeline.storage.ranged import open_ranged
from pipeline.storage.routing import list_if_any, open_storage


class ImageReader:
    """Reads images from where rows point; keeps the last row group, for images in order.

    Args:
        files: where they lie.
    """

    def __init__(self, files: Storage) -> None:
        self._files = files
        self._part = ""
        self._rows = range(0)
        self._images: pa.ChunkedArray | None = None

    def read(self, image_uri: str) -> bytes:
        """Reads one image.

        Args:
            image_uri: as in the row: a file of its own, or `<Parquet file>#row=<number>`.

        Returns:
            The encoded image.

        Raises:
            StorageError: if it cannot be read, or the row holds no image.
        """
        part, mark, number = image_uri.rpartition(ROW_MARK)
        if not mark:
            return self._files.read(image_uri)
        if part != self._part or int(number) not in self._rows:
            self._load_row_group(part, int(number))
        assert self._images is not None
        image = self._images[int(number) - self._rows.start].as_py()
        if image is None:
            raise StorageError(Reason.NOT_FOUND, f"the row {image_uri} holds no image")
        return image["bytes"]

    def _load_row_group(self, part: str, number: int) -> None:
        with open_ranged(self._files, part) as file:
            table = pq.ParquetFile(file)
            start = 0
            for group in range(table.num_row_groups):
                rows = range(start, start + table.metadata.row_group(group).num_rows)
                if number in rows:
                    self._images = table.read_row_group(group, columns=["image"])["image"]
                    self._part, self._rows = part, rows
                    return
                start = rows.stop
        raise StorageError(Reason.NOT_FOUND, f"there is no row {number} in {part}")


def list_images(files: Storage, output: str, run_id: str) -> Iterator[tuple[str, str, str]]:
    """Yields (URI, file name, image URI for `ImageReader`) of a run's images, as they lie.

    File names are safe whatever the URI holds: its last part without odd characters, and the
    beginning of the content key.

    Args:
        files: where the run lies.
        output: as given to the run.
        run_id: of a finished run.
    """
    columns = ["uri", "content_key", "image_format", "image_uri"]
    for part in list_if_any(files, Layout(output, run_id).rows):
        with open_ranged(files, part) as file:
            table = pq.ParquetFile(file).read(columns=columns)
        for number, row in enumerate(table.to_pylist()):
            if row["image_format"] is None:
                continue
            stem = re.sub(r"[^A-Za-z0-9._-]+", "_", row["uri"].rpartition("/")[2])[:80]
            name = f"{stem.lstrip('.')}-{row['content_key'][:8]}.{row['image_format']}"
            yield row["uri"], name, row["image_uri"] or f"{part}{ROW_MARK}{number}"


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit status: 0, or 1 where an image is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", help="what the runs had as --output")
    parser.add_argument("folder", type=Path, help="where to write the images")
    parser.add_argument("--run_id", help="default: the newest finished run")
    parser.add_argument("--uri", nargs="*", default=[], help="only the images of these URIs")
    parser.add_argument("--s3_endpoint_url", help="another S3 server than AWS")
    options = parser.parse_args(argv)
    files = open_storage(StorageConfig(options.s3_endpoint_url))
    try:
        run_id = options.run_id or finished.newest_finished(files, options.output)
        if run_id is None:
            raise RunError(f"there is no finished run under {options.output}")
        wanted = set(options.uri)
        images = [
            image
            for image in list_images(files, options.output, run_id)
            if not wanted or image[0] in wanted
        ]
        missing = _export(files, images, options.folder)
    except (RunError, StorageError) as error:
        print(f"pipeline.read: {error}", file=sys.stderr)
        return 1
    for uri in sorted(wanted - {uri for uri, _, _ in images}):
        print(f"pipeline.read: run {run_id} has no image of {uri}", file=sys.stderr)
        missing += 1
    print(f"{len(images)} images of run {run_id} in {options.folder}/")
    return 1 if missing else 0


def _export(files: Storage, images: list[tuple[str, str, str]], folder: Path) -> int:
    """Writes images and their index; returns how many could not be read."""
    folder.mkdir(parents=True, exist_ok=True)
    reader, missing = ImageReader(files), 0
    with (folder / "pictures.csv").open("w", newline="") as file:
        index = csv.writer(file)
        index.writerow(["uri", "file"])
        for uri, name, image_uri in sorted(images, key=lambda image: image[2]):
            try:
                (folder / name).write_bytes(reader.read(image_uri))
            except StorageError as error:
                print(f"pipeline.read: {uri}: {error.detail}", file=sys.stderr)
                missing += 1
                continue
            index.writerow([uri, name])
    return missing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
