"""Finds finished runs, those whose results a run reuses among them, and reads their summaries."""

import concurrent.futures
import datetime
import json
import logging
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from pipeline.catalog.seen import NOT_KNOWN, Seen
from pipeline.catalog.selection import Selection
from pipeline.options.catalog import NEWEST, NONE
from pipeline.records import Reason, RunError
from pipeline.runs.layout import Layout
from pipeline.settings import Settings
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError, StoredObject

_THREADS = 16
# Of a summary.json, for those who tell of its run; the runs of all versions have them.
WHOLE = frozenset(
    {
        *("run_id", "rows", "uris", "by_status", "by_reason", "failure_rate", "percentiles"),
        *("input", "output", "started_at", "finished_at", "wall_seconds", "model", "settings"),
    }
)

_log = logging.getLogger(__name__)


class UnreadableSummaryError(RunError):
    """A run's summary is missing or damaged although it is finished, or cannot be read.

    Example:
        try:
            summary = read_summary(files, layout)
        except UnreadableSummaryError as error:
            print(error)  # names the file
    """


def is_finished(files: Storage, layout: Layout) -> bool:
    """Whether a run has its `_SUCCESS`.

    Raises:
        RunError: if the storage does not say.
    """
    return _read(files, layout.success) is not None


def read_summary(
    files: Storage, layout: Layout, keys: Set[str] = frozenset()
) -> dict[str, Any] | None:
    """Reads the summary of a finished run.

    Args:
        files: storage of the run.
        layout: of the run.
        keys: without which it is damaged: `WHOLE`, or none where each missing one has a default.

    Returns:
        The content of summary.json; None if the run is not finished, or does not exist.

    Raises:
        RunError: if it cannot be read.
    """
    return _load_summary(files, layout, keys) if is_finished(files, layout) else None


def _load_summary(files: Storage, layout: Layout, keys: Set[str] = frozenset()) -> dict[str, Any]:
    """Content of summary.json of a run that has `_SUCCESS`; raises UnreadableSummaryError."""
    text = _read(files, layout.summary)
    try:
        summary = json.loads(text or b"")
        if isinstance(summary, dict) and keys <= summary.keys():
            return summary
    except ValueError:
        pass
    raise UnreadableSummaryError(
        f"{layout.summary} is missing or damaged although the run has _SUCCESS: restore the file, "
        f"or delete {layout.success} to take the run for unfinished"
    )


@dataclass(frozen=True)
class RunEnd:
    """What the summary of a finished run says about its end.

    Attributes:
        run_id: its id.
        finished_at: UTC; if the summary does not say, when `_SUCCESS` was written, which a copy of
            the output changes.
        seen: the part of the catalog that it saw.
        problem: why the summary cannot be read; empty otherwise.

    Example:
        newest = finished_runs(files, "s3://shop/upscaled")[0]
        print(newest.run_id, newest.finished_at)
    """

    run_id: str
    finished_at: datetime.datetime
    seen: Seen
    problem: str = ""


def end_of(summary: Mapping[str, Any] | None) -> datetime.datetime | None:
    """Returns when a run finished, by its summary.json; None if that does not say."""
    try:
        found = datetime.datetime.fromisoformat((summary or {})["finished_at"])
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def finished_runs(files: Storage, output: str, *, other_than: str = "") -> list[RunEnd]:
    """Lists all finished runs, the newest first, by the times in their summaries.

    Args:
        files: storage of the runs; one request for each run, many at a time.
        output: folder or prefix that holds all runs.
        other_than: an id that does not count.
    """
    folder = Layout(output, other_than).runs
    if locations.scheme_of(folder) != "s3" and not locations.local_path(folder).is_dir():
        return []
    successes = {
        item.uri.split("/")[-2]: item
        for item in files.list(f"{folder}/")
        if item.uri.endswith("/_SUCCESS")
    }
    successes.pop(other_than, None)

    def read(run_id: str) -> RunEnd:
        return _read_end(files, Layout(output, run_id), successes[run_id])

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(read, successes))
    return sorted(found, key=lambda run: (run.finished_at, run.run_id), reverse=True)


def _read_end(files: Storage, layout: Layout, success: StoredObject) -> RunEnd:
    """The end of one run, whose `_SUCCESS` was listed."""
    summary, problem = None, ""
    try:
        summary = _load_summary(files, layout)
    except UnreadableSummaryError as error:
        problem = str(error)
    ended = end_of(summary) or success.modified_at
    return RunEnd(layout.run_id, ended, Seen.of_summary(summary), problem)


def latest_finished(files: Storage, output: str) -> str | None:
    """Finds the newest finished run that is no trial (`--limit`, `--sample`), else the newest.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.

    Returns:
        Its id; None if no run under this output is finished.
    """
    runs = finished_runs(files, output)
    for run in runs:
        if run.problem:
            _log.warning("%s", run.problem)
            return run.run_id
        if run.seen.selection.limit is None and run.seen.selection.sample is None:
            return run.run_id
    return next((run.run_id for run in runs), None)


def find_summary(
    files: Storage, output: str, run_id: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Finds a finished run for a command about it.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
        run_id: of the run; None for that of `latest_finished`.

    Returns:
        Its id, and the content of its summary.json.

    Raises:
        RunError: if there is no such run, or it is not finished.
    """
    found = run_id or latest_finished(files, output)
    summary = read_summary(files, Layout(output, found), WHOLE) if found else None
    if found is None or summary is None:
        raise RunError(f"there is no finished run {run_id or ''}".rstrip() + f" under {output}")
    return found, summary


def name_latest(files: Storage, output: str) -> None:
    """Writes latest.json, which names the run of `latest_finished`; readers of the rows follow it.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
    """
    latest = Layout(output, "").latest
    try:
        run_id = latest_finished(files, output)
        if run_id is not None:
            content = {"run_id": run_id, "rows": f"rows/run_id={run_id}"}
            files.write(latest, (json.dumps(content) + "\n").encode())
    except (StorageError, RunError) as error:  # the run is complete all the same
        _log.warning("cannot write %s: %s", latest, error)


@dataclass(frozen=True)
class PreviousRuns:
    """The finished runs whose results a run reuses.

    Attributes:
        run_id: of the newest one that saw all that this run sees; if there is none, of the newest.
        seen: the part of its catalog that it saw.
        partial: ids of newer runs that may have seen a part of it.

    Example:
        previous = find_previous(files, settings)
        previous.run_id  # night1; previous.partial has a trial with --limit 20 since
    """

    run_id: str
    seen: Seen
    partial: tuple[str, ...] = ()


def find_previous(files: Storage, settings: Settings) -> PreviousRuns | None:
    """Finds the previous runs whose results this run reuses.

    A trial on a part of the catalog, or a run on another catalog, must not hide the full run
    before it: its results are reused beside those. Of runs that saw the same part, the newest has
    all that the others have.

    Args:
        files: storage of the runs.
        settings: `previous` is `newest`, `none` or the id of a run.

    Returns:
        The runs; None if there are none. A replay takes the rows of one run of its catalog only.

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
        return PreviousRuns(settings.previous, Seen.of_summary(summary))
    runs = finished_runs(files, settings.output, other_than=settings.run_id)
    ours = Seen.of(settings.input, settings.selection)
    if settings.retry:
        return _to_replay(runs, ours, settings)
    _warn_of_another_catalog(runs, ours, settings.output)
    return _to_reuse(runs, ours)


def _to_replay(runs: Iterable[RunEnd], ours: Seen, settings: Settings) -> PreviousRuns:
    """The newest run that saw all of this catalog, else the newest that saw a part of it."""
    same = [run for run in runs if not run.problem and run.seen.catalog == ours.catalog]
    if not same:
        raise RunError(
            f"--retry: there is no finished run of {settings.input} under {settings.output}"
        )
    found = next((run for run in same if run.seen.covers(ours)), same[0])
    return PreviousRuns(found.run_id, found.seen)


def _warn_of_another_catalog(runs: list[RunEnd], ours: Seen, output: str) -> None:
    """Warns if the newest run listed a prefix that has nothing to do with this run's."""
    if runs and runs[0].seen.is_apart_from(ours):
        _log.warning(
            "run %s under %s is of another catalog, %s: give each catalog an --output of its own",
            runs[0].run_id,
            output,
            runs[0].seen.catalog,
        )


def _to_reuse(runs: Iterable[RunEnd], ours: Seen) -> PreviousRuns | None:
    """The newest run that covers this one, with the newer ones that may have parts of it."""
    damaged: list[str] = []
    parts: dict[Seen, RunEnd] = {}
    apart: dict[Selection, RunEnd] = {}
    for run in runs:
        if run.problem:
            _log.warning("%s; its results are reused all the same", run.problem)
            damaged.append(run.run_id)
        elif run.seen.covers(ours):
            newer = (part.run_id for part in parts.values())
            return PreviousRuns(run.run_id, run.seen, (*damaged, *newer))
        elif run.seen.is_apart_from(ours):
            apart.setdefault(run.seen.selection, run)
        else:  # of manifests with other names, which may be many, the newest one
            is_near = run.seen.overlaps(ours)
            parts.setdefault(run.seen if is_near else Seen("", run.seen.selection), run)
    found = list((parts or apart).values())
    if found:
        whole = [run for run in found if run.seen.selection.covers(ours.selection)]
        newest = (whole or found)[0]
        others = (run.run_id for run in found if run is not newest)
        return PreviousRuns(newest.run_id, newest.seen, (*damaged, *others))
    return PreviousRuns(damaged[0], NOT_KNOWN, tuple(damaged[1:])) if damaged else None


def _read(files: Storage, uri: str) -> bytes | None:
    """Content of a file; None if there is none."""
    try:
        return files.read(uri)
    except StorageError as error:
        if error.reason != Reason.NOT_FOUND:
            raise UnreadableSummaryError(f"cannot read {uri}: {error.detail}") from error
        return None
