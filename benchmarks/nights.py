"""Measures runs in which nothing, or one image, changed.

    python -m benchmarks.nights FOLDER [--json FILE]

Copies a folder's images, then runs the pipeline over the copies three times: a first run, a run
without changes, and a run after one image was rewritten; each in a process of its own, as cron
starts it. The fixed start-up (Python, TensorFlow, Beam) is the time of a run over a single
unchanged image. Run it with nothing else on the machine.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks import figures, measured_run
from model.data.hr_sources import find_images

_RUNS = ("first", "unchanged", "one_changed")


def measure(paths: list[Path], scratch: Path) -> dict:
    """Runs the pipeline over copies of images.

    Args:
        paths: the images.
        scratch: folder for copies and outputs.

    Returns:
        Seconds and statuses by run, and the fixed start-up.
    """
    one, catalog = scratch / "one", scratch / "catalog"
    for folder, chosen in ((one, paths[:1]), (catalog, paths)):
        folder.mkdir()
        for i, path in enumerate(chosen):
            shutil.copy(path, folder / f"{i:06d}{path.suffix}")
    measured_run.run(f"{one}/", scratch / "of_one", "first")
    startup_s = measured_run.run(f"{one}/", scratch / "of_one", "again").seconds
    runs = {}
    for run_id in _RUNS:
        if run_id == "one_changed":
            Image.new("RGB", (150, 150), "teal").save(next(catalog.iterdir()))
        measured = measured_run.run(f"{catalog}/", scratch / "of_all", run_id)
        by_status = measured.summary["by_status"]
        runs[run_id] = {"seconds": round(measured.seconds, 2), "by_status": by_status}
    first_s, second_s = runs["first"]["seconds"], runs["unchanged"]["seconds"]
    return {
        "images": len(paths),
        "startup_s": round(startup_s, 2),
        **runs,
        "unchanged_over_first": (second_s - startup_s) / (first_s - startup_s),
    }


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nights")
    parser.add_argument("folder", type=Path)
    figures.add_json_option(parser)
    arguments = parser.parse_args(argv)
    paths = find_images(arguments.folder)
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(paths, Path(scratch))
    print(f"{result['images']} images; start-up {result['startup_s']:.1f} s")
    for run_id in _RUNS:
        counts = result[run_id]["by_status"].items()
        statuses = ", ".join(f"{count} {status}" for status, count in counts if count)
        print(f"{run_id:12} {result[run_id]['seconds']:8.1f} s   {statuses}")
    share = result["unchanged_over_first"]
    print(f"beside start-up the unchanged run costs {share:.1%} of the first")
    figures.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
