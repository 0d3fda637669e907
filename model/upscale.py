"""Upscales an image, or all images of a folder.

    python -m model.upscale photo.jpg photo_x2.png [--model rdn-small]
    python -m model.upscale images/ upscaled/ [--format jpeg] [--self_ensemble]
    python -m model.upscale photo.jpg photo_x2.png --compare
    python -m model.upscale images/ upscaled/ --target_side 1200
    python -m model.upscale photo.jpg photo_x2.avif --quality 80 --profile srgb --metadata none

Prints the measures of each result under the names of the nightly job's columns; `--compare` also
writes `photo_x2_compare.png`: bicubic | ours | error map. Orientation, transparency, grey mode,
colour profile and rights are kept as in the nightly pipeline. `--scale 3` and `4` of a x2 network
are two passes; `--target_side` leaves out images that have that side already. A folder OUT is
created. `a.jpg` becomes `a.png` there; where `a.gif` would, too, `a.jpg.png` and `a.gif.png`.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from model import startup
from model.command_line import CommandParser, printable
from model.imaging import profiles, resampling
from model.imaging.decode import assumed_quality, decode
from model.imaging.encode import DEFAULT_ENCODING, check_format, encode
from model.imaging.errors import ImageError
from model.imaging.formats import IMAGE_FORMATS, METADATA, PROFILES, Encoding
from model.imaging.header import lift_pillow_limits
from model.inference.dtypes import COMPUTE_DTYPES
from model.inference.target import TargetSize
from model.metrics import full_reference
from model.metrics.quality import Measures
from model.network import presets
from model.upscale_plan import (
    PlannedFile,
    check_sheets,
    comparison_path,
    create_folders,
    plan_files,
)

if TYPE_CHECKING:  # they import TensorFlow, which a command line with a typo need not wait for
    from model.inference.measured import UpscaledImage
    from model.inference.upscaler import Upscaler

_NETWORK_S_OWN = TargetSize()


def upscale_file(
    source: Path,
    target: Path,
    upscaler: "Upscaler",
    *,
    image_format: str,
    max_pixels: int,
    size: TargetSize = _NETWORK_S_OWN,
    source_sharpening: float | None = None,
    encoding: Encoding = DEFAULT_ENCODING,
) -> "UpscaledImage | None":
    """Upscales and measures one image file.

    Args:
        source: an image in any format that `model.imaging.decode` allows.
        target: file to write; its folder must exist.
        upscaler: the network.
        image_format: one of `IMAGE_FORMATS`.
        max_pixels: refuse a source with more.
        size: of the result.
        source_sharpening: log2, -0.75..1.5; None: the network sees for itself.
        encoding: quality, profile and metadata. WebP is lossless without a quality.

    Returns:
        The network's result, and what its measures need; None, and no file, for a source that
        has the target side already.

    Raises:
        ImageError: if the source cannot be decoded, or its result is too long for the format.
        OutOfMemoryError: if the device cannot hold even a small tile.
        OSError: if a file cannot be read or written.

    Example:
        upscaler = Upscaler(loading.load_by_name("rdn-product"))
        options = {"image_format": "png", "max_pixels": 40_000_000}
        upscale_file(Path("a.jpg"), Path("a_x2.png"), upscaler, **options).measure()
    """
    from model.inference.measured import upscale_with_self_test  # noqa: PLC0415

    header, image = decode(source.read_bytes(), max_pixels=max_pixels)
    if size.has_reached(image.height, image.width):
        return None
    plan = size.plan(image.height, image.width, upscaler.scale)
    upscaled = upscale_with_self_test(
        upscaler,
        image,
        jpeg_quality=assumed_quality(header),
        sharpening=source_sharpening,
        passes=plan.passes,
    )
    result = upscaled.result.shrunk_to(plan.height, plan.width)
    encoded = encode(result, image_format, lossless=encoding.quality is None, encoding=encoding)
    if encoded.image_format != image_format:
        raise ImageError(
            f"the result, {result.width} x {result.height}, is too long for "
            f"{image_format}: name a .{encoded.image_format} file as OUT"
        )
    target.write_bytes(encoded.data)
    return upscaled


def describe(measures: Measures) -> str:
    """Formats the measures that are known as one line; units are in their names."""
    found = dataclasses.asdict(measures).items()
    known = [f"{name} {value:.3g}" for name, value in found if value is not None]
    return ", ".join(known) or "too small to measure"


def comparison_sheet(upscaled: "UpscaledImage", name: str) -> np.ndarray:
    """Draws bicubic, the network's result, and a map of its error side by side.

    Args:
        upscaled: of `upscale_file`.
        name: for the heading.

    Returns:
        uint8 [h, w, 3] in sRGB. The map shows, for each source pixel, the difference in grey
        levels of luma from the result shrunk again.
    """
    from model.evaluate import error_maps  # noqa: PLC0415 - imports TensorFlow

    source, result = (
        profiles.to_srgb(image).over_white() for image in (upscaled.source, upscaled.result)
    )
    scale = upscaled.scale
    bicubic = resampling.to_uint8(resampling.bicubic(source, *result.shape[:2]))
    error = np.abs(
        full_reference.luma(resampling.shrink(result, scale)) - full_reference.luma(source)
    )
    return error_maps.error_sheet(name, bicubic, result, error.repeat(scale, 0).repeat(scale, 1))


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0; 1 if an image failed or there is nothing to do.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    arguments = _parse(argv)
    lift_pillow_limits()
    try:
        plan = plan_files(arguments.source, arguments.target, arguments.format)
        if arguments.compare:
            check_sheets(plan)
        for each in plan:
            check_format(each.image_format)
        create_folders(plan)
        upscaler = _load(arguments)
        TargetSize(arguments.scale, arguments.target_side).check(upscaler.scale)
    except (OSError, ValueError) as error:
        print(f"model.upscale: {error}", file=sys.stderr)
        return 1
    failures = sum(not _upscale(upscaler, arguments, each) for each in plan)
    return 1 if failures else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("model.upscale", __doc__)
    parser.add_argument("source", type=Path, metavar="IN", help="an image or a folder")
    parser.add_argument(
        "target",
        type=Path,
        metavar="OUT",
        help="a file or a folder, which is created; in a folder a.jpg and a.gif become a.jpg.png "
        "and a.gif.png, a.jpg alone a.png",
    )
    parser.add_argument("--model", default=presets.DEFAULT, help="a shipped name or a .keras file")
    parser.add_argument(
        "--format", choices=IMAGE_FORMATS, help="default: OUT's suffix; png for a folder"
    )
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), help="default: the network's own")
    parser.add_argument(
        "--target_side",
        type=int,
        metavar="PIXELS",
        help="longer side of the results, by the smallest scale that reaches it, up to --scale",
    )
    parser.add_argument(
        "--source_sharpening",
        type=presets.sharpening_or_unknown,
        metavar="LOG2",
        help="how IN was sharpened, as model.sharpening measures it; unknown: as the network sees",
    )
    _add_encoding(parser)
    parser.add_argument(
        "--self_ensemble",
        action="store_true",
        help="mean of 8 flipped and rotated versions: a little better, 8 times slower",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", *COMPUTE_DTYPES),
        default="auto",
        help="compute dtype of the network; results hardly differ (docs/library.md)",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="write a sheet beside each result: bicubic | ours | error map",
    )
    return parser.parse_args(argv)


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    """Options about files."""
    parser.add_argument(
        "--max_pixels", type=_positive, default=40_000_000, help="refuse an IN with more"
    )
    parser.add_argument(
        "--quality",
        type=_percent,
        metavar="1..100",
        help="of JPEG, WebP and AVIF; default: JPEG 92, AVIF 85, WebP lossless",
    )
    parser.add_argument("--progressive", choices=("yes", "no"), default="no", help="of a JPEG")
    parser.add_argument(
        "--profile", choices=PROFILES, default="keep", help="colour profile: keep or convert to it"
    )
    parser.add_argument(
        "--metadata", choices=METADATA, default="rights", help="of the source that are kept"
    )


def _positive(text: str) -> int:
    """Parses a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1: {text}")
    return int(text)


def _percent(text: str) -> int:
    """Parses a whole number from 1 to 100."""
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 100: {text}")
    return int(text)


def _load(arguments: argparse.Namespace) -> "Upscaler":
    """Loads the network; raises OSError or ValueError if it cannot."""
    startup.import_tensorflow()
    from model.inference import backends  # noqa: PLC0415
    from model.inference.upscaler import Upscaler  # noqa: PLC0415
    from model.network import loading  # noqa: PLC0415

    wanted = arguments.precision
    saved = presets.resolve(arguments.model)
    saved.check_sharpening(arguments.source_sharpening)
    return Upscaler(
        loading.load(saved),
        compute_dtype=backends.fastest_dtype() if wanted == "auto" else wanted,
        self_ensemble=arguments.self_ensemble,
    )


def _upscale(upscaler: "Upscaler", arguments: argparse.Namespace, planned: PlannedFile) -> bool:
    """Upscales one image and describes it; returns False, after a message, if it fails."""
    from model.inference.errors import OutOfMemoryError  # noqa: PLC0415

    source, target, image_format = planned
    size = TargetSize(arguments.scale, arguments.target_side)
    try:
        upscaled = upscale_file(
            source,
            target,
            upscaler,
            image_format=image_format,
            max_pixels=arguments.max_pixels,
            size=size,
            source_sharpening=arguments.source_sharpening,
            encoding=Encoding(
                arguments.quality,
                arguments.progressive == "yes",
                arguments.profile,
                arguments.metadata,
            ),
        )
        if upscaled is None:
            print(printable(f"{source} has the target side already: skipped"))
            return True
        plan = size.plan(upscaled.source.height, upscaled.source.width, upscaler.scale)
        print(printable(f"{source} -> {target} ({plan.width} x {plan.height})"))
        print(f"  {describe(upscaled.measure())}")
        if arguments.compare:
            sheet = comparison_path(target)
            Image.fromarray(comparison_sheet(upscaled, source.name)).save(sheet)
            print(printable(f"  bicubic | ours | error map: {sheet}"))
    except OSError as error:
        print(f"model.upscale: {error.filename or source}: {error.strerror}", file=sys.stderr)
        return False
    except (ImageError, OutOfMemoryError) as error:
        print(f"model.upscale: {source}: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(startup.run_command("model.upscale", main))
