"""SIGKILL at any moment, the same command again: the rows of an undisturbed run."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from tests.pipeline import killed_run
from tests.pipeline.conftest import image_bytes

ROOT = Path(__file__).parents[2]
IMAGES = 50
LOOK_AHEAD = 4
# Upscaled, but not yet in a shard when the kill comes: what is on its way to the writer.
IN_FLIGHT = LOOK_AHEAD + 1
SOON = multiprocessing.get_context("forkserver")
SOON.set_forkserver_preload(["tests.pipeline.killed_run"])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A manifest of images, twins, repeats, and some that are skipped or broken."""
    folder = tmp_path_factory.mktemp("in")
    for i in range(IMAGES):
        (folder / f"{i:03d}.png").write_bytes(image_bytes(32, 36, file_format="PNG", seed=i))
    for i in range(5):
        (folder / f"twin{i}.png").write_bytes((folder / f"{i:03d}.png").read_bytes())
        (folder / f"icon{i}.png").write_bytes(image_bytes(20, 20, file_format="PNG", seed=i))
        (folder / f"broken{i}.jpg").write_bytes(image_bytes(90, 90, seed=i)[: 300 + i])
    names = [*sorted(path.name for path in folder.iterdir()), "missing.png", "000.png"]
    (folder / "m.txt").write_text("\n".join(names))
    return folder / "m.txt"


class Tries:
    """Starts the job again and again under one id."""

    def __init__(self, catalog, folder, *options):
        self.output = folder
        self.log, self.said = (folder.with_suffix(suffix) for suffix in (".log", ".said"))
        self.log.touch()
        self.arguments = ["--input", str(catalog), "--output", str(folder), "--run_id", "night1"]
        self.arguments += ["--max_failure_rate", "1", "--model", "rdn-small", "--workers", "1"]
        self.arguments += options

    def start(self, kill_at=0):
        """Starts it in the fork of a process that has imported the job."""
        process = SOON.Process(
            target=killed_run.run, args=(kill_at, self.log, self.arguments, self.said)
        )
        process.start()
        return process

    def run(self, kill_at=0):
        """Returns the status, and what is on standard error."""
        return self.end_of(self.start(kill_at))

    def end_of(self, process):
        process.join(timeout=240)
        process.kill()
        return process.exitcode, self.said.with_suffix(".err").read_text()

    def finish(self):
        status, error = self.run()
        assert status == 0, error

    def start_program(self, *options, kill_at=0):
        """Starts it as a program, whose processes of --workers can import it."""
        command = [sys.executable, "-m", "tests.pipeline.killed_run", str(kill_at), str(self.log)]
        return subprocess.Popen(
            [*command, *self.arguments, *options],
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Programs that a shell starts in the background ignore Ctrl-C, and so do their heirs.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    @property
    def inferences(self):
        return self.log.read_text().split()

    @property
    def saved(self):
        """Upscaled images in complete shards, wherever a kill left them."""
        folders = (self.output / "runs/night1/staging", self.output / "rows/run_id=night1")
        parts = [str(path) for folder in folders for path in folder.glob("[!.]*.parquet")]
        if not parts:
            return set()
        table = ds.dataset(parts).to_table(columns=["content_key", "status"]).to_pylist()
        return {row["content_key"] for row in table if row["status"] == "upscaled"}

    def rows(self):
        table = ds.dataset(self.output / "rows", partitioning="hive").to_table()
        columns = ["uri", "status", "reason", "detail", "content_key", "image_sha256", "width"]
        found = sorted(table.select(columns).to_pylist(), key=lambda row: row["uri"])
        assert len({row["uri"] for row in found}) == len(found)
        return found

    def check_nothing_is_left_over(self):
        names = sorted(path.name for path in (self.output / "runs/night1").rglob("*"))
        assert [name for name in names if name != "staging"] == [
            "_SUCCESS",
            "report.html",
            "run.json",
            "summary.json",
        ]
        assert all(path.name.startswith("part-") for path in (self.output / "rows").glob("*/*"))


def check_stopped(tries, sign, status, error):
    """After a signal: one line, and no lock."""
    assert (status, error.count("\n")) == (128 + sign, 1), error
    assert "--run_id night1 continues it" in error
    assert not (tries.output / "runs/night1/lock.json").exists()


@pytest.fixture(scope="module")
def undisturbed(catalog, tmp_path_factory):
    tries = Tries(catalog, tmp_path_factory.mktemp("undisturbed") / "out")
    tries.finish()
    assert len(tries.inferences) == IMAGES
    return tries.rows()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_many_moments(catalog, tmp_path, undisturbed):
    """Before and among the rows, then one after the other in the run's last steps."""
    tries = Tries(catalog, tmp_path / "killed", "--look_ahead", str(LOOK_AHEAD))
    among_rows, last_steps = iter((3, 40, 70, 55)), itertools.count(2, 5)
    status, kills = None, 0
    while status != 0:
        before = len(tries.inferences)
        saved_before = len(tries.saved)
        moment = next(last_steps) if saved_before == IMAGES else next(among_rows, 60)
        status, error = tries.run(kill_at=moment)
        assert status in (0, -signal.SIGKILL), error
        kills += status != 0
        done_now = len(tries.inferences) - before
        saved = len(tries.saved)
        lost = saved_before + done_now - saved
        assert 0 <= lost <= max(1, 0.05 * saved) + IN_FLIGHT, (kills, done_now, saved)
    assert 10 <= kills <= 20
    assert tries.rows() == undisturbed
    tries.check_nothing_is_left_over()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_several_processes_stopped_and_killed(catalog, tmp_path, undisturbed):
    """The same images, to the last bit, as a single process makes."""
    tries = Tries(catalog, tmp_path / "several")
    stopped = tries.start_program("--workers", "2")
    while not tries.saved:
        assert stopped.poll() is None
        time.sleep(0.02)
    stopped.send_signal(signal.SIGINT)
    _, error = stopped.communicate(timeout=240)
    check_stopped(tries, signal.SIGINT, stopped.returncode, error)
    killed = tries.start_program("--workers", "2", kill_at=40)
    _, error = killed.communicate(timeout=240)
    assert killed.returncode == -signal.SIGKILL, error
    tries.finish()
    assert tries.rows() == undisturbed
    tries.check_nothing_is_left_over()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_signal_ends_in_one_line_and_the_run_goes_on_later(catalog, tmp_path):
    tries = Tries(catalog, tmp_path / "out")
    process = tries.start()
    while not tries.saved:
        assert process.is_alive()
        time.sleep(0.02)
    process.terminate()
    check_stopped(tries, signal.SIGTERM, *tries.end_of(process))
    tries.finish()
    tries.check_nothing_is_left_over()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_process_refuses_and_a_killed_one_is_followed_at_once(catalog, tmp_path):
    tries = Tries(catalog, tmp_path / "out", "--limit", "2")
    first = tries.start()
    while not (tries.output / "runs/night1/lock.json").exists():
        assert first.is_alive()
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGSTOP)  # alive, but slow
    status, error = tries.run()
    assert status == 1
    assert f"night1 is already going on: process {first.pid}" in error and error.count("\n") == 1
    first.kill()
    first.join()
    tries.finish()
    tries.check_nothing_is_left_over()
