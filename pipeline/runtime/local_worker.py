"""Beam's Python worker as the local runner starts it: `--direct_running_mode=multi_processing`.

As a program of this project it is quiet, and its events are lines of the run's log; Beam's own
command would write each of them twice, in two other formats.
"""

import os

from model.startup import collection_paused
from pipeline.runtime import startup


def main() -> None:
    """Works for the runner that started this process, until it stops it."""
    # Log to standard error, which is the runner's, rather than through the runner.
    os.environ.pop("LOGGING_API_SERVICE_DESCRIPTOR", None)
    with collection_paused():
        from apache_beam.runners.worker import sdk_worker_main  # noqa: PLC0415 - then

    sdk_worker_main.main([])


if __name__ in ("__main__", "__mp_main__"):  # processes of --workers import this file too
    startup.join_parent()
if __name__ == "__main__":
    main()
