"""What ends a run that cannot write its temporary files."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from pipeline.records import RunError


@contextlib.contextmanager
def temporary_file_errors() -> Iterator[None]:
    """Ends the run with one line if a temporary file cannot be written."""
    try:
        yield
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]
        raise RunError(
            f"cannot write temporary files in {tempfile.gettempdir()}: {problem}; free space, or "
            "set TMPDIR to another folder"
        ) from error
