"""Makes LR images from HR as shops do: kernels, sharpening, noise, one or several compressions.

A `Recipe` is one such history with fixed strengths; `drawn_recipes` draws random ones.
Training, evaluation and benchmarks share both.
"""

import dataclasses
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from model.data import degradation
from model.data.kernels import KERNELS
from model.imaging import resampling
from model.metrics import full_reference
from model.metrics.detail import finest_detail_ratio

# Networks are conditioned on this for lossy WebP and AVIF: `model.imaging.decode.assumed_quality`.
WEBP_STATED_QUALITY = 85
BLOCK_PX = 8
_NO_NOISE = np.random.default_rng(0)


@dataclass(frozen=True)
class Compression:
    """One lossy save.

    Attributes:
        quality: the encoder's setting, 1..100.
        codec: `jpeg` or `webp`.
        subsampling: of JPEG's colours, `4:4:4`, `4:2:2` or `4:2:0`.
        grid: rows and columns by which JPEG's blocks begin before the image does, 0..7 each; not
            (0, 0) where the image was cropped after this save.

    Example:
        >>> Compression(75).apply(np.full((16, 16, 3), 200, np.uint8)).shape
        (16, 16, 3)
    """

    quality: int
    codec: str = "jpeg"
    subsampling: str = "4:2:0"
    grid: tuple[int, int] = (0, 0)

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Saves and reads an image.

        Args:
            rgb: uint8 [H, W, 3].

        Returns:
            uint8 [H, W, 3].
        """
        if self.codec == "webp":
            buffer = io.BytesIO()
            Image.fromarray(rgb).save(buffer, "WEBP", quality=self.quality, method=2)
            with Image.open(buffer) as image:
                return np.asarray(image.convert("RGB"))
        top, left = self.grid
        whole = np.pad(rgb, ((top, 0), (left, 0), (0, 0)), mode="edge")
        saved = degradation.compress_jpeg(whole, self.quality, subsampling=self.subsampling)
        return saved[top:, left:]


@dataclass(frozen=True)
class Recipe:
    """How one LR image comes from HR, in the order of its life.

    Blur, shrinking, sharpening, noise, earlier compressions, enlargement, last compression.

    Attributes:
        blur_px: sigma of a Gaussian before shrinking, HR pixels.
        kernel: a key of `KERNELS`.
        sharpen_radius_px: sigma of the unsharp mask after shrinking, LR pixels.
        sharpen_percent: its amount; 0 for none.
        noise_levels: sigma of white noise, grey levels.
        enlarged_by: the image is shrunk so many times further, then enlarged by bicubic.
        compressions: in their order.
        hidden: the file was saved last as PNG, so that it states no compression.

    Example:
        >>> Recipe(compressions=(Compression(50), Compression(95))).lowest_quality
        50
    """

    blur_px: float = 0.0
    kernel: str = "bicubic"
    sharpen_radius_px: float = 0.0
    sharpen_percent: int = 0
    noise_levels: float = 0.0
    enlarged_by: float = 1.0
    compressions: tuple[Compression, ...] = ()
    hidden: bool = False

    @property
    def stated_quality(self) -> int:
        """The JPEG quality that the file states, 1..100; 100 for a lossless file."""
        if self.hidden or not self.compressions:
            return 100
        last = self.compressions[-1]
        return last.quality if last.codec == "jpeg" else WEBP_STATED_QUALITY

    @property
    def lowest_quality(self) -> int:
        """The lowest of the stated quality and those of all JPEG compressions, 1..100."""
        jpegs = [one.quality for one in self.compressions if one.codec == "jpeg"]
        return min([self.stated_quality, *jpegs])

    def sharpening(self, hr: np.ndarray, scale: int) -> float:
        """How much fine detail the recipe leaves, compared with anti-aliased bicubic.

        Args:
            hr: uint8 [H, W, 3], sides multiples of `scale`.
            scale: of the network.

        Returns:
            log2 of the amplitude of the finest detail, before noise and compressions, over that
            after plain bicubic.
        """
        fresh = dataclasses.replace(self, noise_levels=0.0, compressions=(), hidden=False)
        if fresh == Recipe():
            return 0.0
        made = (one.make_lr(hr, scale, _NO_NOISE) for one in (fresh, Recipe()))
        return finest_detail_ratio(*map(full_reference.luma, made))

    def make_lr(self, hr: np.ndarray, scale: int, generator: np.random.Generator) -> np.ndarray:
        """Makes the LR image.

        Args:
            hr: uint8 [H, W, 3], sides multiples of `scale`.
            scale: of the network.
            generator: of the noise.

        Returns:
            uint8 [H / scale, W / scale, 3].

        Raises:
            ValueError: if a side of HR is not a multiple of `scale`.
        """
        height, width = hr.shape[:2]
        if height % scale or width % scale:
            raise ValueError(
                f"a recipe needs sides that are multiples of the scale {scale}. "
                f"Received: {width} x {height}"
            )
        size = height // scale, width // scale
        small = [max(1, round(side / self.enlarged_by)) for side in size]
        soft = degradation.blur(hr, self.blur_px) if self.blur_px else hr
        lr = resampling.to_uint8(KERNELS[self.kernel](soft, *small))
        if self.sharpen_percent:
            mask = ImageFilter.UnsharpMask(self.sharpen_radius_px, self.sharpen_percent, 0)
            lr = np.asarray(Image.fromarray(lr).filter(mask))
        if self.noise_levels:
            lr = resampling.to_uint8(degradation.add_noise(lr, self.noise_levels, generator))
        for compression in self.compressions[:-1]:
            lr = compression.apply(lr)
        if self.enlarged_by > 1:
            lr = resampling.to_uint8(resampling.bicubic(lr, *size))
        for compression in self.compressions[-1:]:
            lr = compression.apply(lr)
        return lr


def _jpegs(*qualities: int) -> tuple[Compression, ...]:
    """Saves with an aligned grid."""
    return tuple(Compression(quality) for quality in qualities)


def _sharpened(percent: int, *qualities: int) -> Recipe:
    """ImageMagick's usual thumbnail."""
    return Recipe(
        kernel="lanczos",
        sharpen_radius_px=0.8,
        sharpen_percent=percent,
        compressions=_jpegs(*qualities),
    )


# What benchmarks measure.
RECIPES: dict[str, Recipe] = {
    **{name: Recipe(kernel=name) for name in KERNELS},
    "soft": Recipe(blur_px=1.2),
    "noisy": Recipe(noise_levels=2.0),
    "enlarged": Recipe(enlarged_by=1.3),
    "sharpened80": _sharpened(80),
    "sharpened150": _sharpened(150),
    "sharpened80-jpeg80": _sharpened(80, 80),
    "sharpened150-jpeg80": _sharpened(150, 80),
    "jpeg90": Recipe(compressions=_jpegs(90)),
    "jpeg75": Recipe(compressions=_jpegs(75)),
    "jpeg50": Recipe(compressions=_jpegs(50)),
    "lanczos-jpeg80": Recipe(kernel="lanczos", compressions=_jpegs(80)),
    "webp75": Recipe(compressions=(Compression(75, "webp"),)),
    "jpeg75-png": Recipe(compressions=_jpegs(75), hidden=True),
    "jpeg75-cropped-png": Recipe(compressions=(Compression(75, grid=(3, 5)),), hidden=True),
    "jpeg50-jpeg95": Recipe(compressions=_jpegs(50, 95)),
    "jpeg75-cropped-jpeg85": Recipe(
        compressions=(Compression(75, grid=(3, 5)), Compression(85)),
    ),
}
