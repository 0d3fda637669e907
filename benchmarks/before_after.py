"""Draws the before/after image of the README: details of upscaled images below bicubic.

    python -m benchmarks.before_after docs/before-after.jpg shirt.jpg shoe.jpg melon.jpg

Upscales each image with `rdn-product` and shows its most detailed block of 140 x 140 pixels, each
pixel as 2 x 2, by bicubic and by the network.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import benchmarks.quiet  # noqa: F401 - first, for its effect
from model.evaluate.panels import Panel, Row, lay_out, zoomed
from model.imaging import resampling
from model.imaging.decode import assumed_quality, decode
from model.inference.measured import upscale_with_self_test
from model.inference.upscaler import Upscaler
from model.network import loading
from pipeline.demo.before_after import max_detail_block

_MODEL = "rdn-product"
_MAX_PIXELS = 4_000_000
_BLOCK_PX = 140
_ZOOM = 2
_JPEG_QUALITY = 93


def block_of(path: Path, upscaler: Upscaler) -> tuple[np.ndarray, np.ndarray]:
    """Upscales one image and cuts out its most detailed block.

    Args:
        path: the image file.
        upscaler: the network.

    Returns:
        The block by bicubic and by the network, zoomed; both uint8 [280, 280, 3] at most.
    """
    header, image = decode(path.read_bytes(), max_pixels=_MAX_PIXELS)
    made = upscale_with_self_test(
        upscaler, image, jpeg_quality=assumed_quality(header), extent="off"
    )
    result = made.result.over_white()
    bicubic = resampling.to_uint8(resampling.bicubic(image.over_white(), *result.shape[:2]))
    block = max_detail_block(bicubic, _BLOCK_PX)
    return zoomed(bicubic[block], _ZOOM), zoomed(result[block], _ZOOM)


def main(argv: list[str]) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before_after")
    parser.add_argument("file", type=Path, help="JPEG file to write")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    arguments = parser.parse_args(argv)
    upscaler = Upscaler(loading.load_by_name(_MODEL))
    pairs = [block_of(path, upscaler) for path in arguments.images]
    rows = [
        Row("", [Panel(caption, pair[i]) for pair in pairs])
        for i, caption in enumerate(("bicubic", "catalog magnifier"))
    ]
    sheet = Image.fromarray(lay_out("", rows))
    sheet.save(arguments.file, quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
