"""How a source was sharpened, as the network itself sees it."""

from typing import TYPE_CHECKING

import numpy as np

from model.imaging import resampling
from model.imaging.image import RasterImage
from model.metrics import detail, full_reference

if TYPE_CHECKING:  # it imports TensorFlow
    from model.inference.upscaler import Upscaler

_WINDOW_PX = 96
_MIN_SIDE_PX = 16
# Knowing nothing, a network takes away less than there is.
_TRUE_OF_SEEN = 1.15
_MOST = 0.9
# Of an uncompressed source a smaller value is no sign: sharpened images out of focus have it, too.
_LEAST_UNCOMPRESSED = 0.15
_COMPRESSED_BELOW = 97
# Of a compressed one: up to the first, what the network takes away is compression noise; from the
# second on it counts in full. Stronger compression than the quality leaves less to undo.
_NOISE = (0.1, 0.4)
_FULL_QUALITY = 75


def see_sharpening(upscaler: "Upscaler", source: RasterImage, jpeg_quality: int) -> float | None:
    """Measures how a source was sharpened: by what the network takes away from it.

    The few pixels that decide one pixel of the result hardly show whether an image was sharpened,
    and a network that must guess hedges. A block of the image shows it, the one with the most
    detail. `docs/training.md` says how the constants were chosen.

    Args:
        upscaler: the network.
        source: of any size.
        jpeg_quality: 1..100, with which it was compressed; 100 if it was not.

    Returns:
        log2, see `Recipe.sharpening`, to tell the network: 0 for a compressed source that does not
        look sharpened, up to 0.9. None for an uncompressed one that does not, for a network that
        cannot be told, and for a source too small to show it.

    Raises:
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    if not upscaler.knows_sharpening or min(source.height, source.width) < _MIN_SIDE_PX:
        return None
    block = np.ascontiguousarray(detail.most_detailed_window(source.bled(), _WINDOW_PX))
    seen = taken_away(upscaler, block, jpeg_quality)
    if jpeg_quality >= _COMPRESSED_BELOW:
        return min(_TRUE_OF_SEEN * seen, _MOST) if seen >= _LEAST_UNCOMPRESSED else None
    start, end = _NOISE
    seen = max(0.0, min(seen, (seen - start) * end / (end - start)))
    return min(_TRUE_OF_SEEN * seen, _MOST * min(1.0, jpeg_quality / _FULL_QUALITY))


def taken_away(upscaler: "Upscaler", rgb: np.ndarray, jpeg_quality: int) -> float:
    """Measures how much weaker the finest detail of an image is after the network.

    Args:
        upscaler: a network that was trained on sharpened images.
        rgb: uint8 [H, W, 3], sides at least 3.
        jpeg_quality: 1..100, with which it was compressed; 100 if it was not.

    Returns:
        log2 of the amplitude of the image's finest detail over that of the result, shrunk again,
        of what both have in common; near 0 for an image that is not sharpened.

    Raises:
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    result = upscaler.upscale_rgb(rgb, jpeg_quality=jpeg_quality)
    clean = resampling.to_uint8(resampling.bicubic(result, *rgb.shape[:2]))
    return detail.common_detail_ratio(full_reference.luma(rgb), full_reference.luma(clean))
