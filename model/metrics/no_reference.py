"""No-reference quality measures: compare a result with its source only. Numpy only.

`docs/measures.md` describes their use and typical values.
"""

import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from model.metrics.full_reference import chroma, row_bands

# JPEG codes 8 x 8 pixels at a time (ITU-T T.81, section 4.3).
_JPEG_BLOCK_PX = 8
# Flatter planes have neither blocks nor sharpness: rounding errors are larger than this.
_MIN_STEP = 0.05
_MIN_LAPLACIAN_VARIANCE = 1.0

# Compression noise lies in the JPEG blocks with an edge; a cell of half a block fits beside the
# edge inside such a block.
_CELL_PX = 4
_CELL_RANGE = 10.0
_MIN_CELLS = 16

# Source levels nearer to 0 or 255 count as clipped in the source.
_CLIPPING_MARGIN = 8

# Windows for local differences, in cells of 8 x 8 pixels; one window at every cell.
_WINDOW_CELL_PX = 8
_DRIFT_CELLS = 2
_SHIFT_CELLS = 4
# Gradients below 2 grey levels do not reveal a shift.
_TEXTURELESS = 2.0**2


def laplacian_variance(plane: np.ndarray) -> float:
    """Computes the variance of the discrete Laplacian, a measure of fine detail.

    Args:
        plane: float [H, W], sides at least 3.

    Returns:
        Squared grey levels, 0 or more.

    Source:
        Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative
        study", ICPR 2000; the four-neighbour kernel.
    """
    above, here, below = plane[:-2, 1:-1], plane[1:-1], plane[2:, 1:-1]
    total = squares = 0.0
    for rows in row_bands(above.shape):
        response = here[rows, :-2] + here[rows, 2:]
        response += above[rows]
        response += below[rows]
        response -= 4 * here[rows, 1:-1]
        flat = response.ravel().astype(np.float64)
        total += flat.sum()
        squares += flat @ flat
    return float(squares / above.size - (total / above.size) ** 2)


def sharpness_ratio(bicubic: np.ndarray, result: np.ndarray) -> float | None:
    """Compares the fine detail of a result with that of bicubic.

    Args:
        bicubic: float [H, W], the source's luma upscaled by bicubic.
        result: float [H, W], the result's luma.

    Returns:
        Ratio of the two variances of the Laplacian: 1 equals bicubic, below 1 is softer, above 1
        sharper or noisier. None if bicubic has almost no detail (a flat image), or if the planes
        are smaller than 3 x 3.

    Source:
        Our own ratio of `laplacian_variance`.
    """
    if min(bicubic.shape) < 3:
        return None
    expected = laplacian_variance(bicubic)
    if expected < _MIN_LAPLACIAN_VARIANCE:
        return None
    return laplacian_variance(result) / expected


def blockiness(plane: np.ndarray, *, pixel_px: int) -> float | None:
    """Compares the steps across the boundaries of JPEG blocks with the steps inside blocks.

    Uses only steps from one pixel of the source to the next: in an upscaled image these are
    `pixel_px` apart, and the steps in between are smoother, with or without blocks.

        pixel_px 1    0  1  2  3  4  5  6  7 | 8  9
        pixel_px 2    00 11 22 33 44 55 66 77|88 99      steps inside a pair are excluded

    Args:
        plane: float [H, W], luma of a source or a result, whose JPEG grid starts at its upper
            left corner (not true of images rotated or cropped after compression).
        pixel_px: side of a source's pixel: 1 for the source, the scale for a result.

    Returns:
        Mean absolute step across the boundaries over the mean of all other steps: about 1
        without blocks. None if the image is flat or too small for a boundary.

    Source:
        Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed
        images", ICIP 2002: their B over their A, rows and columns together; the last boundary
        counts too.
    """
    across = within = 0.0
    across_count = within_count = 0
    for axis in (0, 1):
        lines = np.moveaxis(plane, axis, 0)
        firsts = lines[pixel_px::pixel_px]
        steps = np.abs(firsts - lines[pixel_px - 1 :: pixel_px][: len(firsts)])
        is_boundary = np.arange(1, len(firsts) + 1) % _JPEG_BLOCK_PX == 0
        per_line = steps.sum(axis=1, dtype=np.float64)
        across += per_line[is_boundary].sum()
        within += per_line[~is_boundary].sum()
        across_count += steps[is_boundary].size
        within_count += steps[~is_boundary].size
    if not across_count or within < _MIN_STEP * within_count:
        return None
    return float(across / across_count / (within / within_count))


def flat_cells(source: np.ndarray) -> np.ndarray:
    """Finds the near-flat cells of a source, in which noise is visible.

    Args:
        source: float [H, W], its luma.

    Returns:
        bool [H // 4, W // 4]: cells of 4 x 4 pixels that span 10 grey levels at most, like
        background with compression noise, but without edge or texture.
    """
    return _in_cells(np.max, source, _CELL_PX) - _in_cells(np.min, source, _CELL_PX) <= _CELL_RANGE


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


def clipped_share(source: np.ndarray, result: np.ndarray, *, scale: int) -> float:
    """Computes the share of the source's pixels that clip only in the result.

    Args:
        source: uint8 [H, W, 3].
        result: uint8 [H * scale, W * scale, 3].
        scale: of the network.

    Returns:
        0..1: share of source pixels with a channel that reaches 0 or 255 in the corresponding
        scale x scale result pixels and stays more than 8 grey levels away from that end in the
        3 x 3 source pixels around. White background and edges to it do not count.

    Source:
        Our own.
    """
    framed = np.pad(source, ((1, 1), (1, 1), (0, 0)), mode="edge")
    is_below_white = _reduce_3x3(np.maximum, framed) < 255 - _CLIPPING_MARGIN
    is_above_black = _reduce_3x3(np.minimum, framed) > _CLIPPING_MARGIN
    clipped = np.zeros(source.shape[:2], bool)
    highest = _reduce_blocks(np.maximum, result, scale)
    lowest = _reduce_blocks(np.minimum, result, scale)
    # Channel by channel: numpy is slow along an axis of three.
    step = scale * source.shape[2]
    for k in range(source.shape[2]):
        clipped |= (highest[:, k::step] == 255) & is_below_white[..., k]
        clipped |= (lowest[:, k::step] == 0) & is_above_black[..., k]
    return float(clipped.mean())


def channel_drift(error: np.ndarray) -> float:
    """Computes the largest change of a channel's mean over the whole image.

    Args:
        error: float [H, W, 3], the result shrunk to the source's size less the source.

    Returns:
        Grey levels, 0 or more. Noise and its removal average out.
    """
    return float(np.abs(error.mean(axis=0).mean(axis=0)).max())


def block_drift(error: np.ndarray) -> float | None:
    """Computes the largest change of brightness in a block of 16 x 16 pixels.

    Detects a foreign or missing tile. Uses luma only: JPEG stores colours coarsely, and correct
    noise removal changes them by several grey levels over such blocks.

    Args:
        error: float [H, W], luma of the result shrunk to the source's size less the source's.

    Returns:
        Grey levels, 0 or more: the largest absolute mean over windows of 16 x 16 pixels, 8
        apart (the whole image if it is smaller). None below 8 x 8 pixels.
    """
    means = _window_means(error, _DRIFT_CELLS)
    return float(np.abs(means).max()) if means.size else None


def block_shift(source: np.ndarray, error: np.ndarray) -> float | None:
    """Estimates the largest displacement of a block of 32 x 32 pixels.

    Detects wrongly joined tiles. An image that moves by d changes by about -d times its gradient:
    the estimate is the least-squares d, with a ridge that pulls it to zero without texture.
    Removing noise changes an image without moving it.

    Args:
        source: float [H, W], its luma.
        error: float [H, W], luma of the result shrunk to the source's size less the source's.

    Returns:
        Pixels of the source, 0 or more: the largest over windows of 32 x 32 pixels, 8 apart (the
        whole image if it is smaller). Values above about 1 are only a lower bound. None below
        8 x 8 pixels.

    Source:
        Lucas and Kanade, "An iterative image registration technique with an application to
        stereo vision", IJCAI 1981: one step, with a ridge added to the matrix.
    """
    gradient_y, gradient_x = np.zeros_like(source), np.zeros_like(source)
    gradient_y[1:-1] = (source[2:] - source[:-2]) / 2
    gradient_x[:, 1:-1] = (source[:, 2:] - source[:, :-2]) / 2
    yy = _window_means(gradient_y * gradient_y, _SHIFT_CELLS) + _TEXTURELESS
    xx = _window_means(gradient_x * gradient_x, _SHIFT_CELLS) + _TEXTURELESS
    yx = _window_means(gradient_y * gradient_x, _SHIFT_CELLS)
    ey = _window_means(gradient_y * error, _SHIFT_CELLS)
    ex = _window_means(gradient_x * error, _SHIFT_CELLS)
    if not yy.size:
        return None
    determinant = yy * xx - yx**2
    down = (ey * xx - ex * yx) / determinant
    right = (ex * yy - ey * yx) / determinant
    return float(np.hypot(down, right).max())


def _window_means(plane: np.ndarray, max_cells: int) -> np.ndarray:
    """Means of [H, W] over windows of up to `max_cells` cells a side, one at every cell."""
    means = _in_cells(np.mean, plane, _WINDOW_CELL_PX)
    if not means.size:
        return means
    window = tuple(min(max_cells, side) for side in means.shape)
    return np.lib.stride_tricks.sliding_window_view(means, window).mean(axis=(2, 3))


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


def _in_cells(reduce: Callable[..., np.ndarray], plane: np.ndarray, side: int) -> np.ndarray:
    """Reduces [H, W] to one value for each whole cell: [H // side, W // side]."""
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    whole = plane[: rows * side, : columns * side].reshape(rows, side, columns * side)
    return reduce(reduce(whole, axis=1).reshape(rows, columns, side), axis=2)


def _reduce_blocks(reduce: Callable[..., np.ndarray], rgb: np.ndarray, scale: int) -> np.ndarray:
    """`np.maximum` or `np.minimum` of scale x scale pixels: [H, W, K] to [H / scale, ...].

    Along a row of interleaved channels, K * scale values apart, lie the results of one channel;
    the values between them have no meaning.
    """
    down = functools.reduce(reduce, (rgb[i::scale] for i in range(scale)))
    row, channels = down.reshape(len(down), -1), rgb.shape[2]
    length = row.shape[1] - (scale - 1) * channels
    shifted = (row[:, i * channels :][:, :length] for i in range(scale))
    return functools.reduce(reduce, shifted)


def _reduce_3x3(reduce: Callable[..., np.ndarray], framed: np.ndarray) -> np.ndarray:
    """`np.maximum` or `np.minimum` of 3 x 3 pixels: [H + 2, W + 2, K] to [H, W, K]."""
    down = reduce(reduce(framed[:-2], framed[1:-1]), framed[2:])
    return reduce(reduce(down[:, :-2], down[:, 1:-1]), down[:, 2:])
