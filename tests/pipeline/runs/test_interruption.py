"""Ctrl-C and SIGTERM: one line at once, an end soon, and a second signal ends now."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# What a run does: the main thread is inside a call that does not return, threads wait for a
# storage that does not answer, and a cleanup writes a file.
PROGRAM = """
import subprocess, sys, threading, time
from pathlib import Path
from pipeline.runs import interruption
from pipeline.runs.interruption import Ending
from pipeline.runtime import logs

logs.write_lines()
logs.name_run("night1")
folder, cleanup = Path(sys.argv[1]), sys.argv[2]
ending = Ending("night1", can_continue=cleanup != "dry run")
ending.before(lambda: (folder / "cleaned").touch())
if cleanup.startswith("hangs"):
    ending.before(lambda: time.sleep(3600))
if cleanup == "hangs for an hour":  # however slow this machine is, the second signal comes first
    interruption._CLEANUP_S = 3600
if cleanup == "fails":
    ending.before(lambda: [][0])
threading.Thread(target=time.sleep, args=(3600,)).start()  # which Python waits for at its end
with ending.on_signals():
    if cleanup == "starts processes":
        # They wait for their first orders, and would complain that their parent is gone.
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        pool = ProcessPoolExecutor(2, get_context("spawn"))
        futures = [pool.submit(time.sleep, 3600), pool.submit(time.sleep, 3600)]
        command = [sys.executable, "-c", "print(input())"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
    (folder / "ready").touch()
    if cleanup == "lost":
        ending.lost()
    while True:
        sum(range(10**6))
"""


def start(tmp_path, cleanup):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), cleanup],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # Programs that a shell starts in the background ignore Ctrl-C, and so do their heirs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    while cleanup != "lost" and not (tmp_path / "ready").exists():
        assert process.poll() is None, process.stderr.read()
    return process


@pytest.mark.parametrize("cleanup", ["works", "fails", "starts processes"])
def test_ctrl_c_ends_in_one_line(tmp_path, cleanup):
    process = start(tmp_path, cleanup)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 130
    first, *more = error.splitlines()
    assert first == "run_pipeline.py: interrupted; --run_id night1 continues it"
    assert len(more) == (cleanup == "fails")
    assert (tmp_path / "cleaned").exists()


def test_sigterm_ends_with_a_line_of_the_log(tmp_path):
    process = start(tmp_path, "works")
    process.terminate()
    _, error = process.communicate(timeout=240)
    assert process.returncode == 143
    assert "WARNING night1 SIGTERM: the run ends; --run_id night1 continues it" in error
    assert error.count("\n") == 1
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize(
    ("sign", "told"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "SIGTERM: the run ends")]
)
def test_a_dry_run_is_not_continued(tmp_path, sign, told):
    process = start(tmp_path, "dry run")
    process.send_signal(sign)
    _, error = process.communicate(timeout=240)
    assert error.endswith(f"{told}\n")


def test_a_cleanup_that_hangs_does_not_keep_the_process(tmp_path):
    process = start(tmp_path, "hangs")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=240)
    assert process.returncode == 130


def test_a_second_signal_ends_at_once(tmp_path):
    """Before the cleanups are done: the one that hangs comes first here."""
    process = start(tmp_path, "hangs for an hour")
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.stderr.readline()
    process.terminate()
    process.communicate(timeout=240)
    assert process.returncode == 143
    assert not (tmp_path / "cleaned").exists()


def test_a_run_that_another_process_took_over_ends(tmp_path):
    process = start(tmp_path, "lost")
    _, error = process.communicate(timeout=240)
    assert process.returncode == 1
    assert error == "run_pipeline.py: another process took over run night1; this one ends\n"
