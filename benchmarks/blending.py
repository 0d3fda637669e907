r"""Looks for the limits at which a network's results are blended with bicubic.

    python -m benchmarks.blending HR_FOLDER [--shrink_first 2] [--limit 60] [--model NAME]
        [--recipes nearest bicubic ...] [--csv FILE]

HR images come from a folder, an `s3://` prefix or a `.txt` list: use images that the network was
trained on, and report `benchmarks.degradations` on others. LR is made by the recipes that leave no
compression, and by all for a network that believes its source. Prints for each recipe the gain
over bicubic and the share of the images that are more than 0.3 dB worse: of the network, of blends
by today's limits, and of blends by the best limits of a search: those with the largest mean gain,
where a loss against bicubic counts five times. `--csv` gets what the search needs.

A blend's error follows from three numbers, so that nothing is upscaled twice:

    error(share) = mean((bicubic - HR + share * (network - bicubic))^2)
"""

import argparse
import csv
import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import pipeline.runtime.startup  # noqa: F401 - first, for its effect
from benchmarks.told_sharpening import make_lr
from model.data.hr_sources import HrImage, list_images, spread
from model.data.recipes import RECIPES
from model.imaging import resampling
from model.imaging.image import RasterImage
from model.inference.measured import upscale_with_self_test
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.metrics.quality import Measures
from model.network import loading, presets
from pipeline.upscale.blending import BlendLimits, network_share

_WORSE_DB = 0.3
UNCOMPRESSED = tuple(name for name, recipe in RECIPES.items() if not recipe.compressions)
# By whether a network believes its source.
_SEARCHED = {
    False: ("doubt", "usual_error", "undone", "min_share"),
    True: ("believed_doubt", "believed_min_share"),
}
# What decides.
_MEASURES = (
    *("detail_error", "self_detail_error"),
    *("nyquist_ratio_source", "edge_steepness_source"),
)


@dataclass(frozen=True)
class Sample:
    """An upscaled LR image.

    Attributes:
        recipe, image: where it comes from.
        bicubic: mean square error of bicubic, luma.
        cross, change: mean of bicubic's error times the network's change of it, and of that
            change squared.
        detail_error, self_detail_error, nyquist_ratio_source, edge_steepness_source: see
            `Measures`.
        believes_source: see `UpscaledImage`.
    """

    recipe: str
    image: str
    bicubic: float
    cross: float
    change: float
    detail_error: float | None
    self_detail_error: float | None
    nyquist_ratio_source: float | None
    edge_steepness_source: float | None
    believes_source: bool

    def gain_db(self, share: float) -> float:
        """PSNR of a blend over bicubic's."""
        error = self.bicubic + 2 * share * self.cross + share**2 * self.change
        return 10 * math.log10(max(self.bicubic, 1e-6) / max(error, 1e-6))

    def share(self, limits: BlendLimits) -> float:
        """The network's, by these limits."""
        measures = Measures(**{name: getattr(self, name) for name in _MEASURES})
        return network_share(measures, 100, limits, believes_source=self.believes_source)


def samples(
    images: Iterable[HrImage], network: Upscaler, recipes: Sequence[str]
) -> Iterator[Sample]:
    """Upscales every image by every recipe."""
    scale = network.scale
    for image in images:
        hr = resampling.crop_to_multiple(image.read(), scale)
        for name in recipes:
            lr = make_lr(image.name, hr, name, RECIPES[name], scale)
            made = upscale_with_self_test(network, RasterImage(lr), jpeg_quality=100)
            sr, measures = made.result.rgb, made.measure()
            bicubic = resampling.to_uint8(resampling.bicubic(lr, *hr.shape[:2]))
            truth, start, end = (
                full_reference.luma(full_reference.crop_border(rgb, scale))
                for rgb in (hr, bicubic, sr)
            )
            error, change = start - truth, end - start
            yield Sample(
                name,
                image.name,
                float(np.mean(error**2)),
                float(np.mean(error * change)),
                float(np.mean(change**2)),
                believes_source=network.believes_source,
                **{name: getattr(measures, name) for name in _MEASURES},
            )


def search(found: Sequence[Sample], tries: int = 1000) -> BlendLimits:
    """The limits with the largest mean gain, of all recipes alike, by a random walk from today's.

    A result below bicubic counts five times its loss.

    Args:
        found: samples of one network.
        tries: steps of the walk.
    """

    def value(limits: BlendLimits) -> float:
        by_recipe: dict[str, list[float]] = {}
        for one in found:
            gain = one.gain_db(one.share(limits))
            by_recipe.setdefault(one.recipe, []).append(min(gain, 5 * gain))
        return float(np.mean([np.mean(gains) for gains in by_recipe.values()]))

    generator = np.random.default_rng(0)
    searched = _SEARCHED[found[0].believes_source]
    best = BlendLimits()
    best_value = value(best)
    for _ in range(tries):
        limits = _stray(best, searched, generator)
        if limits is not None and (reached := value(limits)) > best_value:
            best, best_value = limits, reached
    return best


def _stray(
    limits: BlendLimits, names: Sequence[str], generator: np.random.Generator
) -> BlendLimits | None:
    """Limits near these, each factor 0.75 to 1.3 in most cases; None if they make no sense."""
    changed: dict[str, Any] = {}
    for name in names:
        old = np.atleast_1d(getattr(limits, name))
        new = tuple(map(float, old * np.exp(generator.normal(0, 0.15, old.size))))
        changed[name] = new if len(new) > 1 else new[0]
        if len(new) > 1 and new[1] < 1.5 * new[0]:
            return None
    stray = dataclasses.replace(limits, **changed)
    return stray if max(stray.min_share, stray.believed_min_share) < 1 else None


def table(found: Sequence[Sample], limits: dict[str, BlendLimits]) -> str:
    """A line for each recipe: gain and share of worse images, of the network and by limits."""
    lines = [
        f"{'dB over bicubic (% worse)':26}{'network':>16}{''.join(f'{n:>16}' for n in limits)}"
    ]
    for recipe in dict.fromkeys(one.recipe for one in found):
        of_recipe = [one for one in found if one.recipe == recipe]
        columns = [[one.gain_db(1) for one in of_recipe]]
        columns += [
            [one.gain_db(one.share(some)) for one in of_recipe] for some in limits.values()
        ]
        cells = (
            f"{np.mean(gains):>+8.2f} ({100 * np.mean(np.array(gains) < -_WORSE_DB):4.1f})"
            for gains in columns
        )
        lines.append(f"{recipe:26}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0 done, 1 cannot measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blending")
    parser.add_argument("place", metavar="HR_FOLDER", help="or an s3:// prefix, or a .txt list")
    parser.add_argument("--shrink_first", type=int, default=1, help="shrink HR by this before use")
    parser.add_argument("--limit", type=int, help="use so many images, spread over the place")
    parser.add_argument("--model", default=presets.DEFAULT)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES)
    parser.add_argument("--csv", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    try:
        images = list_images(arguments.place, shrink_first=arguments.shrink_first)
        images = spread(images, arguments.limit)
        network = Upscaler(loading.load_by_name(arguments.model))
        possible = tuple(RECIPES) if network.believes_source else UNCOMPRESSED
        recipes = arguments.recipes or possible
        if not set(recipes) <= set(possible):
            raise ValueError(
                f"{arguments.model} removes compression noise, and is never blended then: "
                f"--recipes takes {', '.join(possible)}"
            )
        found = list(samples(images, network, recipes))
    except (ValueError, OSError) as error:
        print(f"benchmarks.blending: {error}", file=sys.stderr)
        return 1
    best = search(found)
    print(table(found, {"today's limits": BlendLimits(), "best limits": best}))
    print(f"\nbest limits: {best}")
    if arguments.csv:
        names = [field.name for field in fields(Sample)]
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(vars(one) for one in found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
