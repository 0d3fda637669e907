"""The report's pictures: before and after at the same size, small enough to be part of a page."""

import base64
import functools
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.imaging import resampling
from model.imaging.decode import assumed_quality
from model.imaging.header import Header, PictureError
from model.imaging.image import Picture
from model.imaging.sandbox import DecoderPool
from model.inference.upscaler import Magnifier, OutOfMemory
from model.metrics import full_reference
from pipeline.catalog import manifest
from pipeline.read.images import PictureReader
from pipeline.records import Reason, RunError
from pipeline.report.aggregate import FoundRow
from pipeline.runs import reuse
from pipeline.storage.base import Storage, StorageError

# Larger pictures are cut to their middle: what a page shows must stay comparable pixel by pixel.
_LONGEST_SIDE_PX = 1000
_WEBP_QUALITY = 82
# All pictures of a page together, before base64 adds a third.
MOST_BYTES = 9_000_000
# What one picture's place, file or name may raise; it costs its exhibit, not the page.
_UNREADABLE = (StorageError, PictureError, ValueError, KeyError)
# Sources of results that are made again only to be seen.
_MOST_MAGNIFIED_PIXELS = 500_000
# Of sources and results; larger ones are not shown.
MOST_PIXELS = 40_000_000
# The part of a picture that a card shows.
_DETAIL_PX = 260


@dataclass(frozen=True)
class Exhibit:
    """One picture of the gallery; addresses are `data:` URIs.

    Attributes:
        row: what it is about.
        after: the picture; None if there is none to show.
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
        load_magnifier: the run's network, for results that were not published; called once, when
            it is first needed.
        most_bytes: of all pictures together.
    """

    def __init__(
        self,
        files: Storage,
        decoders: DecoderPool,
        place: manifest.Place,
        load_magnifier: Callable[[], Magnifier],
        *,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._files = files
        self._decoders = decoders
        self._place = place
        self._magnifier = functools.cache(load_magnifier)
        self._reader = PictureReader(files)
        self._bytes_left = most_bytes
        self._shown: dict[str, Exhibit] = {}

    def show_all(self, found: Iterable[FoundRow]) -> Iterator[Exhibit]:
        """An exhibit for each row, in order; the pictures are read in the order they lie in.

        A picture that was shown before is not read again.
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
            return Exhibit(row, trouble="left out: the page has enough pictures")
        try:
            after = self.published(row)
        except _UNREADABLE as error:
            return Exhibit(row, trouble=f"the picture cannot be shown: {error}")
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
        self, row: FoundRow, header: Header, source: Picture, published: np.ndarray
    ) -> Exhibit:
        """What was published against what the gate doubted, which is made again to be seen."""
        names = ("published: bicubic", "doubted")
        try:
            if source.height * source.width > _MOST_MAGNIFIED_PIXELS:
                raise OutOfMemory("the picture is too large to make it again")
            result = self._magnifier().magnify_picture(
                source, jpeg_quality=assumed_quality(header)
            )
        except (OutOfMemory, RunError) as error:
            trouble = f"the doubted result cannot be shown: {error}"
            return self._frame(row, None, published, trouble=trouble)
        return self._frame(row, published, result.over_white(), names=names)

    def show_pair(self, row: FoundRow, before: FoundRow, *, names: tuple[str, str]) -> Exhibit:
        """What another run published against what this one did."""
        if self._bytes_left <= 0:
            return Exhibit(row, trouble="left out: the page has enough pictures")
        try:
            pixels = self.published(row).over_white()
            earlier = self.published(before).over_white()
        except _UNREADABLE as error:
            return Exhibit(row, trouble=f"the picture cannot be shown: {error}")
        if earlier.shape != pixels.shape:
            return self._frame(row, None, pixels, trouble="the other one has another size")
        return self._frame(row, earlier, pixels, names=names)

    def published(self, row: FoundRow) -> Picture:
        """Reads and decodes what a row published."""
        if row.place is None:
            raise StorageError(Reason.NOT_FOUND, "the row has no picture")
        return self._decode(self._reader.read(row.place))[1]

    def _source(self, uri: str) -> tuple[Header, Picture]:
        """Fetches and decodes a source or reference by its URI in the row."""
        return self._decode(self._files.read(self._place.locate(uri)))

    def _decode(self, data: bytes) -> tuple[Header, Picture]:
        return self._decoders.decode(data, max_pixels=MOST_PIXELS, first_frame=True)

    def _error(
        self, row: FoundRow, source: Picture, pixels: np.ndarray, scale: int
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
            error = _middle(grey, _LONGEST_SIDE_PX // zoom)
        after = _middle(after, _LONGEST_SIDE_PX)
        top, left = 0.5, 0.5
        if before is not None:
            before = _middle(before, _LONGEST_SIDE_PX)
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
    """Where a picture lies: pictures of one row group are read one after the other."""
    part, _, number = (row.place or "").rpartition(reuse.ROW_MARK)
    return part, int(number) if part else 0


def _middle(pixels: np.ndarray, most_px: int) -> np.ndarray:
    """The picture, or what lies in its middle, at most `most_px` high and wide."""
    top, left = (max(0, (length - most_px) // 2) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + most_px, left : left + most_px])


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
