"""Runs the job as users do, in a process of its own, and watches its time and memory."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_RUN_PIPELINE = Path(__file__).parents[1] / "run_pipeline.py"
_LOOK_EVERY_S = 0.3


@dataclass(frozen=True)
class MeasuredRun:
    """A finished run.

    Attributes:
        seconds: from the command's start to its end.
        peak_mb: most memory at a time, 10^6 bytes, of the command and all its processes; what
            they share counts once.
        summary: content of summary.json.
    """

    seconds: float
    peak_mb: float
    summary: Mapping[str, Any]


def run(input_uri: str, output: Path, run_id: str, *options: str) -> MeasuredRun:
    """Runs the job from an input to a local folder.

    Raises:
        SystemExit: if it does not end with status 0.
    """
    command = [sys.executable, str(_RUN_PIPELINE), "--run_id", run_id, *options]
    command += ["--input", input_uri, "--output", str(output)]
    peak_bytes = 0
    with tempfile.TemporaryFile("w+") as told:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=told, stderr=told)
        while process.poll() is None:
            peak_bytes = max(peak_bytes, _memory_bytes(process.pid))
            time.sleep(_LOOK_EVERY_S)
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            told.seek(0)
            raise SystemExit(f"the run ended with status {process.returncode}:\n{told.read()}")
    summary = json.loads((output / "runs" / run_id / "summary.json").read_text())
    return MeasuredRun(seconds, peak_bytes / 1e6, summary)


def _memory_bytes(pid: int) -> int:
    """What a process and those that it started hold; a page of several counts once."""
    try:
        one = psutil.Process(pid)
        family = [one, *one.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    held = 0
    for member in family:
        try:
            held += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended just now
    return held
