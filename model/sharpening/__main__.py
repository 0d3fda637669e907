"""Measures how a shop's thumbnails were sharpened, from their originals or without them.

    python -m model.sharpening thumbnails/ originals/
    python -m model.sharpening s3://shop/images/

Prints the value of `--source_sharpening` for the job: log2 of the amplitude of the finest detail
over that which anti-aliased bicubic leaves. All thumbnails must have been made in the same way.

Both folders lie on this machine and hold images of the same names, whatever their suffixes; an
original shows what its thumbnail shows, at least twice as large. The value is the median over the
pairs, and ten are enough.

Without originals, from a folder, an S3 prefix or a `.txt` list, the value is an estimate: the
median of what `rdn-large` takes away as sharpening from the middle of each of some thumbnails.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model import startup
from model.command_line import CommandParser
from model.data.hr_sources import IMAGE_SUFFIXES, HrFile, list_images, read_bytes
from model.imaging.decode import assumed_quality, decode
from model.imaging.errors import ImageError
from model.inference.errors import OutOfMemoryError
from model.network import presets
from model.sharpening import measuring

if TYPE_CHECKING:  # it imports TensorFlow, which pairs need not wait for
    from model.inference.upscaler import Upscaler

_MAX_PIXELS = 100_000_000
# Values of pairs that were made in one way deviate by less, log2.
_USUAL_DEVIATION = 0.15
_ENOUGH_PAIRS = 5
_ESTIMATED_PX = 256
_USUAL_LIMIT = 60
_ENOUGH_ESTIMATES = 20
# A name to print, and what measures the image or raises ValueError.
_Measurement = tuple[str, Callable[[], float]]


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0; 1 if nothing could be measured, or no number fits all.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        if options.originals is None:
            thumbnails = _spread(list_images(options.thumbnails), options.limit)
        else:
            pairs = _pairs(Path(options.thumbnails), options.originals)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if options.originals is not None:
        return _conclude_pairs(_measure_all(pairs))
    try:
        return _conclude_estimates(_measure_all(_estimates(thumbnails)))
    except (presets.ModelError, OutOfMemoryError) as error:
        print(f"model.sharpening: {error}", file=sys.stderr)
        return 1


def _parser() -> CommandParser:
    parser = CommandParser(
        "model.sharpening",
        __doc__,
        epilog="An original has the name of its thumbnail and is at least twice as large.",
        formatter_class=argparse.HelpFormatter,
    )
    parser.add_argument(
        "thumbnails",
        metavar="THUMBNAILS",
        help="a local folder; without originals also an s3:// prefix or a .txt list",
    )
    parser.add_argument(
        "originals", type=Path, nargs="?", metavar="ORIGINALS", help="a local folder"
    )
    parser.add_argument(
        "--limit",
        type=_count,
        default=_USUAL_LIMIT,
        help=f"thumbnails to look at without originals, spread over all; default {_USUAL_LIMIT}",
    )
    return parser


def _count(text: str) -> int:
    """Parses a whole number from 20 on."""
    if not text.isdecimal() or int(text) < _ENOUGH_ESTIMATES:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {_ENOUGH_ESTIMATES} on: {text}"
        )
    return int(text)


def _spread(images: list[HrFile], limit: int) -> list[HrFile]:
    """At most so many images, evenly from all of them.

    Raises:
        ValueError: if there are too few.
    """
    if len(images) < _ENOUGH_ESTIMATES:
        raise ValueError(_too_few(len(images)))
    count = min(limit, len(images))
    return [images[i * len(images) // count] for i in range(count)]


def _pairs(thumbnails: Path, originals: Path) -> list[_Measurement]:
    """Each thumbnail with its original.

    Raises:
        ValueError: if there is no such folder, or two images have one name.
    """
    small, large = _by_stem(thumbnails), _by_stem(originals)
    return [
        (path.name, functools.partial(_measure_pair, path, large.get(stem)))
        for stem, path in sorted(small.items())
    ]


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without suffix."""
    if not folder.is_dir():
        raise ValueError(f"no such folder: {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            raise ValueError(f"one name for two images: {found[path.stem]} and {path}")
        found[path.stem] = path
    return found


def _measure_all(measurements: list[_Measurement]) -> list[float]:
    """Measures and prints each image; names those that cannot be measured, and leaves them out."""
    values = []
    for name, measure in measurements:
        try:
            values.append(measure())
        except ValueError as error:
            print(f"model.sharpening: {error}", file=sys.stderr)
        else:
            print(f"{name:40} {_rounded(values[-1]):+.2f}", flush=True)
    return values


def _measure_pair(thumbnail: Path, original: Path | None) -> float:
    """Raises ValueError if one of them cannot be read or measured; the message names the file."""
    if original is None:
        raise ValueError(f"{thumbnail}: no original of this name")
    small, jpeg_quality = _read(str(thumbnail))
    large, _ = _read(str(original))
    try:
        return measuring.measure(small, large, jpeg_quality)
    except measuring.UnmeasurableError as error:
        raise ValueError(f"{thumbnail}: {error}") from error


def _estimates(thumbnails: list[HrFile]) -> list[_Measurement]:
    """Each thumbnail with the network, which this loads."""
    startup.import_tensorflow()
    from model.inference import backends  # noqa: PLC0415
    from model.inference.upscaler import Upscaler  # noqa: PLC0415
    from model.network import loading  # noqa: PLC0415

    network = loading.load(presets.resolve(measuring.ESTIMATED_BY))
    upscaler = Upscaler(network, compute_dtype=backends.fastest_dtype())
    return [(one.name, functools.partial(_estimate, one.uri, upscaler)) for one in thumbnails]


def _estimate(uri: str, upscaler: "Upscaler") -> float:
    """Raises ValueError if it cannot be read or measured; the message names the file."""
    rgb, jpeg_quality = _read(uri)
    try:
        return measuring.estimate(_middle(rgb), jpeg_quality, upscaler)
    except measuring.UnmeasurableError as error:
        raise ValueError(f"{uri}: {error}") from error


def _middle(rgb: np.ndarray) -> np.ndarray:
    """The middle of an image, to save time."""
    top, left = (max(0, side - _ESTIMATED_PX) // 2 for side in rgb.shape[:2])
    return rgb[top : top + _ESTIMATED_PX, left : left + _ESTIMATED_PX]


def _read(place: str) -> tuple[np.ndarray, int]:
    """An image over white, and its JPEG quality."""
    try:
        header, image = decode(read_bytes(place), max_pixels=_MAX_PIXELS)
    except (ImageError, OSError) as error:
        raise ValueError(f"{place}: {error}") from error
    return image.over_white(), assumed_quality(header)


def _conclude_pairs(values: list[float]) -> int:
    """Prints the one number, or that there is none; returns the exit status."""
    if not values:
        print("model.sharpening: no pair could be measured", file=sys.stderr)
        return 1
    median, deviation = _rounded(float(np.median(values))), float(np.std(values))
    pairs = "1 pair" if len(values) == 1 else f"{len(values)} pairs"
    if deviation > _USUAL_DEVIATION:
        print(
            f"\n{pairs} from {min(values):.2f} to {max(values):.2f}, deviation {deviation:.2f}: "
            "these thumbnails were made in several ways. Measure and run each kind on its own, "
            "or leave --source_sharpening unknown."
        )
        return 1
    if not _is_learned(median, pairs):
        return 1
    print(f"\n{pairs}: --source_sharpening {median:.2f} (deviation {deviation:.2f})")
    if len(values) < _ENOUGH_PAIRS:
        print("These are few: ten pairs show whether all thumbnails were made in one way.")
    return 0


def _conclude_estimates(values: list[float]) -> int:
    """Prints the estimate, or that there is none; returns the exit status."""
    if len(values) < _ENOUGH_ESTIMATES:
        print(f"model.sharpening: {_too_few(len(values))}", file=sys.stderr)
        return 1
    value = _rounded(float(np.median(values)))
    thumbnails = f"{len(values)} thumbnails"
    if not _is_learned(value, thumbnails):
        return 1
    low, high = _by_chance(values)
    print(
        f"\n{thumbnails}: --source_sharpening {value:.2f} (an estimate; other thumbnails of the "
        f"same kind would give {low:.2f} to {high:.2f})"
    )
    return 0


def _too_few(count: int) -> str:
    return (
        f"{count} thumbnails can be measured, an estimate needs {_ENOUGH_ESTIMATES}, better "
        f"{_USUAL_LIMIT}: give more of them, or a folder of their originals"
    )


def _by_chance(values: list[float]) -> tuple[float, float]:
    """Bounds of the median in 95 % of the samples drawn from these values again."""
    again = np.random.default_rng(0).choice(values, (1000, len(values)))
    low, high = np.quantile(np.median(again, axis=1), (0.025, 0.975))
    return _rounded(float(low)), _rounded(float(high))


def _is_learned(value: float, of: str) -> bool:
    """Whether networks were trained on it; prints a line if not."""
    if presets.MIN_SHARPENING <= value <= presets.MAX_SHARPENING:
        return True
    print(
        f"\n{of}: {value:.2f}, beyond what networks were trained on, {presets.MIN_SHARPENING} to "
        f"{presets.MAX_SHARPENING}: leave --source_sharpening unknown."
    )
    return False


def _rounded(value: float) -> float:
    """To two digits, and 0 for -0."""
    return round(value, 2) + 0.0


if __name__ == "__main__":
    sys.exit(startup.run_command("model.sharpening", main))
