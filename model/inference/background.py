"""Finds the blank background of an image, which a network need not see. Numpy only.

White that is exactly white stays so when it is upscaled; only its last pixels before an object
depend on the object. Much of a product image is such background.

       +---------------------------+
       |  blank: filled            |     core: cells that are not blank
       |    +-----------------+    |     kept: core and `_KEPT_PX` more, from the network
       |    |  seen  +-------+|    |     seen: core and `_SEEN_PX` more, shown to the network
       |    |        | core  ||    |
       |    |        +-------+|    |     The pixels between kept and seen are shown, so that the
       |    +-----------------+    |     network sees blank there and not the edge of the cut.
       +---------------------------+
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# A background is blank where all pixels have its colour, and that is near white: other constant
# colours a network may change by more than half a grey level.
_MIN_LEVEL = 250
_CELL_PX = 4
# On white-background images the networks shipped then differ from the whole image's result by
# at most 0.3 grey levels; with 10 instead of 12 pixels by 0.7, with 8 by 3.
_KEPT_PX = 4
_SEEN_PX = 12
# What a call costs beside its pixels, in pixels.
_CALL_PX = 600
# Below this share of saved pixels an image goes through the network whole.
_MIN_SAVED = 0.05


class Box(NamedTuple):
    """A part of an image that the network upscales, in LR pixels.

    Attributes:
        seen: rows and columns that the network is shown.
        kept: those of the result that are used, of the image.
    """

    seen: tuple[slice, slice]
    kept: tuple[slice, slice]


class Layout(NamedTuple):
    """What is blank in an image, and what is not.

    Attributes:
        colour: uint8 [3], of all that lies outside the boxes.
        boxes: may overlap; none if the image is nothing but blank.
    """

    colour: np.ndarray
    boxes: list[Box]


class _Cells(NamedTuple):
    """A rectangle of cells, half open."""

    top: int
    bottom: int
    left: int
    right: int


def find_layout(rgb: np.ndarray) -> Layout | None:
    """Finds the blank background.

    Args:
        rgb: uint8 [H, W, 3].

    Returns:
        None if there is too little to save.
    """
    colour = _border_colour(rgb)
    if colour.min() < _MIN_LEVEL:
        return None
    busy = _busy_cells(rgb, colour)
    core = _bounding_box(busy, _Cells(0, busy.shape[0], 0, busy.shape[1]))
    if core is None:
        return Layout(colour, [])
    height, width = rgb.shape[:2]
    cores = list(_split(busy, core, height, width))
    if sum(_cost(one, height, width) for one in cores) > (1 - _MIN_SAVED) * height * width:
        return None
    boxes = [
        Box(_widened(one, _SEEN_PX, height, width), _widened(one, _KEPT_PX, height, width))
        for one in cores
    ]
    return Layout(colour, boxes)


def _border_colour(rgb: np.ndarray) -> np.ndarray:
    """The most frequent colour along the image's border, uint8 [3]."""
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]]).astype(np.int32)
    codes, counts = np.unique(border @ (1 << 16, 1 << 8, 1), return_counts=True)
    code = int(codes[counts.argmax()])
    return np.array([code >> 16, code >> 8 & 255, code & 255], np.uint8)


def _busy_cells(rgb: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Which cells hold a pixel of another colour, bool [H / 4, W / 4], rounded up."""
    other = (rgb != colour).any(axis=-1)
    height, width = other.shape
    padded = np.pad(other, ((0, -height % _CELL_PX), (0, -width % _CELL_PX)))
    rows, columns = padded.shape[0] // _CELL_PX, padded.shape[1] // _CELL_PX
    return np.asarray(padded.reshape(rows, _CELL_PX, columns, _CELL_PX).any(axis=(1, 3)))


def _bounding_box(busy: np.ndarray, within: _Cells) -> _Cells | None:
    """The smallest rectangle around the busy cells of another; None without any."""
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
    """Cuts a rectangle in two, and these again, as long as that saves pixels."""
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
    """Ways to cut a rectangle: up to 15 rows and columns, evenly spread."""
    for row in _evenly(core.top, core.bottom):
        yield core._replace(bottom=row), core._replace(top=row)
    for column in _evenly(core.left, core.right):
        yield core._replace(right=column), core._replace(left=column)


def _evenly(start: int, stop: int) -> range:
    return range(start + 1, stop, max(1, (stop - start) // 16))


def _cost(core: _Cells, height: int, width: int) -> int:
    """Pixels that the network is shown for a rectangle, and what the call costs."""
    rows, columns = _widened(core, _SEEN_PX, height, width)
    return (rows.stop - rows.start) * (columns.stop - columns.start) + _CALL_PX


def _widened(core: _Cells, by_px: int, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a rectangle and some pixels more, within the image."""
    rows = slice(max(0, core.top * _CELL_PX - by_px), min(height, core.bottom * _CELL_PX + by_px))
    columns = slice(
        max(0, core.left * _CELL_PX - by_px), min(width, core.right * _CELL_PX + by_px)
    )
    return rows, columns
