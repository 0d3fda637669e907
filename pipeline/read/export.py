"""Writes images of a run as files to a folder or an S3 prefix, with an index of their names."""

import collections
import contextlib
import csv
import functools
import itertools
import os
import shlex
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from pipeline.catalog.selection import matches
from pipeline.read import s3_access
from pipeline.read.images import ImageReader, RunImage
from pipeline.read.names import NamedImage
from pipeline.runs.reader import reading_order
from pipeline.settings import Settings
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError

INDEX = "images.csv"
# The index of before; scripts read it.
OLD_INDEX = "pictures.csv"
_WRITERS = 8
_ADVICE = "name another folder"
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
        The images that could not be read or are damaged, each with its error.

    Raises:
        StorageError: if a file cannot be written.
    """
    folder = _plain(folder)
    reader, failed = ImageReader(files), []
    with _index() as index, _index() as old_index, _Writers(files) as writers:
        index.writerow(["uri", "product_ids", "file"])
        old_index.writerow(["uri", "file"])
        for named in sorted(images, key=lambda one: reading_order(one.image.image_uri)):
            image = named.image
            try:
                data = reader.read(image.image_uri, image.sha256)
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


def check_sources(
    images: Iterable[NamedImage], folder: str, sources: Iterable[str], base: str
) -> None:
    """Checks that an export replaces no source of the run, and no manifest.

    Memory grows with the images to export, not with the sources.

    Args:
        images: to export, with their names.
        folder: to write to.
        sources: URIs of all sources of the run, see `pipeline.read.images.list_sources`.
        base: the run's input; sources without a root lie in its folder.

    Raises:
        ValueError: naming the first file that would be replaced.
    """
    folder, own_folder = _plain(folder), Path(base).parent
    indexes = [_real(locations.join(folder, name)) for name in (INDEX, OLD_INDEX)]
    for place in indexes:
        if _is_manifest(place, base):
            raise ValueError(f"{place} would be written over a manifest of the run: {_ADVICE}")
    names = (name for one in images for name in one.file_names)
    targets = {*indexes, *(_real(locations.join(folder, name)) for name in names)}
    for place in itertools.chain.from_iterable(_places(uri, own_folder) for uri in sources):
        if place in targets:
            raise ValueError(f"{place} would be written over a source of the run: {_ADVICE}")


def _is_manifest(place: str, base: str) -> bool:
    """Whether a file is the run's manifest, or its name is like a pattern of manifests."""
    if not base or base.endswith("/"):
        return False
    folder, _, name = place.rpartition("/")
    own_folder, _, pattern = _real(_plain(base)).rpartition("/")
    return folder == own_folder and (name == pattern or matches(name, f"/{pattern}"))


def _places(uri: str, folder: Path) -> list[str]:
    """Where a source lies: its own place and, of a link to a file, that of the file."""
    if locations.scheme_of(uri) == "s3":
        return [_real(uri)]
    places = []
    with contextlib.suppress(ValueError, OSError):  # of no file
        places.append(_real(_plain(uri), folder))
        if Path(places[0]).is_symlink():
            places.append(os.path.realpath(places[0]))
    return places


def _real(place: str, folder: Path = Path()) -> str:
    """An S3 URI in its usual spelling, or a path in a folder without links to folders."""
    if locations.scheme_of(place) == "s3":
        bucket, key = locations.split_s3(place)
        return f"s3://{bucket}/{key}"
    path = folder / place
    return f"{_resolved(path.parent)}/{path.name}"


@functools.lru_cache(maxsize=1 << 16)  # rows name the sources' folders in no order
def _resolved(folder: Path) -> str:
    return os.path.realpath(folder)  # unlike `Path.resolve` no error for links in a circle


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
        arguments: of the command, beside the output, the run's id and the options about S3.

    Example:
        for_run(settings, "pipeline.report", "--serve")
    """
    words = ["python", "-m", module, settings.output, *arguments, "--run_id", settings.run_id]
    return shlex.join([*words, *s3_access.arguments(settings.output, vars(settings))])


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
