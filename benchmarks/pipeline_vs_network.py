"""How much of the bare network's speed the whole pipeline reaches on the same pictures.

    python -m benchmarks.pipeline_vs_network FOLDER [--pictures 60] [--rounds 3] [--json FILE]

Each round runs the bare network on all pictures, decoded beforehand, one call a picture; then the
pipeline from folder to Parquet. The pipeline also fetches, decodes, measures (which magnifies each
picture's shrunk copy: a quarter more network), encodes and writes. Its fixed start-up, measured on
a single picture, is told apart. Without FOLDER the pictures are drawn.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import pipeline.console  # noqa: F401 - first, for its effect
from model import presets, scenes
from model.corpus import find_pictures, read_rgb
from model.inference import Magnifier
from pipeline import job


def time_network(magnifier: Magnifier, pictures: list[np.ndarray]) -> float:
    """Seconds that the bare network takes for all pictures, uint8 [H, W, 3] each."""
    started = time.perf_counter()
    for picture in pictures:
        magnifier.magnify_rgb(picture)
    return time.perf_counter() - started


def time_pipeline(paths: list[Path], model: str, options: list[str]) -> float:
    """Seconds from the command line's parsing to the written summary."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.txt"
        manifest.write_text("".join(f"{path.resolve()}\n" for path in paths))
        arguments = ["--input", str(manifest), "--output", f"{folder}/out", "--model", model]
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            status = job.run([*arguments, *options])
        seconds = time.perf_counter() - started
    if status != job.DONE:
        raise SystemExit(f"the pipeline ended with status {status}")
    return seconds


def _choose(folder: Path | None, count: int, drawn_into: Path) -> list[Path]:
    """`count` pictures spread evenly over a folder's, or drawn ones."""
    if folder is None:
        for i in range(count):
            scene = Image.fromarray(scenes.draw_scene(i, 300, 300))
            scene.save(drawn_into / f"{i:04d}.jpg", quality=85)
        folder = drawn_into
    found = find_pictures(folder)
    picks = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[i] for i in picks]


def measure(paths: list[Path], model: str, rounds: int, options: list[str]) -> dict:
    """Runs both sides `rounds` times in turn; returns figures in pictures a second."""
    magnifier = Magnifier(presets.load_by_name(model))
    pictures = [read_rgb(path) for path in paths]
    magnifier.magnify_rgb(pictures[0])  # tracing is no part of the network's speed
    startup_s = min(time_pipeline(paths[:1], model, options) for _ in range(2))
    network_s, pipeline_s = [], []
    for number in range(1, rounds + 1):
        network_s.append(time_network(magnifier, pictures))
        pipeline_s.append(time_pipeline(paths, model, options))
        print(f"round {number}: network {network_s[-1]:.1f} s, pipeline {pipeline_s[-1]:.1f} s")
    ratios = [n / p for n, p in zip(network_s, pipeline_s, strict=True)]
    running = [n / (p - startup_s) for n, p in zip(network_s, pipeline_s, strict=True)]
    return {
        "pictures": len(paths),
        "megapixels": round(sum(p.shape[0] * p.shape[1] for p in pictures) / 1e6, 2),
        "model": model,
        "rounds": rounds,
        "network_pictures_per_s": len(paths) / statistics.median(network_s),
        "pipeline_pictures_per_s": len(paths) / statistics.median(pipeline_s),
        "pipeline_over_network": statistics.median(ratios),
        "startup_s": startup_s,
        "pipeline_over_network_without_startup": statistics.median(running),
    }


def main(argv: list[str]) -> int:
    """Command line; options that it does not know go to the pipeline."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline_vs_network")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=presets.DEFAULT)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments, options = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as drawn_into:
        paths = _choose(arguments.folder, arguments.pictures, Path(drawn_into))
        result = measure(paths, arguments.model, arguments.rounds, options)
    print(
        f"{result['pictures']} pictures, {result['megapixels']} megapixels, {result['model']}, "
        f"median of {result['rounds']} rounds\n"
        f"bare network              {result['network_pictures_per_s']:7.2f} pictures/s\n"
        f"pipeline                  {result['pipeline_pictures_per_s']:7.2f} pictures/s"
        f"   ratio {result['pipeline_over_network']:.2f}\n"
        f"pipeline after {result['startup_s']:4.1f} s of start-up"
        f"                    ratio {result['pipeline_over_network_without_startup']:.2f}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
