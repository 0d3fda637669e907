"""Finds finished runs and reads their summaries."""

import json
import logging
from typing import Any

from pipeline.records import Reason, RunError
from pipeline.runs.layout import Layout
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError

_log = logging.getLogger(__name__)


def is_finished(files: Storage, layout: Layout) -> bool:
    """Whether a run has its `_SUCCESS`.

    Raises:
        RunError: if the storage does not say.
    """
    return _read(files, layout.success) is not None


def read_summary(files: Storage, layout: Layout) -> dict[str, Any] | None:
    """Reads the summary of a finished run.

    Args:
        files: storage of the run.
        layout: of the run.

    Returns:
        The content of summary.json; None if the run is not finished, or does not exist.

    Raises:
        RunError: if it cannot be read.
    """
    if not is_finished(files, layout):
        return None
    text = _read(files, layout.summary)
    try:
        summary = json.loads(text or b"")
        if isinstance(summary, dict):
            return summary
    except ValueError:
        pass
    raise RunError(
        f"{layout.summary} is missing or damaged although the run has _SUCCESS: restore the file, "
        f"or delete {layout.success} to take the run for unfinished"
    )


def newest_finished(files: Storage, output: str, *, other_than: str = "") -> str | None:
    """Finds the run that finished last.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
        other_than: an id that does not count.

    Returns:
        Its id; None if no run under this output is finished.
    """
    folder = Layout(output, other_than).runs
    if locations.scheme_of(folder) != "s3" and not locations.local_path(folder).is_dir():
        return None
    finished = [
        (item.modified_at, item.uri.split("/")[-2])
        for item in files.list(f"{folder}/")
        if item.uri.endswith("/_SUCCESS")
    ]
    others = [(at, run_id) for at, run_id in finished if run_id != other_than]
    return max(others)[1] if others else None


def name_latest(files: Storage, output: str) -> None:
    """Writes latest.json, which names the run that finished last; readers of the rows follow it.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
    """
    run_id = newest_finished(files, output)
    if run_id is None:
        return
    layout = Layout(output, run_id)
    content = {"run_id": run_id, "rows": f"rows/run_id={run_id}"}
    try:
        files.write(layout.latest, (json.dumps(content) + "\n").encode())
    except StorageError as error:  # the run is complete all the same
        _log.warning("cannot write %s: %s", layout.latest, error.detail)


def _read(files: Storage, uri: str) -> bytes | None:
    """Content of a file; None if there is none."""
    try:
        return files.read(uri)
    except StorageError as error:
        if error.reason != Reason.NOT_FOUND:
            raise RunError(f"cannot read {uri}: {error.detail}") from error
        return None
