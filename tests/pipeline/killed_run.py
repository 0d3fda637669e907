"""The job in a process that kills itself at the n-th event; see test_kill.py.

    python -m tests.pipeline.killed_run KILL_AT INFERENCES_LOG <options of run_pipeline.py>

Events are each image upscaled in this process, and the moments before, in and after each write
(a local file has its data then, and not yet its name). With KILL_AT 0 the run finishes.
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
from apache_beam.transforms import core

from model import files as whole_files
from model.inference.upscaler import Upscaler
from pipeline import job
from pipeline.storage.local import LocalStorage
from pipeline.storage.s3 import S3Storage
from tests.signatures import remembering


class Events:
    """Counts what happens in this process, and kills it at one of them."""

    def __init__(self, kill_at, inferences):
        self._kill_at, self._inferences = kill_at, inferences
        self._count, self._lock = 0, threading.Lock()

    def happen(self):
        with self._lock:
            self._count += 1
            if self._count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def noisy(self, method):
        @functools.wraps(method)
        def call(*arguments, **options):
            self.happen()
            result = method(*arguments, **options)
            self.happen()
            return result

        return call

    def logged(self, method):
        @functools.wraps(method)
        def call(upscaler, image, **options):
            result = method(upscaler, image, **options)
            with self._inferences.open("a") as file:
                file.write(hashlib.sha256(image.rgb.tobytes()).hexdigest() + "\n")
            self.happen()
            return result

        return call


def run(kill_at, inferences, arguments, said=None):
    """Runs the job in this process; ends it with the job's status, or by SIGKILL.

    `said`, a path without a suffix: files `.out` and `.err` beside it get what the process prints.
    """
    if said is not None:
        for stream, suffix in ((1, ".out"), (2, ".err")):
            with said.with_suffix(suffix).open("wb") as file:
                os.dup2(file.fileno(), stream)
    events = Events(kill_at, Path(inferences))
    for storage in (LocalStorage, S3Storage):
        for name in ("write", "write_file", "create", "move", "delete"):
            setattr(storage, name, events.noisy(getattr(storage, name)))
    whole_files.flush_to_disk = events.noisy(whole_files.flush_to_disk)
    core.get_function_args_defaults = remembering(core.get_function_args_defaults)
    Upscaler.upscale_image = events.logged(Upscaler.upscale_image)
    sys.exit(job.run(arguments))


if __name__ == "__main__":  # the processes of --workers import this file too
    run(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
