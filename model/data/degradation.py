"""Degradations that make realistic LR images."""

import io

import numpy as np
from PIL import Image, ImageFilter


def compress_jpeg(rgb: np.ndarray, quality: int, *, subsampling: str = "4:2:0") -> np.ndarray:
    """Sends an image through JPEG, as a shop that saves it would.

    Args:
        rgb: uint8 [H, W, 3].
        quality: libjpeg's setting, 1..100.
        subsampling: of the colours, `4:4:4`, `4:2:2` or `4:2:0`.

    Returns:
        uint8 [H, W, 3] with the compression's noise.

    Source:
        ITU-T T.81, by libjpeg-turbo.
    """
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(buffer) as image:
        return np.asarray(image)


def blur(rgb: np.ndarray, sigma_px: float) -> np.ndarray:
    """Blurs an image as a soft lens or a careless enlargement does.

    Args:
        rgb: uint8 [H, W, 3].
        sigma_px: standard deviation of the Gaussian, pixels; 0 leaves the image as it is.

    Returns:
        uint8 [H, W, 3]; Pillow approximates the Gaussian by three box filters.
    """
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma_px)))


def add_noise(
    pixels: np.ndarray, sigma_levels: float, generator: np.random.Generator
) -> np.ndarray:
    """Adds white Gaussian noise, independent in each channel, as a small sensor does.

    Args:
        pixels: float [H, W, 3] in 0..255.
        sigma_levels: standard deviation, grey levels.
        generator: the only source of randomness.

    Returns:
        float32 [H, W, 3], not clipped.
    """
    noise = generator.standard_normal(pixels.shape, np.float32)
    return pixels.astype(np.float32) + np.float32(sigma_levels) * noise
