"""Writes a run's gallery as static pages: `python -m pipeline.report OUT --gallery FOLDER`."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.imaging.errors import ImageError
from model.imaging.sandbox import DecoderPool
from pipeline import text
from pipeline.catalog.places import Place
from pipeline.read.images import ImageReader
from pipeline.records import Reason, RunError
from pipeline.report.aggregate import LocatedRow
from pipeline.report.pages import PAGE_ROWS, Card, WebImage, page_count, render_page, web_image
from pipeline.report.selection import Query, Selection, read_rows, select
from pipeline.runs import finished, reader
from pipeline.runs.layout import Layout
from pipeline.storage.base import Readable, Storage, StorageError
from pipeline.storage.local import writing

# Images of a decoder's child, pixels.
MAX_PIXELS = 40_000_000
_MAX_SOURCE_BYTES = 100_000_000
# What a row's URIs and files may raise; it costs one image, not the gallery.
UNREADABLE = (StorageError, ImageError, ValueError, KeyError)


class RunGallery:
    """Rows and images of one finished run, for static pages and the server.

    Args:
        files: storage of the run.
        output: the run's `--output`.
        run_id: id of a finished run.
        decoders: read the headers of images, which may be hostile.
        sources: storage of the run's sources; None for the same.

    Raises:
        RunError: if the run is not finished.

    Attributes:
        summary: content of its summary.json.

    Example:
        with DecoderPool(2, max_pixels=MAX_PIXELS) as decoders:
            gallery = RunGallery(files, "s3://shop/upscaled", "night1", decoders)
            rows = gallery.rows(gallery.select(Query(search="shoe")), page=1)
    """

    def __init__(
        self,
        files: Storage,
        output: str,
        run_id: str,
        decoders: DecoderPool,
        *,
        sources: Readable | None = None,
    ) -> None:
        layout = Layout(output, run_id)
        summary = finished.read_summary(files, layout)
        if summary is None:
            raise RunError(f"there is no finished run {run_id} under {output}")
        self.summary: dict[str, Any] = summary
        self._files = files
        self._sources = sources or files
        self._parts = reader.parts_of(files, layout)
        self._decoders = decoders
        allowed = summary["settings"].get("allow_schemes", ())
        self._place = Place(summary["input"], allowed)

    def select(self, query: Query) -> Selection:
        """Finds rows; see `selection.select`."""
        return select(self._files, self._parts, query)

    def rows(self, selection: Selection, page: int) -> list[LocatedRow]:
        """Reads the rows of a page, numbered from 1."""
        first = (page - 1) * PAGE_ROWS
        return read_rows(self._files, self._parts, selection, range(first, first + PAGE_ROWS))

    def row(self, part: int, number: int) -> LocatedRow:
        """Reads one row by its place.

        Raises:
            RunError: if there is no such row.
        """
        if part >= len(self._parts):
            raise RunError(f"the run has no file number {part}")
        selection = Selection(np.array([part], np.int32), np.array([number], np.int64))
        return read_rows(self._files, self._parts, selection, range(1))[0]

    def result(self, row: LocatedRow, images: ImageReader) -> WebImage:
        """Reads the image that a row published.

        Raises:
            StorageError: if the row has no image, or it cannot be read.
            ImageError: if it is no image any more.
        """
        if row.image_uri is None:
            raise StorageError(Reason.NOT_FOUND, "the row has no image")
        return web_image(images.read(row.image_uri), self._decoders)

    def source(self, row: LocatedRow) -> WebImage:
        """Reads the source of a row.

        Raises:
            StorageError: if it cannot be read, or is another one than that of the row.
            ImageError: if it is no image.
            ValueError: if the run may not read its URI, or it is too large.
        """
        if (row.columns["source_bytes"] or 0) > _MAX_SOURCE_BYTES:
            raise ValueError("the source is too large to show")
        location = self._place.locate(row.columns["uri"])
        data = self._sources.read(location, etag=row.columns["source_etag"])
        return web_image(data, self._decoders)

    def new_reader(self) -> ImageReader:
        """Returns a reader of results; each thread needs its own."""
        return ImageReader(self._files)


def write_gallery(
    files: Storage,
    output: str,
    run_id: str,
    folder: Path,
    query: Query,
    *,
    max_rows: int,
    sources: Readable | None = None,
) -> tuple[Path, int, int]:
    """Writes the pages and their images to a local folder, or leaves nothing there.

    A page holds at most `PAGE_ROWS` rows; its images are files that the browser loads when they
    come into view.

    Args:
        files: storage of the run.
        output: the run's `--output`.
        run_id: id of a finished run.
        folder: a new or empty one.
        query: which rows.
        max_rows: most rows to write.
        sources: storage of the run's sources; None for the same.

    Returns:
        The first page, number of rows written, and number that match.

    Raises:
        RunError: if the run is not finished, its rows cannot be read, or the folder is not empty;
            or if a file cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise RunError(f"the folder {folder} is not empty: give a new one for the gallery")
    with (
        DecoderPool(os.cpu_count() or 1, max_pixels=MAX_PIXELS) as decoders,
        _emptied_if_it_fails(folder),
    ):
        gallery = RunGallery(files, output, run_id, decoders, sources=sources)
        found = gallery.select(query)
        written = Selection(found.parts[:max_rows], found.numbers[:max_rows])
        images = gallery.new_reader()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        notice = ""
        if len(written) < len(found):
            notice = f"The first {len(written):,} of {text.count(len(found), 'row')}."
        for page in range(1, page_count(len(written)) + 1):
            rows = gallery.rows(written, page)
            cards = _write_images(gallery, images, rows, folder, page)
            content = render_page(
                *(gallery.summary, cards, query),
                page=page,
                rows=len(written),
                address=_file_name,
                has_form=False,
                notice=notice,
            )
            _write(folder / _file_name(page), content.encode())
    return folder / _file_name(1), len(written), len(found)


@contextlib.contextmanager
def _emptied_if_it_fails(folder: Path) -> Iterator[None]:
    """Removes what the block wrote to a new or empty folder, unless it succeeds."""
    is_new = not folder.is_dir()
    try:
        yield
    except BaseException:  # Ctrl-C, too: half a gallery would bar the next one
        for left in folder.iterdir() if folder.is_dir() else ():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        if is_new and folder.is_dir():
            folder.rmdir()
        raise


def _write(path: Path, data: bytes) -> None:
    with writing(path):
        path.write_bytes(data)


def _write_images(
    gallery: RunGallery, images: ImageReader, rows: Sequence[LocatedRow], folder: Path, page: int
) -> list[Card]:
    """Writes the images of a page as files, and returns its cards."""
    own = folder / "images" / str(page)
    with writing(own):
        own.mkdir(parents=True, exist_ok=True)
    cards: dict[int, Card] = {}
    # Row groups one after the other, whatever the order of the page.
    for i in sorted(range(len(rows)), key=lambda i: reader.reading_order(rows[i].image_uri)):
        row, addresses, problems = rows[i], {}, []
        if row.image_uri is not None:
            for kind, read in (
                ("result", lambda row: gallery.result(row, images)),
                ("source", gallery.source),
            ):
                try:
                    image = read(row)
                except UNREADABLE as error:
                    problems.append(f"the {kind} cannot be shown: {error}")
                    continue
                name = f"{i}-{kind}.{image.suffix}"
                _write(own / name, image.data)
                addresses[kind] = f"images/{page}/{name}"
        cards[i] = Card(
            row, addresses.get("result"), addresses.get("source"), "; ".join(problems) or None
        )
    return [cards[i] for i in range(len(rows))]


def _file_name(page: int) -> str:
    return "index.html" if page == 1 else f"page-{page}.html"
