"""The log's lines: each event of a run in one, with time, level and run id, whichever process.

The process that the user started writes lines (see `pipeline.runtime.startup`), and so do those
that it starts, which find the run's id in their environment. Beam's workers send their events to
the runner, which adds a time and more of its own: there the message begins with `[run id] `.
"""

import logging
import os
import sys
import time

_VARIABLE = "CATALOG_MAGNIFIER_RUN_ID"
_run_id = os.environ.get(_VARIABLE, "-")


class _Message(logging.Formatter):
    """Run id and message in one line, be it a traceback."""

    def __init__(self, form: str = "[{run_id}] %(message)s") -> None:
        super().__init__(form, "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        told = super().format(record).replace("{run_id}", _run_id, 1)
        return " | ".join(line.strip() for line in told.splitlines())


class _Line(_Message):
    """UTC time, level, run id and message in one line."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s {run_id} %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Names the run once, also where a worker has named it in what Beam made of its event."""
        return super().format(record).replace(f"[{_run_id}] ", "")


def write_lines() -> None:
    """Warnings of this process, Python's own among them, are lines on standard error from here."""
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Line())
        handler.setLevel(logging.WARNING)  # of the root, too, where Beam lowers the logger's own
    logging.captureWarnings(True)


def name_run(run_id: str) -> None:
    """From here on each line of this process, and of those that it starts, names the run.

    Events that are no warnings go to standard output, unless a terminal shows them otherwise: what
    stands on standard error is worth a mail.
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
    """Names the run in a process that somebody else may have started for it.

    Formats that somebody chose stay; a second call changes nothing.
    """
    global _run_id  # noqa: PLW0603 - one run a process
    _run_id = run_id
    root = logging.getLogger()
    if not root.handlers:
        write_lines()
    for handler in root.handlers:
        if handler.formatter is None:  # it sends events to the runner
            handler.setFormatter(_Message())
        elif _is_default(handler.formatter):
            handler.setFormatter(_Line())
        else:
            continue
        logging.captureWarnings(True)


def _is_default(formatter: logging.Formatter) -> bool:
    """Whether Python has chosen it, for a program that logged before it had a handler."""
    return type(formatter) is logging.Formatter and formatter._fmt == logging.BASIC_FORMAT


def join_run_of_parent() -> None:
    """The same for a process that a run has started, before it knows the run's settings."""
    if _VARIABLE in os.environ:
        join_run(os.environ[_VARIABLE])
