"""Reads the examples of a report: the images of some of its rows and their sources."""

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from model.imaging import profiles, resampling
from model.imaging.errors import ImageError
from model.imaging.header import Header
from model.imaging.image import RasterImage
from model.imaging.sandbox import DecoderPool
from model.metrics import full_reference
from pipeline.catalog.places import Place
from pipeline.read.images import ImageReader
from pipeline.records import Reason, RunError, Status
from pipeline.report.aggregate import LocatedRow
from pipeline.report.before_after import Example, make_example
from pipeline.runs import reader
from pipeline.storage.base import Readable, Storage, StorageError

# All images of a report together, before base64 adds a third.
MAX_BYTES = 9_000_000
# Of sources and results; larger ones are not shown.
MAX_PIXELS = 40_000_000
# Images that are decoded and encoded at a time: a large one takes some 100 MB.
_THREADS = min(4, os.cpu_count() or 1)
# What a row's URIs and files may raise; it costs one example, not the report.
_UNREADABLE = (StorageError, ImageError, ValueError, KeyError)


class UpscalesRejected(Protocol):
    """Upscales sources whose result was rejected.

    Example:
        results: UpscalesRejected = rejected.RejectedResults(files, summary)
    """

    def upscale(self, header: Header, source: RasterImage, sharpening: float | None) -> np.ndarray:
        """Returns uint8 [h, w, 3]; raises `RunError` if it cannot."""


class ExampleReader:
    """Reads examples until the report holds enough bytes of images.

    Args:
        files: storage of results.
        decoders: decode sources, which may be hostile.
        place: resolves the URIs of the rows.
        load_rejected: loads the run's network to show rejected results; called once, when the
            first of them is shown. None: they are not shown.
        sources: storage of sources and references; None for the same.
        max_bytes: of all images together.

    Example:
        with DecoderPool(2, max_pixels=MAX_PIXELS) as decoders:
            reader = ExampleReader(files, decoders, Place("/data/manifest.csv"))
            examples = list(reader.read_all(found.worst.rows()))
    """

    def __init__(
        self,
        files: Storage,
        decoders: DecoderPool,
        place: Place,
        load_rejected: Callable[[], UpscalesRejected] | None = None,
        *,
        sources: Readable | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._sources = sources or files
        self._decoders = decoders
        self._place = place
        self._rejected = functools.cache(load_rejected or _show_no_rejected)
        self._reader = ImageReader(files)
        # Of the reader, which keeps one row group, and of the network.
        self._reading, self._upscaling = threading.Lock(), threading.Lock()
        self._bytes_left = max_bytes
        self._shown: dict[str, Example] = {}

    def read_all(self, rows: Iterable[LocatedRow]) -> Iterator[Example]:
        """Reads an example for each row, each URI once: bicubic against the published image.

        For a row with a `gate:` reason it compares the published image with the rejected result,
        which the network makes again, unless an earlier run rejected it.

        Args:
            rows: their images are read in the order of the Parquet files.

        Returns:
            Examples in the order of the rows.
        """
        ordered = list(rows)
        ordered_by_file = sorted(ordered, key=lambda row: reader.reading_order(row.image_uri))
        new = {row.columns["uri"]: row for row in ordered_by_file}
        new = {uri: row for uri, row in new.items() if uri not in self._shown}
        read = self._read if self._bytes_left > 0 else _left_out
        with ThreadPoolExecutor(_THREADS) as threads:
            for uri, example in zip(new, threads.map(read, new.values()), strict=True):
                self._shown[uri] = self._counted(example)
        return (self._shown[row.columns["uri"]] for row in ordered)

    def _read(self, row: LocatedRow) -> Example:
        try:
            after = self.published(row)
        except _UNREADABLE as error:
            return Example(row, problem=f"the image cannot be shown: {error}")
        pixels = after.over_white()
        is_rejected = (row.columns["reason"] or "").startswith("gate:")
        try:
            header, source = self._read_source(row, finds_jpeg=is_rejected)
            if not is_enlarged(source.rgb.shape, after.rgb.shape):
                raise ValueError("its size changed since the run")
        except _UNREADABLE as error:
            return make_example(row, None, pixels, problem=f"the source cannot be shown: {error}")
        if is_rejected:
            if row.columns["status"] == Status.UNCHANGED:
                # A run with nothing to upscale loads no network, not for its report either.
                problem = "an earlier run rejected the result"
                return make_example(row, None, pixels, problem=problem)
            return self._read_rejected(row, header, source, pixels)
        source = profiles.to_srgb(source)
        bicubic = resampling.to_uint8(resampling.bicubic(source.over_white(), *pixels.shape[:2]))
        title, error_map = self._error_map(row, source, pixels)
        return make_example(row, bicubic, pixels, error=error_map, error_title=title)

    def read_pair(
        self, row: LocatedRow, previous: LocatedRow, *, names: tuple[str, str]
    ) -> Example:
        """Reads one example: the image of another run against the image of this run.

        Args:
            row: of this run.
            previous: of the other run, the same URI.
            names: labels of the other run and of this one.
        """
        if self._bytes_left <= 0:
            return _left_out(row)
        return self._counted(self._read_pair(row, previous, names))

    def _read_pair(self, row: LocatedRow, previous: LocatedRow, names: tuple[str, str]) -> Example:
        try:
            pixels = self.published(row).over_white()
            before = self.published(previous).over_white()
        except _UNREADABLE as error:
            return Example(row, problem=f"the image cannot be shown: {error}")
        if before.shape != pixels.shape:
            return make_example(row, None, pixels, problem="the other image has another size")
        source, problem = None, None
        try:
            source = self.source(row).over_white()
            if pixels.shape[0] % source.shape[0] or pixels.shape[1] % source.shape[1]:
                source, problem = (
                    None,
                    "the source cannot be shown: its size changed since the run",
                )
        except _UNREADABLE as error:
            problem = f"the source cannot be shown: {error}"
        return make_example(row, before, pixels, source=source, names=names, problem=problem)

    def published(self, row: LocatedRow) -> RasterImage:
        """Reads and decodes the image that a row published, and converts it to sRGB.

        Raises:
            StorageError: if the row has no image, or it cannot be read.
            ImageError: if it cannot be decoded.
        """
        if row.image_uri is None:
            raise StorageError(Reason.NOT_FOUND, "the row has no image")
        with self._reading:
            data = self._reader.read(row.image_uri)
        return profiles.to_srgb(self._decode(data)[1])

    def _read_rejected(
        self, row: LocatedRow, header: Header, source: RasterImage, published: np.ndarray
    ) -> Example:
        """The published image, uint8 [h, w, 3], against the result that the gate rejected."""
        try:
            with self._upscaling:
                sharpening = row.columns["source_sharpening"]
                rejected = self._rejected().upscale(header, source, sharpening)
        except RunError as error:
            problem = f"the rejected result cannot be shown: {error}"
            return make_example(row, None, published, problem=problem)
        names = ("published: bicubic", "rejected")
        return make_example(row, published, rejected, names=names)

    def source(self, row: LocatedRow) -> RasterImage:
        """Reads and decodes the source of a row, and converts it to sRGB.

        Raises:
            StorageError: if it cannot be read, or is another one than that of the row.
            ImageError: if it cannot be decoded.
            ValueError: if the URI is none that the run may read.
        """
        return profiles.to_srgb(self._read_source(row, finds_jpeg=False)[1])

    def _read_source(self, row: LocatedRow, *, finds_jpeg: bool) -> tuple[Header, RasterImage]:
        location = self._place.locate(row.columns["uri"])
        data = self._sources.read(location, etag=row.columns["source_etag"])
        return self._decode(data, finds_jpeg=finds_jpeg)

    def _decode(self, data: bytes, *, finds_jpeg: bool = False) -> tuple[Header, RasterImage]:
        return self._decoders.decode(
            data, max_pixels=MAX_PIXELS, first_frame=True, finds_jpeg=finds_jpeg
        )

    def _error_map(
        self, row: LocatedRow, source: RasterImage, pixels: np.ndarray
    ) -> tuple[str, np.ndarray]:
        """The map's title, and the absolute error of luma in grey levels, float [h, w]."""
        reference_uri = row.columns["reference_uri"]
        if reference_uri is not None and row.columns["reference_psnr_db"] is not None:
            try:
                data = self._sources.read(self._place.locate(reference_uri))
                reference = profiles.to_srgb(self._decode(data)[1]).over_white()
                reference = reference[: pixels.shape[0], : pixels.shape[1]]
                if reference.shape == pixels.shape:
                    error = np.abs(full_reference.luma(reference) - full_reference.luma(pixels))
                    return "error against the reference", error
            except _UNREADABLE:
                pass  # the round trip needs no reference
        again = resampling.bicubic(pixels, source.height, source.width)
        error = np.abs(full_reference.luma(again) - full_reference.luma(source.over_white()))
        return "round-trip error: shrunk again, against the source", error

    def _counted(self, example: Example) -> Example:
        """Counts the bytes of an example; leaves it out if the report has enough without it."""
        if self._bytes_left <= 0:
            return _left_out(example.row)
        self._bytes_left -= example.image_bytes
        return example


def _left_out(row: LocatedRow) -> Example:
    return Example(row, problem="left out: the report has enough images")


def is_enlarged(source: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether a result's shape has its source's proportions, up to the rounding of a target size.

    Args:
        source: its shape, height and width first.
        result: the same of what may be its result.
    """
    (height, width), (new_height, new_width) = source[:2], result[:2]
    is_alike = abs(new_height * width - new_width * height) <= max(height, width)
    return is_alike and new_height >= height and new_width >= width


def _show_no_rejected() -> UpscalesRejected:
    raise RunError("no network is loaded")
