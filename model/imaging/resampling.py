"""Resampling: the bicubic of this project, Lanczos, and rounding to uint8."""

import numpy as np
from PIL import Image


def bicubic(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image with the bicubic kernel a = -0.5, anti-aliased when it shrinks.

    Pillow's resampling at float precision. The kernel equals MATLAB's `imresize`, with which
    the published super-resolution benchmarks were made; at the border Pillow renormalises the
    weights where MATLAB mirrors the image.

    Args:
        pixels: [H, W] or [H, W, K], uint8 or float, any range.
        height: rows of the result, at least 1.
        width: columns of the result, at least 1.

    Returns:
        float32 [height, width] or [height, width, K] in the range of the input, not rounded;
        it may overshoot that range beside strong edges.

    Raises:
        ValueError: if a size is below 1 or the input is empty.

    Source:
        Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -0.5.
    """
    return _resize("bicubic", Image.Resampling.BICUBIC, pixels, height, width)


def lanczos(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image with the Lanczos kernel of three lobes, anti-aliased when it shrinks.

    Pillow's resampling at float precision, as in `bicubic`: sharper, with more ringing beside
    strong edges. It shrinks results to a target size and is a baseline of evaluations; LR images
    come from `bicubic`.

    Args:
        pixels: [H, W] or [H, W, K], uint8 or float, any range.
        height: rows of the result, at least 1.
        width: columns of the result, at least 1.

    Returns:
        float32 [height, width] or [height, width, K] in the range of the input, not rounded;
        it overshoots that range beside strong edges.

    Raises:
        ValueError: if a size is below 1 or the input is empty.

    Source:
        Duchon, "Lanczos filtering in one and two dimensions", 1979; Pillow's `Resampling.LANCZOS`.
    """
    return _resize("lanczos", Image.Resampling.LANCZOS, pixels, height, width)


def _resize(
    name: str, kernel: Image.Resampling, pixels: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Resamples each plane by Pillow at float precision; `name` is for the error."""
    if height < 1 or width < 1 or pixels.size == 0:
        raise ValueError(
            f"{name} needs a non-empty image and a size of at least 1 x 1. "
            f"Received: shape {pixels.shape} to {width} x {height}"
        )
    planes = np.atleast_3d(pixels)
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(planes[..., k], dtype=np.float32)).resize(
                (width, height), kernel
            )
        )
        for k in range(planes.shape[2])
    ]
    return resized[0] if pixels.ndim == 2 else np.stack(resized, axis=-1)


def shrink(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Shrinks an image by an integer scale: HR to LR.

    Args:
        pixels: [H, W] or [H, W, K], uint8 or float; H and W multiples of `scale`.
        scale: shrinking factor, at least 1.

    Returns:
        float32 [H / scale, W / scale] or [H / scale, W / scale, K], not rounded.

    Raises:
        ValueError: if a side is not a multiple of `scale`: use `crop_to_multiple` first.
    """
    height, width = pixels.shape[:2]
    if height % scale or width % scale:
        raise ValueError(
            f"shrink needs sides that are multiples of the scale {scale}. "
            f"Received: {width} x {height}"
        )
    return bicubic(pixels, height // scale, width // scale)


def crop_to_multiple(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Crops the lower and right border until the sides are multiples of `scale`.

    Args:
        pixels: [H, W, ...], any dtype.
        scale: at least 1.

    Returns:
        A view of shape [H - H % scale, W - W % scale, ...].
    """
    height, width = pixels.shape[:2]
    return pixels[: height - height % scale, : width - width % scale]


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Rounds grey levels to the nearest uint8.

    `astype(uint8)` alone truncates: half a level darker on average, and wrapped around where an
    edge overshoots.

    Args:
        pixels: float, any shape, nominally 0..255.

    Returns:
        uint8 of the same shape, clipped to 0..255.
    """
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
