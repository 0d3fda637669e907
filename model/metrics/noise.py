"""Noise in the near-flat cells of a source, and in the same cells of a result. Numpy only.

`docs/measures.md` describes the measures' use and typical values.
"""

import functools
from collections.abc import Iterable, Iterator

import numpy as np

from model.metrics.full_reference import chroma, reduce_cells, row_bands

# Compression noise lies in the JPEG blocks with an edge; a cell of half a block fits beside the
# edge inside such a block.
_CELL_PX = 4
_CELL_RANGE = 10.0
_MIN_CELLS = 16


def flat_cells(source: np.ndarray) -> np.ndarray:
    """Finds the near-flat cells of a source, in which noise is visible.

    Args:
        source: float [H, W], its luma.

    Returns:
        bool [H // 4, W // 4]: cells of 4 x 4 pixels that span 10 grey levels at most, like
        background with compression noise, but without edge or texture.
    """
    return (
        reduce_cells(np.max, source, _CELL_PX) - reduce_cells(np.min, source, _CELL_PX)
        <= _CELL_RANGE
    )


def flat_noise(plane: np.ndarray, flat: np.ndarray, *, pixel_px: int) -> float | None:
    """Measures the noise of a source or a result in the near-flat cells of the source.

    Noise is each cell's deviation from its best-fitting plane (a level and two slopes): soft
    gradients do not count. Weak texture counts as noise, unlike in `background_noise`, which has
    the clean image as reference. Compare a result's value with its source's, not with other
    images'.

    Args:
        plane: float [H * pixel_px, W * pixel_px], luma of a source or a result.
        flat: of the source, [H, W], see `flat_cells`.
        pixel_px: side of a source's pixel: 1 for the source, the scale for a result.

    Returns:
        Standard deviation, grey levels; unbiased for white noise in a source, and unchanged by
        upscaling through repeated pixels. None with fewer than 16 flat cells.

    Source:
        Our own.
    """
    if np.count_nonzero(flat) < _MIN_CELLS:
        return None
    side = _CELL_PX * pixel_px
    return _deviation(_pixels_of_cells(plane, flat, side), side)


def _deviation(bands: Iterable[np.ndarray], side: int) -> float:
    """Standard deviation of the pixels of cells, side x side, from each cell's best plane."""
    residual, count = 0.0, 0
    for pixels in bands:
        cells = pixels.reshape(-1, side * side)
        cells = cells - cells.mean(axis=1, keepdims=True)
        along_slopes = cells @ _slopes(side, cells.dtype)
        residual += float(np.vdot(cells, cells) - np.sum(along_slopes**2))
        count += cells.size
    # The fitted plane uses 3 of a source cell's 16 degrees of freedom.
    freedom = 1 - 3 / _CELL_PX**2
    return float(np.sqrt(max(residual / (count * freedom), 0.0)))


@functools.cache
def _slopes(side: int, dtype: np.dtype) -> np.ndarray:
    """The two slopes of a cell, [side * side, 2], of length 1 each."""
    ramp = np.arange(side, dtype=dtype) - (side - 1) / 2
    slopes = np.stack([np.repeat(ramp, side), np.tile(ramp, side)], axis=1)
    slopes /= np.linalg.norm(slopes, axis=0)
    return slopes


def flat_chroma_noise(rgb: np.ndarray, flat: np.ndarray, *, pixel_px: int) -> float | None:
    """Measures the coloured noise of a source or a result: fringes beside print and edges.

    As `flat_noise`, on Cb and Cr: cells that are flat in luma may have colours of their own.

    Args:
        rgb: uint8 [H * pixel_px, W * pixel_px, 3], a source or a result.
        flat: of the source, [H, W], see `flat_cells`.
        pixel_px: side of a source's pixel: 1 for the source, the scale for a result.

    Returns:
        Standard deviation over both planes, grey levels. None with fewer than 16 flat cells.

    Source:
        Our own.
    """
    if np.count_nonzero(flat) < _MIN_CELLS:
        return None
    bands = _pixels_of_cells(rgb, flat, _CELL_PX * pixel_px)
    planes = [chroma(cells.reshape(-1, 3), dtype=np.float32) for cells in bands]
    noise = [_deviation([one[:, k] for one in planes], _CELL_PX * pixel_px) for k in range(2)]
    return float(np.sqrt(np.mean(np.square(noise))))


def flat_grain(plane: np.ndarray, flat: np.ndarray, *, pixel_px: int) -> float | None:
    """Measures the pixel-to-pixel noise in the near-flat cells of a source.

    Upscaled noise of the source is smooth at the scale of the result's pixels; noise added to the
    result is not. This measure detects added noise even if it is weaker than the `flat_noise` of
    the source.

    Args:
        plane: float [H * pixel_px, W * pixel_px], luma of a source or a result.
        flat: of the source, [H, W], see `flat_cells`.
        pixel_px: side of a source's pixel: 1 for the source, the scale for a result.

    Returns:
        Standard deviation of equivalent white noise, grey levels. None with fewer than 16 flat
        cells.

    Source:
        Immerkær, "Fast noise variance estimation", CVIU 1996, in flat cells only.
    """
    if np.count_nonzero(flat) < _MIN_CELLS:
        return None
    total, count = 0.0, 0
    for cells in _pixels_of_cells(plane, flat, _CELL_PX * pixel_px):
        down = cells[:, :-2] - 2 * cells[:, 1:-1] + cells[:, 2:]
        response = down[:, :, :-2] - 2 * down[:, :, 1:-1] + down[:, :, 2:]
        total += float(np.abs(response).sum(dtype=np.float64))
        count += response.size
    return float(total / count * np.sqrt(np.pi / 2) / 6)


def _pixels_of_cells(plane: np.ndarray, chosen: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Yields the pixels of the selected cells, band by band.

    [H, W, ...] and [H // side, W // side] to [N, side, side, ...] for each band, N 1 or more.
    """
    columns = chosen.shape[1]
    for rows in row_bands((chosen.shape[0], columns * side * side)):
        band = plane[rows.start * side : rows.stop * side, : columns * side]
        whole = band.reshape(-1, side, columns, side, *plane.shape[2:]).swapaxes(1, 2)
        cells = whole[chosen[rows]]
        if len(cells):
            yield cells
