"""Processor time of each step of an image, as a process of the pipeline takes it."""

import collections
import concurrent.futures
import contextlib
import math
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import quiet  # noqa: F401 - first, for its effect

# isort: split
import tensorflow as tf

from model.imaging.decode import assumed_quality, decode
from model.imaging.encode import choose_format, encode
from model.inference.measured import UpscaledImage
from model.inference.seen_sharpening import see_sharpening
from model.inference.upscaler import Upscaler
from model.metrics import quality
from model.network import loading
from pipeline.upscale import blending

# Most pixels of an image to decode.
_MAX_PIXELS = 40_000_000


def by_step(
    paths: list[Path], model: str, *, compute_dtype: str, skip_background: bool, threads: int
) -> dict[str, float]:
    """Measures the steps in a process of its own, one image after the other.

    Args:
        paths: the images, each at most 40 megapixels.
        model: a shipped name or a `.keras` file.
        compute_dtype: of the network.
        skip_background: as `--blank skip`.
        threads: of TensorFlow in that process.

    Returns:
        Milliseconds of processor time for an image, the mean, by the name of the step.
    """
    with concurrent.futures.ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_threads,
        initargs=(threads,),
    ) as pool:
        return pool.submit(_measure, paths, model, compute_dtype, skip_background).result()


def _set_threads(count: int) -> None:
    """Prepares the process as `pipeline.upscale.processes` prepares its own."""
    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _measure(
    paths: list[Path], model: str, compute_dtype: str, skip_background: bool
) -> dict[str, float]:
    """See `by_step`."""
    rdn = loading.load_by_name(model)
    upscaler = Upscaler(rdn, compute_dtype=compute_dtype, skip_background=skip_background)
    _pass(paths[:1], upscaler)  # traces the network
    total_s = _pass(paths, upscaler)
    return {step: seconds * 1000 / len(paths) for step, seconds in total_s.items()}


def _pass(paths: list[Path], upscaler: Upscaler) -> dict[str, float]:
    """Processor seconds of all images by step."""
    total_s: dict[str, float] = collections.defaultdict(float)

    @contextlib.contextmanager
    def timed(step: str) -> Iterator[None]:
        started = time.process_time()
        yield
        total_s[step] += time.process_time() - started

    for path in paths:
        data = path.read_bytes()
        with timed("decoding"):
            header, image = decode(data, max_pixels=_MAX_PIXELS)
        jpeg_quality = assumed_quality(header)
        with timed("sharpening"):
            sharpening = see_sharpening(upscaler, image, jpeg_quality)
        with timed("network"):
            told = math.nan if sharpening is None else sharpening
            result = upscaler.upscale_image(image, jpeg_quality=jpeg_quality, sharpening=told)
        with timed("self PSNR"):
            test = quality.self_test(image, upscaler.scale)
            self_sr = None if test is None else upscaler.upscale_rgb(test.lr)
        with timed("measures"):
            upscaled = UpscaledImage(image, result, upscaler.scale, test, self_sr, sharpening)
            verdict = blending.judge(upscaled, jpeg_quality)
        with timed("encoding"):
            encode(verdict.image, choose_format(header, "auto"), lossless=header.is_lossless)
    return total_s
