"""Times the bare network and other ways to upscale the same images, one call per image.

    python -m benchmarks.peers FOLDER [--images 12] [--rounds 5] [--json FILE]

In each round every image goes, in turn, through Pillow's bicubic (the floor), our `Upscaler`
in float32, in bfloat16, and with the tiles of a GPU, `model.predict`, and OpenVINO with the
exported network in float32 and in bfloat16 (`pip install openvino`). Before that, all results are
compared: they differ by at most one grey level (OpenVINO in bfloat16: three). Prints the median
milliseconds per image, and ratios to ours in float32.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import (
    figures,
    quiet,  # noqa: F401 - first, for its effect
)
from benchmarks.sources import pick_evenly
from model.data.hr_sources import read_rgb
from model.imaging import resampling
from model.inference.backends import Network, TileBatchBackend
from model.inference.upscaler import DEFAULT_MAX_CALL_PX, Upscaler
from model.network import loading, presets
from model.network.rdn import RDN, with_planes

_OURS = "ours, float32"


def _lr(rdn: RDN, rgb: np.ndarray) -> np.ndarray:
    """Converts uint8 [H, W, 3] to the network's input, float32 [1, H, W, 3 + K]."""
    unit = rgb[None].astype(np.float32) / 255
    return with_planes(unit, rdn.conditions(100, math.nan))


def openvino_peers(rdn: RDN) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Exports the network to OpenVINO; returns nothing where it is not installed."""
    try:
        import openvino  # noqa: PLC0415 - no requirement
    except ImportError:
        print("No OpenVINO: pip install openvino to compare with it.")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        rdn.export(folder, format="tf_saved_model", verbose=False)
        model = openvino.convert_model(folder)

    def peer(precision: str) -> Callable[[np.ndarray], np.ndarray]:
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        compiled = openvino.Core().compile_model(model, "CPU", options)
        return lambda rgb: resampling.to_uint8(compiled(_lr(rdn, rgb))[0][0] * 255)

    return {"OpenVINO, float32": peer("f32"), "OpenVINO, bfloat16": peer("bf16")}


def make_peers(rdn: RDN) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Returns functions from uint8 [H, W, 3] to uint8 [H * scale, W * scale, 3], by name."""

    def bicubic(rgb: np.ndarray) -> np.ndarray:
        size = (rgb.shape[1] * rdn.scale, rgb.shape[0] * rdn.scale)
        return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))

    in_float32, in_bfloat16 = (
        Upscaler(rdn, compute_dtype=compute_dtype, skip_background=False)
        for compute_dtype in ("float32", "bfloat16")
    )
    tiles = TileBatchBackend(Network(rdn, "float32"), max_call_px=DEFAULT_MAX_CALL_PX)
    in_tiles = Upscaler(rdn, skip_background=False, backend=tiles)
    return {
        "Pillow bicubic": bicubic,
        _OURS: in_float32.upscale_rgb,
        "ours, bfloat16": in_bfloat16.upscale_rgb,
        "ours, tiles": in_tiles.upscale_rgb,
        "model.predict": lambda rgb: resampling.to_uint8(
            rdn.predict(_lr(rdn, rgb), verbose=0)[0] * 255
        ),
        **openvino_peers(rdn),
    }


def measure(images: list[np.ndarray], model: str, rounds: int) -> dict[str, float]:
    """Times all peers.

    Args:
        images: uint8 [H, W, 3] each.
        model: a shipped name or a `.keras` file.
        rounds: passes over the images.

    Returns:
        Median milliseconds per image, by peer.

    Raises:
        SystemExit: if a peer's result differs too much from ours.
    """
    peers = make_peers(loading.load_by_name(model))
    for name, upscale in peers.items():
        for rgb in images:  # the first call of a size is slower, and not timed
            worst = np.abs(np.subtract(upscale(rgb), peers[_OURS](rgb), dtype=np.int16)).max()
            if "bicubic" not in name and worst > (3 if name == "OpenVINO, bfloat16" else 1):
                raise SystemExit(f"{name} gives another image: {worst} grey levels off")
    taken_ms: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, upscale in peers.items():
            started = time.perf_counter()
            for rgb in images:
                upscale(rgb)
            taken_ms[name].append((time.perf_counter() - started) * 1000 / len(images))
    return {name: statistics.median(values) for name, values in taken_ms.items()}


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=presets.DEFAULT)
    figures.add_json_option(parser)
    arguments = parser.parse_args(argv)
    images = [read_rgb(path) for path in pick_evenly(arguments.folder, arguments.images)]
    result = measure(images, arguments.model, arguments.rounds)
    for name, ms in result.items():
        print(f"{name:18} {ms:8.1f} ms per image {ms / result[_OURS]:7.2f} of {_OURS}")
    figures.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
