"""Makes LR images from HR as shops do: kernels, sharpening, noise, one or several compressions.

A `Recipe` is one such history with fixed strengths; `Degradation` draws random ones for training.
Training, evaluation and benchmarks share both.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from model.data import degradation
from model.data.kernels import KERNELS
from model.imaging import resampling

# Networks are conditioned on this for lossy WebP and AVIF: `model.imaging.decode.assumed_quality`.
WEBP_STATED_QUALITY = 85
_BLOCK_PX = 8
# Most shops keep the colours at half size in both directions.
_SUBSAMPLINGS = {"4:2:0": 0.7, "4:2:2": 0.1, "4:4:4": 0.2}


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
                f"Received: {height} x {width}"
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


def _option(default: Any, meaning: str) -> Any:
    """A field whose meaning the command line of `model.train` shows."""
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Degradation:
    """Draws the recipes of training patches.

    Each step of a recipe has a share 0..1 of the degraded images, and a range (from, to) from
    which its strength is drawn evenly. The meaning of each field stands beside it;
    `python -m model.train --help` prints it.

    Raises:
        ValueError: if a share or a range is out of bounds, or a kernel is unknown.

    Example:
        recipe = Degradation(degraded_share=0.6, jpeg_share=0.8).draw(np.random.default_rng(1))
    """

    degraded_share: float = _option(0.0, "share of the LR patches that is degraded; HR never is")
    kernels: tuple[tuple[str, float], ...] = _option(
        (("bicubic", 1.0),),
        f"shrinking kernels of degraded patches and their weights, of {', '.join(KERNELS)}",
    )
    blur_share: float = _option(0.0, "share of them that is blurred before shrinking")
    blur_px: tuple[float, float] = _option((0.0, 0.5), "sigma of that blur, HR pixels")
    sharpened_share: float = _option(0.0, "share of them that is sharpened after shrinking")
    sharpen_radius_px: tuple[float, float] = _option(
        (0.5, 1.2), "sigma of that unsharp mask, LR pixels"
    )
    sharpen_percent: tuple[int, int] = _option((20, 150), "its amount")
    noise_share: float = _option(0.0, "share of them that gets noise after shrinking")
    noise_levels: tuple[float, float] = _option((0.0, 2.0), "sigma of that noise, grey levels")
    enlarged_share: float = _option(0.0, "share of them that was smaller and is enlarged again")
    enlarged_by: tuple[float, float] = _option((1.1, 1.5), "how many times smaller")
    jpeg_share: float = _option(1.0, "share of them that is saved as JPEG")
    jpeg_quality: tuple[int, int] = _option((30, 95), "quality of that JPEG")
    webp_share: float = _option(0.0, "share of them that is saved as lossy WebP")
    webp_quality: tuple[int, int] = _option((50, 95), "quality of that WebP")
    twice_share: float = _option(0.0, "share of the saved ones that was a JPEG before that")
    earlier_quality: tuple[int, int] = _option((30, 90), "quality of that earlier JPEG")
    cropped_share: float = _option(0.0, "share of those that was cropped between the two saves")
    hidden_share: float = _option(0.0, "share of the JPEGs that is saved last as PNG")
    measured_share: float = _option(
        1.0,
        "share of twice saved and hidden JPEGs for which the network is conditioned on the lowest "
        "quality, as if measured from the pixels; for the others on what the file states",
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.endswith("_share"):
                if not 0 <= value <= 1:
                    raise ValueError(f"{each.name} is 0..1. Received: {value}")
            elif each.name != "kernels":
                lowest, highest = _BOUNDS[each.name]
                if not lowest <= value[0] <= value[1] <= highest:
                    raise ValueError(
                        f"{each.name} is a range within {lowest}..{highest}. "
                        f"Received: {value[0]} {value[1]}"
                    )
        if self.jpeg_share + self.webp_share > 1:
            raise ValueError(
                "jpeg_share and webp_share are parts of one whole. "
                f"Received: {self.jpeg_share} + {self.webp_share}"
            )
        unknown = [name for name, _ in self.kernels if name not in KERNELS]
        if unknown or sum(weight for _, weight in self.kernels) <= 0:
            raise ValueError(
                f"kernels are of {', '.join(KERNELS)}, with weights. Received: {self.kernels}"
            )

    def make_lr(
        self, hr: np.ndarray, scale: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Makes an LR image by a random recipe.

        Args:
            hr: uint8 [H, W, 3], sides multiples of `scale`.
            scale: of the network.
            generator: the only source of randomness.

        Returns:
            uint8 [H / scale, W / scale, 3] and the JPEG quality to tell the network, 1..100.
        """
        recipe = self.draw(generator)
        is_measured = generator.random() < self.measured_share
        quality = recipe.lowest_quality if is_measured else recipe.stated_quality
        return recipe.make_lr(hr, scale, generator), quality

    def draw(self, generator: np.random.Generator) -> Recipe:
        """Draws a recipe."""
        if generator.random() >= self.degraded_share:
            return Recipe()
        names, weights = zip(*self.kernels, strict=True)
        kernel = names[_choose(weights, generator)]
        sharpen = generator.random() < self.sharpened_share
        compressions = self._draw_compressions(generator)
        is_jpeg = bool(compressions) and compressions[-1].codec == "jpeg"
        return Recipe(
            blur_px=_strength(self.blur_share, self.blur_px, generator),
            kernel=kernel,
            sharpen_radius_px=generator.uniform(*self.sharpen_radius_px) if sharpen else 0.0,
            sharpen_percent=_integer(self.sharpen_percent, generator) if sharpen else 0,
            noise_levels=_strength(self.noise_share, self.noise_levels, generator),
            enlarged_by=_strength(self.enlarged_share, self.enlarged_by, generator) or 1.0,
            compressions=compressions,
            hidden=is_jpeg and generator.random() < self.hidden_share,
        )

    def _draw_compressions(self, generator: np.random.Generator) -> tuple[Compression, ...]:
        """None, one or two."""
        at = generator.random()
        if at < self.jpeg_share:
            last = _draw_jpeg(self.jpeg_quality, generator)
        elif at < self.jpeg_share + self.webp_share:
            last = Compression(_integer(self.webp_quality, generator), "webp")
        else:
            return ()
        if generator.random() >= self.twice_share:
            return (last,)
        is_cropped = generator.random() < self.cropped_share
        return (_draw_jpeg(self.earlier_quality, generator, is_cropped=is_cropped), last)


_BOUNDS = {
    "blur_px": (0, 10),
    "sharpen_radius_px": (0, 10),
    "sharpen_percent": (0, 500),
    "noise_levels": (0, 100),
    "enlarged_by": (1, 4),
    "jpeg_quality": (1, 100),
    "webp_quality": (0, 100),
    "earlier_quality": (1, 100),
}


def _draw_jpeg(
    qualities: tuple[int, int], generator: np.random.Generator, *, is_cropped: bool = False
) -> Compression:
    """A JPEG save with a random subsampling."""
    top, left = (int(at) for at in generator.integers(0, _BLOCK_PX, 2))
    return Compression(
        _integer(qualities, generator),
        subsampling=list(_SUBSAMPLINGS)[_choose(list(_SUBSAMPLINGS.values()), generator)],
        grid=(top, left) if is_cropped else (0, 0),
    )


def _choose(weights: Sequence[float], generator: np.random.Generator) -> int:
    """An index, drawn by its weight."""
    ends = np.cumsum(weights)
    return int(np.searchsorted(ends, generator.random() * ends[-1], side="right"))


def _strength(
    share: float, strengths: tuple[float, float], generator: np.random.Generator
) -> float:
    """A strength from its range, or 0."""
    return generator.uniform(*strengths) if generator.random() < share else 0.0


def _integer(bounds: tuple[int, int], generator: np.random.Generator) -> int:
    """Evenly from a range, both ends included."""
    return int(generator.integers(bounds[0], bounds[1] + 1))
