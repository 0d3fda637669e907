"""No-reference quality measures: compare a result with its source only. Numpy only.

`docs/measures.md` describes their use and typical values.
"""

import functools
from collections.abc import Callable

import numpy as np

from model.metrics.full_reference import reduce_cells, row_bands

# JPEG codes 8 x 8 pixels at a time (ITU-T T.81, section 4.3).
_JPEG_BLOCK_PX = 8
# Flatter planes have neither blocks nor sharpness: rounding errors are larger than this.
_MIN_STEP = 0.05
_MIN_LAPLACIAN_VARIANCE = 1.0

# Source levels nearer to 0 or 255 count as clipped in the source.
_CLIPPING_MARGIN = 8

# Windows for local differences, in cells of 8 x 8 pixels; one window at every cell.
_WINDOW_CELL_PX = 8
_DRIFT_CELLS = 2
# Change of a block's mean that removing noise explains, over the deviation of its changes.
_EXPLAINED_DRIFT = 0.15
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
    noise removal changes them by several grey levels over such blocks. In a block of print, which
    compression and sharpening change from pixel to pixel, their removal also moves the mean: by up
    to a third of the error's standard deviation there. A tile of another brightness has a mean
    error without such a deviation.

    Args:
        error: float [H, W], luma of the result shrunk to the source's size less the source's.

    Returns:
        Grey levels, 0 or more: the largest absolute mean over windows of 16 x 16 pixels, 8
        apart (the whole image if it is smaller), less 0.15 of the window's standard deviation.
        None below 8 x 8 pixels.
    """
    means = _window_means(error, _DRIFT_CELLS)
    if not means.size:
        return None
    variances = _window_means(np.square(error), _DRIFT_CELLS) - np.square(means)
    explained = _EXPLAINED_DRIFT * np.sqrt(np.maximum(variances, 0))
    return max(0.0, float((np.abs(means) - explained).max()))


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
    means = reduce_cells(np.mean, plane, _WINDOW_CELL_PX)
    if not means.size:
        return means
    window = tuple(min(max_cells, side) for side in means.shape)
    return np.lib.stride_tricks.sliding_window_view(means, window).mean(axis=(2, 3))


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
