"""Measures how a shop's thumbnails were sharpened, from their originals or without them.

    python -m model.sharpening thumbnails/ originals/
    python -m model.sharpening s3://shop/images/
    python -m model.sharpening s3://shops/ --table shops.csv

Prints the value of `--source_sharpening` for the job: log2 of the amplitude of the finest detail
over that which anti-aliased bicubic leaves. All thumbnails must have been made in the same way.

Both folders lie on this machine and hold images of the same names, whatever their suffixes; an
original shows what its thumbnail shows, at least twice as large. The value is the median over the
pairs, and ten are enough.

Without originals, from a folder, an S3 prefix or a `.txt` list, the value is an estimate: the
median of what `rdn-large` takes away as sharpening from the middle of each of some thumbnails.

With `--table` each folder right below THUMBNAILS is a shop of its own. The file gets a line for
each, for `--sharpening_table` of the job; folders that it names already are left as they are.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from model import startup
from model.command_line import CommandParser, printable
from model.data.hr_sources import HrFile, is_image, list_images, spread
from model.inference.errors import OutOfMemoryError
from model.network import presets
from model.sharpening import estimates, measuring, table

# Values of pairs that were made in one way deviate by less, log2.
_USUAL_DEVIATION = 0.15
_ENOUGH_PAIRS = 5
# A name to print, and what measures the pair or raises ValueError or OSError.
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
    if options.table is not None and options.originals is not None:
        parser.error("--table estimates without ORIGINALS")
    try:
        conclude = _conclusion(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        return conclude()
    except (presets.ModelError, OutOfMemoryError, OSError) as error:
        print(f"model.sharpening: {error}", file=sys.stderr)
        return 1


def _conclusion(options: argparse.Namespace) -> Callable[[], int]:
    """Finds the images, and returns the work that is left, which gives the exit status.

    Raises:
        OSError, ValueError: if there are no images to measure, or the table is none.
    """
    if options.originals is not None:
        pairs = _pairs(options.thumbnails, options.originals)
        return functools.partial(_conclude_pairs, pairs)
    if options.table is not None:
        return functools.partial(_fill_table, options.table, *_lacking(options))
    thumbnails = list_images(options.thumbnails)
    estimates.check_count(len(thumbnails))
    return functools.partial(_conclude_estimate, spread(thumbnails, options.limit))


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
        help="a local folder; without originals also an s3:// prefix, or a .txt list of one shop",
    )
    parser.add_argument("originals", nargs="?", metavar="ORIGINALS", help="a local folder")
    parser.add_argument(
        "--limit",
        type=_count,
        default=estimates.USUAL_LIMIT,
        help=f"thumbnails of a shop to look at without originals; default {estimates.USUAL_LIMIT}",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="a .csv file: adds a line for each folder right below THUMBNAILS, a shop of its own",
    )
    return parser


def _count(text: str) -> int:
    """Parses a whole number from 20 on."""
    if not text.isdecimal() or int(text) < estimates.ENOUGH:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {estimates.ENOUGH} on: {text}"
        )
    return int(text)


def _pairs(thumbnails: str, originals: str) -> list[_Measurement]:
    """Each thumbnail with its original.

    Raises:
        ValueError: if there is no such folder, or two images have one name.
    """
    small, large = _by_stem(thumbnails), _by_stem(originals)
    return [
        (path.name, functools.partial(_measure_pair, path, large.get(stem)))
        for stem, path in sorted(small.items())
    ]


def _by_stem(folder: str) -> dict[str, Path]:
    """The images of a folder by their names without suffix."""
    if not Path(folder).is_dir():
        raise ValueError(
            f"not a folder on this machine: {folder} (thumbnails and originals both lie in one)"
        )
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if not is_image(path.name) or not path.is_file():
            continue
        if path.stem in found:
            raise ValueError(f"one name for two images: {found[path.stem]} and {path}")
        found[path.stem] = path
    return found


def _measure_all(measurements: list[_Measurement]) -> list[float]:
    """Measures and prints each pair; names those that cannot be measured, and leaves them out."""
    values = []
    for name, measure in measurements:
        try:
            values.append(measure())
        except (ValueError, OSError) as error:
            print(f"model.sharpening: {error}", file=sys.stderr)
        else:
            _print_value(name, values[-1])
    return values


def _print_value(name: str, value: float) -> None:
    print(f"{printable(name):40} {estimates.rounded(value):+.2f}", flush=True)


def _measure_pair(thumbnail: Path, original: Path | None) -> float:
    """Raises ValueError or OSError if one of them cannot be measured; the message names it."""
    if original is None:
        raise ValueError(f"{thumbnail}: no original of this name")
    small, jpeg_quality = estimates.read_image(str(thumbnail))
    large, _ = estimates.read_image(str(original))
    # The edge of a transparency is none of the detail that was sharpened.
    is_cut_out = not (small.is_opaque or large.is_opaque)
    small_rgb, large_rgb = (
        image.bled() if is_cut_out else image.over_white() for image in (small, large)
    )
    try:
        return measuring.measure(small_rgb, large_rgb, jpeg_quality)
    except measuring.UnmeasurableError as error:
        raise ValueError(f"{thumbnail}: {error}") from error


def _conclude_pairs(measurements: list[_Measurement]) -> int:
    """Measures all pairs; prints the one number, or that there is none."""
    values = _measure_all(measurements)
    if not values:
        print("model.sharpening: no pair could be measured", file=sys.stderr)
        return 1
    median, deviation = estimates.rounded(float(np.median(values))), float(np.std(values))
    pairs = "1 pair" if len(values) == 1 else f"{len(values)} pairs"
    try:
        estimates.check_one_kind(values, _USUAL_DEVIATION)
        estimates.check_is_learned(median)
    except estimates.NoNumberError as error:
        print(f"\n{pairs}: {error}: {error.remedy}")
        return 1
    print(f"\n{pairs}: --source_sharpening {median:.2f} (deviation {deviation:.2f})")
    if len(values) < _ENOUGH_PAIRS:
        print("These are few: ten pairs show whether all thumbnails were made in one way.")
    return 0


def _conclude_estimate(thumbnails: list[HrFile]) -> int:
    """Estimates by thumbnails of one shop; prints the number, or that there is none."""
    values = []
    for uri, value in estimates.measure_all(
        [one.uri for one in thumbnails], estimates.open_upscaler()
    ):
        values.append(value)
        _print_value(HrFile(uri).name, value)
    try:
        found = estimates.conclude(values)
    except estimates.NoNumberError as error:
        print(f"model.sharpening: {error}: {error.remedy}", file=sys.stderr)
        return 1
    print(
        f"\n{found.count} thumbnails: --source_sharpening {found.value:.2f} (an estimate; other "
        f"thumbnails of the same kind would give {found.low:.2f} to {found.high:.2f})"
    )
    return 0


def _lacking(options: argparse.Namespace) -> tuple[dict[str, list[str]], bool]:
    """Thumbnails of the folders that the table lacks, and whether it has a line; counts them.

    Raises:
        OSError, ValueError: if there are no folders, or the table is none.
    """
    if str(options.table).startswith("s3:"):
        raise ValueError(f"--table {options.table}: the table is a file on this machine")
    known = table.read(options.table)
    folders, loose = estimates.sample_folders(options.thumbnails, options.limit)
    lacking = {prefix: uris for prefix, uris in folders.items() if prefix not in known}
    print(f"folders: {len(folders)}, new to {options.table}: {len(lacking)}", flush=True)
    if loose:
        print(f"images in no folder, which get no number: {loose}")
    return lacking, bool(known)


def _fill_table(path: Path, folders: dict[str, list[str]], has_line: bool) -> int:
    """Estimates folders, adds and prints them; the exit status is 0 if the table has a line."""
    without = 0
    for prefix, uris in folders.items():
        try:
            estimates.check_count(len(uris))
            measured = estimates.measure_all(uris, estimates.open_upscaler())
            found = estimates.conclude([value for _, value in measured])
        except estimates.NoNumberError as error:
            print(f"model.sharpening: {prefix}: {error}", file=sys.stderr)
            without += 1
            continue
        table.append(path, prefix, found.value)
        has_line = True
        print(f"{prefix:40} {found}", flush=True)
    if without:
        print(
            f"folders without a number: {without}. The next run tries them again, unless a line "
            f"of {path} has their prefix, a comma and nothing or what originals show."
        )
    return 0 if has_line else 1


if __name__ == "__main__":
    sys.exit(startup.run_command("model.sharpening", main))
