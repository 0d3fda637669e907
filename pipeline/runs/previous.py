"""Finds the previous runs whose results a run reuses."""

import logging
from dataclasses import dataclass
from typing import Any

from pipeline.catalog.selection import WHOLE_CATALOG, Selection
from pipeline.options.catalog import NEWEST, NONE
from pipeline.records import RunError
from pipeline.runs.finished import finished_runs, read_summary
from pipeline.runs.layout import Layout
from pipeline.settings import Settings
from pipeline.storage.base import Storage

_log = logging.getLogger(__name__)


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
