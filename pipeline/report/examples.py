"""The report's images: before and after at the same size, small enough to be part of a page."""

import base64
import functools
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.imaging import resampling
from model.imaging.decode import assumed_quality
from model.imaging.errors import ImageError
from model.imaging.header import Header
from model.imaging.image import RasterImage
from model.imaging.sandbox import DecoderPool
from model.inference.upscaler import OutOfMemoryError, Upscaler
from model.metrics import full_reference
from pipeline.catalog import manifest
from pipeline.read.images import ImageReader
from pipeline.records import Reason, RunError
from pipeline.report.aggregate import FoundRow
from pipeline.runs import reuse
from pipeline.storage.base import Storage, StorageError

# Larger images are cut to their middle: what a page shows must stay comparable pixel by pixel.
_MAX_SIDE_PX = 1000
_WEBP_QUALITY = 82
# All images of a page together, before base64 adds a third.
MAX_BYTES = 9_000_000
# What one image's place, file or name may raise; it costs its exhibit, not the page.
_UNREADABLE = (StorageError, ImageError, ValueError, KeyError)
# Sources of results that are made again only to be seen.
_MAX_UPSCALED_PIXELS = 500_000
# Of sources and results; larger ones are not shown.
MAX_PIXELS = 40_000_000
# The part of an image that a card shows.
_DETAIL_PX = 260


@dataclass(frozen=True)
class Exhibit:
    """One image of the gallery; addresses are `data:` URIs.

    Attributes:
        row: what it is about.
        after: the image; None if there is none to show.
        before: what it is compared with, at the same size; None likewise.
        height, width: of both, pixels.
        names: of before and after.
        detail_top, detail_left: where they differ most, 0..1 of what can be scrolled.
        error: grey map of the error: against the reference, or of the round trip.
        error_of: what the map shows.
        error_highest: grey levels that the map's white stands for.
        trouble: why something is missing.
    """

    row: FoundRow
    after: str | None = None
    before: str | None = None
    height: int = 0
    width: int = 0
    names: tuple[str, str] = ("bicubic", "ours")
    detail_top: float = 0.5
    detail_left: float = 0.5
    error: str | None = None
    error_of: str = ""
    error_highest: int = 0
    trouble: str | None = None


class Exhibitor:
    """Makes exhibits until the page is full.

    Args:
        files: where sources and results lie.
        decoders: sources are files that nobody vetted.
        place: what the URIs of the rows mean.
        load_upscaler: the run's network, for results that were not published; called once, when
            it is first needed.
        max_bytes: of all images together.
    """

    def __init__(
        self,
        files: Storage,
        decoders: DecoderPool,
        place: manifest.Place,
        load_upscaler: Callable[[], Upscaler],
        *,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._files = files
        self._decoders = decoders
        self._place = place
        self._upscaler = functools.cache(load_upscaler)
        self._reader = ImageReader(files)
        self._bytes_left = max_bytes
        self._shown: dict[str, Exhibit] = {}

    def show_all(self, found: Iterable[FoundRow]) -> Iterator[Exhibit]:
        """An exhibit for each row, in order; the images are read in the order they lie in.

        An image that was shown before is not read again.
        """
        ordered = list(found)
        for row in sorted(ordered, key=_lie_of):
            uri = row.columns["uri"]
            if uri not in self._shown:
                self._shown[uri] = self.show(row)
        return (self._shown[row.columns["uri"]] for row in ordered)

    def show(self, row: FoundRow) -> Exhibit:
        """The exhibit of one row: bicubic against what was published."""
        if self._bytes_left <= 0:
            return Exhibit(row, trouble="left out: the page has enough images")
        try:
            after = self.published(row)
        except _UNREADABLE as error:
            return Exhibit(row, trouble=f"the image cannot be shown: {error}")
        pixels = after.over_white()
        try:
            header, source = self._source(row.columns["uri"])
            scale = after.height // source.height
            if (source.height * scale, source.width * scale) != (after.height, after.width):
                raise ValueError("it has another size than in the run")
        except _UNREADABLE as error:
            return self._frame(row, None, pixels, trouble=f"the source cannot be shown: {error}")
        if (row.columns["reason"] or "").startswith("gate:"):
            return self._doubted(row, header, source, pixels)
        bicubic = resampling.to_uint8(resampling.bicubic(source.over_white(), *pixels.shape[:2]))
        error_of, levels = self._error(row, source, pixels, scale)
        return self._frame(row, bicubic, pixels, error=levels, error_of=error_of)

    def _doubted(
        self, row: FoundRow, header: Header, source: RasterImage, published: np.ndarray
    ) -> Exhibit:
        """What was published against what the gate doubted, which is made again to be seen."""
        names = ("published: bicubic", "doubted")
        try:
            if source.height * source.width > _MAX_UPSCALED_PIXELS:
                raise OutOfMemoryError("the image is too large to make it again")
            result = self._upscaler().upscale_image(source, jpeg_quality=assumed_quality(header))
        except (OutOfMemoryError, RunError) as error:
            trouble = f"the doubted result cannot be shown: {error}"
            return self._frame(row, None, published, trouble=trouble)
        return self._frame(row, published, result.over_white(), names=names)

    def show_pair(self, row: FoundRow, before: FoundRow, *, names: tuple[str, str]) -> Exhibit:
        """What another run published against what this one did."""
        if self._bytes_left <= 0:
            return Exhibit(row, trouble="left out: the page has enough images")
        try:
            pixels = self.published(row).over_white()
            earlier = self.published(before).over_white()
        except _UNREADABLE as error:
            return Exhibit(row, trouble=f"the image cannot be shown: {error}")
        if earlier.shape != pixels.shape:
            return self._frame(row, None, pixels, trouble="the other one has another size")
        return self._frame(row, earlier, pixels, names=names)

    def published(self, row: FoundRow) -> RasterImage:
        """Reads and decodes what a row published."""
        if row.place is None:
            raise StorageError(Reason.NOT_FOUND, "the row has no image")
        return self._decode(self._reader.read(row.place))[1]

    def _source(self, uri: str) -> tuple[Header, RasterImage]:
        """Fetches and decodes a source or reference by its URI in the row."""
        return self._decode(self._files.read(self._place.locate(uri)))

    def _decode(self, data: bytes) -> tuple[Header, RasterImage]:
        return self._decoders.decode(data, max_pixels=MAX_PIXELS, first_frame=True)

    def _error(
        self, row: FoundRow, source: RasterImage, pixels: np.ndarray, scale: int
    ) -> tuple[str, np.ndarray]:
        """What the map is of, and |error| of the luma, float [h, w]."""
        reference_uri = row.columns["reference_uri"]
        if reference_uri is not None and row.columns["reference_psnr_db"] is not None:
            try:
                truth = self._source(reference_uri)[1].over_white()
                truth = truth[: pixels.shape[0], : pixels.shape[1]]
                if truth.shape == pixels.shape:
                    error = np.abs(full_reference.luma(truth) - full_reference.luma(pixels))
                    return "error against the reference", error
            except _UNREADABLE:
                pass  # the round trip needs no reference
        again = resampling.shrink(pixels, scale)
        error = np.abs(full_reference.luma(again) - full_reference.luma(source.over_white()))
        return "round-trip error: shrunk again, against the source", error

    def _frame(
        self,
        row: FoundRow,
        before: np.ndarray | None,
        after: np.ndarray,
        *,
        error: np.ndarray | None = None,
        error_of: str = "",
        names: tuple[str, str] = ("bicubic", "ours"),
        trouble: str | None = None,
    ) -> Exhibit:
        """Cuts, encodes and counts the bytes; uint8 [h, w, 3] of equal size."""
        highest = 0
        if error is not None:
            highest = max(4, int(np.ceil(np.quantile(error, 0.995))))
            zoom = after.shape[0] // error.shape[0]
            grey = np.minimum(error / highest * 255, 255).round().astype(np.uint8)
            error = _middle(grey, _MAX_SIDE_PX // zoom)
        after = _middle(after, _MAX_SIDE_PX)
        top, left = 0.5, 0.5
        if before is not None:
            before = _middle(before, _MAX_SIDE_PX)
            top, left = _most_different(before, after)
        return Exhibit(
            row,
            after=self._data_uri(after),
            before=None if before is None else self._data_uri(before),
            height=after.shape[0],
            width=after.shape[1],
            names=names,
            detail_top=top,
            detail_left=left,
            error=None if error is None else self._data_uri(error),
            error_of=error_of,
            error_highest=highest,
            trouble=trouble,
        )

    def _data_uri(self, pixels: np.ndarray) -> str:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=_WEBP_QUALITY, method=2)
        self._bytes_left -= buffer.tell()
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _lie_of(row: FoundRow) -> tuple[str, int]:
    """Where an image lies: images of one row group are read one after the other."""
    part, _, number = (row.place or "").rpartition(reuse.ROW_MARK)
    return part, int(number) if part else 0


def _middle(pixels: np.ndarray, max_px: int) -> np.ndarray:
    """The image, or what lies in its middle, at most `max_px` high and wide."""
    top, left = (max(0, (length - max_px) // 2) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + max_px, left : left + max_px])


def _most_different(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Where a window shows most of the difference: top and left, 0..1 of the room for it."""
    difference = np.abs(full_reference.luma(after, dtype=np.float32) - full_reference.luma(before))
    windows = full_reference.window_sums(
        difference, *(min(_DETAIL_PX, one) for one in difference.shape)
    )
    at = np.unravel_index(np.argmax(windows), windows.shape)
    rooms = [length - 1 for length in windows.shape]
    top, left = (float(a) / room if room else 0.5 for a, room in zip(at, rooms, strict=True))
    return top, left
