"""Upscales in processes of their own, faster on a CPU: one thread a core waits for no other.

The results are bit by bit those of `pipeline.upscale.upscaling.LocalUpscaler`.
"""

import atexit
import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from model.network import presets
from model.network.checking import check_finite
from model.network.presets import SavedModel
from model.startup import import_tensorflow
from pipeline.records import RunError
from pipeline.runtime import logs
from pipeline.settings import RunPlan
from pipeline.storage.base import Storage
from pipeline.storage.temporary import temporary_file_errors
from pipeline.upscale.machine import count_cores
from pipeline.upscale.saved_model import read_model
from pipeline.upscale.steps import Decoded, Upscaled

if TYPE_CHECKING:  # it imports TensorFlow, which takes seconds and half a gigabyte
    from pipeline.upscale.upscaling import ImageUpscaler, LocalUpscaler


def open_upscaler(files: Storage, plan: RunPlan) -> "ImageUpscaler":
    """Loads the run's network into this process, or into processes of their own.

    TensorFlow is imported where the network is.

    Args:
        files: where the network lies.
        plan: of the run.

    Raises:
        RunError: if it cannot be read, or is not the one with which the run began.
    """
    saved = read_model(files, plan.settings.model)
    if saved.sha256 != plan.model_sha256:
        raise RunError(f"the model {plan.settings.model} changed since the run began")
    try:
        if plan.workers > 1:
            return UpscalerProcesses(saved, plan, plan.workers)
        import_tensorflow()
        from pipeline.upscale import upscaling  # noqa: PLC0415 - imports TensorFlow

        return upscaling.load(saved, plan)
    except presets.ModelError as error:
        raise RunError(str(error)) from error


class UpscalerProcesses:
    """An `ImageUpscaler` that hands its images to processes; they end with this one.

    Args:
        saved: the network.
        plan: of the run.
        count: most processes; they start when they are needed.

    Example:
        upscaler = UpscalerProcesses(presets.resolve("rdn-small"), plan, 2)
        image_file = upscaler.upscale(decoded, keep_result=False).encoded.data
    """

    def __init__(self, saved: SavedModel, plan: RunPlan, count: int) -> None:
        check_finite(saved)
        threads = max(1, count_cores() // count)
        # By a file: a pipe holds 64 kB, and a process that starts would fail loudly if this one
        # ended while it still writes the network to it.
        with temporary_file_errors():
            handle, file = tempfile.mkstemp(suffix=".keras")
            with os.fdopen(handle, "wb") as opened:
                opened.write(saved.data)
        atexit.register(Path(file).unlink, missing_ok=True)
        without_data = dataclasses.replace(saved, data=b"")
        self._pool = concurrent.futures.ProcessPoolExecutor(
            count,
            # A fork would inherit the locks of TensorFlow's and Beam's threads.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(without_data, file, plan, threads),
        )
        # An executor left to the interpreter's end complains that its modules are gone.
        atexit.register(self._pool.shutdown)

    def upscale(self, decoded: Decoded, *, keep_result: bool) -> Upscaled:
        """See `ImageUpscaler`."""
        try:
            return self._pool.submit(_upscale, decoded, keep_result).result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise RunError(
                "a process that upscales died, most likely for want of memory; fewer --workers "
                "need less, and the same --run_id continues the run"
            ) from error


# What follows runs in the processes.
_upscaler: "LocalUpscaler | None" = None
_problem = ""  # why there is none


def _start(without_data: SavedModel, file: str, plan: RunPlan, threads: int) -> None:
    """Prepares a process."""
    global _upscaler, _problem  # noqa: PLW0603 - the only way from here to the calls
    logs.join_run(plan.settings.run_id)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        saved = dataclasses.replace(without_data, data=Path(file).read_bytes())
    except FileNotFoundError:  # the parent is ending
        os._exit(1)
    # Quietly here too: `python -m package` does not import its `__main__` again in a new process.
    import_tensorflow()
    import tensorflow as tf  # noqa: PLC0415

    from pipeline.upscale import upscaling  # noqa: PLC0415

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        _upscaler = upscaling.load(saved, plan)
    except presets.ModelError as error:  # raised here, it would seem to be a process that died
        _problem = str(error)


def _end_with_parent() -> None:
    """Ends this process when its parent is gone, be it killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _upscale(decoded: Decoded, keep_result: bool) -> Upscaled:
    """Upscales one image."""
    if _upscaler is None:
        raise RunError(_problem)
    return _upscaler.upscale(decoded, keep_result=keep_result)
