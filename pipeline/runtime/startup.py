"""Start-up of the job's commands: `model.startup`, and the log of a run.

Importing this module changes nothing and loads no framework.
"""

import logging
import os
from collections.abc import Callable

from model import startup
from pipeline.records import RunError
from pipeline.runtime import logs


def run_command(name: str, main: Callable[[list[str]], int]) -> int:
    """Runs a command with the arguments of this process, with readable log lines.

    Args:
        name: of the command, for messages.
        main: takes the arguments without the program's name and returns the exit status.

    Returns:
        The exit status: see `model.startup.run_command`.

    Example:
        if __name__ == "__main__":
            sys.exit(startup.run_command("pipeline.read", main))
    """
    prepare()
    return startup.run_command(name, main)


def prepare() -> None:
    """Sets the log's format and the threads of numpy, which must not be imported before.

    For programs that cannot use `run_command`: worker processes, benchmarks.
    """
    # Small sums gain nothing from a second thread of numpy's BLAS, which waits in a busy loop:
    # measuring an image took twice the processor time. Processes started later inherit it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    logs.write_lines()
    for handler in logging.getLogger().handlers:
        handler.addFilter(_concerns_the_user)


def join_parent() -> None:
    """Prepares a process that a run has started: its log, and a quiet TensorFlow.

    Processes of `--workers` import the main module of the run again, as `__mp_main__`, before
    anything else of the project: main modules call this function then.
    """
    prepare()
    logs.join_run_of_parent()
    startup.import_tensorflow()


def _concerns_the_user(record: logging.LogRecord) -> bool:
    """Not Beam's warnings about what this job has no use for, nor its traceback of a Ctrl-C.

    Nor that of an error that stops the run: the command's last line tells it.
    """
    message = record.getMessage()
    return not (
        "bigquery client libraries are not available" in message
        or message.startswith("No semi_persistent_directory found")
        or message.startswith("KeyboardInterrupt [while running")
        or (record.name.startswith("apache_beam") and _tells_run_error(record, message))
    )


def _tells_run_error(record: logging.LogRecord, message: str) -> bool:
    """Whether a record has a RunError, or its traceback as text, as from a worker process."""
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, RunError) or RunError.find_in(message) is not None
