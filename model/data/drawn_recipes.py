"""Draws random recipes, by which the LR patches of a training are made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from model.data.kernels import KERNELS
from model.data.recipes import BLOCK_PX, Compression, Recipe

# Most shops keep the colours at half size in both directions.
_SUBSAMPLINGS = {"4:2:0": 0.7, "4:2:2": 0.1, "4:4:4": 0.2}


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
    sharpening_told_share: float = _option(
        0.0, "share of all patches for which a network with --knows_sharpening is told it"
    )
    sharpening_told_error: float = _option(0.1, "standard deviation of what it is told, log2")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "sharpening_told_error" or each.name.endswith("_share"):
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
        weights = [weight for _, weight in self.kernels]
        if unknown or not all(0 <= one < math.inf for one in weights) or not sum(weights):
            raise ValueError(
                f"kernels are of {', '.join(KERNELS)}, with weights of 0 or more, not all 0. "
                f"Received: {self.kernels}"
            )

    def make_lr(
        self, hr: np.ndarray, scale: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, int, float]:
        """Makes an LR image by a random recipe.

        Args:
            hr: uint8 [H, W, 3], sides multiples of `scale`.
            scale: of the network.
            generator: the only source of randomness.

        Returns:
            uint8 [H / scale, W / scale, 3], and what to tell the network: the JPEG quality,
            1..100, and the sharpening, log2, or not a number.
        """
        recipe, quality = self.draw_told(generator)
        lr = recipe.make_lr(hr, scale, generator)
        if not self.sharpening_told_share or generator.random() >= self.sharpening_told_share:
            return lr, quality, math.nan
        error = self.sharpening_told_error * generator.standard_normal()
        return lr, quality, recipe.sharpening(hr, scale) + error

    def draw_told(self, generator: np.random.Generator) -> tuple[Recipe, int]:
        """Draws a recipe, and the JPEG quality to tell the network, 1..100."""
        recipe = self.draw(generator)
        is_measured = generator.random() < self.measured_share
        return recipe, recipe.lowest_quality if is_measured else recipe.stated_quality

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
    top, left = (int(at) for at in generator.integers(0, BLOCK_PX, 2))
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
