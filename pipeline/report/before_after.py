"""One example of a report: an image before and after, at the same size, as `data:` URIs."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.metrics import full_reference
from pipeline.report.aggregate import LocatedRow

# Larger images are cropped to their centre: before and after stay comparable pixel by pixel.
_MAX_SIDE_PX = 1000
_WEBP_QUALITY = 82
# Side of the window of an image that a card shows.
_DETAIL_PX = 260
_SIDE_BY_SIDE_PX = 100
# The smallest scale of an error map, grey levels.
_MIN_ERROR_SCALE = 4


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

    @property
    def image_bytes(self) -> int:
        """Size of its images before base64."""
        uris = (self.after, self.before, self.source, self.error)
        return sum(len(uri) for uri in uris if uri) * 3 // 4


def make_example(
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
    """Crops images to their centre and encodes them.

    Args:
        row: of the image.
        before: uint8 [h, w, 3]; None if there is nothing to compare with.
        after: uint8 [h, w, 3], as large as `before`.
        source: uint8 [h / scale, w / scale, 3], for a view side by side.
        error: absolute error of luma in grey levels, float, as large as `after` or as the source.
        error_title, names, problem: see `Example`.
    """
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
        after=_data_uri(after),
        before=None if before is None else _data_uri(before),
        source=None if source is None else _data_uri(source),
        height=after.shape[0],
        width=after.shape[1],
        names=names,
        detail_top=top,
        detail_left=left,
        error=None if error is None else _data_uri(error),
        error_title=error_title,
        max_error=max_error,
        problem=problem,
    )


def _data_uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=_WEBP_QUALITY, method=1)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


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
