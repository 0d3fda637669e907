"""Writes a run's outcome as a file of Prometheus metrics, for node_exporter's textfile collector.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from model.files import appearing
from model.version import VERSION
from pipeline.row.parts import TIMED_STAGES
from pipeline.signals import outcome
from pipeline.signals.outcome import Outcome

_PREFIX = "catalog_magnifier"
_LAST_SUCCESS = "last_success_timestamp_seconds"
_QUANTILES = {"p5": "0.05", "p50": "0.5", "p95": "0.95"}
# Labels beside those of all samples, and the value.
_Sample = tuple[dict[str, str], float]
_Samples = list[_Sample]
_MODE = 0o644  # another user collects it


def write(path: Path, ended: Outcome) -> None:
    """Replaces the file in one step; the time of the last success stays from run to run.

    Args:
        path: of the file, in a folder that exists.
        ended: how the run ended.

    Raises:
        OSError: if it cannot be written; the old file stays.
    """
    text = render(ended, last_success=_last_success(path))
    with appearing(path) as partial:
        partial.write_text(text, encoding="utf-8")
        partial.chmod(_MODE)


def render(ended: Outcome, *, last_success: float | None = None) -> str:
    """Returns the metrics of a run that ended.

    Args:
        ended: how.
        last_success: seconds since 1970, of an earlier run; None without one.

    Returns:
        The text of the file. Counts and durations are there only if the run has finished.
    """
    lines = []
    for name, help_text, samples in _metrics(ended, last_success):
        lines.append(f"# HELP {_PREFIX}_{name} {help_text}")
        lines.append(f"# TYPE {_PREFIX}_{name} gauge")
        for labels, value in samples:
            # Files of several catalogs may lie in one folder.
            all_labels = {"output": ended.settings.output} | labels
            written = ",".join(f'{key}="{_escape(text)}"' for key, text in all_labels.items())
            lines.append(f"{_PREFIX}_{name}{{{written}}} {value!r}")
    return "\n".join(lines) + "\n"


def _metrics(ended: Outcome, last_success: float | None) -> Iterator[tuple[str, str, _Samples]]:
    """Name, help and samples of each metric; all are gauges."""
    now, is_success = ended.finished_at.timestamp(), ended.name == outcome.DONE
    succeeded = now if is_success else last_success
    yield "last_run_timestamp_seconds", "End of the newest run.", [({}, now)]
    yield "last_run_success", "1 if the newest run is done, else 0.", [({}, int(is_success))]
    yield "last_run_exit_status", "Exit status of the newest run.", [({}, ended.exit_status)]
    wall_s = round(ended.wall_s, 3)
    yield "last_run_duration_seconds", "Duration of the newest run.", [({}, wall_s)]
    if succeeded is not None:
        yield _LAST_SUCCESS, "End of the newest run that is done.", [({}, succeeded)]
    summary = ended.summary
    if summary is None:
        return
    model = {"model": summary["model"]["name"], "version": VERSION}
    yield "run_info", "Network and version of the newest run.", [(model, 1)]
    for name in ("status", "reason"):
        counts = [({name: key}, count) for key, count in summary[f"by_{name}"].items()]
        yield f"images_by_{name}", f"Images of the newest run by {name}.", counts
    failed = "Share of the newest run's images that failed."
    yield "failure_ratio", failed, [({}, summary["failure_rate"])]
    stages = list(_stages(summary["percentiles"]))
    yield "stage_seconds", "Time of a stage for one image of the newest run.", stages


def _stages(percentiles: dict[str, dict[str, float]]) -> Iterator[_Sample]:
    """Seconds of the stages that the run timed."""
    for stage in TIMED_STAGES:
        for name, quantile in _QUANTILES.items():
            if stage in percentiles:
                labels = {"stage": stage.removesuffix("_ms"), "quantile": quantile}
                yield labels, round(percentiles[stage][name] / 1000, 6)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _last_success(path: Path) -> float | None:
    """The time of the last success as the file has it; None without one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(rf"(?m)^{_PREFIX}_{_LAST_SUCCESS}\{{.*\}} ([0-9.e+]+)$", text)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None
