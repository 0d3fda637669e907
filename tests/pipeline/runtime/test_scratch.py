"""Temporary files are gone after a run, and after the next one if a run was killed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = """
import sys, tempfile
from pipeline.runtime import scratch
folder = scratch.use_own_folder()
tempfile.mkstemp()
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Starts processes that write a temporary file and wait for the end of their input."""
    started = []

    def run():
        process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        folder = Path(process.stdout.readline().strip())
        assert folder.parent == tmp_path and len(list(folder.iterdir())) == 2  # lock, file
        return process, folder

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_process_removes_its_folder(start, tmp_path):
    process, folder = start()
    process.communicate()
    assert process.returncode == 0 and not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_can_be_removed_before_the_process_ends(tmp_path):
    code = (
        "import os, sys, tempfile\n"
        "from pipeline.runtime import scratch\n"
        "folder = scratch.use_own_folder()\n"
        "print(folder, tempfile.gettempdir(), os.environ['TMPDIR'])\n"
        "scratch.remove_own_folder()\n"
        "scratch.remove_own_folder()\n"
        "print(os.path.exists(folder), tempfile.gettempdir(), os.environ['TMPDIR'])"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment)
    before, after = (line.split() for line in printed.decode().splitlines())
    assert before[0] == before[1] == before[2] and Path(before[0]).parent == tmp_path
    assert after == ["False", str(tmp_path), str(tmp_path)]
    assert list(tmp_path.iterdir()) == []


def test_the_next_process_removes_the_folder_of_a_killed_one_only(start, tmp_path):
    living, kept = start()
    killed, left = start()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left.exists()
    (tmp_path / "catalog-magnifier-new").mkdir()  # another process has not locked it yet
    process, _ = start()
    assert not left.exists() and kept.exists()
    for each in (living, process):
        each.communicate()
        assert each.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["catalog-magnifier-new"]


def test_processes_that_it_starts_use_its_folder(tmp_path):
    code = (
        "import subprocess, sys\n"
        "from pipeline.runtime import scratch\n"
        "print(scratch.use_own_folder(), flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import tempfile; print(tempfile.gettempdir())'])"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment)
    own, of_child = printed.decode().split()
    assert own == of_child and Path(own).parent == tmp_path
    assert tempfile.gettempdir() != own


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path):
    code = (
        "import shutil, sys\n"
        "from pipeline.runtime import scratch\n"
        "usage = shutil.disk_usage(sys.argv[1])._replace(free=1_000_000)\n"
        "shutil.disk_usage = lambda path: usage\n"
        "try:\n"
        "    scratch.use_own_folder()\n"
        "except OSError as error:\n"
        "    print(error.strerror, '|', error.filename)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    printed = subprocess.check_output(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=environment, text=True
    )
    assert printed == f"No space left on device | {tmp_path}\n"
    assert list(tmp_path.iterdir()) == []
