"""Finishes a run: publishes its rows, checks their counts, writes the summary."""

import dataclasses
import datetime
import importlib.metadata
import json
import logging
import platform
from typing import Any

from pipeline import text
from pipeline.catalog.selection import Selection
from pipeline.output import publishing
from pipeline.output.percentiles import Sketch
from pipeline.records import RunError, Shard, Status, Totals
from pipeline.runs import lock, reader, resume
from pipeline.runs.counting import RowCounts, UriCounts
from pipeline.runs.finished import name_latest, read_summary
from pipeline.runs.layout import Layout
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import Storage, StorageError

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


def publish_shards(files: Storage, plan: RunPlan, shards: list[Shard]) -> list[str]:
    """Publishes the shards of a run as its rows.

    May be called again, as runners repeat a step: a finished run stays as it is.

    Args:
        files: where the run writes.
        plan: of the run.
        shards: of all bundles that succeeded, and kept from an earlier attempt.

    Returns:
        The URIs of the run's Parquet files.

    Raises:
        RunError: if there are no rows, or another process has taken the run over.
    """
    layout = Layout.of(plan.settings)
    if read_summary(files, layout) is not None:
        return reader.parts_of(files, layout)
    _check_lock(files, layout, plan)
    if not shards:
        raise RunError("the run wrote no rows at all: is the catalog empty?")
    return publishing.publish(files, shards, layout.rows)


def finish_run(
    files: Storage, plan: RunPlan, counts: RowCounts, uris: UriCounts, totals: Totals
) -> dict[str, Any]:
    """Checks the published rows against the catalog and writes summary and _SUCCESS.

    May be called again, as runners repeat a step: a finished run stays as it is.

    Args:
        files: where the run writes.
        plan: of the run.
        counts: of its rows, as the files hold them.
        uris: in these rows.
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
        _check_rows(layout, counts, uris, totals)
        began_at = resume.began_at(files, plan)
        now = datetime.datetime.now(datetime.UTC)
        summary = summarise(plan, counts, uris, totals, began_at=began_at, now=now)
        _succeed(files, layout, plan, summary)
        if plan.settings.sharpening_table:
            _log.info(
                "%s of %s have a number of the manifest or --sharpening_table",
                f"{counts.with_sharpening:,}",
                text.count(counts.rows, "row"),
            )
    name_latest(files, layout.output)
    publishing.clear(files, layout.staging)
    lock.remove(files, layout, plan.lock_token)
    return summary


def _check_rows(layout: Layout, counts: RowCounts, uris: UriCounts, totals: Totals) -> None:
    """Raises RunError unless there is exactly one row for each distinct URI of the catalog."""
    if not counts.rows == uris.distinct == totals.rows:
        raise RunError(
            f"the rows do not add up: {totals.rows} distinct URIs, {counts.rows} rows for "
            f"{uris.distinct} URIs under {layout.rows}; run again with --run_id {layout.run_id}"
        )


def _succeed(files: Storage, layout: Layout, plan: RunPlan, summary: dict[str, Any]) -> None:
    """Writes summary and _SUCCESS, unless another process has taken the run over."""
    _write(files, layout, summary)
    _check_lock(files, layout, plan)
    if files.create(layout.success, b""):
        try:
            _check_lock(files, layout, plan)
        except RunError:
            files.delete(layout.success)  # another process has begun to change the rows
            raise


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
    except (StorageError, RunError) as error:  # the run is complete all the same
        _log.warning("%s stays without beam_metrics: %s", layout.summary, error)
    return summary


def _write(files: Storage, layout: Layout, summary: dict[str, Any]) -> None:
    written = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.write(layout.summary, written.encode())


def summarise(
    plan: RunPlan,
    counts: RowCounts,
    uris: UriCounts,
    totals: Totals,
    *,
    began_at: datetime.datetime,
    now: datetime.datetime,
) -> dict[str, Any]:
    """Describes a run's rows in numbers.

    Args:
        plan: of the run, or of the attempt that finishes it.
        counts: of its rows.
        uris: in these rows.
        totals: of the catalog.
        began_at: the run's start, that of its first attempt.
        now: the run's end.

    Returns:
        The content of summary.json, ready for JSON: times in seconds or ms, PSNR in dB.
    """
    by_status = counts.by_status
    wall_s, attempt_s = (
        max((now - start).total_seconds(), 1e-3) for start in (began_at, plan.started_at)
    )
    upscaled = by_status[Status.UPSCALED] + by_status[Status.FALLBACK]
    settings = plan.settings
    return {
        "run_id": settings.run_id,
        "input": settings.input,
        "output": settings.output,
        "started_at": began_at.isoformat(),
        "finished_at": now.isoformat(),
        "wall_seconds": round(wall_s, 3),
        "uris": counts.rows,
        "rows": counts.rows,
        "repeats": totals.mentions - totals.named,
        "selection": _plain_selection(plan.selection),
        "previous_run": plan.previous_run,
        "disappeared": uris.disappeared,
        "by_status": {status.value: by_status[status] for status in Status},
        "by_reason": dict(sorted(counts.by_reason.items())),
        "failure_rate": by_status[Status.FAILED] / counts.rows,
        "with_source_sharpening": counts.with_sharpening,
        # How long earlier attempts worked on the rows that they left is unknown.
        "pictures_per_second": None if plan.kept else round(upscaled / attempt_s, 3),
        "percentiles": {
            name: values
            for name, sketch in counts.measured.items()
            if (values := _percentiles(sketch)) is not None
        },
        "model": {"name": settings.model, "sha256": plan.model_sha256},
        "settings": _plain_settings(settings),
        "resolved": {"workers": plan.workers, "compute_dtype": plan.compute_dtype},
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(package) for name, package in _PACKAGES.items()},
    }


def _percentiles(sketch: Sketch) -> dict[str, float] | None:
    """Percentiles by name; None without a value."""
    found = sketch.percentiles(_PERCENTILES)
    if found is None:
        return None
    return {f"p{p}": round(v, 3) for p, v in zip(_PERCENTILES, found, strict=True)}


def _plain_selection(selection: Selection) -> dict[str, Any] | None:
    """The options of a selection that are not their defaults; None for the whole catalog."""
    chosen = {name: value for name, value in dataclasses.asdict(selection).items() if value}
    return chosen or None


def _plain_settings(settings: Settings) -> dict[str, Any]:
    """All settings that do not stand elsewhere in the summary, ready for JSON."""
    elsewhere = {"input", "output", "run_id", "model"}
    plain = json.loads(json.dumps(dataclasses.asdict(settings)))
    return {key: value for key, value in plain.items() if key not in elsewhere}
