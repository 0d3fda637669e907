"""Overshoot and sharpness at the edges of a source: what noise and compression hardly change.

Numpy only. `pipeline.compare` judges by them beside the measures of the rows; `docs/measures.md`
describes their use.
"""

import numpy as np

# An edge: luma that spans so many grey levels within the window. Compression noise spans less.
_WINDOW_PX = 5
_EDGE_RANGE = 32.0
# A mean over fewer pixels has no meaning.
_MIN_EDGE_PX = 64


def overshoot(source: np.ndarray, result: np.ndarray) -> float | None:
    """Measures the halos beside edges: how far the result leaves the source's range there.

    Thin lines that a network sharpens correctly leave that range as well: compare the values of
    two results of one image, not those of two images.

    Args:
        source: float [H, W], its luma.
        result: float [h, w], luma of the result; h >= H and w >= W.

    Returns:
        Grey levels, 0 or more: the mean over all source pixels within 2 pixels of an edge of the
        result's largest distance from the range of the 5 x 5 source pixels around. None for an
        image with fewer than 64 such pixels.

    Source:
        Our own.

    Example:
        >>> step = np.repeat([[50.0] * 8 + [150.0] * 8], 16, axis=0)
        >>> doubled = step.repeat(2, axis=0).repeat(2, axis=1)
        >>> overshoot(step, doubled), overshoot(step, doubled * 1.1) > 5
        (0.0, True)
    """
    low, high = _local_range(source)
    is_near = high - low >= _EDGE_RANGE
    if np.count_nonzero(is_near) < _MIN_EDGE_PX:
        return None
    above = _largest(result, source.shape) - high
    below = low + _largest(-result, source.shape)
    excess = np.maximum(np.maximum(above, below), 0.0)
    return float(excess[is_near].mean())


def edge_sharpness(source: np.ndarray, bicubic: np.ndarray, result: np.ndarray) -> float | None:
    """Compares the steepness of a result's edges with bicubic's.

    Unlike `no_reference.sharpness_ratio`, it looks at strong edges only: noise and its removal
    hardly change it, a blurred result does.

    Args:
        source: float [H, W], its luma.
        bicubic: float [h, w], the source's luma upscaled by bicubic; h >= H and w >= W.
        result: float [h, w], luma of the result.

    Returns:
        Ratio of the mean of the steepest steps at edges: 1 is as soft as bicubic. None for an
        image with fewer than 64 pixels within 2 pixels of an edge.

    Source:
        Our own.
    """
    low, high = _local_range(source)
    is_near = high - low >= _EDGE_RANGE
    if np.count_nonzero(is_near) < _MIN_EDGE_PX:
        return None
    # The steep middle of an edge decides, not its soft feet.
    expected = _steepest(bicubic, source.shape)[is_near]
    found = _steepest(result, source.shape)[is_near]
    is_steep = expected >= np.quantile(expected, 0.5)
    return float(found[is_steep].mean() / expected[is_steep].mean())


def _steepest(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The largest step to the pixel below or right within each source pixel: [H, W]."""
    steps = np.zeros_like(plane)
    down, right = np.abs(np.diff(plane, axis=0)), np.abs(np.diff(plane, axis=1))
    steps[:-1] = down
    steps[:, :-1] = np.maximum(steps[:, :-1], right)
    return _largest(steps, shape)


def _largest(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The largest value of [h, w] within each source pixel: [H, W].

    At a ratio that is no whole number the source pixels hold different numbers of pixels:
    3 and 2 in turn at 2.5.
    """
    for axis in (0, 1):
        source_px, px = shape[axis], plane.shape[axis]
        starts = (2 * px * np.arange(source_px) + source_px) // (2 * source_px)  # rounded
        plane = np.maximum.reduceat(plane, starts, axis=axis)
    return plane


def _local_range(source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest of the 5 x 5 pixels around each pixel of [H, W], twice [H, W]."""
    low = high = np.pad(source, _WINDOW_PX // 2, mode="edge")
    for axis in (0, 1):
        stop = source.shape[axis]
        below = [low.take(range(i, i + stop), axis) for i in range(_WINDOW_PX)]
        above = [high.take(range(i, i + stop), axis) for i in range(_WINDOW_PX)]
        low, high = np.minimum.reduce(below), np.maximum.reduce(above)
    return low, high
