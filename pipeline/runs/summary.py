"""Finishes a run: publishes its rows, counts them in the files, writes the summary."""

import collections
import dataclasses
import datetime
import importlib.metadata
import json
import logging
import platform
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.selection import Selection
from pipeline.output import publishing
from pipeline.records import RunError, Shard, Status, Totals
from pipeline.row import TIMED_STAGES
from pipeline.runs import lock, reader
from pipeline.runs.finished import name_latest, read_summary
from pipeline.runs.layout import Layout
from pipeline.runs.reader import UnreadableRowsError
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import Storage, StorageError

_PSNR_COLUMNS = (
    "roundtrip_psnr_db",
    "self_psnr_db",
    "self_bicubic_psnr_db",
    "self_gain_db",
    "reference_psnr_db",
    "reference_bicubic_psnr_db",
)
_PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
# Names in the summary, and of the distributions where they differ.
_PACKAGES = {
    "apache_beam": "apache-beam",
    "boto3": "boto3",
    "keras": "keras",
    "numpy": "numpy",
    "PIL": "pillow",
    "pyarrow": "pyarrow",
    "tensorflow": "tensorflow",
}

_log = logging.getLogger(__name__)


def finish_run(
    files: Storage, plan: RunPlan, shards: list[Shard], totals: Totals
) -> dict[str, Any]:
    """Publishes the shards, checks them against the catalog and writes summary and _SUCCESS.

    May be called again, as runners repeat a step: a finished run stays as it is.

    Args:
        files: where the run writes.
        plan: of the run.
        shards: of all bundles that succeeded, and kept from an earlier attempt.
        totals: of the catalog.

    Returns:
        The content of summary.json.

    Raises:
        RunError: if the published rows are not exactly one for each distinct URI, or another
            process has taken the run over; _SUCCESS is then missing.
    """
    layout = Layout.of(plan.settings)
    summary = read_summary(files, layout)
    if summary is None:
        summary = _publish(files, plan, shards, totals)
    name_latest(files, layout.output)
    publishing.clear(files, layout.staging)
    lock.remove(files, layout, plan.lock_token)
    return summary


def _publish(files: Storage, plan: RunPlan, shards: list[Shard], totals: Totals) -> dict[str, Any]:
    """Publishes the rows of a run that is not finished; see `finish_run`."""
    layout = Layout.of(plan.settings)
    _check_lock(files, layout, plan)
    parts = publishing.publish(files, shards, layout.rows)
    table = reader.read_columns(
        files, parts, ["uri", "status", "reason", *_PSNR_COLUMNS, *TIMED_STAGES]
    )
    if not table.num_rows:
        raise RunError("the run wrote no rows at all: is the catalog empty?")
    distinct = pc.count_distinct(table["uri"]).as_py()
    if not table.num_rows == distinct == totals.rows:
        raise RunError(
            f"the rows do not add up: {totals.rows} distinct URIs, {table.num_rows} rows for "
            f"{distinct} URIs under {layout.rows}; run again with "
            f"--run_id {layout.run_id}"
        )
    summary = summarise(
        table,
        plan,
        totals,
        disappeared=_count_disappeared(files, plan, table["uri"]),
        now=datetime.datetime.now(datetime.UTC),
    )
    _write(files, layout, summary)
    _check_lock(files, layout, plan)
    if files.create(layout.success, b""):
        try:
            _check_lock(files, layout, plan)
        except RunError:
            files.delete(layout.success)  # another process has begun to change the rows
            raise
    return summary


def _check_lock(files: Storage, layout: Layout, plan: RunPlan) -> None:
    """Raises RunError if the run has a lock and lost it."""
    if plan.lock_token:
        lock.check(files, layout, plan.lock_token)


def add_metrics(
    files: Storage, layout: Layout, summary: dict[str, Any], metrics: dict[str, Any]
) -> dict[str, Any]:
    """Writes the summary again, with the runner's metrics.

    The rows are the truth. Beam's metrics, which a runner's own monitoring shows too, may count a
    bundle twice that ran twice.

    Args:
        files: where the run writes.
        layout: of the run.
        summary: the content of summary.json.
        metrics: counters by namespace and name; distributions with count, sum, min, max and mean,
            in the unit that the name ends in.

    Returns:
        The summary with `beam_metrics`.
    """
    summary = summary | {"beam_metrics": metrics}
    try:
        _write(files, layout, summary)
    except StorageError as error:
        _log.warning("%s stays without beam_metrics: %s", layout.summary, error.detail)
    return summary


def _write(files: Storage, layout: Layout, summary: dict[str, Any]) -> None:
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.write(layout.summary, text.encode())


def _count_disappeared(files: Storage, plan: RunPlan, uris: pa.ChunkedArray) -> int:
    """Counts URIs of the previous run that are not in this one."""
    gone = 0
    for part in plan.previous_parts if plan.counts_disappeared else ():
        try:
            before = reader.read_columns(files, [part], ["uri"])["uri"]
        except UnreadableRowsError:
            continue  # the run has said so when it looked for results
        gone += len(before) - (pc.sum(pc.is_in(before, value_set=uris)).as_py() or 0)
    return gone


def summarise(
    table: pa.Table,
    plan: RunPlan,
    totals: Totals,
    *,
    disappeared: int,
    now: datetime.datetime,
) -> dict[str, Any]:
    """Counts and percentiles of a run's rows.

    Args:
        table: the columns of the rows that `finish_run` reads.
        plan: of the run.
        totals: of the catalog.
        disappeared: URIs of the previous run that the catalog does not have any more.
        now: the run's end.

    Returns:
        The content of summary.json, ready for JSON: times in seconds or ms, PSNR in dB.
    """
    by_status = collections.Counter(table["status"].to_pylist())
    by_reason = collections.Counter(table["reason"].drop_null().to_pylist())
    wall_s = max((now - plan.started_at).total_seconds(), 1e-3)
    upscaled = by_status[Status.UPSCALED] + by_status[Status.FALLBACK]
    settings = plan.settings
    return {
        "run_id": settings.run_id,
        "input": settings.input,
        "output": settings.output,
        "started_at": plan.started_at.isoformat(),
        "finished_at": now.isoformat(),
        "wall_seconds": round(wall_s, 3),
        "uris": table.num_rows,
        "rows": table.num_rows,
        "repeats": totals.mentions - totals.named,
        "selection": _plain_selection(plan.selection),
        "previous_run": plan.previous_run,
        "disappeared": disappeared,
        "by_status": {status.value: by_status[status] for status in Status},
        "by_reason": dict(sorted(by_reason.items())),
        "failure_rate": by_status[Status.FAILED] / table.num_rows,
        "pictures_per_second": round(upscaled / wall_s, 3),
        "percentiles": {
            name: values
            for name in (*_PSNR_COLUMNS, *TIMED_STAGES)
            if (values := _percentiles(table[name])) is not None
        },
        "model": {"name": settings.model, "sha256": plan.model_sha256},
        "settings": _plain_settings(settings),
        "resolved": {"workers": plan.workers, "compute_dtype": plan.compute_dtype},
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(package) for name, package in _PACKAGES.items()},
    }


def _percentiles(column: pa.ChunkedArray) -> dict[str, float] | None:
    """Percentiles of the values that are not null; None without any."""
    values = column.drop_null().to_numpy()
    if not len(values):
        return None
    found = np.percentile(values, _PERCENTILES)
    return {f"p{p}": round(float(v), 3) for p, v in zip(_PERCENTILES, found, strict=True)}


def _plain_selection(selection: Selection) -> dict[str, Any] | None:
    """The options of a selection that are not their defaults; None for the whole catalog."""
    chosen = {name: value for name, value in dataclasses.asdict(selection).items() if value}
    return chosen or None


def _plain_settings(settings: Settings) -> dict[str, Any]:
    """All settings that do not stand elsewhere in the summary, ready for JSON."""
    elsewhere = {"input", "output", "run_id", "model"}
    plain = json.loads(json.dumps(dataclasses.asdict(settings)))
    return {key: value for key, value in plain.items() if key not in elsewhere}
