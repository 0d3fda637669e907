"""Runs the job in a process of its own, as users do, and measures its time and memory."""

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_RUN_PIPELINE = Path(__file__).parents[1] / "run_pipeline.py"
# Each look takes some hundredths of a processor second.
_LOOK_EVERY_S = 0.3


@dataclass(frozen=True)
class MeasuredRun:
    """A finished run.

    Attributes:
        seconds: from the command's start to its end.
        cpu_seconds: processor time of the command and all its processes, user and system; on a
            machine with other work the fairer figure.
        peak_mb: peak memory, 10^6 bytes, of the command and all its processes; shared pages
            count once.
        summary: content of summary.json.

    Example:
        measured = run("images/", Path("out"), "first", "--report", "no")
        print(f"{measured.seconds:.1f} s, {measured.peak_mb:.0f} MB")
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    summary: Mapping[str, Any]


def run(
    input_uri: str,
    output: Path,
    run_id: str,
    *options: str,
    look_every_s: float = _LOOK_EVERY_S,
    beside: Sequence[int] = (),
) -> MeasuredRun:
    """Runs the job.

    Args:
        input_uri: of the catalog.
        output: a local folder.
        run_id: of the run.
        options: of `run_pipeline.py`, beside input, output and run_id.
        look_every_s: how often to look at the memory, which slows the run down a little.
        beside: pids of other processes whose memory counts, as those of a cluster.

    Raises:
        SystemExit: if the run does not end with status 0.
    """
    command = [sys.executable, str(_RUN_PIPELINE), "--run_id", run_id, *options]
    command += ["--input", input_uri, "--output", str(output)]
    peak_bytes, cpu_before = 0, _children_cpu_seconds()
    with tempfile.TemporaryFile("w+") as output_file:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output_file, stderr=output_file)
        while process.returncode is None:
            held_bytes = sum(_memory_bytes(pid) for pid in (process.pid, *beside))
            peak_bytes = max(peak_bytes, held_bytes)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(look_every_s)
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            output_file.seek(0)
            raise SystemExit(
                f"the run ended with status {process.returncode}:\n{output_file.read()}"
            )
    summary = json.loads((output / "runs" / run_id / "summary.json").read_text())
    cpu_seconds = _children_cpu_seconds() - cpu_before
    return MeasuredRun(seconds, cpu_seconds, peak_bytes / 1e6, summary)


def _children_cpu_seconds() -> float:
    """Processor time of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants, bytes; a shared page counts once."""
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
            continue  # the process ended
    return held
