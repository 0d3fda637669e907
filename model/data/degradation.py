"""Degradations that make realistic LR images."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from model.imaging.resampling import shrink, to_uint8


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


@dataclass(frozen=True)
class Degradation:
    """How realistic LR is made: blur, shrink, noise, JPEG, in the order of a real image's life.

    Attributes:
        share: of the images that is degraded at all, 0..1; the others are only shrunk.
        blur_px: range of the Gaussian's sigma before shrinking, HR pixels.
        noise_levels: range of the noise's sigma after shrinking, grey levels.
        jpeg_quality: range of the compression, 1..100; 100 stands for none.
    """

    share: float = 0.0
    blur_px: tuple[float, float] = (0.0, 0.0)
    noise_levels: tuple[float, float] = (0.0, 0.0)
    jpeg_quality: tuple[int, int] = (100, 100)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"the share of degraded images is 0..1. Received: {self.share}")
        for name, lowest, highest in (
            ("blur_px", 0, 10),
            ("noise_levels", 0, 100),
            ("jpeg_quality", 1, 100),
        ):
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(
                    f"{name} is a range within {lowest}..{highest}. Received: {low} {high}"
                )

    def make_lr(
        self, hr: np.ndarray, scale: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Makes an LR image, drawing each strength evenly from its range.

        Args:
            hr: uint8 [H, W, 3], sides multiples of `scale`.
            scale: of the network.
            generator: the only source of randomness.

        Returns:
            uint8 [H / scale, W / scale, 3] and the JPEG quality that it went through, 100 for
            none.
        """
        if generator.random() >= self.share:
            return to_uint8(shrink(hr, scale)), 100
        blur_px = generator.uniform(*self.blur_px)
        lr = shrink(blur(hr, blur_px) if blur_px else hr, scale)
        noise_levels = generator.uniform(*self.noise_levels)
        lr = to_uint8(add_noise(lr, noise_levels, generator) if noise_levels else lr)
        quality = int(generator.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
        if quality == 100:
            return lr, 100
        # Most shops keep the colours at half size; a quarter does not.
        subsampling = "4:4:4" if generator.random() < 0.25 else "4:2:0"
        return compress_jpeg(lr, quality, subsampling=subsampling), quality
