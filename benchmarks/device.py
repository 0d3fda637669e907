"""Times the bare network on a GPU, or on whatever device JAX finds, through Keras' JAX backend.

    python -m benchmarks.device [--model rdn-product] [--shape C,D,G,G0] [--limit 240]
        [--json FILE]

Needs JAX, Keras, numpy and Pillow; loads no TensorFlow. In this order, each figure on a line as
soon as it is known:

1. the processor's work beside the network, by `python -m benchmarks.host_work`;
2. the device's peak: the product of two square matrices, by dtype. `float32` is JAX's default, on
   newer GPUs TF32; `float32 exact` is precision "highest";
3. compilation, several shapes at a time, and nothing is timed meanwhile. A shape that fails, or
   for which no time is left, is left out;
4. differences in grey levels: of each precision from `float32 exact`, and of tiles from the whole
   image. Those of a `--shape` say nothing about trained networks;
5. the network from uint8 to uint8, in batches of images or tiles of one size. `device`: input and
   output stay on the device, and calls are queued; `with_transfers`: from an array in the host's
   memory to another one, call by call; `overlapped`: the same, but the device computes a call
   while the result before it is fetched. The share is that of the bfloat16 peak;
6. the most important of these calls without XLA's fusion: each operation of Keras by itself.

FLOP are two for each multiplication of a convolution; photographs are 400x533 pixels. All images
are drawn scenes. Of `--limit` seconds, compilations start within the first 60 %, timings within
85 %; what has started is finished.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import figures
from benchmarks.jax_network import PRECISIONS, Networks, Point, load
from model.inference import tiling
from model.network import presets
from model.scenes.drawing import draw_scene

_PHOTOGRAPH = (400, 533)
_COMPILERS = 4
# As the tiles of a GPU in `model.inference.backends`, which loads TensorFlow.
_TILES = {"step": 32, "short": 96, "max_side": 512}
_STARTED = time.perf_counter()


def since_start() -> float:
    """Seconds since the start."""
    return time.perf_counter() - _STARTED


def say(line: str) -> None:
    """Prints a line with the seconds since the start, at once."""
    print(f"{since_start():6.1f} s  {line}", flush=True)


@contextlib.contextmanager
def survives(what: object) -> Iterator[None]:
    """Says what failed on the device, and goes on with the next measure."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # a JaxRuntimeError is a RuntimeError
        say(f"{what}: FAILED: {str(error).splitlines()[0][:200]}")


def seconds_per_call(call: Callable[[], Any], seconds: float, *, max_queued: int = 1) -> float:
    """Times a call, after one that warms up.

    Args:
        call: returns arrays of JAX, or of numpy.
        seconds: how long to measure.
        max_queued: calls that may wait on the device.

    Returns:
        The median.
    """
    started = time.perf_counter()
    jax.block_until_ready(call())
    first = time.perf_counter() - started
    queued = max(1, min(max_queued, int(seconds / 4 / first)))
    taken: list[float] = []
    while not taken or sum(taken) * queued < seconds:
        started = time.perf_counter()
        jax.block_until_ready([call() for _ in range(queued)])
        taken.append((time.perf_counter() - started) / queued)
    return statistics.median(taken)


def peaks(seconds: float) -> dict[str, float]:
    """Measures matrix products; returns TFLOP/s by precision."""
    side = 1024 if jax.default_backend() == "cpu" else 8192
    result = {}
    for name, (_, of_product) in PRECISIONS.items():
        keys = jax.random.split(jax.random.key(0))
        a, b = (jax.random.normal(key, (side, side), jnp.dtype(name.split()[0])) for key in keys)
        with survives(name), jax.default_matmul_precision(of_product):
            product = jax.jit(jnp.matmul).lower(a, b).compile()
            taken = seconds_per_call(functools.partial(product, a, b), seconds, max_queued=8)
            result[name] = 2 * side**3 / taken / 1e12
            say(f"peak, {name:13} {result[name]:9.3f} TFLOP/s, matrices of {side}")
    return result


def compile_points(networks: Networks, points: list[Point], stop: float) -> dict[Point, Any]:
    """Compiles the functions of shapes, `_COMPILERS` at a time.

    Args:
        networks: see `Networks`.
        points: the shapes, the most important first.
        stop: seconds since the start after which no other compilation starts.

    Returns:
        Functions of weights, images and conditions.
    """
    compiled = {}

    def compile_one(point: Point, lowered: Any) -> None:
        if since_start() < stop:
            started = since_start()
            with survives(point):
                compiled[point] = lowered.compile()
                say(f"compiled {point} in {since_start() - started:.1f} s")

    with concurrent.futures.ThreadPoolExecutor(_COMPILERS) as pool:
        running = []
        for point in points:
            if since_start() < stop:
                with survives(point):
                    running.append(pool.submit(compile_one, point, networks.lowered(point)))
        for one in running:
            one.result()
    if left_out := [str(point) for point in points if point not in compiled]:
        say(f"left out, not compiled: {', '.join(left_out)}")
    return compiled


def drawn_batch(networks: Networks, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """One drawn scene, moved by some pixels from image to image, and conditions."""
    scene = _scene(point.height, point.width)
    lr = np.stack([np.roll(scene, 7 * i, axis=(0, 1)) for i in range(point.batch)])
    return lr, networks.conditions(point.batch)


@functools.cache
def _scene(height: int, width: int) -> np.ndarray:
    """A drawn scene, uint8 [height, width, 3]."""
    return draw_scene(1, height, width)


def time_point(
    networks: Networks, point: Point, function: Callable, seconds: float, peak: float
) -> dict[str, Any]:
    """Times a compiled function.

    Args:
        networks: of the function.
        point: its shape.
        function: see `compile_points`.
        seconds: for each of three measures.
        peak: TFLOP/s of the device.

    Returns:
        Photographs of 400x533 per second, device alone, with transfers and overlapped; and more.
    """
    weights, (lr, conditions) = networks.weights, drawn_batch(networks, point)
    on_device = jax.device_put((lr, conditions))
    before: list[jax.Array] = [function(weights, *on_device)]

    def overlapped() -> np.ndarray:
        before.append(function(weights, lr, conditions))
        return np.asarray(before.pop(0))

    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "device": (lambda: function(weights, *on_device), 8),
        "with_transfers": (lambda: np.asarray(function(weights, lr, conditions)), 1),
        "overlapped": (overlapped, 1),
    }
    px_per_s = {
        name: point.pixels / seconds_per_call(call, seconds, max_queued=queued)
        for name, (call, queued) in calls.items()
    }
    images = {name: rate / math.prod(_PHOTOGRAPH) for name, rate in px_per_s.items()}
    tflop_per_s = px_per_s["device"] * networks.flop_per_px / 1e12
    say(
        f"{point}: photographs/s "
        + ", ".join(f"{name} {rate:.1f}" for name, rate in images.items())
        + f"; {px_per_s['device'] / 1e6:.2f} Mpx/s, {tflop_per_s:.3f} TFLOP/s"
        + f", {tflop_per_s / peak:.3f} of the peak"
    )
    return {
        **dataclasses.asdict(point),
        "photographs_per_s": images,
        "mpx_per_s": px_per_s["device"] / 1e6,
        "tflop_per_s": tflop_per_s,
        "share_of_peak": tflop_per_s / peak,
    }


def compare(name: str, exact: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Compares uint8 images: the largest difference, and the share of values that differ."""
    difference = np.abs(np.subtract(exact, other, dtype=np.int16))
    result = {"levels": int(difference.max()), "share": float((difference > 0).mean())}
    differing = f"{result['share']:.6f} of the values differ"
    say(f"{name}: at most {result['levels']} grey levels, {differing}")
    return result


def tile_point(networks: Networks, whole: Point) -> tuple[Point, list]:
    """Plans an image's tiles, all of one shape, as one batch."""
    plan = tiling.inner_tiles(whole.height, whole.width, halo=networks.halo_px, **_TILES)
    rows, columns = plan[0]
    height, width = (span.read_stop - span.read_start for span in (rows, columns))
    return Point(whole.precision, len(plan), height, width), plan


def differences(networks: Networks, compiled: dict[Point, Any], main: Point) -> dict[str, Any]:
    """Compares the first image of a batch in all precisions, and in tiles.

    Args:
        networks: of the functions.
        compiled: see `compile_points`.
        main: the batch in bfloat16.

    Returns:
        Results of `compare` by name.
    """
    lr, conditions = drawn_batch(networks, main)
    results: dict[str, np.ndarray] = {}
    for name in PRECISIONS:
        point = dataclasses.replace(main, precision=name)
        if point in compiled:
            with survives(point):
                results[name] = np.asarray(compiled[point](networks.weights, lr, conditions))[0]
    found = {}
    if (exact := results.pop("float32 exact", None)) is not None:
        for name, result in results.items():
            found[name] = compare(f"{name} from float32 exact", exact, result)
    point, plan = tile_point(networks, main)
    if point in compiled and main.precision in results:
        with survives("tiles"):
            tiles = np.stack(list(tiling.cut(lr[0], plan)))
            conditions = networks.conditions(len(tiles))
            upscaled = compiled[point](networks.weights, tiles, conditions)
            joined = tiling.join(plan, np.asarray(upscaled), networks.scale)
            found["tiles"] = compare(
                f"{len(plan)} tiles from the whole, {main.precision}",
                results[main.precision],
                joined,
            )
    return found


def time_eager(networks: Networks, main: Point, seconds: float) -> float | None:
    """Times a call operation by operation; returns its photographs per second on the device."""
    on_device = jax.device_put(drawn_batch(networks, main))
    function = networks.rounded(main.precision)
    with survives("operation by operation"), jax.disable_jit():
        taken = seconds_per_call(lambda: function(networks.weights, *on_device), seconds)
        rate = main.pixels / math.prod(_PHOTOGRAPH) / taken
        say(f"{main}: photographs/s operation by operation {rate:.1f}")
        return rate
    return None


def host_work(seconds: float) -> list[dict[str, float]]:
    """Runs `benchmarks.host_work` in a process without JAX; returns its figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = ["-m", "benchmarks.host_work", "--seconds", str(seconds), "--json", str(path)]
        subprocess.run([sys.executable, *command], check=True)
        return json.loads(path.read_text())


def cores_to_feed(point: dict[str, Any], host: dict[str, float]) -> float:
    """Returns how many cores do the work beside the network for all images of the device."""
    cores = point["photographs_per_s"]["overlapped"] * host["processes"] / host["images_per_s"]
    say(f"{cores:.1f} cores feed the device in {point['precision']}, batches of {point['batch']}")
    return cores


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures everything; returns the figures."""
    seconds, limit = arguments.seconds, arguments.limit
    found: dict[str, Any] = {}
    if not arguments.no_host_work:
        found["host_work"] = host_work(3 * seconds)
    device = jax.devices()[0]
    found["device"] = f"{device.platform} {device.device_kind}, jax {jax.__version__}"
    found["model"] = str(arguments.shape or arguments.model)
    say(f"{found['device']}, network {found['model']}")
    found["peak_tflop_per_s"] = peaks(seconds)
    with jax.default_device(jax.devices("cpu")[0]):  # a GPU compiles each layer's first values
        networks = Networks(load(arguments.model, arguments.shape))
    points, main = plan_points(networks, arguments)
    compiled = compile_points(networks, points, 0.6 * limit)
    found["differences"] = differences(networks, compiled, main)
    peak = found["peak_tflop_per_s"].get("bfloat16", math.nan)
    found["points"] = []
    for point in (one for one in points if one in compiled):
        if since_start() < 0.85 * limit:
            with survives(point):
                timed = time_point(networks, point, compiled[point], seconds, peak)
                found["points"].append(timed)
    if found["points"] and not arguments.no_host_work:
        found["cores_to_feed"] = cores_to_feed(found["points"][0], found["host_work"][-1])
    figures.write_json(arguments.json, found)  # the last measure may be cut off
    if since_start() < limit:
        found["operation_by_operation"] = time_eager(networks, main, seconds)
    return found


def plan_points(networks: Networks, arguments: argparse.Namespace) -> tuple[list[Point], Point]:
    """Returns all shapes, the most important first, and the one measured in all precisions."""
    grid = [
        Point("bfloat16", batch, *side)
        for batch in arguments.batches
        for side in arguments.sides
        if batch * math.prod(side) <= arguments.max_call_px
    ]
    if not grid:
        raise SystemExit("no shape has at most --max_call_px pixels: give smaller --sides")
    main = next((one for one in grid if (one.height, one.width) == _PHOTOGRAPH), grid[0])
    others = [dataclasses.replace(main, precision=name) for name in PRECISIONS]
    tile, _ = tile_point(networks, main)
    return list(dict.fromkeys([*others, tile, *grid])), main


def _side(text: str) -> tuple[int, int]:
    """Parses `96` or `400x533`."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device")
    parser.add_argument("--model", default=presets.DEFAULT, help="a shipped name or a .keras file")
    parser.add_argument(
        "--shape",
        type=lambda text: [int(one) for one in text.split(",")],
        metavar="C,D,G,G0",
        help="an untrained network of this shape instead, conditioned on JPEG quality",
    )
    sides = [(400, 533), (256, 256), (96, 96), (512, 512), (192, 192)]
    parser.add_argument("--sides", type=_side, nargs="+", default=sides, help="96 or 400x533")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[16, 1, 64, 4], help="the important ones first"
    )
    parser.add_argument("--max_call_px", type=int, default=8_000_000, help="LR pixels of a call")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each measure")
    parser.add_argument("--limit", type=float, default=240, help="seconds of the whole run, about")
    parser.add_argument("--no_host_work", action="store_true", help="leave out step 1")
    figures.add_json_option(parser)
    arguments = parser.parse_args(argv)
    figures.write_json(arguments.json, measure(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
