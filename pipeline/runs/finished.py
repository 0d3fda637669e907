"""Finds finished runs, those whose results a run reuses among them, and reads their summaries."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.catalog.selection import WHOLE_CATALOG, Selection
from pipeline.options.catalog import NEWEST, NONE
from pipeline.records import Reason, RunError
from pipeline.runs.layout import Layout
from pipeline.settings import Settings
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
        files, output, other_than: see `finished_runs`.

    Returns:
        Its id; None if no run under this output is finished.
    """
    return next(finished_runs(files, output, other_than=other_than), None)


def finished_runs(files: Storage, output: str, *, other_than: str = "") -> Iterator[str]:
    """Yields the ids of all finished runs, the newest first.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
        other_than: an id that does not count.
    """
    folder = Layout(output, other_than).runs
    if locations.scheme_of(folder) != "s3" and not locations.local_path(folder).is_dir():
        return
    finished = [
        (item.modified_at, item.uri.split("/")[-2])
        for item in files.list(f"{folder}/")
        if item.uri.endswith("/_SUCCESS")
    ]
    for _, run_id in sorted(finished, reverse=True):
        if run_id != other_than:
            yield run_id


def name_latest(files: Storage, output: str) -> None:
    """Writes latest.json, which names the run that finished last; readers of the rows follow it.

    A trial with `--limit` or `--sample` must not take the place of a night's rows: it is named
    only where there is no other run.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
    """
    trials = []
    for run_id in finished_runs(files, output):
        if not _is_trial(files, Layout(output, run_id)):
            break
        trials.append(run_id)
    else:
        if not trials:
            return
        run_id = trials[0]
    layout = Layout(output, run_id)
    content = {"run_id": run_id, "rows": f"rows/run_id={run_id}"}
    try:
        files.write(layout.latest, (json.dumps(content) + "\n").encode())
    except StorageError as error:  # the run is complete all the same
        _log.warning("cannot write %s: %s", layout.latest, error.detail)


@dataclass(frozen=True)
class PreviousRuns:
    """The finished runs whose results a run reuses.

    Attributes:
        run_id: of the newest one that saw all that this run sees; if there is none, of the newest.
        selection: the part of the catalog that it saw.
        partial: ids of newer runs that saw a part of the catalog.

    Example:
        previous = find_previous(files, settings)
        previous.run_id  # night1; previous.partial has a trial with --limit 20 since
    """

    run_id: str
    selection: Selection
    partial: tuple[str, ...] = ()


def find_previous(files: Storage, settings: Settings) -> PreviousRuns | None:
    """Finds the previous runs whose results this run reuses.

    A trial on a part of the catalog must not hide the full run before it: its results are reused
    beside those. Of runs that saw the same part, the newest has all that the others have.

    Args:
        files: storage of the runs.
        settings: `previous` is `newest`, `none` or the id of a run.

    Returns:
        The runs; None if there are none. A replay takes the rows of one run only.

    Raises:
        RunError: if the run named by `previous` is not finished, or no run is and `retry` needs
            one.
    """
    if settings.previous == NONE:
        return None
    if settings.previous != NEWEST:
        summary = read_summary(files, Layout(settings.output, settings.previous))
        if summary is None:
            raise RunError(
                f"--previous {settings.previous}: no such finished run under {settings.output}"
            )
        return PreviousRuns(settings.previous, _selection_of(summary))
    found = _newest(files, settings)
    if settings.retry and found is None:
        raise RunError(f"--retry: there is no finished run under {settings.output}")
    return found


def _newest(files: Storage, settings: Settings) -> PreviousRuns | None:
    partial: dict[Selection, str] = {}
    damaged: list[str] = []
    for run_id in finished_runs(files, settings.output, other_than=settings.run_id):
        try:
            selection = _selection_of(read_summary(files, Layout(settings.output, run_id)))
        except RunError as error:
            _log.warning("%s; its results are reused all the same", error)
            damaged.append(run_id)
            continue
        if selection.covers(settings.selection):
            return _with_partial(settings, run_id, selection, (*damaged, *partial.values()))
        partial.setdefault(selection, run_id)
    if partial:
        (selection, run_id), *others = partial.items()
        older = [other for _, other in others]
        return _with_partial(settings, run_id, selection, (*damaged, *older))
    return PreviousRuns(damaged[0], WHOLE_CATALOG, tuple(damaged[1:])) if damaged else None


def _with_partial(
    settings: Settings, run_id: str, selection: Selection, partial: tuple[str, ...]
) -> PreviousRuns:
    return PreviousRuns(run_id, selection, () if settings.retry else partial)


def _selection_of(summary: dict[str, Any] | None) -> Selection:
    """The part of the catalog that a run saw; runs of older versions saw all of it."""
    return Selection.of_json((summary or {}).get("selection") or {})


def _is_trial(files: Storage, layout: Layout) -> bool:
    """Whether a run saw so many images only; not of a run whose summary cannot be read."""
    try:
        selection = _selection_of(read_summary(files, layout))
    except RunError:
        return False
    return selection.limit is not None or selection.sample is not None


def _read(files: Storage, uri: str) -> bytes | None:
    """Content of a file; None if there is none."""
    try:
        return files.read(uri)
    except StorageError as error:
        if error.reason != Reason.NOT_FOUND:
            raise RunError(f"cannot read {uri}: {error.detail}") from error
        return None
