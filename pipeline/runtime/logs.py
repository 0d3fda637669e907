"""Log lines: one for each event of a run, with time, level and run id, from any process.

The process that the user started writes lines (see `pipeline.runtime.startup`). So do the
processes that it starts: they find the run's id in their environment. Beam's workers send their
events to the runner, which adds its own time and more: there the message begins with `[run id] `.
"""

import logging
import os
import sys
import time

from pipeline.redaction import redact

_VARIABLE = "CATALOG_MAGNIFIER_RUN_ID"
_run_id = os.environ.get(_VARIABLE, "-")


class _Message(logging.Formatter):
    """Formats run id and message, and a traceback with them, as one line."""

    def __init__(self, form: str = "[{run_id}] %(message)s") -> None:
        super().__init__(form, "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        message = redact(super().format(record)).replace("{run_id}", _run_id, 1)
        return " | ".join(line.strip() for line in message.splitlines())


class _Line(_Message):
    """Formats UTC time, level, run id and message as one line."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s {run_id} %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Names the run once, also where Beam relays a message in which a worker named it."""
        return super().format(record).replace(f"[{_run_id}] ", "")


def write_lines() -> None:
    """Writes warnings of this process, including Python's own, as lines on standard error."""
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Line())
        handler.setLevel(logging.WARNING)  # Beam lowers the level of the root logger
    logging.captureWarnings(True)


def name_run(run_id: str) -> None:
    """Names the run in all lines of this process and of the processes that it starts.

    Events below a warning go to standard output, unless standard error is a terminal, where a
    progress bar shows them: schedulers mail what a job writes to standard error.

    Args:
        run_id: of the run.
    """
    global _run_id  # noqa: PLW0603 - one run a process
    os.environ[_VARIABLE] = _run_id = run_id
    ours = logging.getLogger("pipeline")
    if ours.handlers or sys.stderr.isatty():
        return
    events = logging.StreamHandler(sys.stdout)
    events.setFormatter(_Line())
    events.addFilter(lambda record: record.levelno < logging.WARNING)
    ours.addHandler(events)
    ours.setLevel(logging.INFO)


def join_run(run_id: str) -> None:
    """Names the run in a process that a runner may have started.

    Keeps formats that other code chose. A second call changes nothing.

    Args:
        run_id: of the run.
    """
    global _run_id  # noqa: PLW0603 - one run a process
    _run_id = run_id
    root = logging.getLogger()
    if not root.handlers:
        write_lines()
    for handler in root.handlers:
        if handler.formatter is None:  # the handler sends events to the runner
            handler.setFormatter(_Message())
        elif _is_default(handler.formatter):
            handler.setFormatter(_Line())
        else:
            continue
        logging.captureWarnings(True)


def _is_default(formatter: logging.Formatter) -> bool:
    """Whether Python chose it, because the program logged before it had a handler."""
    return type(formatter) is logging.Formatter and formatter._fmt == logging.BASIC_FORMAT


def join_run_of_parent() -> None:
    """Does the same in a process that a run started, before it has the run's settings."""
    if _VARIABLE in os.environ:
        join_run(os.environ[_VARIABLE])
