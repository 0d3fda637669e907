"""Kernels with which shops shrink their images."""

import functools
from collections.abc import Callable

import numpy as np

from model.imaging import resampling

# OpenCV's INTER_CUBIC, and PyTorch's and the browsers' bicubic.
_ALIASED_A = -0.75
# The intermediate size of the kernel `area`, share of the side: no integer ratio on either way.
_AREA_STOPOVER = 0.7
Resize = Callable[[np.ndarray, int, int], np.ndarray]


def _by_weights(weights: Callable[[int, int], np.ndarray]) -> Resize:
    """A resize function from the weights [new length, length] of one axis."""
    cached = functools.lru_cache(maxsize=64)(weights)

    def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
        rows = cached(pixels.shape[0], height).astype(np.float32)
        columns = cached(pixels.shape[1], width).astype(np.float32)
        down = np.tensordot(rows, pixels.astype(np.float32), axes=1)  # [height, W, 3]
        return np.tensordot(columns, down, axes=(1, 1)).transpose(1, 0, 2)

    return resize


def _distances(length: int, new_length: int) -> tuple[np.ndarray, float]:
    """Distances [new_length, length] between pixel centres, old pixels; and the zoom."""
    zoom = length / new_length
    centers = (np.arange(new_length) + 0.5) * zoom - 0.5
    return np.arange(length)[None] - centers[:, None], zoom


def _normalized(weights: np.ndarray) -> np.ndarray:
    """Each row sums to 1."""
    return weights / weights.sum(axis=1, keepdims=True)


def _bilinear_weights(length: int, new_length: int) -> np.ndarray:
    distance, zoom = _distances(length, new_length)
    return _normalized(np.maximum(0, 1 - np.abs(distance) / max(zoom, 1)))


def _box_weights(length: int, new_length: int) -> np.ndarray:
    """Pixels whose centre lies in the box count fully, as in Pillow and ImageMagick."""
    distance, zoom = _distances(length, new_length)
    x = distance / max(zoom, 1)
    return _normalized(((x > -0.5) & (x <= 0.5)).astype(np.float64))


def _area_weights(length: int, new_length: int) -> np.ndarray:
    """Exact areas, by way of an odd intermediate size: OpenCV's INTER_AREA, GD, browsers."""
    stopover = max(new_length, round(length * _AREA_STOPOVER))
    return _overlap(stopover, new_length) @ _overlap(length, stopover)


def _overlap(length: int, new_length: int) -> np.ndarray:
    """How much of each old pixel lies in each new one; rows sum to 1."""
    edges = np.arange(new_length + 1) * (length / new_length)
    old = np.arange(length)
    common = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return _normalized(np.maximum(common, 0))


def _nearest_weights(length: int, new_length: int) -> np.ndarray:
    """The pixel at the centre: Pillow, ImageMagick's -sample."""
    return np.eye(length)[(2 * np.arange(new_length) + 1) * length // (2 * new_length)]


def _corner_weights(length: int, new_length: int) -> np.ndarray:
    """The pixel at the upper left corner: OpenCV's INTER_NEAREST, GD's imagecopyresized."""
    return np.eye(length)[np.arange(new_length) * length // new_length]


def _aliased_weights(length: int, new_length: int) -> np.ndarray:
    """Four taps of Keys' kernel, however much the image shrinks."""
    distance = np.abs(_distances(length, new_length)[0])
    a = _ALIASED_A
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return _normalized(np.where(distance <= 1, near, np.where(distance < 2, far, 0.0)))


# Each maps [H, W, 3] of any range to float32 [height, width, 3], not rounded.
KERNELS: dict[str, Resize] = {
    "bicubic": resampling.bicubic,
    "lanczos": resampling.lanczos,
    "bilinear": _by_weights(_bilinear_weights),
    "box": _by_weights(_box_weights),
    "area": _by_weights(_area_weights),
    "nearest": _by_weights(_nearest_weights),
    "corner": _by_weights(_corner_weights),
    "aliased": _by_weights(_aliased_weights),
}
