"""`make run` hands paths to the job as they are."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@pytest.fixture
def make(tmp_path):
    """Runs make with a Python that prints its arguments, one a line."""
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    (tmp_path / ".ready").touch()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "INPUT", "OUTPUT")
    }

    def run(*arguments, **variables):
        command = ["make", "-s", "-C", str(ROOT), *arguments, f"VENV={tmp_path}"]
        return subprocess.run(
            command, env=environment | variables, capture_output=True, text=True, check=False
        )

    return run


def test_blanks_and_dollars_in_paths(make):
    done = make("run", "INPUT=a b/", "OUTPUT=it's $$HOME", "OPTIONS=--max_side 800")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        *("run_pipeline.py", "--input", "a b/", "--output", "it's $HOME", "--max_side", "800")
    ]
    assert make("run", INPUT="a b/", OUTPUT="c d").stdout.splitlines()[1:] == [
        *("--input", "a b/", "--output", "c d")
    ]


def test_without_an_input_the_demo_runs(make):
    assert make("run").stdout.splitlines() == ["-m", "pipeline.demo"]


def test_an_input_needs_an_output(make):
    done = make("run", "INPUT=a b/")
    assert done.returncode == 2 and "needs OUTPUT" in done.stderr and done.stdout == ""
