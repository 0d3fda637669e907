"""What a night costs in which nothing, or one image, changed.

    python -m benchmarks.nights FOLDER [--json FILE]

Copies a folder's images, runs a first night over the copies, a second one over the same, and a
third after one image was rewritten: each `run_pipeline.py` in a process of its own, as cron
starts it. The fixed start-up (Python, TensorFlow, Beam) is the time of a night over a single
unchanged image. Run it with nothing else on the machine.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from model.data.hr_sources import find_images

_RUN_PIPELINE = Path(__file__).parents[1] / "run_pipeline.py"


def time_night(folder: Path, output: Path, run_id: str) -> tuple[float, dict]:
    """Seconds of one night, from the command's start to its end, and its summary."""
    command = [sys.executable, str(_RUN_PIPELINE), "--run_id", run_id]
    command += ["--input", f"{folder}/", "--output", str(output)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"the night ended with status {done.returncode}:\n{done.stderr}")
    return seconds, json.loads((output / "runs" / run_id / "summary.json").read_text())


def measure(paths: list[Path], scratch: Path) -> dict:
    """Runs the nights in a scratch folder; returns seconds and statuses by night."""
    one, catalog = scratch / "one", scratch / "catalog"
    for folder, chosen in ((one, paths[:1]), (catalog, paths)):
        folder.mkdir()
        for i, path in enumerate(chosen):
            shutil.copy(path, folder / f"{i:06d}{path.suffix}")
    time_night(one, scratch / "of_one", "first")
    startup_s, _ = time_night(one, scratch / "of_one", "again")
    nights = {}
    for night in ("first", "unchanged", "one_changed"):
        if night == "one_changed":
            Image.new("RGB", (150, 150), "teal").save(next(catalog.iterdir()))
        seconds, summary = time_night(catalog, scratch / "of_all", night)
        nights[night] = {"seconds": round(seconds, 2), "by_status": summary["by_status"]}
    first_s, second_s = nights["first"]["seconds"], nights["unchanged"]["seconds"]
    return {
        "images": len(paths),
        "startup_s": round(startup_s, 2),
        **nights,
        "unchanged_over_first": (second_s - startup_s) / (first_s - startup_s),
    }


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nights")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    paths = find_images(arguments.folder)
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(paths, Path(scratch))
    print(f"{result['images']} images; start-up {result['startup_s']:.1f} s")
    for night in ("first", "unchanged", "one_changed"):
        counts = result[night]["by_status"].items()
        told = ", ".join(f"{count} {status}" for status, count in counts if count)
        print(f"{night:12} {result[night]['seconds']:8.1f} s   {told}")
    share = result["unchanged_over_first"]
    print(f"beside start-up the unchanged night costs {share:.1%} of the first")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
