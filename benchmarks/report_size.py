"""Measures the size of a run's report, and how fast a browser opens it.

    python -m benchmarks.report_size FOLDER [--rows 10000] [--chromium PROGRAM] [--json FILE]

Runs the job on a folder's first images, then writes a run of `--rows` images that repeats its
rows, each with its own URI of an image file. Writes the reports of both runs and opens each in a
headless Chromium (`pip install playwright`): medians of five.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks import quiet  # noqa: F401 - first, for its effect

# isort: split
from benchmarks import figures, measured_run
from model.data.hr_sources import find_images
from pipeline.report import html
from pipeline.storage import locations
from pipeline.storage.base import StorageConfig
from pipeline.storage.routing import open_storage

_IMAGES = 60
_OPENED = 5


def repeat_run(output: Path, catalog: Path, rows: int) -> None:
    """Writes run `many`: repeats the rows of run `few`, each for another file.

    Args:
        output: of the run `few`.
        catalog: folder for the files; they are links to those of `few`.
        rows: number of rows to write.
    """
    few = ds.dataset(output / "rows/run_id=few").to_table()
    folder = output / "rows/run_id=many"
    folder.mkdir(parents=True)
    sources = few["uri"].to_pylist()
    with pq.ParquetWriter(folder / "part-00000.parquet", few.schema, compression="none") as writer:
        for start in range(0, rows, len(few)):
            part = few.slice(0, min(len(few), rows - start))
            suffixes = [Path(source).suffix for source in sources[: len(part)]]
            copies = [catalog / f"{start + i:06d}{suffix}" for i, suffix in enumerate(suffixes)]
            for copy, source in zip(copies, sources, strict=False):
                os.link(locations.local_path(source), copy)
            uris = [copy.as_uri() for copy in copies]
            keys = [hashlib.sha256(uri.encode()).hexdigest()[:32] for uri in uris]
            for name, values in (("uri", uris), ("content_key", keys)):
                at = part.schema.get_field_index(name)
                part = part.set_column(at, part.schema.field(at), pa.array(values))
            writer.write_table(part)
    summary = json.loads((output / "runs/few/summary.json").read_text())
    times = rows / summary["rows"]
    summary |= {"run_id": "many", "uris": rows, "rows": rows}
    for counts in ("by_status", "by_reason"):
        summary[counts] = {name: round(n * times) for name, n in summary[counts].items()}
    (output / "runs/many").mkdir()
    (output / "runs/many/summary.json").write_text(json.dumps(summary))
    (output / "runs/many/_SUCCESS").touch()


def time_opening(path: Path, program: str) -> float:
    """Measures the median time until a report is loaded, images included, in seconds."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a tool of the tests

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(_OPENED):
            tab = browser.new_context().new_page()
            started = time.perf_counter()
            tab.goto(path.as_uri(), wait_until="load")
            tab.evaluate("() => new Promise(done => requestAnimationFrame(done))")
            seconds.append(time.perf_counter() - started)
            tab.close()
        browser.close()
    return statistics.median(seconds)


def measure(folder: Path, rows: int, program: str, scratch: Path) -> dict:
    """Measures both reports.

    Args:
        folder: images of the run `few`.
        rows: of the run `many`.
        program: the browser.
        scratch: folder for catalogs and outputs.

    Returns:
        The figures by run.
    """
    sources, catalog, output = (scratch / name for name in ("few", "many", "out"))
    sources.mkdir()
    catalog.mkdir()
    for i, path in enumerate(find_images(folder)[:_IMAGES]):
        shutil.copy(path, sources / f"{i:06d}{path.suffix}")
    measured_run.run(f"{sources}/", output, "few", "--report", "no")
    repeat_run(output, catalog, rows)
    files = open_storage(StorageConfig())
    found = {}
    for run_id in ("few", "many"):
        started = time.perf_counter()
        path = Path(html.write_report(files, str(output), run_id))
        written_s = time.perf_counter() - started
        summary = json.loads((output / f"runs/{run_id}/summary.json").read_text())
        found[run_id] = {
            "rows": summary["rows"],
            "megabytes": round(path.stat().st_size / 1e6, 2),
            "seconds_to_write": round(written_s, 2),
            "seconds_to_open": round(time_opening(path, program), 3),
        }
    return found


def main(argv: list[str]) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_size")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    parser.add_argument("--chromium", default=found, help="the browser; default: one on the PATH")
    figures.add_json_option(parser)
    arguments = parser.parse_args(argv)
    if arguments.chromium is None:
        parser.error("no Chromium on the PATH: --chromium PROGRAM")
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(arguments.folder, arguments.rows, arguments.chromium, Path(scratch))
    for one in result.values():
        print(
            f"{one['rows']:7,} rows: {one['megabytes']:6.2f} MB, written in "
            f"{one['seconds_to_write']:.1f} s, open after {one['seconds_to_open']:.2f} s"
        )
    figures.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
