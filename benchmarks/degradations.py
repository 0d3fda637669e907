r"""Measures every network on LR images made by every recipe: what shops do to images.

    python -m benchmarks.degradations HR_FOLDER [--shrink_first 2] [--limit 60] [--model NAME ...]
        [--recipes jpeg75 nearest ...] [--quality_from file|pixels|truth] [--scale 4]
        [--tell_sharpening [truth|estimate|nothing]] [--json FILE]

HR images come from a folder, an `s3://` prefix or a `.txt` list. LR is made by the recipes of
`model.data.recipes`. Methods: bicubic, Lanczos, each network, and each network after the quality
gate, which publishes bicubic in place of a rejected result, and a blend of both in place of a
doubtful one. At a larger `--scale` than its own a network makes two passes, as in the job. Prints
for each recipe:

PSNR-Y, SSIM-Y      on BT.601 luma of the result rounded to uint8, borders of `scale` pixels cut.
PSNR-C              on Cb and Cr together.
background noise    on the flat background beside objects, grey levels.
worse               share of the images whose PSNR-Y is more than 0.3 dB below bicubic's.

right quality       share of the images whose true JPEG quality the network is conditioned on,
                    within 1.

That quality is what the file states; with `--quality_from pixels` what `find_jpeg` finds if it is
lower; with `truth` the lowest that the image went through. Networks that can be told how an image
was sharpened see it in the image itself, as in the job. With `--tell_sharpening` they get one
number for each recipe instead, as users give it by `--source_sharpening`: the mean of the true
sharpening over the images, or what `model.sharpening` estimates from LR alone; or `nothing`.
"""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

import pipeline.runtime.startup  # noqa: F401 - first, for its effect
from benchmarks import told_sharpening
from benchmarks.told_sharpening import QualityOf
from model.data.hr_sources import HrImage, list_images, spread
from model.data.recipes import RECIPES, Recipe
from model.evaluate import scoring
from model.evaluate.scoring import BICUBIC, LANCZOS, Figures, Score
from model.imaging import resampling
from model.imaging.image import RasterImage
from model.imaging.jpeg_history import find_jpeg
from model.inference.measured import upscale_with_self_test
from model.inference.target import TargetSize
from model.inference.upscaler import Upscaler
from model.network import loading, presets
from pipeline.upscale import blending

AFTER_GATE = " gated"
# PSNR-Y below bicubic's by more than this counts as worse, dB.
_WORSE_DB = 0.3
_COLUMN = 13


@dataclass(frozen=True)
class Row:
    """One recipe and method over all images.

    Attributes:
        recipe: a key of `RECIPES`.
        method: `bicubic`, `lanczos`, a network's name, or `<name> gated`.
        mean: of the figures, each over the images where it is finite for all methods.
        gain_db: mean PSNR-Y over bicubic's.
        worse_share: 0..1 of the images.
        right_quality_share: 0..1 of the images whose true quality the networks get, within 1.
        rejected_share: 0..1 of the images that the gate replaces; 0 for other methods.
        blended_share: 0..1 of the images that the gate blends with bicubic.
        images: how many.
    """

    recipe: str
    method: str
    mean: Figures
    gain_db: float
    worse_share: float
    right_quality_share: float
    rejected_share: float
    blended_share: float
    images: int


@dataclass(frozen=True)
class Result:
    """What a method makes of an LR image, and the network's share in it; None without a gate."""

    rgb: np.ndarray
    network_share: float | None = None


def results(
    lr: np.ndarray,
    networks: dict[str, Upscaler],
    jpeg_quality: int,
    scale: int,
    sharpening: float | None = None,
) -> dict[str, Result]:
    """Upscales an LR image by every method.

    Args:
        lr: uint8 [H, W, 3].
        networks: by name.
        jpeg_quality: 1..100 to tell them.
        scale: of the results.
        sharpening: log2, to tell those that can be told, not a number for unknown; None where they
            see for themselves.

    Returns:
        By method, uint8 [H * scale, W * scale, 3].
    """
    size = lr.shape[0] * scale, lr.shape[1] * scale
    bicubic = resampling.to_uint8(resampling.bicubic(lr, *size))
    by_method = {
        BICUBIC: Result(bicubic),
        LANCZOS: Result(resampling.to_uint8(resampling.lanczos(lr, *size))),
    }
    for name, network in networks.items():
        plan = TargetSize(scale).plan(lr.shape[0], lr.shape[1], network.scale)
        told = sharpening if network.knows_sharpening else None
        upscaled = upscale_with_self_test(
            network,
            RasterImage(lr),
            jpeg_quality=jpeg_quality,
            sharpening=told,
            passes=plan.passes,
        )
        verdict = blending.judge(upscaled, jpeg_quality, sharpening=told)
        own, published = (one.shrunk_to(*size).rgb for one in (upscaled.result, verdict.image))
        by_method[name] = Result(own)
        by_method[name + AFTER_GATE] = Result(published, verdict.network_share)
    return by_method


def measure(
    images: Sequence[HrImage],
    recipes: dict[str, Recipe],
    networks: dict[str, Upscaler],
    quality_of: QualityOf,
    scale: int | None = None,
    *,
    sharpening: Mapping[str, float] = MappingProxyType({}),
) -> list[Row]:
    """Measures every recipe and method.

    Args:
        images: HR, read once each.
        recipes: by name.
        networks: by name, at least one.
        quality_of: the JPEG quality to tell of a recipe's LR image.
        scale: of the results; None for that of the first network.
        sharpening: what to tell the networks of it, log2, by recipe.

    Returns:
        Recipe by recipe, method by method.

    Raises:
        ValueError: if there is no image, one is too small to measure, or a network cannot make
            the scale.
    """
    scale = scale or next(iter(networks.values())).scale
    scores: dict[str, list[Score]] = {name: [] for name in recipes}
    shares: dict[str, list[dict[str, float | None]]] = {name: [] for name in recipes}
    right: dict[str, list[bool]] = {name: [] for name in recipes}
    for image in images:
        hr = resampling.crop_to_multiple(image.read(), scale)
        for name, recipe in recipes.items():
            lr = told_sharpening.make_lr(image.name, hr, name, recipe, scale)
            told = quality_of(recipe, lr)
            right[name].append(abs(told - recipe.lowest_quality) <= 1)
            made = results(lr, networks, told, scale, sharpening.get(name))
            of_methods = {m: scoring.measure(hr, one.rgb, scale) for m, one in made.items()}
            scores[name].append(Score(image.name, of_methods))
            shares[name].append({m: one.network_share for m, one in made.items()})
    if not any(scores.values()):
        raise ValueError("there is no HR image to measure")
    return [
        row for name in recipes for row in _rows(name, scores[name], shares[name], right[name])
    ]


def _rows(
    recipe: str,
    scores: Sequence[Score],
    shares: Sequence[dict[str, float | None]],
    right: Sequence[bool],
) -> Iterator[Row]:
    """Means and shares over images, method by method."""
    mean = scoring.mean(scores)
    for method, figures in mean.figures.items():
        worse = [
            one.figures[method].psnr_y_db < one.figures[BICUBIC].psnr_y_db - _WORSE_DB
            for one in scores
        ]
        yield Row(
            recipe,
            method,
            figures,
            gain_db=figures.psnr_y_db - mean.figures[BICUBIC].psnr_y_db,
            worse_share=sum(worse) / len(scores),
            right_quality_share=sum(right) / len(scores),
            rejected_share=sum(one[method] == 0 for one in shares) / len(scores),
            blended_share=sum(0 < (one[method] or 0) < 1 for one in shares) / len(scores),
            images=len(scores),
        )


def table(rows: Sequence[Row]) -> str:
    """One block for each figure: a line for each recipe, a column for each method."""
    blocks: list[tuple[str, Callable[[Row], str]]] = [
        ("PSNR-Y, dB", lambda row: f"{row.mean.psnr_y_db:.2f}"),
        ("PSNR-Y over bicubic, dB", lambda row: f"{row.gain_db:+.2f}"),
        ("worse than bicubic, %", lambda row: f"{100 * row.worse_share:.1f}"),
        ("rejected by the gate, %", lambda row: f"{100 * row.rejected_share:.1f}"),
        ("blended by the gate, %", lambda row: f"{100 * row.blended_share:.1f}"),
        ("right quality, %", lambda row: f"{100 * row.right_quality_share:.1f}"),
        ("SSIM-Y", lambda row: f"{row.mean.ssim_y:.4f}"),
        ("PSNR-C, dB", lambda row: f"{row.mean.psnr_c_db:.2f}"),
        ("background noise, grey levels", lambda row: f"{row.mean.background_noise:.2f}"),
    ]
    recipes = list(dict.fromkeys(row.recipe for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    widths = {method: max(_COLUMN, len(method) + 2) for method in methods}
    at = {(row.recipe, row.method): row for row in rows}
    lines = []
    for title, cell in blocks:
        head = "".join(f"{method:>{widths[method]}}" for method in methods)
        lines.append(f"{title:30}{head}")
        for recipe in recipes:
            cells = (f"{cell(at[recipe, method]):>{widths[method]}}" for method in methods)
            lines.append(f"{recipe:30}{''.join(cells)}")
        lines.append("")
    return "\n".join(lines)


def as_json(rows: Sequence[Row], settings: dict[str, object]) -> str:
    """Strict JSON: null where a figure is not defined."""

    def strict(row: Row) -> dict[str, object]:
        flat = dataclasses.asdict(row)
        flat |= flat.pop("mean")
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in flat.items()
        }

    content = {**settings, "rows": [strict(row) for row in rows]}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def stated_quality(recipe: Recipe, _lr: np.ndarray) -> int:
    """What the file states."""
    return recipe.stated_quality


def quality_in_pixels(recipe: Recipe, lr: np.ndarray) -> int:
    """The lower of what the file states and what the pixels show."""
    trace = find_jpeg(lr)
    stated = recipe.stated_quality
    return stated if trace is None else min(stated, trace.quality)


def true_quality(recipe: Recipe, _lr: np.ndarray) -> int:
    """The lowest quality that the image went through."""
    return recipe.lowest_quality


QUALITIES = {"file": stated_quality, "pixels": quality_in_pixels, "truth": true_quality}


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0 done, 1 cannot measure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.degradations",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("place", metavar="HR_FOLDER", help="or an s3:// prefix, or a .txt list")
    parser.add_argument("--shrink_first", type=int, default=1, help="shrink HR by this before use")
    parser.add_argument("--limit", type=int, help="use so many images, spread over the place")
    parser.add_argument("--model", nargs="+", default=list(presets.ON_A_CPU), help="networks")
    parser.add_argument(
        "--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES), metavar="RECIPE"
    )
    parser.add_argument("--quality_from", choices=list(QUALITIES), default="file")
    parser.add_argument(
        "--tell_sharpening",
        nargs="?",
        choices=list(told_sharpening.WAYS),
        const="truth",
        help="tell one number for each recipe: the mean of the truth, or an estimate from LR; or "
        "nothing; by default networks see for themselves",
    )
    parser.add_argument("--scale", type=int, help="of the results; default: the first network's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="settings and all figures")
    arguments = parser.parse_args(argv)
    try:
        images = list_images(arguments.place, shrink_first=arguments.shrink_first)
        images = spread(images, arguments.limit)
        saved = {name: presets.resolve(name) for name in arguments.model}
        networks = {name: Upscaler(loading.load(one)) for name, one in saved.items()}
        recipes = {name: RECIPES[name] for name in arguments.recipes}
        scale = arguments.scale or networks[arguments.model[0]].scale
        told = QUALITIES[arguments.quality_from]
        sharpening = {}
        if arguments.tell_sharpening:
            sharpening = told_sharpening.WAYS[arguments.tell_sharpening](
                images, recipes, told, scale
            )
        rows = measure(images, recipes, networks, told, scale, sharpening=sharpening)
    except (ValueError, OSError) as error:
        print(f"benchmarks.degradations: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    for name, value in sharpening.items():
        told_of = "nothing" if math.isnan(value) else f"a sharpening of {value:+.2f}"
        print(f"{name:30}told of {told_of}")
    if arguments.json:
        settings = {
            "place": arguments.place,
            "shrink_first": arguments.shrink_first,
            "quality_from": arguments.quality_from,
            "tell_sharpening": arguments.tell_sharpening,
            "told_sharpening": {n: v for n, v in sharpening.items() if not math.isnan(v)},
            "scale": scale,
            "models": {name: one.sha256 for name, one in saved.items()},
        }
        arguments.json.write_text(as_json(rows, settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
