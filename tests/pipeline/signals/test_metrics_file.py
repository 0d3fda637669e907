"""The metrics of a run, in Prometheus' text format."""

import datetime
import math
import re
import stat

import pytest

from model.version import VERSION
from pipeline.signals import metrics_file, outcome
from pipeline.signals.outcome import Outcome
from tests.pipeline.conftest import NOW, make_settings

SUMMARY = {
    "by_status": {"upscaled": 7, "failed": 2, "skipped": 0},
    "by_reason": {"not_found": 1, "gate:noise": 1},
    "failure_rate": 2 / 9,
    "model": {"name": 'C:\\models\\"ours"\n.keras', "sha256": "0" * 64},
    "percentiles": {
        "inference_ms": {"p5": 80.0, "p50": 120.5, "p95": 400.0},
        "self_gain_db": {"p5": 0.1, "p50": 1.0, "p95": 2.0},
    },
}

# https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4.
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"({NAME})\{{({LABEL}(?:,{LABEL})*)\}} (\S+)")


def parse(text):
    """Samples by name and labels; checks the grammar and the order of the lines."""
    assert text.endswith("\n") and "\n\n" not in text
    samples, described = {}, []
    for line in text.splitlines():
        if line.startswith("#"):
            kind, name = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) .+", line).groups()
            if kind == "HELP":
                assert name not in described  # the lines of a metric stand together
                described.append(name)
            assert name == described[-1]
            assert kind == "HELP" or line.endswith(" gauge")
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        assert name == described[-1]
        assert math.isfinite(float(value))
        pairs = [one.split("=", 1) for one in re.findall(LABEL, labels)]
        labels = {
            key: re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text[1:-1])
            for key, text in pairs
        }
        assert len(labels) == len(pairs)
        identity = name.removeprefix("catalog_magnifier_"), frozenset(labels.items())
        assert identity not in samples
        samples[identity] = float(value)
    return samples


def ended(name=outcome.DONE, exit_status=0, *, at=NOW, summary=SUMMARY):
    settings = make_settings(output="s3://shop/out")
    started_at = at - datetime.timedelta(seconds=61.5)
    return Outcome(settings, name, exit_status, started_at, at, summary=summary)


def value(samples, name, **labels):
    return samples[name, frozenset({"output": "s3://shop/out", **labels}.items())]


def test_a_finished_run_has_counts_durations_and_its_success():
    samples = parse(metrics_file.render(ended()))
    assert value(samples, "images_by_status", status="upscaled") == 7
    assert value(samples, "images_by_status", status="skipped") == 0
    assert value(samples, "images_by_reason", reason="gate:noise") == 1
    assert value(samples, "failure_ratio") == 2 / 9
    assert value(samples, "last_run_duration_seconds") == 61.5
    assert value(samples, "last_run_success") == 1
    assert value(samples, "last_success_timestamp_seconds") == NOW.timestamp()
    assert value(samples, "stage_seconds", stage="inference", quantile="0.5") == 0.1205
    assert {dict(labels).get("stage") for _, labels in samples} == {None, "inference"}
    assert value(samples, "run_info", model=SUMMARY["model"]["name"], version=VERSION) == 1


@pytest.mark.parametrize(
    ("name", "status"),
    [(outcome.FAILED, 1), (outcome.TOO_MANY_FAILURES, 3), (outcome.STOPPED, 143)],
)
def test_the_last_success_outlives_runs_without_one(tmp_path, name, status):
    path = tmp_path / "magnifier.prom"
    metrics_file.write(path, ended())
    later = NOW + datetime.timedelta(days=1)
    for _ in range(2):  # carried on from file to file
        metrics_file.write(path, ended(name, status, at=later, summary=None))
    samples = parse(path.read_text())
    assert value(samples, "last_success_timestamp_seconds") == NOW.timestamp()
    assert value(samples, "last_run_timestamp_seconds") == later.timestamp()
    assert value(samples, "last_run_success") == 0
    assert value(samples, "last_run_exit_status") == status
    assert not [metric for metric, _ in samples if metric.startswith("images")]


@pytest.mark.parametrize("old", [None, b"", b"\xff", b"catalog_magnifier_last_success e e\n"])
def test_without_an_earlier_success_there_is_none(tmp_path, old):
    path = tmp_path / "magnifier.prom"
    if old is not None:
        path.write_bytes(old)
    metrics_file.write(path, ended(outcome.FAILED, 1, summary=None))
    names = {name for name, _ in parse(path.read_text())}
    assert "last_run_success" in names and "last_success_timestamp_seconds" not in names


def test_others_may_read_the_file_and_see_no_half_of_it(tmp_path):
    path = tmp_path / "magnifier.prom"
    metrics_file.write(path, ended())
    metrics_file.write(path, ended())
    assert [one.name for one in tmp_path.iterdir()] == ["magnifier.prom"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
