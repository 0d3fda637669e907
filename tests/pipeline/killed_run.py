"""The job in a process that kills itself at the n-th event; see test_kill.py.

    python -m tests.pipeline.killed_run KILL_AT INFERENCES_LOG <options of run_pipeline.py>

Events are each image upscaled in this process, and the moments before and after each write. With
KILL_AT 0 the run finishes.
"""

import functools
import hashlib
import os
import signal
import sys
import threading
from pathlib import Path

from tests.pipeline import started  # noqa: F401 - first, as in run_pipeline.py

# isort: split
from model.inference.upscaler import Upscaler
from pipeline import job
from pipeline.storage.local import LocalStorage
from pipeline.storage.s3 import S3Storage

_events, _lock = 0, threading.Lock()
_kill_at = int(sys.argv[1])
_inferences = Path(sys.argv[2])


def _event():
    global _events  # noqa: PLW0603
    with _lock:
        _events += 1
        if _events == _kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _noisy(method):
    @functools.wraps(method)
    def call(*arguments, **options):
        _event()
        result = method(*arguments, **options)
        _event()
        return result

    return call


def _logged(method):
    @functools.wraps(method)
    def call(self, image, **options):
        result = method(self, image, **options)
        with _inferences.open("a") as file:
            file.write(hashlib.sha256(image.rgb.tobytes()).hexdigest() + "\n")
        _event()
        return result

    return call


for storage in (LocalStorage, S3Storage):
    for name in ("write", "write_file", "create", "move", "delete"):
        setattr(storage, name, _noisy(getattr(storage, name)))
if __name__ == "__main__":  # the processes of --workers import this file too
    Upscaler.upscale_image = _logged(Upscaler.upscale_image)
    sys.exit(job.run(sys.argv[3:]))
