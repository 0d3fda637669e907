"""Measures a network on pairs of LR and HR images by the standard protocol.

    python -m model.evaluate --pairs Set5 [--model rdn-small] [--json FILE] [--csv FILE]
    python -m model.evaluate --pairs Set5 --self_ensemble ours --against rdn-small
    python -m model.evaluate --hr images --recipe sharpened80 --limit 12
    python -m model.evaluate --hr images --shrink_first 2 --jpeg_quality 75 \
        --sheet sheet.png --patches patches.png --heat_map errors.png

Pairs are files `NAME_LR.png` and `NAME_HR.png` (`*LR.*` beside `*HR.*`); networks are conditioned
on the JPEG quality of each LR file, as in the job. With `--hr` each image is shrunk by
anti-aliased bicubic to make its LR image, which `--jpeg_quality` compresses; or a `--recipe` of
`model.data.recipes` makes LR, and its lowest JPEG quality is the one on which networks are
conditioned. The table compares the network with bicubic, Lanczos and, with `--against`, a second
network:

PSNR-Y and SSIM-Y   on BT.601 luma of the result rounded to uint8, borders of `scale` pixels cut.
background noise    standard deviation of luma from its true level, grey levels, where HR is flat
                    and an object is near; `-` for an image without such a block.
PSNR-C              on BT.601 chroma, Cb and Cr together; `inf` for a grey image.

The mean is over images, the same ones for every method: an image on which any method is exact
(infinite PSNR) is left out of that mean PSNR, one without flat background out of the mean noise.
JSON holds null for both; CSV holds `inf` for an infinite PSNR and nothing for a missing noise.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from model import startup
from model.command_line import CommandParser
from model.data.recipes import RECIPES
from model.inference.dtypes import COMPUTE_DTYPES
from model.network import presets


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0, or 1 if it cannot evaluate.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    arguments = _parse(argv)
    startup.import_tensorflow()
    from model.evaluate import evaluation  # noqa: PLC0415 - imports Keras
    from model.inference.errors import OutOfMemoryError  # noqa: PLC0415

    try:
        print(evaluation.run(evaluation.Options(**vars(arguments))))
    except (OSError, ValueError, OutOfMemoryError) as error:
        print(f"model.evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parses the options; exits with status 2 if they contradict each other."""
    parser = CommandParser("model.evaluate", __doc__)
    _add_images(parser)
    _add_networks(parser)
    _add_outputs(parser)
    arguments = parser.parse_args(argv)
    if arguments.pairs and arguments.shrink_first > 1:
        parser.error("--shrink_first goes with --hr, not with --pairs")
    if arguments.recipe and (arguments.pairs or arguments.jpeg_quality < 100):
        parser.error("--recipe goes with --hr, and without --jpeg_quality")
    if arguments.image and not arguments.heat_map:
        parser.error("--image goes with --heat_map")
    return arguments


def _add_images(parser: argparse.ArgumentParser) -> None:
    """Options for the images to evaluate on."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pairs", type=Path, metavar="DIR", help="files *LR.png and *HR.png")
    source.add_argument(
        "--hr", metavar="PLACE", help="HR images to make LR from: folder, s3:// or list.txt"
    )
    parser.add_argument(
        "--shrink_first",
        type=_whole_number(1),
        default=1,
        metavar="N",
        help="shrink the images of --hr by this factor before their use",
    )
    parser.add_argument(
        "--jpeg_quality",
        type=_whole_number(1, 100),
        default=100,
        metavar="1..100",
        help="compress LR with this quality; 100, the default, compresses nothing",
    )
    parser.add_argument(
        "--recipe",
        choices=list(RECIPES),
        help="make LR of --hr by this; default: bicubic, then --jpeg_quality",
    )
    parser.add_argument("--limit", type=_whole_number(1), metavar="N", help="use N images")


def _add_networks(parser: argparse.ArgumentParser) -> None:
    """Options for the networks and how they compute."""
    network = "a shipped name or a .keras file"
    parser.add_argument("--model", default=presets.BEST_ON_CLEAN, help=network)
    parser.add_argument("--against", metavar="MODEL", help=f"compare with a second one: {network}")
    parser.add_argument(
        "--precision",
        choices=COMPUTE_DTYPES,
        default="float32",
        help="compute dtype of the networks, as the job's --precision",
    )
    parser.add_argument(
        "--self_ensemble",
        nargs="?",
        const="both",
        choices=("both", "ours"),
        help="mean of 8 flipped and rotated versions (RDN+): of both networks, or of ours only",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Options for the files to write."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="settings, mean, all figures")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="one line per image")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="LR | bicubic | [against] | ours | HR"
    )
    parser.add_argument(
        "--patches",
        type=Path,
        metavar="FILE",
        help="the best and the worst patches by their gain over --against, else over bicubic",
    )
    parser.add_argument(
        "--heat_map", type=Path, metavar="FILE", help="each pixel's error in colours"
    )
    parser.add_argument(
        "--image",
        metavar="NAME",
        help="the image of the heat map; default: the one with the lowest gain",
    )


def _whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Returns a parser of whole numbers within a range, for argparse."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum or (maximum is not None and value > maximum):
            wanted = f"{minimum} or more" if maximum is None else f"{minimum}..{maximum}"
            raise argparse.ArgumentTypeError(f"needs a whole number, {wanted}. Received: {text}")
        return value

    return parse


if __name__ == "__main__":
    sys.exit(startup.run_command("model.evaluate", main))
