"""Times the processor's work beside the network, for one image, on one core and on all cores.

    python -m benchmarks.host_work [--seconds 2] [--json FILE]

The work is that of the job for a JPEG of a drawn scene, 400x533: decoding with the JPEG history
of its pixels, the choice of the self-test, all measures, the quality gate, and encoding the result
as JPEG. In place of the network's results stand the scene and the self-test's reference. Not
included: storage, the pipe to the sandboxed decoder, Beam, the row. One process per core, each
with one thread. Loads no TensorFlow.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import io
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator

# One thread for a process, as in the job; numpy's BLAS reads it when it is imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image

from benchmarks import figures
from model.imaging import resampling
from model.imaging.decode import decode
from model.imaging.encode import choose_format, encode
from model.imaging.image import RasterImage
from model.metrics import quality
from model.scenes.drawing import draw_scene
from pipeline.upscale.machine import count_cores
from pipeline.upscale.quality_gate import GateLimits, failed_rule

_LR_SHAPE = (400, 533)
_SCALE = 2
_JPEG_QUALITY = 85
_MAX_PIXELS = 40_000_000
# Started before any thread, so forking is safe, and the workers have all imports.
_FORK = multiprocessing.get_context("fork")


@functools.cache
def _source() -> tuple[bytes, RasterImage]:
    """The JPEG file of a drawn scene, and the scene at twice its size."""
    height, width = _LR_SHAPE
    hr = draw_scene(1, height * _SCALE, width * _SCALE)
    buffer = io.BytesIO()
    lr = resampling.to_uint8(resampling.shrink(hr, _SCALE))
    Image.fromarray(lr).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue(), RasterImage(np.asarray(hr))


def process_image(seconds: dict[str, float]) -> None:
    """Does the work for one image once.

    Args:
        seconds: by step, to which the step's time is added.
    """

    @contextlib.contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[step] += time.perf_counter() - started

    data, result = _source()
    with timed("decoding"):
        header, image = decode(data, max_pixels=_MAX_PIXELS)
    with timed("self-test"):
        test = quality.self_test(image, _SCALE)
    self_sr = None if test is None else test.reference
    with timed("measures"):
        measures = quality.measure(image, result, scale=_SCALE, self_test=test, self_sr=self_sr)
        failed_rule(measures, GateLimits().at_scale(_SCALE))
    with timed("encoding"):
        encode(result, choose_format(header, "auto"), lossless=header.is_lossless)


def _work(seconds: float) -> tuple[float, dict[str, float]]:
    """One process: images per second, and each step's milliseconds for an image."""
    process_image(collections.defaultdict(float))
    by_step: dict[str, float] = collections.defaultdict(float)
    started = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - started < seconds:
        process_image(by_step)
        count += 1
    rate = count / (time.perf_counter() - started)
    return rate, {step: total * 1000 / count for step, total in by_step.items()}


def measure(processes: int, seconds: float) -> dict[str, float]:
    """Works on images in several processes at once.

    Args:
        processes: how many.
        seconds: how long each of them works.

    Returns:
        `images_per_s` of all together, and `<step>_ms` of one image, the mean.
    """
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=_FORK) as pool:
        rates, by_step = zip(*pool.map(_work, [seconds] * processes), strict=True)
    means = {f"{step}_ms": statistics.mean(one[step] for one in by_step) for step in by_step[0]}
    return {"processes": processes, "images_per_s": sum(rates), **means}


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_work")
    parser.add_argument("--seconds", type=float, default=2)
    figures.add_json_option(parser)
    arguments = parser.parse_args(argv)
    _source()  # before the processes fork
    results = []
    for processes in sorted({1, count_cores()}):
        result = measure(processes, arguments.seconds)
        steps = ", ".join(f"{key} {value:.1f}" for key, value in list(result.items())[2:])
        print(
            f"host work, {processes} busy cores: {result['images_per_s']:.1f} images/s; {steps}",
            flush=True,
        )
        results.append(result)
    figures.write_json(arguments.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
