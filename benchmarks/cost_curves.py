"""Measures memory and time per image as the catalog and the images grow.

    python -m benchmarks.cost_curves catalog FOLDER [--counts 100 1000 10000] [--shrink 4]
    python -m benchmarks.cost_curves probe [--count 2000]
    python -m benchmarks.cost_curves large [--sides 2000 4000 8000]

`catalog` repeats a folder's images, each copy with another comment in the file, so that the run
upscales each; `--shrink` makes them smaller first, so that ten thousand take minutes. `probe`
runs on an S3 server of its own over images that the size filter rejects, and compares with
threads that fetch the first 64 KB of each and nothing else. `large` upscales single images,
mosaics of a drawn one. `--json FILE` keeps the figures; unknown options go to the pipeline.
"""

import argparse
import concurrent.futures
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import boto3
import numpy as np
import psutil
from PIL import Image

from benchmarks import figures, measured_run
from model.data.hr_sources import find_images, read_rgb
from model.imaging import resampling
from model.scenes import drawing
from pipeline.demo.loopback import loopback_s3, made_up_credentials

_PROBE_BYTES = 64 << 10


def measure_catalog(
    images: Sequence[Path], counts: Sequence[int], shrink: int, scratch: Path, options: list[str]
) -> list[dict]:
    """Runs the pipeline once per count.

    Args:
        images: files to repeat.
        counts: numbers of images of the runs.
        shrink: factor to shrink the images by first.
        scratch: folder for catalogs and outputs.
        options: of the pipeline.

    Returns:
        The figures of each run.
    """
    whole = (resampling.crop_to_multiple(read_rgb(path), shrink) for path in images)
    sources = [resampling.shrink(rgb, shrink) for rgb in whole]
    pil_images = [Image.fromarray(resampling.to_uint8(rgb)) for rgb in sources]
    found = []
    for count in counts:
        folder = scratch / f"of_{count}"
        folder.mkdir()
        for i in range(count):
            image = pil_images[i % len(pil_images)]
            image.save(folder / f"{i:06d}.jpg", quality=90, comment=str(i).encode())
        measured = measured_run.run(f"{folder}/", scratch / f"out_{count}", "run", *options)
        found.append(
            {
                "images": count,
                "by_status": measured.summary["by_status"],
                "seconds": round(measured.seconds, 1),
                "ms_per_image": round(1000 * measured.seconds / count, 1),
                "peak_mb": round(measured.peak_mb),
            }
        )
        print(
            f"{count:7,} images {measured.seconds:8.1f} s {found[-1]['ms_per_image']:8.1f} "
            f"ms each {measured.peak_mb:8.0f} MB at most",
            flush=True,
        )
    return found


def measure_probe(count: int, scratch: Path, options: list[str]) -> dict:
    """Compares the rate of images that the size filter rejects with that of bare requests.

    Args:
        count: number of images.
        scratch: folder for outputs.
        options: of the pipeline.

    Returns:
        The figures by name.
    """
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=85)
    with loopback_s3() as endpoint, made_up_credentials():
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="shop")
        keys = [f"images/{i:06d}.jpg" for i in range(count)]
        for i, key in enumerate([*keys, "one/one.jpg"]):
            client.put_object(Bucket="shop", Key=key, Body=buffer.getvalue() + str(i).encode())
        options = ["--s3_endpoint_url", endpoint, *options]
        one = measured_run.run("s3://shop/one/", scratch / "one", "run", *options)
        before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
        run = measured_run.run("s3://shop/images/", scratch / "all", "run", *options)
        sent = psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before
        started = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda key: _first_bytes(client, key), keys))
        bare_s = time.perf_counter() - started
    running_s = run.seconds - one.seconds
    return {
        "images": count,
        "image_bytes": buffer.tell(),
        "bytes_per_image": round(sent / count),
        "startup_s": round(one.seconds, 1),
        "images_per_s": round(count / running_s, 1),
        "bare_requests_per_s": round(count / bare_s, 1),
        "ratio": round(bare_s / running_s, 2),
        "peak_mb": round(run.peak_mb),
        "by_reason": run.summary["by_reason"],
    }


def _first_bytes(client: object, key: str) -> None:
    """Fetches as many bytes as the pipeline's probe."""
    wanted = f"bytes=0-{_PROBE_BYTES - 1}"
    client.get_object(Bucket="shop", Key=key, Range=wanted)["Body"].read()  # type: ignore[attr-defined]


def measure_large(sides: Sequence[int], scratch: Path, options: list[str]) -> list[dict]:
    """Runs the pipeline over a single image per side.

    Args:
        sides: height and width of the images, pixels.
        scratch: folder for catalogs and outputs.
        options: of the pipeline.

    Returns:
        The figures of each run.
    """
    found = []
    for side in sides:
        folder = scratch / f"side_{side}"
        folder.mkdir()
        scene = drawing.draw_scene(0, 1000, 1000)
        mosaic = np.tile(scene, (-(-side // 1000), -(-side // 1000), 1))[:side, :side]
        Image.fromarray(mosaic).save(folder / "one.jpg", quality=90)
        limits = ["--max_side", str(side), "--max_pixels", str(side * side)]
        run = measured_run.run(f"{folder}/", scratch / f"out_{side}", "run", *limits, *options)
        found.append(
            {
                "side": side,
                "seconds": round(run.seconds, 1),
                "peak_mb": round(run.peak_mb),
                "by_status": run.summary["by_status"],
            }
        )
        print(
            f"{side} x {side}: {run.seconds:.1f} s, {run.peak_mb:.0f} MB at most, "
            f"{run.summary['by_status']}",
            flush=True,
        )
    return found


def main(argv: list[str]) -> int:
    """Command line; unknown options go to the pipeline. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost_curves")
    all_parts = argparse.ArgumentParser(add_help=False)
    figures.add_json_option(all_parts)
    parts = parser.add_subparsers(dest="part", required=True)
    catalog = parts.add_parser("catalog", parents=[all_parts])
    catalog.add_argument("folder", type=Path)
    catalog.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000])
    catalog.add_argument("--shrink", type=int, default=4)
    probe = parts.add_parser("probe", parents=[all_parts])
    probe.add_argument("--count", type=int, default=2000)
    large = parts.add_parser("large", parents=[all_parts])
    large.add_argument("--sides", type=int, nargs="+", default=[2000, 4000, 8000])
    arguments, options = parser.parse_known_args(argv)
    options = ["--report", "no", *options]
    result: object
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if arguments.part == "catalog":
            images = find_images(arguments.folder)
            result = measure_catalog(images, arguments.counts, arguments.shrink, scratch, options)
        elif arguments.part == "probe":
            result = measure_probe(arguments.count, scratch, options)
            print("\n".join(f"{name:20} {value}" for name, value in result.items()))
        else:
            result = measure_large(arguments.sides, scratch, options)
    figures.write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
