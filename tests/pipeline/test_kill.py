"""SIGKILL at any moment, the same command again: the rows of an undisturbed run."""

import multiprocessing
import os
import random
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
IMAGES = 90
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

    def __init__(self, catalog, folder, *options, workers="1"):
        self.output = folder
        self.log = folder.with_suffix(".log")
        self.log.touch()
        self.arguments = ["--input", str(catalog), "--output", str(folder), "--run_id", "night1"]
        self.arguments += ["--max_failure_rate", "1", "--workers", workers, *options]

    def start(self, kill_at=0):
        command = [sys.executable, "-m", "tests.pipeline.killed_run", str(kill_at), str(self.log)]
        return subprocess.Popen(
            [*command, *self.arguments],
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Programs that a shell starts in the background ignore Ctrl-C, and so do their heirs.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    def run(self, kill_at=0):
        process = self.start(kill_at)
        out, err = process.communicate(timeout=240)
        assert process.returncode in (0, -signal.SIGKILL), out + err
        return process.returncode

    def run_soon(self, kill_at=0):
        """As `run`, in the fork of a process that has imported the job: it starts at once."""
        said = self.log.with_suffix(".txt")
        process = SOON.Process(
            target=killed_run.run, args=(kill_at, self.log, self.arguments, said)
        )
        process.start()
        process.join(timeout=240)
        assert process.exitcode in (0, -signal.SIGKILL), said.read_text()
        return process.exitcode

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


@pytest.fixture(scope="module")
def undisturbed(catalog, tmp_path_factory):
    tries = Tries(catalog, tmp_path_factory.mktemp("undisturbed") / "out")
    assert tries.run_soon() == 0
    assert len(tries.inferences) == IMAGES
    return tries.rows()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_many_moments(catalog, tmp_path, undisturbed):
    """Random moments while there is work, then one after the other in the run's last steps."""
    tries = Tries(catalog, tmp_path / "killed", "--look_ahead", str(LOOK_AHEAD))
    moments = random.Random(20260504)
    kills = 0
    while kills < 20:
        before = len(tries.inferences)
        saved_before = len(tries.saved)
        is_done = saved_before == IMAGES
        if tries.run_soon(kill_at=4 + 2 * kills if is_done else moments.randint(3, 90)) == 0:
            break
        kills += 1
        done_now = len(tries.inferences) - before
        saved = len(tries.saved)
        lost = saved_before + done_now - saved
        assert 0 <= lost <= max(1, 0.05 * saved) + IN_FLIGHT, (kills, done_now, saved)
    else:
        assert tries.run_soon() == 0
    assert kills >= 10
    assert tries.rows() == undisturbed
    tries.check_nothing_is_left_over()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_several_processes_killed_and_not(catalog, tmp_path, undisturbed):
    """The same images, to the last bit, as a single process makes."""
    tries = Tries(catalog, tmp_path / "several", workers="2")
    assert tries.run(kill_at=40) == -signal.SIGKILL
    assert tries.run() == 0
    assert tries.rows() == undisturbed
    tries.check_nothing_is_left_over()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("sign", "workers"), [(signal.SIGINT, "2"), (signal.SIGTERM, "1")])
def test_a_signal_ends_in_one_line_and_the_run_goes_on_later(catalog, tmp_path, sign, workers):
    tries = Tries(catalog, tmp_path / "out", workers=workers)
    process = tries.start()
    while not tries.saved:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(sign)
    _, error = process.communicate(timeout=240)
    assert (process.returncode, error.count("\n")) == (128 + sign, 1), error
    assert "--run_id night1 continues it" in error
    assert not (tries.output / "runs/night1/lock.json").exists()
    assert tries.run() == 0
    tries.check_nothing_is_left_over()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_process_refuses_and_a_killed_one_is_followed_at_once(catalog, tmp_path):
    tries = Tries(catalog, tmp_path / "out")
    first = tries.start()
    while not (tries.output / "runs/night1/lock.json").exists():
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # alive, but slow
    second = tries.start()
    _, error = second.communicate(timeout=240)
    assert second.returncode == 1
    assert f"night1 is already going on: process {first.pid}" in error and error.count("\n") == 1
    first.kill()
    first.wait()
    assert tries.run_soon() == 0
    tries.check_nothing_is_left_over()
