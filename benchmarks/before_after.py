"""Draws the before/after image of the README: crops of upscaled images beside bicubic.

    python -m benchmarks.before_after docs/before-after.jpg shirt.jpg:240,120 melon.jpg:60,60

Upscales each image with `rdn-product` and shows a square of 140 x 140 pixels of it, each pixel as
2 x 2, below the same square by bicubic. The numbers are the square's top and left in pixels of the
result; without them the square is the middle.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import pipeline.runtime.startup  # noqa: F401 - first, for its effect
from model.evaluate import sheets
from model.imaging import resampling
from model.imaging.decode import assumed_quality, decode
from model.inference.upscaler import Upscaler
from model.network import loading

_MODEL = "rdn-product"
_MAX_PIXELS = 4_000_000
_SQUARE_PX = 140
_ZOOM = 2
_JPEG_QUALITY = 93


def crops(name: str, upscaler: Upscaler) -> tuple[np.ndarray, np.ndarray]:
    """Upscales one image and cuts the square out of both versions.

    Args:
        name: path of the image, and optionally `:TOP,LEFT` in pixels of the result.
        upscaler: the network.

    Returns:
        The zoomed square by bicubic and by the network, uint8 [280, 280, 3] or less at an edge.
    """
    path, _, corner = name.partition(":")
    header, image = decode(Path(path).read_bytes(), max_pixels=_MAX_PIXELS)
    result = upscaler.upscale_image(image, jpeg_quality=assumed_quality(header)).over_white()
    bicubic = resampling.to_uint8(resampling.bicubic(image.over_white(), *result.shape[:2]))
    if corner:
        top, left = (int(number) for number in corner.split(","))
    else:
        top, left = (max(0, (side - _SQUARE_PX) // 2) for side in result.shape[:2])
    square = np.s_[top : top + _SQUARE_PX, left : left + _SQUARE_PX]
    return _zoomed(bicubic[square]), _zoomed(result[square])


def _zoomed(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(_ZOOM, 0).repeat(_ZOOM, 1)


def main(argv: list[str]) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before_after")
    parser.add_argument("file", type=Path, help="JPEG file to write")
    parser.add_argument("images", nargs="+", metavar="IMAGE[:TOP,LEFT]")
    arguments = parser.parse_args(argv)
    upscaler = Upscaler(loading.load_by_name(_MODEL))
    pairs = [crops(name, upscaler) for name in arguments.images]
    rows = [
        sheets.Row("", [sheets.Panel(caption, pair[i]) for pair in pairs])
        for i, caption in enumerate(("bicubic", "catalog magnifier"))
    ]
    sheet = Image.fromarray(sheets.lay_out("", rows))
    sheet.save(arguments.file, quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
