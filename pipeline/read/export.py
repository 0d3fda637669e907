"""Writes images of a run as files to a folder or an S3 prefix, with an index of their names."""

import collections
import contextlib
import csv
import functools
import shlex
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from pipeline.read.images import ImageReader, RunImage
from pipeline.read.names import NamedImage
from pipeline.settings import Settings
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError

INDEX = "images.csv"
# The index of before; scripts read it.
OLD_INDEX = "pictures.csv"
_WRITERS = 8
# Images in memory that wait for a writer.
_MAX_WAITING = 16
# Spreadsheets take a cell that begins with one of these for a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def export(
    files: Storage, images: Iterable[NamedImage], folder: str
) -> list[tuple[RunImage, StorageError]]:
    """Writes images to a folder, with the indexes `images.csv` and `pictures.csv`.

    Args:
        files: storage of the run and of the folder.
        images: with their names, see `pipeline.read.names`.
        folder: path or S3 URI; created if it is missing. Files of the same names are replaced.

    Returns:
        The images that could not be read, each with its error.

    Raises:
        StorageError: if a file cannot be written.
    """
    folder = _plain(folder)
    reader, failed = ImageReader(files), []
    with _index() as index, _index() as old_index, _Writers(files) as writers:
        index.writerow(["uri", "product_ids", "file"])
        old_index.writerow(["uri", "file"])
        for named in sorted(images, key=lambda one: one.image.image_uri):
            image = named.image
            try:
                data = reader.read(image.image_uri)
            except StorageError as error:
                failed.append((image, error))
                continue
            for name in named.file_names:
                writers.write(locations.join(folder, name), data)
                index.writerow(map(as_cell, (image.uri, ";".join(image.product_ids), name)))
                old_index.writerow(map(as_cell, (image.uri, name)))
        writers.finish()
        index.save(files, locations.join(folder, INDEX))
        old_index.save(files, locations.join(folder, OLD_INDEX))
    return failed


def check_sources(images: Iterable[NamedImage], folder: str, base: str) -> None:
    """Checks that an export replaces no source of the run.

    Args:
        images: with their names.
        folder: to write to.
        base: the run's input; sources without a root lie in its folder.

    Raises:
        ValueError: naming the first source that would be replaced.
    """
    found = list(images)
    sources = set()
    for one in found:
        with contextlib.suppress(ValueError):  # of no file
            sources.add(_real(_plain(one.image.uri), Path(base).parent))
    for one in found:
        for name in one.file_names:
            if _real(locations.join(_plain(folder), name), Path()) in sources:
                raise ValueError(
                    f"{locations.join(folder, name)} would be written over a source of the run: "
                    "name another folder"
                )


def _real(place: str, folder: Path) -> str:
    """An S3 URI as it is, a path in a folder without links to folders."""
    if locations.scheme_of(place) == "s3":
        return place
    path = folder / place
    return f"{_resolved(path.parent)}/{path.name}"


@functools.lru_cache(maxsize=4096)
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _plain(place: str) -> str:
    """An S3 URI as it is, a local place as a path: its names are not percent-encoded."""
    return place if locations.scheme_of(place) == "s3" else str(locations.local_path(place))


def command(settings: Settings) -> str:
    """The command that exports a run's images under names that people know.

    Example:
        command(settings)  # python -m pipeline.read s3://shop/out exported/ --names …
    """
    return for_run(settings, "pipeline.read", "exported/", "--names", "source")


def for_run(settings: Settings, module: str, *arguments: str) -> str:
    """A command of this program about a finished run.

    Args:
        settings: of the run.
        module: the command's.
        arguments: of the command, beside the output, the run's id and the S3 server.

    Example:
        for_run(settings, "pipeline.report", "--serve")
    """
    words = ["python", "-m", module, settings.output, *arguments, "--run_id", settings.run_id]
    if settings.s3_endpoint_url is not None and locations.scheme_of(settings.output) == "s3":
        words += ["--s3_endpoint_url", settings.s3_endpoint_url]
    return shlex.join(words)


def as_cell(value: str) -> str:
    """Returns text that no spreadsheet takes for a formula: `=SUM(1)` becomes `'=SUM(1)`."""
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


class _Index:
    """A table that grows in a temporary file, and appears whole."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._table = csv.writer(file)

    def writerow(self, cells: Iterable[Any]) -> None:
        self._table.writerow(cells)

    def save(self, files: Storage, uri: str) -> None:
        self._file.flush()
        files.write_file(uri, Path(self._file.name))


@contextlib.contextmanager
def _index() -> Iterator[_Index]:
    with tempfile.NamedTemporaryFile("w", newline="", encoding="utf-8") as file:
        yield _Index(file)


class _Writers:
    """Writes files in threads, for each takes a while on S3; bounds those in memory."""

    def __init__(self, files: Storage) -> None:
        self._files = files
        self._pool = ThreadPoolExecutor(_WRITERS)
        self._waiting: collections.deque[Future[None]] = collections.deque()

    def __enter__(self) -> "_Writers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def write(self, uri: str, data: bytes) -> None:
        """Writes a file soon; raises the error of an earlier one."""
        self._waiting.append(self._pool.submit(self._files.write, uri, data))
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Waits for all files; raises the first error."""
        while self._waiting:
            self._waiting.popleft().result()
