"""Upscales an image, or all images of a folder.

    python -m model.upscale photo.jpg photo_x2.png [--model rdn-small]
    python -m model.upscale images/ upscaled/ [--format jpeg] [--self_ensemble]
    python -m model.upscale photo.jpg photo_x2.png --compare

Prints the measures of what it made, as the columns of the nightly job are named; `--compare` also
writes `photo_x2_compare.png`: bicubic | ours | error map. Orientation, transparency, grey and
colour profile are kept as in the nightly pipeline.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from model.data.hr_sources import find_images
from model.evaluate import error_maps
from model.imaging import resampling
from model.imaging.decode import ImageError, assumed_quality, decode
from model.imaging.encode import EXTENSIONS, IMAGE_FORMATS, encode
from model.imaging.image import RasterImage
from model.inference import backends
from model.inference.upscaler import OutOfMemoryError, Upscaler
from model.metrics import full_reference, quality
from model.metrics.quality import Measures
from model.network import loading, presets

_FORMAT_OF_SUFFIX = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclasses.dataclass(frozen=True, eq=False)
class Upscaled:
    """An image, what was made of it, and how good that is."""

    source: RasterImage
    result: RasterImage
    measures: Measures


def upscale_file(
    source: Path, target: Path, upscaler: Upscaler, *, image_format: str, max_pixels: int
) -> Upscaled:
    """Upscales and measures one image file.

    Args:
        source: an image in any format that `model.imaging.decode` allows.
        target: where to write; its folder must exist.
        upscaler: the network.
        image_format: `png`, `jpeg` or `webp`.
        max_pixels: refuse a source with more.

    Returns:
        What was written, before it was encoded.

    Raises:
        ImageError: if the source cannot be decoded.
        OSError: if a file cannot be read or written.
    """
    header, image = decode(source.read_bytes(), max_pixels=max_pixels)
    result = upscaler.upscale_image(image, jpeg_quality=assumed_quality(header))
    target.write_bytes(encode(result, image_format, lossless=True).data)
    self_test = quality.self_test(image, upscaler.scale)
    self_sr = None if self_test is None else upscaler.upscale_rgb(self_test.lr)
    measures = quality.measure(
        image, result, scale=upscaler.scale, self_test=self_test, self_sr=self_sr
    )
    return Upscaled(image, result, measures)


def describe(measures: Measures) -> str:
    """The measures that there are, on one line; units are in their names."""
    found = dataclasses.asdict(measures).items()
    told = [f"{name} {value:.3g}" for name, value in found if value is not None]
    return ", ".join(told) or "too small to measure"


def comparison_sheet(upscaled: Upscaled, name: str) -> np.ndarray:
    """Bicubic, ours, and where ours is wrong.

    Args:
        upscaled: of `upscale_file`.
        name: for the heading.

    Returns:
        uint8 [h, w, 3]. The map shows, for each source pixel, how far the result, shrunk again,
        is from it in grey levels of luma.
    """
    source, result = upscaled.source.over_white(), upscaled.result.over_white()
    scale = result.shape[0] // source.shape[0]
    bicubic = resampling.to_uint8(resampling.bicubic(source, *result.shape[:2]))
    error = np.abs(
        full_reference.luma(resampling.shrink(result, scale)) - full_reference.luma(source)
    )
    error = error.repeat(scale, 0).repeat(scale, 1)
    return error_maps.error_sheet(name, bicubic, result, error)


def comparison_path(target: Path) -> Path:
    """Where the sheet beside a result goes."""
    return target.with_name(f"{target.stem}_compare.png")


def _plan(source: Path, target: Path, wanted: str | None) -> list[tuple[Path, Path, str]]:
    """(source, target, format) of each image to make; no source is written over."""
    if source.is_dir():
        plan = _plan_folder(source, target, wanted or "png")
    else:
        if target.is_dir():
            target = target / f"{source.stem}.{EXTENSIONS[wanted or 'png']}"
        plan = [(source, target, wanted or _FORMAT_OF_SUFFIX.get(target.suffix.lower(), "png"))]
    sources = {path.resolve() for path, _, _ in plan}
    for _, path, _ in plan:
        if path.resolve() in sources:
            raise ValueError(f"{path} would be written over its source: name another OUT")
    return plan


def _plan_folder(source: Path, target: Path, image_format: str) -> list[tuple[Path, Path, str]]:
    """The same for the images of a folder; makes the target folder."""
    target.mkdir(parents=True, exist_ok=True)
    plan = [
        (path, target / f"{path.stem}.{EXTENSIONS[image_format]}", image_format)
        for path in find_images(source)
    ]
    stems = [path.stem for path, _, _ in plan]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(
            f"{source} holds several images named {', '.join(twice[:3])}: their results would "
            "overwrite each other"
        )
    return plan


def _check_sheets(plan: list[tuple[Path, Path, str]]) -> None:
    """No sheet may take the place of a source or of a result."""
    taken = {path.resolve() for source, target, _ in plan for path in (source, target)}
    for _, target, _ in plan:
        if comparison_path(target).resolve() in taken:
            raise ValueError(f"{comparison_path(target)} would be written over an image")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0 done, 1 an image failed or nothing to do."""
    parser = argparse.ArgumentParser(
        prog="python -m model.upscale", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("source", type=Path, metavar="IN", help="an image or a folder")
    parser.add_argument("target", type=Path, metavar="OUT", help="a file or a folder")
    parser.add_argument("--model", default=presets.DEFAULT, help="a shipped name or a .keras file")
    parser.add_argument("--format", choices=IMAGE_FORMATS, help="default: OUT's suffix, else png")
    parser.add_argument("--max_pixels", type=int, default=40_000_000)
    parser.add_argument(
        "--self_ensemble",
        action="store_true",
        help="mean of 8 flipped and rotated versions: a little better, 8 times slower",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", *backends.COMPUTE_DTYPES),
        default="auto",
        help="in which the network computes; results differ by one grey level at most",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="write a sheet beside each result: bicubic | ours | error map",
    )
    arguments = parser.parse_args(argv)
    try:
        plan = _plan(arguments.source, arguments.target, arguments.format)
        if arguments.compare:
            _check_sheets(plan)
        chosen = arguments.precision
        upscaler = Upscaler(
            loading.load_by_name(arguments.model),
            compute_dtype=backends.fastest_dtype() if chosen == "auto" else chosen,
            self_ensemble=arguments.self_ensemble,
        )
    except (OSError, ValueError) as error:
        print(f"model.upscale: {error}", file=sys.stderr)
        return 1
    failures = 0
    for source, target, image_format in plan:
        try:
            made = upscale_file(
                source,
                target,
                upscaler,
                image_format=image_format,
                max_pixels=arguments.max_pixels,
            )
            print(f"{source} -> {target} ({made.result.height} x {made.result.width})")
            print(f"  {describe(made.measures)}")
            if arguments.compare:
                sheet = comparison_path(target)
                Image.fromarray(comparison_sheet(made, source.name)).save(sheet)
                print(f"  bicubic | ours | error map: {sheet}")
        except (ImageError, OutOfMemoryError, OSError) as error:
            failures += 1
            print(f"model.upscale: {source}: {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
