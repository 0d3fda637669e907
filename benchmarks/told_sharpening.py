"""What `benchmarks.degradations` tells networks of the sharpening instead of what they see."""

import contextlib
import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np

import pipeline.runtime.startup  # noqa: F401 - first, for its effect
from model.data.hr_sources import HrImage
from model.data.recipes import Recipe
from model.imaging import resampling
from model.inference.upscaler import Upscaler
from model.network import loading, presets
from model.sharpening import measuring

# The JPEG quality to tell of a recipe's LR image.
QualityOf = Callable[[Recipe, np.ndarray], int]


def make_lr(
    image_name: str, hr: np.ndarray, recipe_name: str, recipe: Recipe, scale: int
) -> np.ndarray:
    """The same noise each time."""
    generator = np.random.default_rng(zlib.crc32(f"{image_name} {recipe_name}".encode()))
    return recipe.make_lr(hr, scale, generator)


def by_truth(
    images: Sequence[HrImage], recipes: dict[str, Recipe], _told: QualityOf, scale: int
) -> dict[str, float]:
    """The mean over the images of what each recipe does, log2."""
    values: dict[str, list[float]] = {name: [] for name in recipes}
    for image in images:
        hr = resampling.crop_to_multiple(image.read(), scale)
        for name, recipe in recipes.items():
            values[name].append(recipe.sharpening(hr, scale))
    return {name: _can_be_given(float(np.mean(each))) for name, each in values.items()}


def by_estimate(
    images: Sequence[HrImage], recipes: dict[str, Recipe], quality_of: QualityOf, scale: int
) -> dict[str, float]:
    """What `model.sharpening` estimates of each recipe, log2, but from whole LR images."""
    upscaler = Upscaler(loading.load_by_name(measuring.ESTIMATED_BY))
    values: dict[str, list[float]] = {name: [] for name in recipes}
    for image in images:
        hr = resampling.crop_to_multiple(image.read(), scale)
        for name, recipe in recipes.items():
            lr = make_lr(image.name, hr, name, recipe, scale)
            with contextlib.suppress(measuring.UnmeasurableError):
                values[name].append(measuring.estimate(lr, quality_of(recipe, lr), upscaler))
    return {name: _can_be_given(float(np.median(each))) for name, each in values.items() if each}


def nothing(
    _images: Sequence[HrImage], recipes: dict[str, Recipe], _told: QualityOf, _scale: int
) -> dict[str, float]:
    """That it is unknown: not a number, by recipe."""
    return dict.fromkeys(recipes, math.nan)


def _can_be_given(value: float) -> float:
    """The nearest number that `--source_sharpening` takes."""
    return min(max(value, presets.MIN_SHARPENING), presets.MAX_SHARPENING)


WAYS = {"truth": by_truth, "estimate": by_estimate, "nothing": nothing}
