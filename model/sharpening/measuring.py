"""Measures how one thumbnail was sharpened: from its original, or by what a network takes away."""

from typing import TYPE_CHECKING

import numpy as np

from model.data import degradation
from model.data.patches import variation
from model.imaging import resampling
from model.inference.seen_sharpening import taken_away
from model.metrics import full_reference
from model.metrics.detail import finest_detail_ratio

if TYPE_CHECKING:  # it imports TensorFlow, which pairs need not wait for
    from model.inference.upscaler import Upscaler

# It sees sharpening best of the shipped networks.
ESTIMATED_BY = "rdn-large"
_MIN_SCALE = 2
_MIN_SIDE_PX = 16
# Flatter images, in grey levels, have too little detail to compare.
_MIN_VARIATION = 3.0
# Of the luma of a thumbnail and its shrunk original: sharpening and JPEG leave more.
_MIN_CORRELATION = 0.8


class UnmeasurableError(ValueError):
    """A thumbnail, or a pair, that does not show how it was sharpened.

    Example:
        raise UnmeasurableError("it is too flat to measure")
    """


def measure(thumbnail: np.ndarray, original: np.ndarray, jpeg_quality: int) -> float:
    """Compares the finest detail of a thumbnail with that after anti-aliased bicubic.

    Args:
        thumbnail: uint8 [h, w, 3], sides at least 16.
        original: uint8 [H, W, 3] of the same content, at least twice as large.
        jpeg_quality: 1..100, of the thumbnail; 100 if it was not compressed. What is compared with
            it is compressed as strongly.

    Returns:
        log2 of the ratio of amplitudes; 0 for a thumbnail that anti-aliased bicubic made.

    Raises:
        UnmeasurableError: if the thumbnail is too small or too flat, or the original is not at
            least twice as large, of other proportions or of other content.
    """
    height, width = thumbnail.shape[:2]
    _check_size(thumbnail)
    scales = original.shape[0] / height, original.shape[1] / width
    # Rounding moves each side of the thumbnail by half a pixel.
    if min(scales) < _MIN_SCALE or abs(scales[0] / scales[1] - 1) > 1 / min(height, width):
        raise UnmeasurableError(
            f"its original is {original.shape[1]} x {original.shape[0]}, itself {width} x "
            f"{height}: an original has the same proportions and at least twice the size"
        )
    plain = resampling.to_uint8(resampling.bicubic(original, height, width))
    _check_detail(thumbnail, plain)
    if jpeg_quality < 100:
        plain = degradation.compress_jpeg(plain, jpeg_quality)
    luma, plain_luma = full_reference.luma(thumbnail), full_reference.luma(plain)
    if np.corrcoef(luma.ravel(), plain_luma.ravel())[0, 1] < _MIN_CORRELATION:
        raise UnmeasurableError("its original shows something else, or another part of it")
    return finest_detail_ratio(luma, plain_luma)


def estimate(thumbnail: np.ndarray, jpeg_quality: int, upscaler: "Upscaler") -> float:
    """Measures what a network takes away from a thumbnail as sharpening.

    From an image that hardly shows how it was sharpened the network takes less: many images are
    needed. A network never takes a softer kernel for one.

    Args:
        thumbnail: uint8 [H, W, 3], sides at least 16.
        jpeg_quality: 1..100, of the thumbnail; 100 if it was not compressed.
        upscaler: of a network that was trained on sharpened images.

    Returns:
        log2 of the amplitude of the thumbnail's finest detail over that of the upscaled image,
        shrunk again, of what both have in common; near 0 for a thumbnail that is not sharpened.

    Raises:
        UnmeasurableError: if the thumbnail is too small or too flat.
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    _check_size(thumbnail)
    _check_detail(thumbnail)
    return taken_away(upscaler, thumbnail, jpeg_quality)


def _check_size(thumbnail: np.ndarray) -> None:
    height, width = thumbnail.shape[:2]
    if min(height, width) < _MIN_SIDE_PX:
        raise UnmeasurableError(
            f"{width} x {height} pixels are too few: at least {_MIN_SIDE_PX} a side"
        )


def _check_detail(*images: np.ndarray) -> None:
    if min(variation(image) for image in images) < _MIN_VARIATION:
        raise UnmeasurableError("it is too flat to measure")
