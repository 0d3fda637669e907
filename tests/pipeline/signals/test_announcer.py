"""Signals of whole runs: done, with too many failures, failed, stopped."""

import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import job
from tests.pipeline.conftest import image_bytes
from tests.pipeline.signals.server import receiver

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server():
    with receiver() as received:
        yield received


@pytest.fixture
def run(tmp_path, server):
    """Runs the job on a folder with one good image; returns the exit status."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.png").write_bytes(image_bytes(40, 50, file_format="PNG"))

    def run(*options, path="/hooks/PLANTED?key=PLANTED"):
        places = ["--input", f"{tmp_path}/in/", "--output", f"{tmp_path}/out", "--run_id", "r1"]
        signals = ["--notify", server.url + path, "--metrics_file", str(tmp_path / "m.prom")]
        return job.run([*places, *signals, "--report", "no", *options])

    return run


def sample(tmp_path, name):
    (line,) = [
        one for one in (tmp_path / "m.prom").read_text().splitlines() if f"_{name}{{" in one
    ]
    return float(line.rpartition(" ")[2])


def test_a_run_that_is_done(run, server, tmp_path):
    assert run() == job.DONE
    content = server.content
    assert (content["outcome"], content["exit_status"], content["error"]) == ("done", 0, None)
    summary = json.loads((tmp_path / "out/runs/r1/summary.json").read_text())
    for key in ("uris", "by_status", "by_reason", "failure_rate", "run_id", "input", "output"):
        assert content[key] == summary[key]
    assert content["text"] == "catalog-magnifier r1: done, 1 image: 1 upscaled"
    assert content["summary"] == f"{tmp_path}/out/runs/r1/summary.json"
    assert sample(tmp_path, "last_run_success") == 1


def test_too_many_failures(run, server, tmp_path):
    (tmp_path / "in/2.jpg").write_bytes(b"no image")
    assert run() == job.TOO_MANY_FAILURES
    assert (server.content["outcome"], server.content["exit_status"]) == ("too_many_failures", 3)
    assert server.content["by_reason"] == {"unsupported_format": 1}
    assert (sample(tmp_path, "last_run_success"), sample(tmp_path, "last_run_exit_status")) == (
        0,
        3,
    )


def test_a_run_that_fails_at_once(run, server, tmp_path, capsys):
    assert run("--model", "s3.keras") == job.FAILED
    error = capsys.readouterr().err.strip().removeprefix("run_pipeline.py: ")
    assert (server.content["outcome"], server.content["error"]) == ("failed", error)
    assert sample(tmp_path, "last_run_success") == 0


def test_an_unexpected_error_is_told_and_raised(run, server, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(job, "make_plan", broken)
    with pytest.raises(ZeroDivisionError):
        run()
    assert server.content["error"] == "ZeroDivisionError: a bug"


def test_a_dry_run_tells_nobody(run, server, tmp_path):
    assert run("--dry_run") == job.DONE
    assert server.requests == [] and not (tmp_path / "m.prom").exists()


def test_the_address_is_written_nowhere(run, server, tmp_path, capfd, caplog):
    server.answers += [404]
    with caplog.at_level(logging.INFO):
        assert run() == job.DONE
    told = capfd.readouterr()
    assert "PLANTED" not in told.out + told.err + caplog.text
    assert f"--notify {server.url}/***: the server answered 404" in caplog.text
    files = [one for one in (tmp_path / "out").rglob("*") if one.is_file()]
    assert len(files) > 3
    for file in files:
        assert b"PLANTED" not in file.read_bytes(), file


def test_a_run_is_done_whatever_becomes_of_its_signals(run, server, caplog):
    server.answers += [410]
    assert run("--metrics_file", "/proc/m.prom") == job.DONE
    assert "--metrics_file /proc/m.prom: " in caplog.text
    assert "nobody was notified" in caplog.text


@pytest.mark.slow
def test_a_run_that_a_scheduler_stops(server, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(40):
        (tmp_path / f"in/{i}.png").write_bytes(image_bytes(300, 300, file_format="PNG", seed=i))
    arguments = ["--input", f"{tmp_path}/in/", "--output", f"{tmp_path}/out", "--run_id", "r1"]
    arguments += ["--notify", server.url, "--metrics_file", str(tmp_path / "m.prom")]
    process = subprocess.Popen([sys.executable, "run_pipeline.py", *arguments], cwd=ROOT)
    while not (tmp_path / "out/runs/r1/lock.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert (server.content["outcome"], server.content["exit_status"]) == ("stopped", 143)
    assert sample(tmp_path, "last_run_exit_status") == 143
    assert not (tmp_path / "out/runs/r1/lock.json").exists()
