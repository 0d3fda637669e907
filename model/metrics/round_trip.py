"""Shrinks a result back to its source's size, to the values of `resampling.shrink`.

For scale 2, which the shipped networks have, in half its time. Away from the image's border the
weights of bicubic are multiples of 1/256, so that float32 holds every sum exactly, in any order:
the products of matrices below give bit by bit what Pillow gives.
"""

import functools

import numpy as np

from model.imaging import resampling

# Of bicubic that halves an image, away from its border.
_WEIGHTS = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float32) / 256
# Pixels that a sum reads beyond the two that it replaces, on both sides together.
_BEYOND_PX = len(_WEIGHTS) - 2
# Results of one product: with more of them most of the matrix is zeros.
_ROWS, _COLUMNS = 16, 8


def shrink(rgb: np.ndarray, scale: int) -> np.ndarray:
    """Shrinks a result to its source's size, but for a border that no measure looks at.

    Args:
        rgb: uint8 [H * scale, W * scale, 3], with H and W above 2 * scale.
        scale: shrinking factor, at least 2.

    Returns:
        float32 [H, W, 3], not rounded; `scale` pixels at each side have no meaning.

    Raises:
        ValueError: if a side is not a multiple of `scale`.

    Example:
        >>> shrink(np.full((20, 30, 3), 7, np.uint8), 2)[2:-2, 2:-2].max()
        np.float32(7.0)
    """
    if scale != 2 or rgb.shape[0] % 2 or rgb.shape[1] % 2:
        return resampling.shrink(rgb, scale)
    shrunk = np.zeros((rgb.shape[0] // 2, rgb.shape[1] // 2, 3), np.float32)
    shrunk[2:-2, 2:-2] = _halve_inside(rgb)
    return shrunk


def _halve_inside(rgb: np.ndarray) -> np.ndarray:
    """Halves uint8 [2 * H, 2 * W, 3] to float32 [H - 4, W - 4, 3]."""
    rows, columns = rgb.shape[0] // 2 - 4, rgb.shape[1] // 2 - 4
    whole_rows, whole_columns = rows + -rows % _ROWS, columns + -columns % _COLUMNS
    read = rgb[1 : 2 * rows + 7, 1 : 2 * columns + 7].reshape(2 * rows + _BEYOND_PX, -1)
    levels = np.zeros(
        (2 * whole_rows + _BEYOND_PX, (2 * whole_columns + _BEYOND_PX) * 3), np.float32
    )
    # Around 0 a sum has at most 24 bits: 8 of the level, and 8 of each direction's weights.
    levels[: read.shape[0], : read.shape[1]] = read.astype(np.float32) - np.float32(128)
    down = _matrix(_ROWS, 1) @ _bands(levels, 0, _ROWS, 1)  # [bands, rows, W * 3]
    down = down.reshape(whole_rows, -1)[:rows]
    across = _bands(down, 1, _COLUMNS, 3) @ _matrix(_COLUMNS, 3).T  # [bands, H, columns * 3]
    shrunk = across.transpose(1, 0, 2).reshape(rows, whole_columns, 3)[:, :columns]
    return shrunk + np.float32(128)


@functools.cache
def _matrix(count: int, planes: int) -> np.ndarray:
    """The matrix that shrinks 2 * count + 6 pixels of interleaved planes to `count`."""
    weights = np.zeros((count, 2 * count + _BEYOND_PX), np.float32)
    for i in range(count):
        weights[i, 2 * i : 2 * i + len(_WEIGHTS)] = _WEIGHTS
    return np.kron(weights, np.eye(planes, dtype=np.float32))


def _bands(levels: np.ndarray, axis: int, count: int, planes: int) -> np.ndarray:
    """Views of [H, W] that overlap, 2 * count + 6 pixels along an axis each: [bands, ...]."""
    view = np.lib.stride_tricks.sliding_window_view(
        levels, (2 * count + _BEYOND_PX) * planes, axis
    )
    if axis == 0:
        return view[:: 2 * count].transpose(0, 2, 1)
    return view[:, :: 2 * count * planes].transpose(1, 0, 2)
