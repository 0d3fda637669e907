"""Measures how a shop's thumbnails were sharpened, from some of them and their originals.

    python -m model.sharpening thumbnails/ originals/

Both folders lie on this machine and hold images of the same names, whatever their suffixes; an
original shows what its thumbnail shows, at least twice as large. Prints the value of
`--source_sharpening` for the job: log2 of the amplitude of the finest detail over that which
anti-aliased bicubic leaves, the median over the pairs. Ten are enough where all thumbnails were
made in the same way.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from model import startup
from model.command_line import CommandParser
from model.data import degradation
from model.data.hr_sources import IMAGE_SUFFIXES
from model.data.patches import variation
from model.imaging import resampling
from model.imaging.decode import assumed_quality, decode
from model.imaging.errors import ImageError
from model.metrics import full_reference
from model.metrics.detail import finest_detail_ratio
from model.network import presets

_MIN_SCALE = 2
_MIN_SIDE_PX = 16
# Flatter images, in grey levels, have too little detail to compare.
_MIN_VARIATION = 3.0
# Of the luma of a thumbnail and its shrunk original: sharpening and JPEG leave more.
_MIN_CORRELATION = 0.8
_MAX_PIXELS = 100_000_000
# Values of thumbnails that were made in one way deviate by less, log2.
_USUAL_DEVIATION = 0.15
_ENOUGH_PAIRS = 5


def measure(thumbnail: np.ndarray, original: np.ndarray, jpeg_quality: int) -> float:
    """Compares the finest detail of a thumbnail with that after anti-aliased bicubic.

    Args:
        thumbnail: uint8 [h, w, 3], sides at least 16.
        original: uint8 [H, W, 3] of the same content, at least twice as large.
        jpeg_quality: 1..100, of the thumbnail; 100 if it was not compressed. What is compared with
            it is compressed as strongly.

    Returns:
        log2 of the ratio of amplitudes; 0 for a thumbnail that anti-aliased bicubic made.

    Raises:
        ValueError: if the thumbnail is too small or too flat, or the original is not at least
            twice as large, of other proportions or of other content.
    """
    height, width = thumbnail.shape[:2]
    if min(height, width) < _MIN_SIDE_PX:
        raise ValueError(f"{width} x {height} pixels are too few: at least {_MIN_SIDE_PX} a side")
    scales = original.shape[0] / height, original.shape[1] / width
    # Rounding moves each side of the thumbnail by half a pixel.
    if min(scales) < _MIN_SCALE or abs(scales[0] / scales[1] - 1) > 1 / min(height, width):
        raise ValueError(
            f"its original is {original.shape[1]} x {original.shape[0]}, itself {width} x "
            f"{height}: an original has the same proportions and at least twice the size"
        )
    plain = resampling.to_uint8(resampling.bicubic(original, height, width))
    if min(variation(thumbnail), variation(plain)) < _MIN_VARIATION:
        raise ValueError("it is too flat to measure")
    if jpeg_quality < 100:
        plain = degradation.compress_jpeg(plain, jpeg_quality)
    luma, plain_luma = full_reference.luma(thumbnail), full_reference.luma(plain)
    if np.corrcoef(luma.ravel(), plain_luma.ravel())[0, 1] < _MIN_CORRELATION:
        raise ValueError("its original shows something else, or another part of it")
    return finest_detail_ratio(luma, plain_luma)


def measure_files(thumbnail: Path, original: Path) -> float:
    """Reads and measures a pair.

    Raises:
        ValueError: if one of them cannot be read, or see `measure`; the message names the file.
    """
    small, jpeg_quality = _read(thumbnail)
    large, _ = _read(original)
    try:
        return measure(small, large, jpeg_quality)
    except ValueError as error:
        raise ValueError(f"{thumbnail}: {error}") from error


def _read(path: Path) -> tuple[np.ndarray, int]:
    """An image over white, and its JPEG quality."""
    try:
        header, image = decode(path.read_bytes(), max_pixels=_MAX_PIXELS)
    except (ImageError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error
    return image.over_white(), assumed_quality(header)


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0; 1 if no pair could be measured, or one number does not fit all.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    parser = CommandParser(
        "model.sharpening",
        __doc__,
        epilog="Images of the same names; an original is at least twice as large.",
        formatter_class=argparse.HelpFormatter,
    )
    parser.add_argument("thumbnails", type=Path, metavar="THUMBNAILS", help="a local folder")
    parser.add_argument("originals", type=Path, metavar="ORIGINALS", help="a local folder")
    options = parser.parse_args(argv)
    try:
        thumbnails, originals = _images(options.thumbnails), _images(options.originals)
    except ValueError as error:
        parser.error(str(error))
    values = []
    for stem, thumbnail in sorted(thumbnails.items()):
        try:
            if stem not in originals:
                raise ValueError(f"{thumbnail}: no original of this name")
            values.append(measure_files(thumbnail, originals[stem]))
        except ValueError as error:
            print(f"model.sharpening: {error}", file=sys.stderr)
            continue
        print(f"{thumbnail.name:40} {_rounded(values[-1]):+.2f}")
    if not values:
        print("model.sharpening: no pair could be measured", file=sys.stderr)
        return 1
    return _conclude(values)


def _conclude(values: list[float]) -> int:
    """Prints the one number, or that there is none; returns the exit status."""
    median, deviation = _rounded(float(np.median(values))), float(np.std(values))
    pairs = "1 pair" if len(values) == 1 else f"{len(values)} pairs"
    if deviation > _USUAL_DEVIATION:
        print(
            f"\n{pairs} from {min(values):.2f} to {max(values):.2f}, deviation {deviation:.2f}: "
            "these thumbnails were made in several ways. Measure and run each kind on its own, "
            "or leave --source_sharpening unknown."
        )
        return 1
    if not presets.MIN_SHARPENING <= median <= presets.MAX_SHARPENING:
        print(
            f"\n{pairs}: {median:.2f}, beyond what networks were trained on, "
            f"{presets.MIN_SHARPENING} to {presets.MAX_SHARPENING}: leave --source_sharpening "
            "unknown."
        )
        return 1
    print(f"\n{pairs}: --source_sharpening {median:.2f} (deviation {deviation:.2f})")
    if len(values) < _ENOUGH_PAIRS:
        print("These are few: ten pairs show whether all thumbnails were made in one way.")
    return 0


def _rounded(value: float) -> float:
    """To two digits, and 0 for -0."""
    return round(value, 2) + 0.0


def _images(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without suffix.

    Raises:
        ValueError: if there is no such folder, or two images have one name.
    """
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


if __name__ == "__main__":
    sys.exit(startup.run_command("model.sharpening", main))
