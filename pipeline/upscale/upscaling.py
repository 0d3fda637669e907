"""Making a new image of a decoded one: network, measures, quality gate, encoding. No storage.

A `Maker` does it in this process; `MakerProcesses` has makers in processes of their own, which on
a CPU is faster: one thread a core need not wait for the others. The results are the same bits.
"""

import atexit
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from model.imaging.decode import Header, assumed_quality
from model.imaging.encode import Encoded, choose_format, encode
from model.imaging.image import RasterImage
from model.inference import backends
from model.inference.upscaler import Upscaler
from model.metrics import quality
from model.metrics.quality import Measures
from model.network import loading
from model.network.presets import SavedModel
from pipeline.records import RunError, Status
from pipeline.runtime import logs
from pipeline.settings import AUTO, RunPlan
from pipeline.upscale import quality_gate

# Images in work at a time, one of them on the device, the others measured and encoded: memory is
# bounded.
_IN_WORK = 4
# With a GPU more: the tiles of several go through one call.
_ON_GPU = 16
# A process with TensorFlow and an image in work; no more of them than fit into the memory.
_PROCESS_BYTES = 2 << 30
_CONTROL_GROUP = Path("/sys/fs/cgroup")
# Fewer images take less time than to start the processes.
WORTH_PROCESSES = 200


@dataclasses.dataclass(frozen=True)
class Made:
    """What was made of an image.

    Attributes:
        encoded: the image to publish.
        columns: of `Row`: verdict, measures, size, times.
        result: the same image before encoding, if that was asked for.
    """

    encoded: Encoded
    columns: dict[str, Any]
    result: RasterImage | None


class MakesImages(Protocol):
    """What `ImageWorker` needs: threads call it at the same time."""

    scale: int

    def make(self, source: RasterImage, header: Header, *, keep_result: bool) -> Made:
        """Makes the new image.

        Args:
            source: decoded, of any size.
            header: what its file said of it.
            keep_result: whether the pixels are wanted beside the encoded image.

        Raises:
            OutOfMemoryError: if the device cannot hold even a small tile.
            RunError: if no image can be made any more.
        """


class Maker:
    """Makes images in this process. Threads may share it.

    Args:
        upscaler: the network.
        plan: of the run.
    """

    def __init__(self, upscaler: Upscaler, plan: RunPlan) -> None:
        self.scale = upscaler.scale
        self._upscaler = upscaler
        self._plan = plan
        self._settings = plan.settings
        self._slots = threading.BoundedSemaphore(_IN_WORK if upscaler.one_at_a_time else _ON_GPU)
        # Not between two images' calls: each is finished soon.
        self._turn = threading.Lock() if upscaler.one_at_a_time else contextlib.nullcontext()

    def make(self, source: RasterImage, header: Header, *, keep_result: bool) -> Made:
        """See `MakesImages`."""
        with self._slots:
            with self._turn:
                started = time.perf_counter()
                jpeg_quality = assumed_quality(header)
                result = self._upscaler.upscale_image(source, jpeg_quality=jpeg_quality)
                inference_ms = _ms_since(started)
                started = time.perf_counter()
                self_test = quality.self_test(source, self.scale, self._settings.self_psnr)
                self_sr = None if self_test is None else self._upscaler.upscale_rgb(self_test.lr)
            measures = quality.measure(
                source, result, scale=self.scale, self_test=self_test, self_sr=self_sr
            )
            doubt = quality_gate.failed_rule(measures, quality_gate.GateLimits())
            verdict: dict[str, Any] = {
                "status": Status.UPSCALED,
                "model": self._settings.model,
                "model_sha256": self._plan.model_sha256,
            }
            if doubt is not None:
                result, measures = self._fall_back(source, measures)
                verdict = {
                    "status": Status.FALLBACK,
                    "reason": f"gate:{doubt.rule}",
                    "detail": f"published is bicubic: {doubt.detail}",
                    "model": "bicubic",
                }
            measure_ms = _ms_since(started)
            started = time.perf_counter()
            image_format = choose_format(header, self._settings.image_format)
            encoded = encode(result, image_format, lossless=header.is_lossless)
        columns = {
            **dataclasses.asdict(measures),
            **verdict,
            "inference_ms": inference_ms,
            "measure_ms": measure_ms,
            "encode_ms": _ms_since(started),
            "height": result.height,
            "width": result.width,
            "scale": self.scale,
        }
        return Made(encoded, columns, result if keep_result else None)

    def _fall_back(self, source: RasterImage, doubted: Measures) -> tuple[RasterImage, Measures]:
        """Bicubic in place of the network's result, and its measures.

        The self PSNR stays the network's: it says what the network does on this image.
        """
        result = quality_gate.bicubic_image(source, self.scale)
        measures = quality.measure(source, result, scale=self.scale, self_test=None, self_sr=None)
        of_self = {
            "self_psnr_db": doubted.self_psnr_db,
            "self_bicubic_psnr_db": doubted.self_bicubic_psnr_db,
            "self_gain_db": doubted.self_gain_db,
        }
        return result, dataclasses.replace(measures, **of_self)


class MakerProcesses:
    """Makers in processes of their own. They start when they are needed, and end with this one.

    Args:
        saved: the network.
        plan: of the run.
        count: most processes.
    """

    def __init__(self, saved: SavedModel, plan: RunPlan, count: int) -> None:
        self.scale = loading.load(saved).scale
        threads = max(1, _cores() // count)
        self._pool = concurrent.futures.ProcessPoolExecutor(
            count,
            # A fork would inherit the locks of TensorFlow's and Beam's threads.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_process,
            initargs=(saved, plan, threads),
        )
        # Otherwise what is left of it goes, not silently, when the modules that it needs are gone.
        atexit.register(self._pool.shutdown)

    def make(self, source: RasterImage, header: Header, *, keep_result: bool) -> Made:
        """See `MakesImages`."""
        try:
            return self._pool.submit(_make_here, source, header, keep_result).result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise RunError(
                "a process that upscales died, most likely for want of memory; fewer --workers "
                "need less, and the same --run_id goes on with the run"
            ) from error


def load(saved: SavedModel, plan: RunPlan) -> Maker:
    """Makes a `Maker` from a saved network."""
    upscaler = Upscaler(
        loading.load(saved),
        compute_dtype=plan.compute_dtype,
        skip_background=plan.settings.blank == "skip",
    )
    return Maker(upscaler, plan)


def choose_precision(wanted: str, *, is_local: bool) -> str:
    """In what the network computes; one of `dtypes.COMPUTE_DTYPES`.

    Args:
        wanted: by the user; `auto` chooses.
        is_local: whether the runner has no workers of its own.

    Returns:
        By default what is fastest on this machine; float32 where others do the work, which may
        differ, and a bundle that runs twice shall give the same image.
    """
    if wanted != AUTO:
        return wanted
    return backends.fastest_dtype() if is_local else "float32"


def choose_workers(wanted: int | None, *, is_local: bool, uris: int) -> int:
    """How many processes upscale.

    Args:
        wanted: by the user; None chooses.
        is_local: whether the runner has no workers of its own.
        uris: of the catalog, counted up to `WORTH_PROCESSES`.

    Returns:
        By default one for each core as far as memory goes; a single one with a GPU, which all
        threads of one process feed, with a runner that starts workers itself, and for catalogs
        that are done before processes have started.
    """
    if wanted is not None:
        return wanted
    if not is_local or uris < WORTH_PROCESSES or tf.config.list_physical_devices("GPU"):
        return 1
    return max(1, min(_cores(), _memory_bytes() // _PROCESS_BYTES))


def _cores() -> int:
    """Cores that this process may use: of the machine, or of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, _, period = _container_limit("cpu.max").partition(" ")
    if quota.isdecimal():
        return max(1, min(cores or 1, int(quota) // int(period)))
    return cores or 1


def _memory_bytes() -> int:
    """Memory of the machine, or of its container."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _container_limit("memory.max")
    return min(machine, int(limit)) if limit.isdecimal() else machine


def _container_limit(name: str) -> str:
    """What a container's control group says (Linux, cgroup v2); empty without one."""
    try:
        return (_CONTROL_GROUP / name).read_text().strip()
    except OSError:
        return ""


# Of a process of `MakerProcesses`.
_maker: Maker | None = None


def _start_process(saved: SavedModel, plan: RunPlan, threads: int) -> None:
    """Prepares a process of `MakerProcesses`."""
    global _maker  # noqa: PLW0603 - the only way from here to the calls
    logs.join_run(plan.settings.run_id)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    _maker = load(saved, plan)


def _end_with_parent() -> None:
    """Ends this process when its parent is gone, be it killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make_here(source: RasterImage, header: Header, keep_result: bool) -> Made:
    """Runs in a process of `MakerProcesses`."""
    assert _maker is not None
    return _maker.make(source, header, keep_result=keep_result)


def _ms_since(started: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return (time.perf_counter() - started) * 1000
