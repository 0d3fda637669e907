"""Finds exactly white background, which needs no network. Numpy only.

Upscaling keeps a constant white area; only its pixels next to an object depend on the object. Much
of a product image is such background.

       +---------------------------+
       |  white: filled            |     core: cells with other colours
       |    +-----------------+    |     kept: core and `_KEPT_PX` more, taken from the result
       |    |  seen  +-------+|    |     seen: core and `_SEEN_PX` more, the network's input
       |    |        | core  ||    |
       |    |        +-------+|    |     The margin between kept and seen gives the network the
       |    +-----------------+    |     background as context instead of the edge of the cut.
       +---------------------------+
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# Networks change other constant colours by up to 1.5 grey levels, and by 3 near an object (JPEG
# quality 10 to 30, colours from 250 on); and these are rare behind products.
WHITE = 255
_CELL_PX = 4
# With 12 seen pixels the shipped networks differ from the whole image's result by at most 0.3
# grey levels on images with white background; with 10 by 0.7, with 8 by 3.
_KEPT_PX = 4
_SEEN_PX = 12
# Overhead of one call of the network, in pixels.
_CALL_PX = 600
# With a smaller share of saved pixels the network upscales the whole image.
_MIN_SAVED = 0.05


class Box(NamedTuple):
    """A block of an image for the network, in LR pixels.

    Attributes:
        seen: rows and columns of the image that are the network's input.
        kept: rows and columns of the image, within `seen`, that the result replaces.

    Example:
        Box(seen=(slice(0, 40), slice(0, 52)), kept=(slice(0, 32), slice(0, 44)))
    """

    seen: tuple[slice, slice]
    kept: tuple[slice, slice]


class _Cells(NamedTuple):
    """A rectangle of cells, half open."""

    top: int
    bottom: int
    left: int
    right: int


def find_boxes(rgb: np.ndarray) -> list[Box] | None:
    """Finds the blocks of an image on white that need the network.

    Args:
        rgb: uint8 [H, W, 3].

    Returns:
        Blocks that may overlap, outside of which each pixel is white; none for a white image. None
        if the image is not on white, or skipping its background would save too few pixels.

    Example:
        >>> find_boxes(np.full((90, 90, 3), 255, np.uint8))
        []
    """
    if not _has_white_border(rgb):
        return None
    busy = _busy_cells(rgb)
    core = _bounding_box(busy, _Cells(0, busy.shape[0], 0, busy.shape[1]))
    if core is None:
        return []
    height, width = rgb.shape[:2]
    cores = list(_split(busy, core, height, width))
    if sum(_cost(one, height, width) for one in cores) > (1 - _MIN_SAVED) * height * width:
        return None
    return [
        Box(_widened(one, _SEEN_PX, height, width), _widened(one, _KEPT_PX, height, width))
        for one in cores
    ]


def _has_white_border(rgb: np.ndarray) -> bool:
    """Whether white is the most frequent colour along the image's border."""
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]]).astype(np.int32)
    codes, counts = np.unique(border @ (1 << 16, 1 << 8, 1), return_counts=True)
    return bool(codes[counts.argmax()] == 0xFFFFFF)


def _busy_cells(rgb: np.ndarray) -> np.ndarray:
    """Cells with a pixel that is not white, bool [H / 4, W / 4], rounded up."""
    other = (rgb < WHITE).any(axis=-1)
    height, width = other.shape
    padded = np.pad(other, ((0, -height % _CELL_PX), (0, -width % _CELL_PX)))
    rows, columns = padded.shape[0] // _CELL_PX, padded.shape[1] // _CELL_PX
    return np.asarray(padded.reshape(rows, _CELL_PX, columns, _CELL_PX).any(axis=(1, 3)))


def _bounding_box(busy: np.ndarray, within: _Cells) -> _Cells | None:
    """The smallest rectangle around the busy cells within another one; None without any."""
    part = busy[within.top : within.bottom, within.left : within.right]
    rows = np.flatnonzero(part.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(part.any(axis=0))
    return _Cells(
        within.top + int(rows[0]),
        within.top + int(rows[-1]) + 1,
        within.left + int(columns[0]),
        within.left + int(columns[-1]) + 1,
    )


def _split(busy: np.ndarray, core: _Cells, height: int, width: int) -> Iterator[_Cells]:
    """Cuts a rectangle recursively in two while that saves pixels."""
    best, best_cost = [core], _cost(core, height, width)
    for first, second in _cuts(core):
        parts = [_bounding_box(busy, part) for part in (first, second)]
        found = [part for part in parts if part is not None]
        cost = sum(_cost(part, height, width) for part in found)
        if cost < best_cost:
            best, best_cost = found, cost
    if len(best) == 1:
        yield best[0]
        return
    for part in best:
        yield from _split(busy, part, height, width)


def _cuts(core: _Cells) -> Iterator[tuple[_Cells, _Cells]]:
    """Candidate cuts of a rectangle: up to 15 rows and columns, evenly spread."""
    for row in _evenly(core.top, core.bottom):
        yield core._replace(bottom=row), core._replace(top=row)
    for column in _evenly(core.left, core.right):
        yield core._replace(right=column), core._replace(left=column)


def _evenly(start: int, stop: int) -> range:
    """Up to 15 cuts strictly between two cells."""
    return range(start + 1, stop, max(1, (stop - start) // 16))


def _cost(core: _Cells, height: int, width: int) -> int:
    """Cost of a rectangle in pixels: the network's input and the overhead of the call."""
    rows, columns = _widened(core, _SEEN_PX, height, width)
    return (rows.stop - rows.start) * (columns.stop - columns.start) + _CALL_PX


def _widened(core: _Cells, by_px: int, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a rectangle with a margin, within the image."""
    rows = slice(max(0, core.top * _CELL_PX - by_px), min(height, core.bottom * _CELL_PX + by_px))
    columns = slice(
        max(0, core.left * _CELL_PX - by_px), min(width, core.right * _CELL_PX + by_px)
    )
    return rows, columns
