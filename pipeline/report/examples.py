"""Examples of a report: images before and after, at the same size, as `data:` URIs."""

import base64
import functools
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from model.imaging import resampling
from model.imaging.errors import ImageError
from model.imaging.header import Header
from model.imaging.image import RasterImage
from model.imaging.sandbox import DecoderPool
from model.metrics import full_reference
from pipeline.catalog.places import Place
from pipeline.read.images import ImageReader
from pipeline.records import Reason, RunError
from pipeline.report.aggregate import LocatedRow
from pipeline.runs import reader
from pipeline.storage.base import Storage, StorageError

# All images of a report together, before base64 adds a third.
MAX_BYTES = 9_000_000
# Of sources and results; larger ones are not shown.
MAX_PIXELS = 40_000_000
# Larger images are cropped to their centre: before and after stay comparable pixel by pixel.
_MAX_SIDE_PX = 1000
_WEBP_QUALITY = 82
# What a row's URIs and files may raise; it costs one example, not the report.
_UNREADABLE = (StorageError, ImageError, ValueError, KeyError)
# Side of the window of an image that a card shows.
_DETAIL_PX = 260
_SIDE_BY_SIDE_PX = 100
# The smallest scale of an error map, grey levels.
_MIN_ERROR_SCALE = 4


class UpscalesRejected(Protocol):
    """Upscales sources whose result was rejected.

    Example:
        results: UpscalesRejected = rejected.RejectedResults(files, summary)
    """

    def upscale(self, header: Header, source: RasterImage) -> np.ndarray:
        """Returns uint8 [h, w, 3]; raises `RunError` if it cannot."""


@dataclass(frozen=True)
class Example:
    """One image of the gallery; images are `data:` URIs.

    Attributes:
        row: its row.
        after: the published image; None if it cannot be shown.
        before: the image that it is compared with, at the same size; None likewise.
        source: the source at its own size, for a view side by side; None for a slider alone.
        height, width: of before and after, pixels.
        names: labels of before and after.
        detail_top, detail_left: where they differ most, 0..1 of the scrollable range.
        error: grey map of the error against the reference or of the round trip.
        error_title: what the map shows.
        max_error: grey levels that the map's white stands for.
        problem: why something is missing.

    Example:
        Example(row, after="data:image/webp;base64,...", height=480, width=640)
    """

    row: LocatedRow
    after: str | None = None
    before: str | None = None
    source: str | None = None
    height: int = 0
    width: int = 0
    names: tuple[str, str] = ("bicubic", "ours")
    detail_top: float = 0.5
    detail_left: float = 0.5
    error: str | None = None
    error_title: str = ""
    max_error: int = 0
    problem: str | None = None


class ExampleReader:
    """Reads examples until the report holds enough bytes of images.

    Args:
        files: storage of sources and results.
        decoders: decode sources, which may be hostile.
        place: resolves the URIs of the rows.
        load_rejected: loads the run's network to show rejected results; called once, when the
            first of them is shown. None: they are not shown.
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
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._files = files
        self._decoders = decoders
        self._place = place
        self._rejected = functools.cache(load_rejected or _show_no_rejected)
        self._reader = ImageReader(files)
        self._bytes_left = max_bytes
        self._shown: dict[str, Example] = {}

    def read_all(self, rows: Iterable[LocatedRow]) -> Iterator[Example]:
        """Reads an example for each row, each URI once.

        Args:
            rows: their images are read in the order of the Parquet files.

        Returns:
            Examples in the order of the rows.
        """
        ordered = list(rows)
        for row in sorted(ordered, key=_position):
            uri = row.columns["uri"]
            if uri not in self._shown:
                self._shown[uri] = self.read(row)
        return (self._shown[row.columns["uri"]] for row in ordered)

    def read(self, row: LocatedRow) -> Example:
        """Reads one example: bicubic against the published image.

        For a row with a `gate:` reason it compares the published image with the rejected result.
        """
        if self._bytes_left <= 0:
            return Example(row, problem="left out: the report has enough images")
        try:
            after = self.published(row)
        except _UNREADABLE as error:
            return Example(row, problem=f"the image cannot be shown: {error}")
        pixels = after.over_white()
        try:
            header, source = self._read_source(row.columns["uri"])
            if not _is_enlarged(source, after):
                raise ValueError("its size changed since the run")
        except _UNREADABLE as error:
            return self._example(row, None, pixels, problem=f"the source cannot be shown: {error}")
        if (row.columns["reason"] or "").startswith("gate:"):
            return self._read_rejected(row, header, source, pixels)
        bicubic = resampling.to_uint8(resampling.bicubic(source.over_white(), *pixels.shape[:2]))
        title, error_map = self._error_map(row, source, pixels)
        return self._example(row, bicubic, pixels, error=error_map, error_title=title)

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
            return Example(row, problem="left out: the report has enough images")
        try:
            pixels = self.published(row).over_white()
            before = self.published(previous).over_white()
        except _UNREADABLE as error:
            return Example(row, problem=f"the image cannot be shown: {error}")
        if before.shape != pixels.shape:
            return self._example(row, None, pixels, problem="the other image has another size")
        source, problem = None, None
        try:
            source = self.source(row.columns["uri"]).over_white()
            if pixels.shape[0] % source.shape[0] or pixels.shape[1] % source.shape[1]:
                source, problem = (
                    None,
                    "the source cannot be shown: its size changed since the run",
                )
        except _UNREADABLE as error:
            problem = f"the source cannot be shown: {error}"
        return self._example(row, before, pixels, source=source, names=names, problem=problem)

    def published(self, row: LocatedRow) -> RasterImage:
        """Reads and decodes the image that a row published.

        Raises:
            StorageError: if the row has no image, or it cannot be read.
            ImageError: if it cannot be decoded.
        """
        if row.image_uri is None:
            raise StorageError(Reason.NOT_FOUND, "the row has no image")
        return self._decode(self._reader.read(row.image_uri))[1]

    def _read_rejected(
        self, row: LocatedRow, header: Header, source: RasterImage, published: np.ndarray
    ) -> Example:
        """The published image, uint8 [h, w, 3], against the result that the gate rejected."""
        try:
            rejected = self._rejected().upscale(header, source)
        except RunError as error:
            problem = f"the rejected result cannot be shown: {error}"
            return self._example(row, None, published, problem=problem)
        names = ("published: bicubic", "rejected")
        return self._example(row, published, rejected, names=names)

    def source(self, uri: str) -> RasterImage:
        """Reads and decodes a source by its URI in a row.

        Raises:
            StorageError: if it cannot be read.
            ImageError: if it cannot be decoded.
            ValueError: if the URI is none that the run may read.
        """
        return self._read_source(uri)[1]

    def _read_source(self, uri: str) -> tuple[Header, RasterImage]:
        """Reads and decodes a source or reference by its URI in the row."""
        return self._decode(self._files.read(self._place.locate(uri)))

    def _decode(self, data: bytes) -> tuple[Header, RasterImage]:
        return self._decoders.decode(data, max_pixels=MAX_PIXELS, first_frame=True)

    def _error_map(
        self, row: LocatedRow, source: RasterImage, pixels: np.ndarray
    ) -> tuple[str, np.ndarray]:
        """The map's title, and the absolute error of luma in grey levels, float [h, w]."""
        reference_uri = row.columns["reference_uri"]
        if reference_uri is not None and row.columns["reference_psnr_db"] is not None:
            try:
                reference = self.source(reference_uri).over_white()
                reference = reference[: pixels.shape[0], : pixels.shape[1]]
                if reference.shape == pixels.shape:
                    error = np.abs(full_reference.luma(reference) - full_reference.luma(pixels))
                    return "error against the reference", error
            except _UNREADABLE:
                pass  # the round trip needs no reference
        again = resampling.bicubic(pixels, source.height, source.width)
        error = np.abs(full_reference.luma(again) - full_reference.luma(source.over_white()))
        return "round-trip error: shrunk again, against the source", error

    def _example(
        self,
        row: LocatedRow,
        before: np.ndarray | None,
        after: np.ndarray,
        *,
        source: np.ndarray | None = None,
        error: np.ndarray | None = None,
        error_title: str = "",
        names: tuple[str, str] = ("bicubic", "ours"),
        problem: str | None = None,
    ) -> Example:
        """Crops and encodes images, uint8 [h, w, 3] of equal size, and counts their bytes."""
        max_error = 0
        if error is not None:
            max_error = max(_MIN_ERROR_SCALE, int(np.ceil(np.quantile(error, 0.995))))
            zoom = after.shape[0] // error.shape[0]
            grey = np.minimum(error / max_error * 255, 255).round().astype(np.uint8)
            error = _centre_crop(grey, _MAX_SIDE_PX // zoom)
        if source is not None:
            source = _centre_crop(source, _MAX_SIDE_PX // (after.shape[0] // source.shape[0]))
        after = _centre_crop(after, _MAX_SIDE_PX)
        top, left = 0.5, 0.5
        if before is not None:
            before = _centre_crop(before, _MAX_SIDE_PX)
            window_px = _DETAIL_PX if source is None else _SIDE_BY_SIDE_PX
            top, left = _max_difference(before, after, window_px)
        return Example(
            row,
            after=self._data_uri(after),
            before=None if before is None else self._data_uri(before),
            source=None if source is None else self._data_uri(source),
            height=after.shape[0],
            width=after.shape[1],
            names=names,
            detail_top=top,
            detail_left=left,
            error=None if error is None else self._data_uri(error),
            error_title=error_title,
            max_error=max_error,
            problem=problem,
        )

    def _data_uri(self, pixels: np.ndarray) -> str:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=_WEBP_QUALITY, method=2)
        self._bytes_left -= buffer.tell()
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _is_enlarged(source: RasterImage, result: RasterImage) -> bool:
    """Whether a result has the source's proportions, up to the rounding of a target size."""
    difference = result.height * source.width - result.width * source.height
    return result.height >= source.height and abs(difference) <= max(source.height, source.width)


def _show_no_rejected() -> UpscalesRejected:
    raise RunError("no network is loaded")


def _position(row: LocatedRow) -> tuple[str, int]:
    """File and row number of an image: images of one row group are read one after the other."""
    return reader.split_pointer(row.image_uri or "") or ("", 0)


def _centre_crop(pixels: np.ndarray, max_px: int) -> np.ndarray:
    """The centre of an image, at most `max_px` high and wide."""
    top, left = (max(0, (length - max_px) // 2) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + max_px, left : left + max_px])


def _max_difference(before: np.ndarray, after: np.ndarray, window_px: int) -> tuple[float, float]:
    """The window with the largest difference: top and left, 0..1 of the scrollable range."""
    difference = np.abs(full_reference.luma(after, dtype=np.float32) - full_reference.luma(before))
    windows = full_reference.window_sums(
        difference, *(min(window_px, one) for one in difference.shape)
    )
    at = np.unravel_index(np.argmax(windows), windows.shape)
    ranges = [length - 1 for length in windows.shape]
    top, left = (
        float(a) / length if length else 0.5 for a, length in zip(at, ranges, strict=True)
    )
    return top, left
