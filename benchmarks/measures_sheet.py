"""Draws the image of `docs/measures.md`: one product, ruined in several ways, and its measures.

    python -m benchmarks.measures_sheet docs/measures.png [--seed 5]

The product is drawn, shrunk, and compressed as JPEG of quality 60; `rdn-product` upscales it, and
`benchmarks.gate` ruins the result. Each panel shows the measures that detect it, and the gate's
rule.
"""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks import quiet  # noqa: F401 - first, for its effect

# isort: split
from benchmarks.gate import RUINS, Sample
from model.evaluate import panels
from model.evaluate.panels import Panel, Row
from model.imaging import resampling
from model.imaging.image import RasterImage
from model.inference.upscaler import Upscaler
from model.metrics import quality
from model.metrics.quality import Measures
from model.network import loading
from model.scenes import drawing
from pipeline.upscale import quality_gate

_HR_SIDE_PX = 320
_JPEG_QUALITY = 60
_FONT_PX = 14
# Ways to ruin a result, and the measures that detect them.
_SHOWN: dict[str, tuple[str, ...]] = {
    "the result": ("roundtrip_psnr_db", "sharpness_ratio"),
    "bicubic": ("sharpness_ratio", "background_noise"),
    "noise, sigma 5": ("background_grain", "background_noise"),
    "sharpened, 2 px, 200 %": ("sharpness_ratio", "clipped_share"),
    "tinted by 5 %": ("channel_drift", "roundtrip_psnr_db"),
    "tile brighter by 5": ("block_drift", "roundtrip_psnr_db"),
    "tile moved by 4 px": ("block_shift_px", "block_drift"),
    "another image": ("roundtrip_psnr_db", "block_drift"),
}


def _compressed(rgb: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return np.asarray(Image.open(buffer))


def _source(seed: int) -> np.ndarray:
    hr = drawing.draw_scene(seed, _HR_SIDE_PX, _HR_SIDE_PX)
    return _compressed(resampling.to_uint8(resampling.shrink(hr, 2)))


def draw(seed: int) -> np.ndarray:
    """Draws the sheet: uint8 [h, w, 3]."""
    upscaler = Upscaler(loading.load_by_name("rdn-product"))
    lr = _source(seed)
    sr = upscaler.upscale_rgb(lr, jpeg_quality=_JPEG_QUALITY)
    other = upscaler.upscale_rgb(_source(seed + 1), jpeg_quality=_JPEG_QUALITY)
    versions: dict[str, Callable[[], np.ndarray]] = {
        "the result": lambda: sr,
        "bicubic": lambda: resampling.to_uint8(resampling.bicubic(lr, *sr.shape[:2])),
    }
    shown = []
    for name, names in _SHOWN.items():
        sample = Sample(2, sr, other, np.random.default_rng(1))
        make = versions.get(name, lambda sample=sample, name=name: RUINS[name](sample))
        image = np.ascontiguousarray(make())
        measures = quality.measure(
            RasterImage(lr), RasterImage(image), scale=2, self_test=None, self_sr=None
        )
        shown.append(_panel(name, image, measures, names))
    half = len(shown) // 2
    rows = [Row("", shown[:half]), Row("", shown[half:])]
    return panels.lay_out("What the measures show", rows)


def _panel(name: str, image: np.ndarray, measures: Measures, names: tuple[str, ...]) -> Panel:
    rejection = quality_gate.failed_rule(measures, quality_gate.GateLimits())
    lines = [f"{one} {getattr(measures, one):.2f}" for one in names]
    lines.append("passes the gate" if rejection is None else f"gate:{rejection.rule}")
    font = ImageFont.load_default(_FONT_PX)
    band = Image.new("RGB", (image.shape[1], round(1.4 * _FONT_PX * len(lines))), "white")
    ImageDraw.Draw(band).multiline_text((0, 0), "\n".join(lines), fill="black", font=font)
    return Panel(name, np.concatenate([np.asarray(band), image]))


def main(argv: list[str]) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measures_sheet")
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args(argv)
    sheet = Image.fromarray(draw(arguments.seed))
    sheet.quantize(255).save(arguments.file, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
