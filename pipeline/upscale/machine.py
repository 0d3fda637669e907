"""Chooses how many processes upscale on this machine, and the network's compute dtype."""

import logging
import os
import sys
from pathlib import Path

from model.inference import dtypes
from model.startup import import_tensorflow
from pipeline.options.declaration import AUTO

_log = logging.getLogger(__name__)

# A process with TensorFlow and an image in work; no more of them than fit into the memory.
_PROCESS_BYTES = 2 << 30
# Of the drivers that TensorFlow knows: NVIDIA's, also below Windows, and AMD's.
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
# So many pixels its result may have; measured: each more takes 45 bytes while it is judged.
USUAL_RESULT_PX = 4_000_000
_RESULT_PIXEL_BYTES = 48
CONTROL_GROUP = Path("/sys/fs/cgroup")
# Fewer images take less time than to start the other processes.
WORTH_PROCESSES = 20


def choose_dtype(wanted: str, *, is_local: bool) -> str:
    """Chooses the network's compute dtype, one of `dtypes.COMPUTE_DTYPES`.

    Args:
        wanted: by the user; `auto` chooses.
        is_local: whether the runner has no workers of its own.

    Returns:
        By default the fastest on this machine; float32 where workers of another machine
        upscale: a bundle that runs twice must give the same image.
    """
    if wanted != AUTO:
        return wanted
    if not is_local:
        return "float32"
    if not count_gpus():
        return dtypes.fastest_on_cpu()
    from model.inference import backends  # noqa: PLC0415 - imports TensorFlow

    return backends.fastest_dtype()


def choose_workers(
    wanted: int | None, *, is_local: bool, uris: int, result_px: int = USUAL_RESULT_PX
) -> int:
    """Chooses how many processes upscale.

    Args:
        wanted: by the user; None chooses.
        is_local: whether the runner has no workers of its own.
        uris: of the catalog, counted up to `WORTH_PROCESSES`.
        result_px: pixels of the largest result of the network.

    Returns:
        By default one for each core, as far as the memory allows. A single one with a GPU, which
        all threads of one process feed; with a runner that starts workers itself; and for a
        catalog that is done before processes have started.
    """
    more_px = max(0, result_px - USUAL_RESULT_PX)
    fitting = max(1, _memory_bytes() // (_PROCESS_BYTES + _RESULT_PIXEL_BYTES * more_px))
    if wanted is not None:
        if is_local and wanted > fitting:
            _log.warning("--workers %d: this machine's memory fits about %d", wanted, fitting)
        return wanted
    if not is_local or uris < WORTH_PROCESSES or count_gpus():
        return 1
    return min(count_cores(), fitting)


def count_cores() -> int:
    """Returns how many cores this process may use: of the machine, or of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, _, period = _container_limit("cpu.max").partition(" ")
    if quota.isdecimal():
        return max(1, min(cores or 1, int(quota) // int(period)))
    return cores or 1


def count_gpus() -> int:
    """Returns how many GPUs TensorFlow finds, asked where there can be one; a process uses one."""
    if sys.platform == "linux" and not any(Path(one).exists() for one in _GPU_DEVICES):
        return 0
    import_tensorflow()
    import tensorflow as tf  # noqa: PLC0415 - takes seconds

    return len(tf.config.list_physical_devices("GPU"))


def _memory_bytes() -> int:
    """Memory of the machine, or of its container."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _container_limit("memory.max")
    return min(machine, int(limit)) if limit.isdecimal() else machine


def _container_limit(name: str) -> str:
    """A limit of the container's control group (Linux, cgroup v2); empty without one."""
    try:
        return (CONTROL_GROUP / name).read_text().strip()
    except OSError:
        return ""
