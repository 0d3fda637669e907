"""Beam's Python worker as the local runner starts it: `--direct_running_mode=multi_processing`.

As a program of ours it is quiet, and its events are lines of the run's log; by Beam's own command
they would be told twice, in two other formats.
"""

import os

import pipeline.runtime.startup  # noqa: F401 - first, for its effect

# isort: split
from apache_beam.runners.worker import sdk_worker_main

if __name__ == "__main__":  # the processes of --workers import this file too
    # Lines on standard error, which is the runner's, rather than through the runner.
    os.environ.pop("LOGGING_API_SERVICE_DESCRIPTOR", None)
    sdk_worker_main.main([])
