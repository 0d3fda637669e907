"""What people see while a run goes on: a bar on a terminal, lines elsewhere."""

import json
import logging
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from pipeline.runtime import progress
from tests.pipeline.conftest import image_bytes

ROOT = Path(__file__).parents[3]
EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR) night1 \S.*")


def command(folder):
    (folder / "in").mkdir()
    for i in range(3):
        (folder / f"in/{i}.png").write_bytes(image_bytes(36, 36, file_format="PNG", seed=i))
    (folder / "in/bad.jpg").write_bytes(b"no image")
    options = ["--run_id", "night1", "--max_failure_rate", "1", "--report", "no"]
    options += ["--model", "rdn-small"]
    places = ["--input", f"{folder}/in/", "--output", f"{folder}/out"]
    return [sys.executable, ROOT / "run_pipeline.py", *places, *options]


def test_a_terminal_gets_a_bar(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    told = b""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                told += os.read(ours, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
    assert process.wait() == 0, told
    assert b"4/4" in told and b"failed=1" in told and b"images/s" in told
    assert b"INFO" not in told


def test_elsewhere_each_event_is_one_line_with_time_and_run(tmp_path):
    """From another working directory than the project's, too."""
    done = subprocess.run(
        command(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "4 images: 3 upscaled, 1 failed" in done.stdout
    assert (tmp_path / "out/rows").is_dir()
    events = [line for line in done.stdout.splitlines() if line.startswith("20")]
    assert len(events) == 2 and all(EVENT.fullmatch(line) for line in events)
    counts = json.loads(events[-1].partition("done: ")[2])
    assert counts["upscaled"] == 3 and counts["unsupported_format"] == 1


def test_lines_tell_how_far_it_is(caplog):
    caplog.set_level(logging.INFO, "pipeline.runtime.progress")
    with progress.shown(line_every_s=0.05):
        for _ in range(10):
            progress.HERE.found()
        wait_for_line(caplog, r"10 images found so far")
        progress.HERE.done(4)
        progress.HERE.done(failed=True)
        wait_for_line(caplog, r"5 of 10 images, [\d.]+ a second, .* left, 1 failed")
    assert caplog.messages[0] in ("0 images found so far", "10 images found so far")
    with progress.shown(line_every_s=0.05):
        assert progress.HERE.uris_done == 0
        progress.HERE.found()
        wait_for_line(caplog, "1 image found so far")


def wait_for_line(caplog, pattern):
    deadline = time.monotonic() + 60
    while not any(re.match(pattern, message) for message in caplog.messages):
        assert time.monotonic() < deadline, caplog.messages
        time.sleep(0.02)


def test_a_traceback_is_one_line():
    code = (
        "import logging\nfrom pipeline.runtime import startup\n"
        "from pipeline.runtime.logs import name_run\nstartup.prepare()\n"
        "name_run('night1')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('pipeline.x').exception('told\\nagain')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert EVENT.fullmatch(done.stderr.rstrip("\n")) and done.stdout == ""
    assert "told | again | Traceback" in done.stderr and "ZeroDivisionError" in done.stderr
