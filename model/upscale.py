"""Upscales an image, or all images of a folder: the command, and the Python API.

    python -m model.upscale photo.jpg photo_x2.png [--model rdn-small]
    python -m model.upscale images/ upscaled/ [--format jpeg] [--self_ensemble]
    python -m model.upscale photo.jpg photo_x2.png --compare

Prints the measures of each result, named as the columns of the pipeline's rows; `--compare` also
writes `photo_x2_compare.png`: bicubic | ours | error map. Orientation, transparency, grey and
colour profile are kept as in the pipeline.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from model.data.hr_sources import find_images
from model.evaluate import sheets
from model.imaging import resampling
from model.imaging.decode import assumed_quality, decode
from model.imaging.encode import EXTENSIONS, IMAGE_FORMATS, encode
from model.imaging.errors import ImageError
from model.inference import backends
from model.inference.dtypes import COMPUTE_DTYPES
from model.inference.measured import UpscaledImage, upscale_with_self_test
from model.inference.upscaler import OutOfMemoryError, Upscaler
from model.metrics import full_reference
from model.metrics.quality import Measures
from model.network import loading, presets

_FORMAT_OF_SUFFIX = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


def upscale_file(
    source: Path, target: Path, upscaler: Upscaler, *, image_format: str, max_pixels: int
) -> UpscaledImage:
    """Upscales one image file.

    Args:
        source: an image in any format that `model.imaging.decode` allows.
        target: where to write; its folder must exist.
        upscaler: the network.
        image_format: `png`, `jpeg` or `webp`.
        max_pixels: refuse a source with more.

    Returns:
        The image, its result before encoding, and what its measures need.

    Raises:
        ImageError: if the source cannot be decoded, or its result is too long for the format.
        OutOfMemoryError: if the device cannot hold even a small tile.
        OSError: if a file cannot be read or written.

    Example:
        upscaler = Upscaler(loading.load_by_name("rdn-product"))
        options = {"image_format": "png", "max_pixels": 40_000_000}
        upscale_file(Path("a.jpg"), Path("a_x2.png"), upscaler, **options).measure()
    """
    header, image = decode(source.read_bytes(), max_pixels=max_pixels)
    upscaled = upscale_with_self_test(upscaler, image, jpeg_quality=assumed_quality(header))
    encoded = encode(upscaled.result, image_format, lossless=True)
    if encoded.image_format != image_format:
        raise ImageError(
            f"the result, {upscaled.result.height} x {upscaled.result.width}, is too long for "
            f"{image_format}: name a .{encoded.image_format} file as OUT"
        )
    target.write_bytes(encoded.data)
    return upscaled


def describe(measures: Measures) -> str:
    """Formats the defined measures on one line; units are in their names."""
    found = dataclasses.asdict(measures).items()
    texts = [f"{name} {value:.3g}" for name, value in found if value is not None]
    return ", ".join(texts) or "too small to measure"


def comparison_sheet(upscaled: UpscaledImage, name: str) -> np.ndarray:
    """Draws bicubic, our result and its error map side by side.

    Args:
        upscaled: of `upscale_file`.
        name: for the heading.

    Returns:
        uint8 [h, w, 3]. The map shows the difference of the result, shrunk again, from each
        source pixel, in grey levels of luma.
    """
    source, result = upscaled.source.over_white(), upscaled.result.over_white()
    scale = upscaled.scale
    bicubic = resampling.to_uint8(resampling.bicubic(source, *result.shape[:2]))
    error = np.abs(
        full_reference.luma(resampling.shrink(result, scale)) - full_reference.luma(source)
    )
    return sheets.error_sheet(name, bicubic, result, error.repeat(scale, 0).repeat(scale, 1))


def comparison_path(target: Path) -> Path:
    """Returns the path of the comparison sheet of a result."""
    return target.with_name(f"{target.stem}_compare.png")


def _plan(source: Path, target: Path, wanted: str | None) -> list[tuple[Path, Path, str]]:
    """Lists (source, target, format) of each image; refuses to overwrite sources."""
    if source.is_dir():
        plan = _plan_folder(source, target, wanted or "png")
    else:
        if target.is_dir():
            target = target / f"{source.stem}.{EXTENSIONS[wanted or 'png']}"
        plan = [(source, target, _format_of(target, wanted))]
    sources = {path.resolve() for path, _, _ in plan}
    for _, path, _ in plan:
        if path.resolve() in sources:
            raise ValueError(f"{path} would be written over its source: name another OUT")
    return plan


def _format_of(target: Path, wanted: str | None) -> str:
    """The format of a result: the wanted one or, without, that of its name; both must agree."""
    suffix = target.suffix.lower()
    if not suffix:
        return wanted or "png"
    named = _FORMAT_OF_SUFFIX.get(suffix)
    if named is None or wanted not in (None, named):
        raise ValueError(
            f"{target} would hold {'another format than' if named else 'no'} {suffix}: "
            f"name OUT .{EXTENSIONS[wanted] if wanted else ', .'.join(EXTENSIONS.values())}"
        )
    return named


def _plan_folder(source: Path, target: Path, image_format: str) -> list[tuple[Path, Path, str]]:
    """Lists the same for the images of a folder; creates the target folder."""
    target.mkdir(parents=True, exist_ok=True)
    plan = [
        (path, target / f"{path.stem}.{EXTENSIONS[image_format]}", image_format)
        for path in find_images(source)
    ]
    stems = [path.stem for path, _, _ in plan]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        raise ValueError(
            f"{source} holds several images named {', '.join(repeated[:3])}: their results would "
            "overwrite each other"
        )
    return plan


def _check_sheets(plan: list[tuple[Path, Path, str]]) -> None:
    """Refuses sheets that would overwrite a source or a result."""
    taken = {path.resolve() for source, target, _ in plan for path in (source, target)}
    for _, target, _ in plan:
        if comparison_path(target).resolve() in taken:
            raise ValueError(f"{comparison_path(target)} would be written over an image")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0 done, 1 if an image failed."""
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
        choices=("auto", *COMPUTE_DTYPES),
        default="auto",
        help="compute dtype of the network; results differ by one grey level at most",
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
            print(f"  {describe(made.measure())}")
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
