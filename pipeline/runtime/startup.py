"""What a program that people start does first: quiet imports, readable logs.

Imported for its effect, before anything that imports TensorFlow or Beam.
"""

import logging
import os
import sys
import tempfile

from pipeline.runtime import logs


def _concerns_the_user(record: logging.LogRecord) -> bool:
    """Not Beam's warnings about what this job has no use for, nor its traceback of a Ctrl-C."""
    told = record.getMessage()
    return not (
        "bigquery client libraries are not available" in told
        or told.startswith("No semi_persistent_directory found")
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
# measuring an image took twice the processor time. Processes started later inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
logs.write_lines()
for _handler in logging.getLogger().handlers:
    _handler.addFilter(_concerns_the_user)
_import_tensorflow_quietly()
