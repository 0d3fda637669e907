"""Tiling: cuts images into overlapping tiles and joins the results seamlessly. Numpy only."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in LR pixels.

        0        read_start   core_start      core_stop   read_stop      length
        |- - - - - - |==========|################|===========|- - - - - - - |
                         halo          core           halo

    At the image's border the halo is shorter: the network must see the true border, not padding.

    Example:
        >>> spans(100, 2, 10)[0]
        Span(read_start=0, core_start=0, core_stop=50, read_stop=60)
    """

    read_start: int
    core_start: int
    core_stop: int
    read_stop: int


def spans(length: int, count: int, halo: int) -> list[Span]:
    """Divides an axis into `count` cores of equal length (within one pixel) with halos.

    Args:
        length: pixels along the axis, at least `count`.
        count: how many tiles, at least 1.
        halo: pixels read beyond a core on each side; results are exact if it is at least the
            radius of the receptive field.

    Returns:
        The spans in order; their cores cover 0..length without gap or overlap.

    Raises:
        ValueError: if there are more tiles than pixels, or the halo is negative.
    """
    if not 1 <= count <= length or halo < 0:
        raise ValueError(
            f"spans needs 1 <= count <= length and halo >= 0. "
            f"Received: length={length}, count={count}, halo={halo}"
        )
    cuts = [length * i // count for i in range(count + 1)]
    return [
        Span(max(0, start - halo), start, stop, min(length, stop + halo))
        for start, stop in itertools.pairwise(cuts)
    ]


def tiles(height: int, width: int, *, max_call_px: int, halo: int) -> Iterator[tuple[Span, Span]]:
    """Yields (rows, columns) of each tile, row by row; one tile if the whole image fits.

    Cores are as square as the image allows, because a square has the smallest halo.

    Args:
        height, width: of the image, LR pixels, at least 1.
        max_call_px: most pixels of one tile, its halo included. A tile's sides are never smaller
            than two halos, even if that exceeds `max_call_px`.
        halo: see `spans`.
    """
    if height * width <= max_call_px:
        row_count = column_count = 1
    else:
        core = max(math.isqrt(max_call_px) - 2 * halo, 2 * halo, 1)
        row_count, column_count = math.ceil(height / core), math.ceil(width / core)
    for rows in spans(height, row_count, halo):
        for columns in spans(width, column_count, halo):
            yield rows, columns


def inner_tiles(
    height: int, width: int, *, step: int, short: int, max_side: int, halo: int
) -> list[tuple[Span, Span]]:
    """Plans tiles of one shape within an image, so that many images share few shapes.

        image   0                                    length
        tiles     |================|
                             |================|
                                     |================|
        cores     |#############|#####|#####|#########|   a halo inside the tile but at borders

    Args:
        height, width: of the image, LR pixels, at least 1.
        step: a tile's sides are multiples of it.
        short: an axis up to this length is one tile of that length, and so is an axis in which no
            multiple of `step` is longer than two halos.
        max_side: longest side of a tile, a multiple of `step`.
        halo: see `spans`.

    Returns:
        (rows, columns) of each tile, row by row; the cores cover the image once.
    """
    rows, columns = (
        _inner_spans(length, step, short, max_side, halo) for length in (height, width)
    )
    return list(itertools.product(rows, columns))


def _inner_spans(length: int, step: int, short: int, max_side: int, halo: int) -> list[Span]:
    """One axis of `inner_tiles`, with the fewest pixels in total that its rules allow."""
    sides = range(step, min(length, max_side) + 1, step)
    counts = {
        side: 1 if side == length else math.ceil((length - 2 * halo) / (side - 2 * halo))
        for side in sides
        if side > 2 * halo
    }
    if length <= short or not counts:
        return [Span(0, 0, length, length)]
    side = min(counts, key=lambda one: (one * counts[one], counts[one]))
    count = counts[side]
    starts = [(length - side) * i // max(1, count - 1) for i in range(count)]
    # Cores meet in the middle of the overlap of two tiles.
    cuts = [(start + before + side) // 2 for before, start in itertools.pairwise(starts)]
    edges = itertools.pairwise([0, *cuts, length])
    return [
        Span(start, core_start, core_stop, start + side)
        for start, (core_start, core_stop) in zip(starts, edges, strict=True)
    ]


def cut(lr: np.ndarray, plan: Iterable[tuple[Span, Span]]) -> Iterator[np.ndarray]:
    """Yields the tiles of a plan.

    Args:
        lr: [H, W, K], any dtype.
        plan: rows and columns of each tile.

    Yields:
        Views of `lr`, [h, w, K].
    """
    for rows, columns in plan:
        yield lr[rows.read_start : rows.read_stop, columns.read_start : columns.read_stop]


def join(
    plan: Sequence[tuple[Span, Span]], tiles_sr: Iterable[np.ndarray], scale: int
) -> np.ndarray:
    """Joins the cores of upscaled tiles.

    Args:
        plan: the tiles; their cores cover the image.
        tiles_sr: [h * scale, w * scale, K] of each tile, in the plan's order; consumed lazily.
        scale: of the upscaling.

    Returns:
        [H * scale, W * scale, K] of the tiles' dtype; the tile itself if it is the only one.
    """
    sr: np.ndarray | None = None
    for (rows, columns), tile in zip(plan, tiles_sr, strict=True):
        if len(plan) == 1:
            return tile
        if sr is None:
            height, width = (span.core_stop * scale for span in plan[-1])
            sr = np.empty((height, width, tile.shape[2]), tile.dtype)
        sr[_scaled(rows, scale), _scaled(columns, scale)] = tile[
            _scaled_core(rows, scale), _scaled_core(columns, scale)
        ]
    assert sr is not None  # a plan has at least one tile
    return sr


def upscale_tiled(
    lr: np.ndarray,
    upscale: Callable[[np.ndarray], np.ndarray],
    *,
    scale: int,
    max_call_px: int,
    halo: int,
) -> np.ndarray:
    """Upscales an image tile by tile.

    Args:
        lr: [H, W, K], of the dtype and range of `upscale`'s input.
        upscale: maps [h, w, K] to [h * scale, w * scale, K].
        scale: of `upscale`.
        max_call_px: most pixels h * w of one call (see `tiles`).
        halo: see `spans`.

    Returns:
        [H * scale, W * scale, K] of the dtype of `upscale`'s result; equal to one call on the
        whole image if the halo covers the receptive field, but for the noise of `upscale` between
        calls of different sizes.
    """
    plan = list(tiles(*lr.shape[:2], max_call_px=max_call_px, halo=halo))
    return join(plan, map(upscale, cut(lr, plan)), scale)


def _scaled(span: Span, scale: int) -> slice:
    """The core's pixels in the upscaled image."""
    return slice(span.core_start * scale, span.core_stop * scale)


def _scaled_core(span: Span, scale: int) -> slice:
    """The core's pixels in the upscaled tile."""
    return slice(
        (span.core_start - span.read_start) * scale, (span.core_stop - span.read_start) * scale
    )
