"""What a program that people start does first: quiet imports, readable logs.

Imported for its effect, before anything that imports TensorFlow or Beam.
"""

import logging
import os
import sys
import tempfile
import time


class _OneLine(logging.Formatter):
    """UTC time, level, run id and message of an event in one line, be it a traceback."""

    converter = time.gmtime  # type: ignore[assignment]
    run_id = "-"

    def __init__(self) -> None:
        form = "%(asctime)s %(levelname)s {run_id} %(message)s"
        super().__init__(form, "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        told = super().format(record).replace("{run_id}", self.run_id, 1)
        return " | ".join(line.strip() for line in told.splitlines())


def name_run(run_id: str) -> None:
    """From here on each line of the log names the run.

    Events that are no warnings go to standard output, unless a terminal shows them otherwise: what
    stands on standard error is worth a mail.
    """
    _OneLine.run_id = run_id
    ours = logging.getLogger("pipeline")
    if ours.handlers or sys.stderr.isatty():
        return
    events = logging.StreamHandler(sys.stdout)
    events.setFormatter(_OneLine())
    events.addFilter(lambda record: record.levelno < logging.WARNING)
    ours.addHandler(events)
    ours.setLevel(logging.INFO)


def _concerns_the_user(record: logging.LogRecord) -> bool:
    """Not Beam's warning about a client for BigQuery, nor its traceback of a Ctrl-C."""
    told = record.getMessage()
    return not (
        "bigquery client libraries are not available" in told
        or told.startswith("KeyboardInterrupt [while running")
    )


def _import_tensorflow_quietly() -> None:
    """Keeps what TensorFlow's C++ prints at import back, unless the import fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: PLC0415 - the point of this function

            tensorflow.config.list_physical_devices()  # looks for CUDA, loudly without a GPU
        except BaseException:
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


# Small sums gain nothing from a second thread of numpy's BLAS, which waits in a busy loop:
# measuring a picture took twice the processor time. Processes started later inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
logging.basicConfig(level=logging.WARNING)
for _handler in logging.getLogger().handlers:
    _handler.setFormatter(_OneLine())
    _handler.addFilter(_concerns_the_user)
    _handler.addFilter(lambda record: record.levelno >= logging.WARNING)
_import_tensorflow_quietly()
