"""Log lines: one for each event of a run, with time, level and run id, from any process.

The process that the user started writes lines (see `pipeline.runtime.startup`). So do the
processes that it starts: they find the run's id in their environment. Beam's workers send their
events to the runner, which adds its own time and more: there the message begins with `[run id] `.

With `--log_format json` each line is a JSON object, including what the job says outside its log.
"""

import json
import logging
import os
import sys
import time
from types import TracebackType

from pipeline.redaction import redact

RUN_ID_VARIABLE = "CATALOG_MAGNIFIER_RUN_ID"
FORMAT_VARIABLE = "CATALOG_MAGNIFIER_LOG_FORMAT"
TEXT, JSON = "text", "json"
_DATE = "%Y-%m-%dT%H:%M:%SZ"
_NO_RUN = "-"
_run_id = os.environ.get(RUN_ID_VARIABLE, _NO_RUN)
_log_format = os.environ.get(FORMAT_VARIABLE, TEXT)
_program = "run_pipeline.py"


class _Message(logging.Formatter):
    """Formats run id and message, and a traceback with them, as one line."""

    def __init__(self, form: str = "%(message)s", mark: str = "[{run_id}] ") -> None:
        super().__init__(form.replace("%(message)s", f"{mark}%(message)s"), _DATE)
        self._mark = mark

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        mark = "" if _run_id == _NO_RUN else self._mark.format(run_id=_run_id)
        message = redact(super().format(record)).replace(self._mark, mark, 1)
        return " | ".join(line.strip() for line in message.splitlines())


class _Line(_Message):
    """Formats UTC time, level, run id and message as one line."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", mark="{run_id} ")

    def format(self, record: logging.LogRecord) -> str:
        """Names the run once, also where Beam relays a message in which a worker named it."""
        return super().format(record).replace(f"[{_run_id}] ", "")


class _JsonLine(logging.Formatter):
    """Formats time, level, run id, logger, message and a traceback as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        message = record.getMessage().replace(f"[{_run_id}] ", "")
        error = self.formatException(record.exc_info) if record.exc_info else None
        return _json_line(record.created, record.levelname, record.name, message, error)


def _json_line(at: float, level: str, logger: str, message: str, error: str | None = None) -> str:
    """One event as JSON; `at` in seconds since 1970."""
    event = {
        "time": time.strftime(_DATE, time.gmtime(at)),
        "level": level,
        "run_id": _run_id,
        "logger": logger,
        "message": redact(message),
    }
    if error is not None:
        event["exception"] = redact(error)
    return json.dumps(event, ensure_ascii=False)


def _line() -> logging.Formatter:
    """Formats the lines of this process."""
    return _JsonLine() if is_json() else _Line()


def is_json() -> bool:
    """Whether this process writes JSON."""
    return _log_format == JSON


def program() -> str:
    """Returns the name of the job's command as the user typed it, for messages."""
    return _program


def name_program(name: str) -> None:
    """Names the job's command; `run_pipeline.py` by default."""
    global _program  # noqa: PLW0603 - one command a process
    _program = name


def say(text: str) -> None:
    """Prints a result for the user on standard output; as one JSON object if lines are JSON."""
    print(_json_line(time.time(), "INFO", "pipeline", text) if is_json() else text, flush=True)


def complain(text: str) -> None:
    """Prints an error on standard error, after the command's name."""
    line = f"{_program}: {text}"
    if is_json():
        line = _json_line(time.time(), "ERROR", "pipeline", text)
    print(line, file=sys.stderr, flush=True)


def write_lines() -> None:
    """Writes warnings of this process, including Python's own, as lines on standard error."""
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_line())
        handler.setLevel(logging.WARNING)  # Beam lowers the level of the root logger
    logging.captureWarnings(True)


def name_run(run_id: str, log_format: str = TEXT) -> None:
    """Names the run in all lines of this process and of the processes that it starts.

    Events below a warning go to standard output, unless standard error is a terminal, where a
    progress bar shows them: schedulers mail what a job writes to standard error.

    Args:
        run_id: of the run.
        log_format: `text` or `json`, of the lines; with `json` there is no progress bar.
    """
    global _run_id, _log_format  # noqa: PLW0603 - one run a process
    os.environ[RUN_ID_VARIABLE] = _run_id = run_id
    os.environ[FORMAT_VARIABLE] = _log_format = log_format
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, (_Line, _JsonLine)):
            handler.setFormatter(_line())
    if is_json():
        sys.excepthook = _log_uncaught
    ours = logging.getLogger("pipeline")
    if ours.handlers or (sys.stderr.isatty() and not is_json()):
        return
    events = logging.StreamHandler(sys.stdout)
    events.setFormatter(_line())
    events.addFilter(lambda record: record.levelno < logging.WARNING)
    ours.addHandler(events)
    ours.setLevel(logging.INFO)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Takes the place of the interpreter's traceback, which is not JSON."""
    logging.getLogger("pipeline").critical(
        "%s: %s", kind.__name__, error, exc_info=(kind, error, trace)
    )


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
            handler.setFormatter(_line())
        else:
            continue
        logging.captureWarnings(True)


def _is_default(formatter: logging.Formatter) -> bool:
    """Whether Python chose it, because the program logged before it had a handler."""
    return type(formatter) is logging.Formatter and formatter._fmt == logging.BASIC_FORMAT  # noqa: SLF001


def join_run_of_parent() -> None:
    """Does the same in a process that a run started, before it has the run's settings."""
    if RUN_ID_VARIABLE in os.environ:
        join_run(os.environ[RUN_ID_VARIABLE])
