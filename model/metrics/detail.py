"""Measures of the finest detail: how much a source has, and how far a result contradicts it.

A source that was sharpened, or shrunk without a filter, has more detail near the Nyquist frequency
than the softly shrunk ones from which networks learn. Numpy only.
"""

import math

import numpy as np

from model.metrics import full_reference

# A flat image has no detail to speak of: rounding alone reaches a tenth of this.
_MIN_ENERGY = 0.05


def nyquist_ratio(luma: np.ndarray) -> float | None:
    """Compares the detail near the Nyquist frequency with that at half of it.

    Args:
        luma: float [H, W], grey levels.

    Returns:
        Energy of second differences over that of central differences, each of a peak response of
        1: high for a source that was sharpened or shrunk without a filter, and for fine texture;
        low for one out of focus. None for a flat image, or one below 3 x 3.

    Source:
        Our own.
    """
    if min(luma.shape) < 3:
        return None
    middle = sum(
        float(np.square((plane[2:] - plane[:-2]) / 2).mean(dtype=np.float64))
        for plane in (luma, luma.T)
    )
    return _finest_energy(luma) / middle if middle >= 1 else None


def edge_steepness(luma: np.ndarray) -> float | None:
    """Measures how steep the edges of an image are, its flat parts left out.

    Args:
        luma: float [H, W], grey levels.

    Returns:
        Grey levels from one pixel to the next: root of the mean square of the gradient, each
        pixel weighted by that square. None for a flat image, or one below 3 x 3.

    Source:
        Our own.
    """
    if min(luma.shape) < 3:
        return None
    squared = np.square(luma[1:-1, 2:] - luma[1:-1, :-2])
    squared += np.square(luma[2:, 1:-1] - luma[:-2, 1:-1])
    total = float(squared.sum(dtype=np.float64)) / 4
    if total < squared.size:
        return None
    return math.sqrt(float(np.square(squared).sum(dtype=np.float64)) / 16 / total)


def detail_error(luma: np.ndarray, error: np.ndarray, removed_noise: float) -> float | None:
    """Compares the round-trip error of a result with the finest detail of its source.

    Near 0, the network takes every detail for true. Without compression noise to remove, values
    from 0.05 on mean that it takes some for sharpening or aliasing, and from 0.4 on that it has
    undone a strong sharpening.

    Args:
        luma: float [H, W], of the source.
        error: float [H, W], luma of the result shrunk to the source's size less the source's.
        removed_noise: standard deviation of the error in the flat background, grey levels: noise
            that the network removes, there as everywhere, is no detail.

    Returns:
        Energy of the other error over that of the source's second differences; None for a flat
        image, or one below 3 x 3.

    Source:
        Our own.
    """
    if min(luma.shape) < 3:
        return None
    finest = _finest_energy(luma)
    if finest < _MIN_ENERGY:
        return None
    energy = float(np.square(error).mean(dtype=np.float64)) - removed_noise**2
    return max(0.0, energy) / finest


def most_detailed_window(rgb: np.ndarray, side: int) -> np.ndarray:
    """Selects the part of an image with the largest steps between neighbours.

    Args:
        rgb: uint8 [H, W, 3].
        side: of the part, pixels.

    Returns:
        uint8 [min(side, H), min(side, W), 3], a view.
    """
    luma = full_reference.luma(rgb, dtype=np.float32)
    steps = np.abs(luma[:-1, :-1] - luma[1:, :-1]) + np.abs(luma[:-1, :-1] - luma[:-1, 1:])
    height, width = min(side, rgb.shape[0]), min(side, rgb.shape[1])
    by_corner = full_reference.window_sums(np.pad(steps, ((0, 1), (0, 1))), height, width)
    top, left = np.unravel_index(by_corner.argmax(), by_corner.shape)
    return rgb[top : top + height, left : left + width]


def finest_detail_ratio(found: np.ndarray, expected: np.ndarray) -> float:
    """Compares the finest detail of two images of one size.

    Args:
        found, expected: float [H, W], luma, grey levels, sides at least 3.

    Returns:
        log2 of the ratio of amplitudes; near 0 where both are nearly flat.

    Source:
        Our own.
    """
    energies = [_finest_energy(luma) + _MIN_ENERGY for luma in (found, expected)]
    return 0.5 * math.log2(energies[0] / energies[1])


def common_detail_ratio(found: np.ndarray, expected: np.ndarray) -> float:
    """Compares the finest detail that two images of one size have in common.

    Noise that only one of them has changes it little: it is the slope of the regression of the
    second differences of `found` on those of `expected`.

    Args:
        found, expected: float [H, W], luma, grey levels, sides at least 3.

    Returns:
        log2 of the ratio of amplitudes; near 0 where both are nearly flat.

    Source:
        Our own.
    """
    products = sum(
        float((_second_differences(a) * _second_differences(b)).mean(dtype=np.float64))
        for a, b in ((found, expected), (found.T, expected.T))
    )
    common = max(0.0, products) + _MIN_ENERGY
    return math.log2(common / (_finest_energy(expected) + _MIN_ENERGY))


def _finest_energy(luma: np.ndarray) -> float:
    """Mean square of second differences, rows plus columns; a checkerboard of +-1 has 2."""
    return sum(
        float(np.square(_second_differences(plane)).mean(dtype=np.float64))
        for plane in (luma, luma.T)
    )


def _second_differences(plane: np.ndarray) -> np.ndarray:
    """Between rows, of a peak response of 1: [H, W] becomes [H - 2, W]."""
    return (plane[:-2] - 2 * plane[1:-1] + plane[2:]) / 4
