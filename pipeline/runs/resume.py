"""Begins a run, continues it after a kill, or finds that it is finished."""

import dataclasses
import datetime
import json
import logging
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline import text
from pipeline.catalog import batches
from pipeline.catalog.batches import KEPT
from pipeline.records import Reason, RunError, Shard
from pipeline.runs import reader
from pipeline.runs.finished import WHOLE, is_finished, read_summary
from pipeline.runs.layout import Layout
from pipeline.runs.reader import UnreadableRowsError
from pipeline.settings import OPTIONS, RESULT_VERSION, RunPlan
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError, StoredObject
from pipeline.storage.local import remove_unfinished
from pipeline.storage.routing import list_if_any

_log = logging.getLogger(__name__)


def finished_summary(files: Storage, plan: RunPlan) -> dict[str, Any] | None:
    """Reads the summary of this run if it is finished already, and makes sure that its rows exist.

    Args:
        files: where the run writes.
        plan: of the run.

    Returns:
        The content of summary.json; None if the run is not finished.

    Raises:
        RunError: if the run began with other settings, or rows are missing.
    """
    layout = Layout.of(plan.settings)
    summary = read_summary(files, layout, WHOLE)
    if summary is None:
        return None
    _check_settings(plan, _read_started(files, layout))
    try:
        rows = sum(reader.count_rows(files, part) for part in reader.parts_of(files, layout))
        if rows == summary["rows"]:
            return summary
        lacking = f"{rows} of its {summary['rows']} rows are"
    except UnreadableRowsError as error:
        lacking = f"not all of its rows can be read: {error}; they are"
    raise RunError(
        f"run {layout.run_id} has _SUCCESS, but {lacking} under {layout.rows}: restore the files, "
        f"delete {layout.success} to do the run again, or take another --run_id"
    )


def begin(files: Storage, plan: RunPlan) -> tuple[Shard, ...]:
    """Begins a run, or continues a killed one.

    Args:
        files: where the run writes.
        plan: of the run, whose lock this process holds.

    Returns:
        The shards that an earlier attempt finished; see `recover`.

    Raises:
        RunError: if the run began with other settings or is finished, or the output cannot be
            read or written.
    """
    layout = Layout.of(plan.settings)
    if is_finished(files, layout):
        raise RunError(f"run {layout.run_id} was finished by another process just now")
    try:
        started = _read_started(files, layout)
        _check_settings(plan, started)
        if started is None:
            _forget(files, layout)
            settings = json.dumps(_plain(plan), indent=2) + "\n"
            files.write(layout.started, settings.encode())
        return recover(files, layout)
    except StorageError as error:
        raise RunError(f"cannot begin run {layout.run_id}: {error.detail}") from error


def _plain(plan: RunPlan) -> dict[str, Any]:
    """Content of run.json, as JSON gives it back."""
    resolved = {
        "model_sha256": plan.model_sha256,
        "started_at": plan.started_at.isoformat(),
        "result_version": RESULT_VERSION,
    }
    return json.loads(json.dumps(dataclasses.asdict(plan.settings) | resolved))


def _read_started(files: Storage, layout: Layout) -> dict[str, Any] | None:
    """The settings that the run began with; None if it has not begun, or they are damaged."""
    try:
        found = json.loads(files.read(layout.started))
        if isinstance(found, dict):
            return found
    except StorageError as error:
        if error.reason != Reason.NOT_FOUND:
            raise RunError(f"cannot read {layout.started}: {error.detail}") from error
        return None
    except ValueError:
        pass
    _log.warning("%s is damaged: the settings that the run began with are unknown", layout.started)
    return None


def began_at(files: Storage, plan: RunPlan) -> datetime.datetime:
    """Returns when a run's first attempt began, UTC; this one, where run.json does not say.

    Args:
        files: where the run writes.
        plan: of this attempt.

    Raises:
        RunError: if the storage does not answer.
    """
    started = _read_started(files, Layout.of(plan.settings)) or {}
    try:
        first = datetime.datetime.fromisoformat(started["started_at"])
    except (KeyError, TypeError, ValueError):
        return plan.started_at
    return min(first, plan.started_at) if first.tzinfo else plan.started_at


def _check_settings(plan: RunPlan, theirs: dict[str, Any] | None) -> None:
    """Raises RunError if a run began with other settings than this plan's, or another version."""
    if theirs is None:
        return
    ours = _plain(plan)
    # Its rows may have other columns, and its images other pixels.
    if theirs.get("result_version") != RESULT_VERSION:
        raise RunError(
            f"run {plan.settings.run_id} began with another version of this program: take another "
            "--run_id"
        )
    must_match = [option.name for option in OPTIONS.values() if option.resume_must_match]
    # An option that is newer than the run had its default.
    theirs = _defaults() | theirs
    run_id, again = plan.settings.run_id, "or take another --run_id"
    for name in must_match:
        if theirs.get(name) != ours[name]:
            before, now = text.option(theirs.get(name)), text.option(ours[name])
            raise RunError(
                f"run {run_id} began with --{name} {before}, now it is {now}: continue it with "
                f"the same options, {again}"
            )
    if theirs.get("model_sha256") != plan.model_sha256:
        raise RunError(
            f"run {run_id} began with other weights of --model {plan.settings.model}: restore its "
            f"file, {again}"
        )


def _defaults() -> dict[str, Any]:
    """The defaults of options that a resume must match, as JSON gives them back."""
    optional = (option for option in OPTIONS.values() if not option.is_required)
    defaults = {one.name: one.default for one in optional if one.resume_must_match}
    return json.loads(json.dumps(defaults))


def _forget(files: Storage, layout: Layout) -> None:
    """Removes rows and shards of an attempt whose settings are unknown."""
    leftovers = [*list_if_any(files, layout.staging), *list_if_any(files, layout.rows)]
    if leftovers:
        _log.warning("run %s begins again: its finished rows may not fit", layout.run_id)
    for item in leftovers:
        files.delete(item.uri)


def recover(files: Storage, layout: Layout) -> tuple[Shard, ...]:
    """Finds the shards that an earlier attempt of this run has finished; removes its leftovers.

    Complete shards are kept, unless their rows are in another one too. Parts that were published
    just before the run was killed go back among the shards, so that a run without _SUCCESS has no
    rows in sight.

    Args:
        files: where the run writes.
        layout: of the run, which has no _SUCCESS and whose lock this process holds.

    Returns:
        Its shards, to publish together with the new ones.

    Raises:
        RunError: if they cannot be read.
    """
    try:
        for folder in (layout.folder, layout.rows):
            remove_unfinished(folder)
        for item in list(list_if_any(files, layout.rows)):
            name = item.uri.rpartition("/")[2]
            if name.endswith(".parquet"):
                files.move(item.uri, locations.join(layout.staging, name))
        shards = _disjoint(files, list(list_if_any(files, layout.staging)))
    except StorageError as error:
        raise RunError(f"cannot continue run {layout.run_id}: {error.detail}") from error
    if shards:
        rows = text.count(sum(shard.rows for shard in shards), "finished row")
        _log.warning("run %s continues with %s", layout.run_id, rows)
    return shards


def _disjoint(files: Storage, items: list[StoredObject]) -> tuple[Shard, ...]:
    """Shards whose rows are in no other; the larger of two that overlap stays."""
    found: list[tuple[Shard, set[str]]] = []
    for item in items:
        rows = _uris_of(files, item.uri)
        found.append((Shard(item.uri, len(rows), item.size_bytes), rows))
    kept: list[Shard] = []
    seen: set[str] = set()
    for shard, rows in sorted(found, key=lambda one: (-one[0].rows, one[0].uri)):
        if rows and seen.isdisjoint(rows):
            kept.append(shard)
            seen |= rows
        else:
            files.delete(shard.uri)
    return tuple(kept)


def _uris_of(files: Storage, uri: str) -> set[str]:
    """The URIs in a shard; empty for anything that is no complete shard."""
    if not uri.endswith(".parquet"):
        return set()
    try:
        return set(reader.read_columns(files, [uri], ["uri"])["uri"].to_pylist())
    except UnreadableRowsError:
        return set()


def read_kept(part: str, files: Storage) -> Iterator[pa.RecordBatch]:
    """Reads the URIs of a kept shard, as mentions at the position `KEPT` of the catalog."""
    for *_, batch in reader.read_batches(files, [part], ["uri"]):
        positions = pa.repeat(pa.scalar(KEPT, pa.int64()), batch.num_rows)
        yield batches.from_columns(batch.num_rows, uri=batch["uri"], position=positions)
