"""Compares the pipeline's speed with the bare network and a plain loop, on the same images.

    python -m benchmarks.pipeline_vs_network FOLDER [--images 60] [--repeat 3] [--rounds 3]

Each round runs, in turn: the bare network on all images, decoded beforehand, one call per image,
background included, no self PSNR, on as many threads as there are cores; a plain loop of
`Image.open`, `model.predict` and `save` as PNG on a quarter of the images; and the pipeline as a
command, from folder to Parquet, on `--repeat` copies of each image, which also fetches, decodes in
processes of its own, measures, encodes and writes, but writes no report. Its fixed start-up, that
of a run on one image of 32 x 32 pixels for each process, is shown separately. The bare network
computes in the pipeline's precision. The machine's peak in matrix multiplication, in that
precision and in float32, bounds the network's speed.

The account shows where the pipeline's processor time goes: its steps, measured on some of the
images in a process with as many threads as one of the pipeline's, and what is left of the whole
run. `--json FILE` keeps the figures; unknown options go to the pipeline, for example `--workers 2
--blank magnify`. Without FOLDER the images are drawn.
"""

import argparse
import dataclasses
import itertools
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import quiet  # noqa: F401 - first, for its effect

# isort: split
import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks import figures, measured_run, processor_time
from benchmarks.measured_run import MeasuredRun
from benchmarks.sources import pick_evenly
from model.data.hr_sources import read_rgb
from model.inference import backends
from model.inference.upscaler import Upscaler
from model.network import loading, presets
from model.network.rdn import RDN, with_planes
from model.scenes import drawing
from pipeline.upscale.machine import choose_workers, count_cores

# The plain loop takes three times as long as the network: so many images count for one.
_LOOP_EVERY = 4
# The account needs no more images than this.
_ACCOUNT_IMAGES = 12
_TINY_SIDE_PX = 32


def time_network(upscaler: Upscaler, images: list[np.ndarray]) -> tuple[float, float]:
    """Times the bare network on all images, uint8 [H, W, 3]: seconds, and those of processors."""
    started, started_cpu = time.perf_counter(), time.process_time()
    for image in images:
        upscaler.upscale_rgb(image)
    return time.perf_counter() - started, time.process_time() - started_cpu


def time_plain_loop(rdn: RDN, paths: list[Path]) -> float:
    """Times a plain loop from files to PNG files, in seconds.

    A part of the images is run; their seconds are scaled to the pixels of all.
    """
    chosen = paths[::_LOOP_EVERY]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for i, path in enumerate(chosen):
            rgb = np.asarray(Image.open(path).convert("RGB"), np.float32)[None] / 255
            lr = with_planes(rgb, rdn.conditions(100, math.nan))
            sr = (rdn.predict(lr, verbose=0)[0].clip(0, 1) * 255).round().astype(np.uint8)
            Image.fromarray(sr).save(Path(folder) / f"{i}.png")
        seconds = time.perf_counter() - started
    return seconds * _pixels(paths) / _pixels(chosen)


def _pixels(paths: list[Path]) -> int:
    """Pixels of all images together."""
    total = 0
    for path in paths:
        with Image.open(path) as opened:
            total += opened.width * opened.height
    return total


def matrix_peak_gflops(compute_dtype: str = "float32") -> float:
    """Measures the fastest of eight products of large matrices, 10^9 operations a second."""
    side = 2048
    matrix = tf.cast(tf.random.normal([side, side]), compute_dtype)
    seconds = []
    for _ in range(8):
        started = time.perf_counter()
        tf.matmul(matrix, matrix).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds) / 1e9


def network_gflop(rdn: RDN, images: list[np.ndarray]) -> float:
    """Counts the operations of all convolutions, at LR size, on images [H, W, 3]; in 10^9."""
    kernels = (weight for weight in rdn.trainable_variables if len(weight.shape) == 4)
    per_pixel = 2 * sum(int(np.prod(kernel.shape)) for kernel in kernels)
    return per_pixel * sum(one.shape[0] * one.shape[1] for one in images) / 1e9


def run_pipeline(paths: list[Path], repeat: int, model: str, options: list[str]) -> MeasuredRun:
    """Runs the pipeline as a command.

    Args:
        paths: the images.
        repeat: number of copies of each; bytes after the end of a file, which decoders ignore,
            make each copy another content.
        model: a shipped name or a `.keras` file.
        options: of the pipeline.

    Raises:
        SystemExit: if the pipeline does not end with status 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        catalog = Path(folder) / "catalog"
        catalog.mkdir()
        for i, path in enumerate(paths):
            for copy in range(repeat):
                target = catalog / f"{copy:03d}-{i:05d}{path.suffix}"
                target.write_bytes(path.read_bytes() + b"%d" % copy)
        options = ["--model", model, "--report", "no", *options]
        output = Path(folder) / "out"
        return measured_run.run(f"{catalog}/", output, "measured", *options, look_every_s=60)


def run_start_up(processes: int, model: str, options: list[str]) -> MeasuredRun:
    """Runs the pipeline on next to nothing, so that each process starts; the faster of two."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny.png"
        Image.fromarray(drawing.draw_scene(0, _TINY_SIDE_PX, _TINY_SIDE_PX)).save(tiny)
        runs = [run_pipeline([tiny], processes, model, options) for _ in range(2)]
    return min(runs, key=lambda one: one.seconds)


def _choose(folder: Path | None, count: int, drawn_into: Path) -> list[Path]:
    """Picks `count` images of a folder, or draws them."""
    if folder is None:
        for i in range(count):
            scene = Image.fromarray(drawing.draw_scene(i, 300, 300))
            scene.save(drawn_into / f"{i:04d}.jpg", quality=85)
        folder = drawn_into
    return pick_evenly(folder, count)


@dataclasses.dataclass(frozen=True)
class Round:
    """What one round took.

    Attributes:
        network_s, network_cpu_s: of the bare network over all images, by clock and processors.
        loop_s: of the plain loop.
        run: of the pipeline.

    Example:
        print(Round(24.4, 45.8, 75.1, run_pipeline(paths, 1, "rdn-product", [])))
    """

    network_s: float
    network_cpu_s: float
    loop_s: float
    run: MeasuredRun

    def __str__(self) -> str:
        return (
            f"network {self.network_s:.1f} s, plain loop {self.loop_s:.1f} s, "
            f"pipeline {self.run.seconds:.1f} s"
        )


def measure(paths: list[Path], model: str, rounds: int, repeat: int, options: list[str]) -> dict:
    """Times network, loop and pipeline in turn.

    Args:
        paths: the images.
        model: a shipped name or a `.keras` file.
        rounds: number of times.
        repeat: copies of each image in the pipeline's catalog.
        options: of the pipeline.

    Returns:
        Medians in images per second, ratios, the account, and the settings.
    """
    rdn = loading.load_by_name(model)
    compute_dtype = value_of("--precision", options) or backends.fastest_dtype()
    upscaler = Upscaler(rdn, compute_dtype=compute_dtype, skip_background=False)
    images = [read_rgb(path) for path in paths]
    upscaler.upscale_rgb(images[0])  # traces the network
    chosen = choose_workers(None, is_local=True, uris=len(paths) * repeat)
    workers = int(value_of("--workers", options) or chosen)
    options = ["--workers", str(workers), *options]  # the start-up run has fewer images
    start_up = run_start_up(workers, model, options)
    peaks_gflops = {one: matrix_peak_gflops(one) for one in ("float32", compute_dtype)}
    done: list[Round] = []
    for number in range(1, rounds + 1):
        network_s, network_cpu_s = time_network(upscaler, images)
        loop_s = time_plain_loop(rdn, paths)
        run = run_pipeline(paths, repeat, model, options)
        done.append(Round(network_s, network_cpu_s, loop_s, run))
        for one, peak in peaks_gflops.items():
            peaks_gflops[one] = max(peak, matrix_peak_gflops(one))
        print(f"round {number}: {done[-1]}")
    steps_ms = processor_time.by_step(
        paths[:: max(1, len(paths) // _ACCOUNT_IMAGES)],
        model,
        compute_dtype=compute_dtype,
        skip_background=value_of("--blank", options) != "magnify",
        threads=max(1, count_cores() // workers),
    )
    return {
        "images": len(paths),
        "megapixels": round(sum(p.shape[0] * p.shape[1] for p in images) / 1e6, 2),
        "model": model,
        "rounds": rounds,
        "repeat": repeat,
        "workers": workers,
        "precision": compute_dtype,
        "matrix_peak_gflops": peaks_gflops,
        "network_gflops": network_gflop(rdn, images)
        / statistics.median(one.network_s for one in done),
        "startup_s": start_up.seconds,
        "startup_cpu_s": start_up.cpu_seconds,
        "pipeline_cpu_ms_by_step": steps_ms,
        **compare(done, start_up, len(paths), repeat),
    }


def compare(
    rounds: list[Round], start_up: MeasuredRun, images: int, repeat: int
) -> dict[str, float]:
    """Medians of the rounds and of their ratios, by name.

    Args:
        rounds: at least one.
        start_up: which a part of the figures leaves out.
        images: their number.
        repeat: copies of each in the pipeline's catalog.
    """
    network_s = [one.network_s for one in rounds]
    # Of one pass over the images, as the others' seconds.
    pipeline_s = [one.run.seconds / repeat for one in rounds]
    running_s = [(one.run.seconds - start_up.seconds) / repeat for one in rounds]
    running_cpu_s = [(one.run.cpu_seconds - start_up.cpu_seconds) / repeat for one in rounds]
    loop_s = [one.loop_s for one in rounds]
    return {
        "network_images_per_s": images / statistics.median(network_s),
        "plain_loop_images_per_s": images / statistics.median(loop_s),
        "pipeline_images_per_s": images / statistics.median(pipeline_s),
        "pipeline_over_network": _ratio(network_s, pipeline_s),
        "pipeline_over_network_without_startup": _ratio(network_s, running_s),
        "pipeline_over_plain_loop_without_startup": _ratio(loop_s, running_s),
        "network_cpu_ms": 1000 * statistics.median(one.network_cpu_s for one in rounds) / images,
        "pipeline_cpu_ms": 1000 * statistics.median(running_cpu_s) / images,
        "busy_cores": statistics.median(running_cpu_s) / statistics.median(running_s),
    }


def value_of(option: str, options: list[str]) -> str | None:
    """An option's value, as `--option value` or `--option=value`; None without it."""
    found = None  # the last one counts, as in the pipeline
    for one, after in itertools.pairwise([*options, ""]):
        if one == option:
            found = after
        elif one.startswith(f"{option}="):
            found = one.partition("=")[2]
    return found


def _ratio(others_s: list[float], ours_s: list[float]) -> float:
    """Median over the rounds of the others' seconds divided by ours."""
    return statistics.median(other / ours for other, ours in zip(others_s, ours_s, strict=True))


def describe_account(result: dict) -> str:
    """Describes where processor time goes, in a few lines for people."""
    steps_ms = result["pipeline_cpu_ms_by_step"]
    rest_ms = result["pipeline_cpu_ms"] - sum(steps_ms.values())
    steps = [*steps_ms.items(), ("all else", rest_ms)]
    return (
        f"processor milliseconds of an image: bare network {result['network_cpu_ms']:.0f}; "
        f"pipeline {result['pipeline_cpu_ms']:.0f}, after {result['startup_cpu_s']:.1f} s of "
        "start-up: " + ", ".join(f"{step} {ms:.1f}" for step, ms in steps) + "\n"
        f"processes that upscale: {result['workers']}; "
        f"busy after start-up: {result['busy_cores']:.2f} of {count_cores()} cores"
    )


def main(argv: list[str]) -> int:
    """Command line; unknown options go to the pipeline. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline_vs_network")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--repeat", type=int, default=3, help="copies of each image in the pipeline's catalog"
    )
    parser.add_argument("--model", default=presets.DEFAULT)
    figures.add_json_option(parser)
    arguments, options = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as drawn_into:
        paths = _choose(arguments.folder, arguments.images, Path(drawn_into))
        result = measure(paths, arguments.model, arguments.rounds, arguments.repeat, options)
    of_peak = ", ".join(
        f"{result['network_gflops'] / peak:.2f} of the {name} matrix peak"
        for name, peak in result["matrix_peak_gflops"].items()
    )
    print(
        f"{result['images']} images, {result['megapixels']} megapixels, {result['model']}, "
        f"{result['precision']}, "
        f"median of {result['rounds']} rounds\n"
        f"bare network   {result['network_images_per_s']:7.2f} images/s"
        f"   {result['network_gflops']:.0f} GFLOP/s, {of_peak}\n"
        f"plain loop     {result['plain_loop_images_per_s']:7.2f} images/s\n"
        f"pipeline       {result['pipeline_images_per_s']:7.2f} images/s"
        f"   {result['pipeline_over_network']:.2f} of the network\n"
        f"after {result['startup_s']:4.1f} s of start-up:"
        f"   {result['pipeline_over_network_without_startup']:.2f} of the network,"
        f" {result['pipeline_over_plain_loop_without_startup']:.2f} times the plain loop\n"
        f"{describe_account(result)}"
    )
    figures.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
