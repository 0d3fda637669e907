"""The end of a run: publish its rows, count them again from the files, write the summary."""

import collections
import dataclasses
import datetime
import json
import platform
from collections.abc import Iterable
from typing import Any

import apache_beam
import boto3
import keras
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow
from apache_beam.metrics.metric import MetricResults, MetricsFilter

from pipeline.output import publishing
from pipeline.records import RunError, Shard, Status, Totals
from pipeline.row import TIMED_STAGES
from pipeline.settings import Settings
from pipeline.storage import locations
from pipeline.storage.base import Storage
from pipeline.storage.ranged import open_ranged

_PSNR_COLUMNS = (
    "roundtrip_psnr_db",
    "self_psnr_db",
    "self_bicubic_psnr_db",
    "self_gain_db",
    "reference_psnr_db",
    "reference_bicubic_psnr_db",
)
METRIC_NAMESPACES = ("rows", "reasons", "stages")
_PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
_PACKAGES = (apache_beam, boto3, keras, np, PIL, pa, tensorflow)


def finish_run(
    files: Storage, settings: Settings, shards: list[Shard], totals: Totals
) -> dict[str, Any]:
    """Publishes the shards, checks them against the catalog and writes summary and _SUCCESS.

    Args:
        files: where the run writes.
        settings: of the run.
        shards: all that were staged by bundles that succeeded, and those kept of an earlier
            attempt.
        totals: of the catalog.

    Returns:
        The content of summary.json.

    Raises:
        RunError: if the published rows are not exactly one for each distinct URI; _SUCCESS is
            then missing.
    """
    parts = publishing.publish(files, shards, settings.rows_folder)
    table = read_columns(files, parts, ["uri", "status", "reason", *_PSNR_COLUMNS, *TIMED_STAGES])
    distinct = pc.count_distinct(table["uri"]).as_py()
    if not table.num_rows == distinct == totals.rows:
        raise RunError(
            f"the rows do not add up: {totals.rows} distinct URIs, {table.num_rows} rows for "
            f"{distinct} URIs under {settings.rows_folder}; run again with "
            f"--run_id {settings.run_id}"
        )
    summary = summarise(
        table,
        settings,
        totals,
        disappeared=_count_disappeared(files, settings, table["uri"]),
        now=datetime.datetime.now(datetime.UTC),
    )
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.write(locations.join(settings.run_folder, "summary.json"), text.encode())
    files.write(locations.join(settings.run_folder, "_SUCCESS"), b"")
    publishing.clear(files, settings.staging_folder)
    return summary


def add_metrics(
    files: Storage, settings: Settings, summary: dict[str, Any], results: MetricResults
) -> dict[str, Any]:
    """Writes the summary again, with what the runner counted.

    The rows are the truth; Beam's metrics are what a runner's own monitoring shows too. A bundle
    that ran twice may be counted twice in them.

    Args:
        files: where the run writes.
        settings: of the run.
        summary: the content of summary.json.
        results: of the pipeline that has ended.

    Returns:
        The summary with `beam_metrics`: counters by namespace and name; distributions with count,
        sum, min, max and mean, in the unit that the name ends in.
    """
    summary = summary | {"beam_metrics": plain_metrics(results)}
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.write(locations.join(settings.run_folder, "summary.json"), text.encode())
    return summary


def plain_metrics(results: MetricResults) -> dict[str, Any]:
    """The job's counters and distributions, over all steps, ready for JSON."""
    counters: dict[str, dict[str, int]] = {}
    distributions: dict[str, dict[str, dict[str, float]]] = {}
    found = results.query(MetricsFilter().with_namespaces(METRIC_NAMESPACES))
    for metric in sorted(found["counters"], key=lambda one: str(one.key)):
        names = counters.setdefault(metric.key.metric.namespace, {})
        names[metric.key.metric.name] = names.get(metric.key.metric.name, 0) + metric.result
    for metric in sorted(found["distributions"], key=lambda one: str(one.key)):
        value = metric.result
        distributions.setdefault(metric.key.metric.namespace, {})[metric.key.metric.name] = {
            "count": value.count,
            "sum": value.sum,
            "min": value.min,
            "max": value.max,
            "mean": round(value.mean, 3),
        }
    return {"counters": counters, "distributions": distributions}


def _count_disappeared(files: Storage, settings: Settings, uris: pa.ChunkedArray) -> int:
    """How many URIs of the previous run are not in this one."""
    if not settings.previous_parts:
        return 0
    before = read_columns(files, settings.previous_parts, ["uri"])["uri"]
    return len(before) - pc.sum(pc.is_in(before, value_set=uris)).as_py()


def read_columns(files: Storage, parts: Iterable[str], columns: list[str]) -> pa.Table:
    """Reads small columns of Parquet files, without their images, by ranged requests.

    Args:
        files: where the files lie.
        parts: their URIs; may be empty.
        columns: names of `rows.SCHEMA`.

    Returns:
        One table over all files.
    """
    tables = []
    for part in parts:
        with open_ranged(files, part) as file:
            tables.append(pq.ParquetFile(file).read(columns=columns))
    if not tables:
        raise RunError("the run made no rows at all: is the catalog empty?")
    return pa.concat_tables(tables)


def summarise(
    table: pa.Table,
    settings: Settings,
    totals: Totals,
    *,
    disappeared: int,
    now: datetime.datetime,
) -> dict[str, Any]:
    """Counts and percentiles of a run's rows.

    Args:
        table: the columns of the rows that `finish_run` reads.
        settings: of the run.
        totals: of the catalog.
        disappeared: URIs of the previous run that the catalog does not have any more.
        now: the run's end.

    Returns:
        The content of summary.json, ready for JSON: times in seconds or ms, PSNR in dB.
    """
    by_status = collections.Counter(table["status"].to_pylist())
    by_reason = collections.Counter(table["reason"].drop_null().to_pylist())
    wall_s = max((now - settings.started_at).total_seconds(), 1e-3)
    made = by_status[Status.UPSCALED] + by_status[Status.FALLBACK]
    return {
        "run_id": settings.run_id,
        "input": settings.input,
        "output": settings.output,
        "started_at": settings.started_at.isoformat(),
        "finished_at": now.isoformat(),
        "wall_seconds": round(wall_s, 3),
        "uris": table.num_rows,
        "rows": table.num_rows,
        "repeats": totals.mentions - totals.named,
        "previous_run": settings.previous_run,
        "disappeared": disappeared,
        "by_status": {status.value: by_status[status] for status in Status},
        "by_reason": dict(sorted(by_reason.items())),
        "failure_rate": by_status[Status.FAILED] / table.num_rows,
        "pictures_per_second": round(made / wall_s, 3),
        "percentiles": {
            name: values
            for name in (*_PSNR_COLUMNS, *TIMED_STAGES)
            if (values := _percentiles(table[name])) is not None
        },
        "model": {"name": settings.model, "sha256": settings.model_sha256},
        "settings": _plain_settings(settings),
        "versions": {"python": platform.python_version()}
        | {package.__name__: package.__version__ for package in _PACKAGES},
    }


def _percentiles(column: pa.ChunkedArray) -> dict[str, float] | None:
    """Percentiles of what is not null; None if nothing is."""
    values = column.drop_null().to_numpy()
    if not len(values):
        return None
    found = np.percentile(values, _PERCENTILES)
    return {f"p{p}": round(float(v), 3) for p, v in zip(_PERCENTILES, found, strict=True)}


def _plain_settings(settings: Settings) -> dict[str, Any]:
    """All settings that are not said elsewhere in the summary."""
    said = {"input", "output", "run_id", "started_at", "model", "model_sha256"}
    said |= {"previous_run", "previous_parts", "kept"}
    plain = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    return {key: value for key, value in plain.items() if key not in said}
