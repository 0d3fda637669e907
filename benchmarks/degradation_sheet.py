r"""Draws crops of degraded images by bicubic, as published before, and as published now.

    python -m benchmarks.degradation_sheet OUT.png --before old.keras [--model rdn-product] \
        --crop IMAGE SHRINK RECIPE TOP LEFT [--crop ...] [--side 96]

The sheet has a row per crop: LR | bicubic | before | now | HR, with the PSNR-Y of the whole image.
The HR image is shrunk by SHRINK first; TOP and LEFT are HR pixels. `before` is the result of that
network, conditioned on the JPEG quality in the file. `now` is what the job publishes: the network
is conditioned on the quality that the pixels show, if it is lower, and its result went through the
quality gate.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

import benchmarks.quiet  # noqa: F401 - first, for its effect
from benchmarks import degradations
from model.data.hr_sources import HrFile
from model.data.pairs import make_pair
from model.data.recipes import RECIPES
from model.evaluate import scoring
from model.evaluate.panels import Panel, Row, lay_out, zoomed
from model.evaluate.scoring import AGAINST, BICUBIC, OURS, Comparison
from model.inference.upscaler import Upscaler
from model.network import loading, presets

_ZOOM = 3
_TITLES = {BICUBIC: "bicubic", AGAINST: "before", OURS: "now"}


def row(crop: list[str], ours: Upscaler, before: Upscaler, side: int) -> Row:
    """Draws one crop.

    Args:
        crop: image file, factor to shrink it by, name of the recipe, top and left.
        ours: the network.
        before: the network to compare with, of the same scale.
        side: of the crop, HR pixels.

    Raises:
        ValueError: if the recipe is unknown or a number is not a number.
        OSError: if the image cannot be read.
    """
    path, shrink, name, top, left = crop
    if name not in RECIPES:
        raise ValueError(f"a recipe is one of {', '.join(RECIPES)}. Received: {name}")
    recipe, s = RECIPES[name], ours.scale
    pair = make_pair(HrFile(path, int(shrink)), s, recipe)
    results = degradations.results(
        pair.lr, {OURS: ours}, degradations.quality_in_pixels(recipe, pair.lr), s
    )
    quality = degradations.stated_quality(recipe, pair.lr)
    upscaled = {
        BICUBIC: results[BICUBIC].rgb,
        AGAINST: before.upscale_rgb(pair.lr, jpeg_quality=quality),
        OURS: results[OURS + degradations.AFTER_GATE].rgb,
    }
    squares = pair.lr.repeat(s, axis=0).repeat(s, axis=1)
    comparison = Comparison(pair.name, s, squares, upscaled, pair.hr)
    figures = scoring.score(comparison).figures
    cut = comparison.crop(int(top), int(left), side, side)
    panels = [
        Panel(f"{title}  {figures[method].psnr_y_db:.2f} dB", zoomed(cut.upscaled[method], _ZOOM))
        for method, title in _TITLES.items()
    ]
    return Row(
        f"{name}: {pair.name}",
        [Panel("LR", zoomed(cut.lr, _ZOOM)), *panels, Panel("HR", zoomed(cut.hr, _ZOOM))],
    )


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0 done, 1 cannot draw."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.degradation_sheet",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--before", required=True, help="a shipped name or a .keras file")
    parser.add_argument("--model", default=presets.DEFAULT, help="a shipped name or a .keras file")
    parser.add_argument(
        "--crop",
        nargs=5,
        action="append",
        required=True,
        metavar=("IMAGE", "SHRINK", "RECIPE", "TOP", "LEFT"),
    )
    parser.add_argument("--side", type=int, default=96, help="of a crop, HR pixels")
    arguments = parser.parse_args(argv)
    try:
        ours, before = (
            Upscaler(loading.load_by_name(name)) for name in (arguments.model, arguments.before)
        )
        rows = [row(crop, ours, before, arguments.side) for crop in arguments.crop]
    except (ValueError, OSError) as error:
        print(f"benchmarks.degradation_sheet: {error}", file=sys.stderr)
        return 1
    Image.fromarray(lay_out("", rows)).save(arguments.out, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
