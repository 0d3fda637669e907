r"""Compares the ways of feeding training patches: speed, disk use and result of training.

    python -m benchmarks.feeding --data photographs --hr validation [--seconds 60]
        [--feedings memory grid] [--probe_steps 60] [--json FILE]

`patches/s` and `MB/s read` are of the feed alone at its full speed; `PSNR-Y` is of a small network
trained with each way for about the same time, on the HR images, shrunk by bicubic for LR. Two
short runs of `--probe_steps` measure how many steps fit into that time.
"""

import argparse
import dataclasses
import logging
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from benchmarks import figures
from model.data.feeding import Feed
from model.data.pairs import Pair, make_pairs
from model.data.patches import FEEDINGS, Cutter, prepare
from model.metrics import full_reference
from model.train import training, training_data
from model.train.config import TrainConfig

_MAX_FEED_S = 5.0
_BORDER_PX = 2


@dataclasses.dataclass(frozen=True)
class Result:
    """Figures of one way of feeding.

    Attributes:
        feeding: the way.
        prepared_s: seconds before the first patch.
        prepared_mb: size of its files on disk, 10^6 bytes.
        patches_per_s: of the feed alone.
        read_mb_per_s: read by the feed from disk or its cache, 10^6 bytes a second.
        steps: optimizer steps in the time.
        psnr_y_db: of the trained network.
    """

    feeding: str
    prepared_s: float
    prepared_mb: float
    patches_per_s: float
    read_mb_per_s: float
    steps: int
    psnr_y_db: float


def measure(
    config: TrainConfig, seconds: float, probe_steps: int, pairs: list[Pair], folder: Path
) -> Result:
    """Measures the way of feeding that the configuration names.

    Args:
        config: of the training.
        seconds: time to train.
        probe_steps: steps of the short runs.
        pairs: images to measure the network on.
        folder: for patches and runs.
    """
    groups, _ = training_data.load_groups(config)
    cutter = Cutter(config.scale, config.lr_patch_px, config.degradation, config.cut_out_share)
    started = time.monotonic()
    prepared = prepare(groups, config.feeding, cutter, folder)
    prepared_s = time.monotonic() - started
    feed = Feed(
        groups=prepared,
        cutter=cutter,
        batch_size=config.batch_size,
        images_per_batch=1 if config.feeding == "image" else config.batch_size,
        min_variation=config.min_variation_at,
        seed=config.seed,
    )
    read_before, started, batches = _bytes_read(), time.monotonic(), 0
    with feed.feeders() as feeders:
        for _ in feeders.batches(range(10**9)):
            batches += 1
            if time.monotonic() - started > min(_MAX_FEED_S, seconds):
                break
    feed_s = time.monotonic() - started
    read_mb = (_bytes_read() - read_before) / 1e6

    probe = dataclasses.replace(config, steps=probe_steps)
    for _ in range(2):  # the first run warms TensorFlow up
        started = time.monotonic()
        training.train(probe, folder / f"probe-{time.monotonic_ns()}", checkpoint_every=10**9)
    steps = max(probe_steps, int(seconds * probe_steps / (time.monotonic() - started)))
    path = training.train(
        dataclasses.replace(config, steps=steps), folder / "run", checkpoint_every=10**9
    )
    rdn = keras.saving.load_model(path)
    scores = [
        full_reference.psnr_y(pair.hr, training.upscale(rdn, pair.lr, 100), border=_BORDER_PX)
        for pair in pairs
    ]
    return Result(
        config.feeding,
        prepared_s,
        sum(path.stat().st_size for path in folder.glob("grid-*")) / 1e6,
        batches * config.batch_size / feed_s,
        read_mb / feed_s,
        steps,
        float(np.mean(scores)),
    )


def _bytes_read() -> int:
    """Bytes that this process has read from files (Linux), memory-mapped files excluded."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", required=True, help="HR images to train on")
    parser.add_argument("--hr", required=True, help="HR images to measure on")
    parser.add_argument("--seconds", type=float, default=60, help="of training, each way")
    parser.add_argument("--feedings", nargs="+", choices=FEEDINGS, default=FEEDINGS)
    parser.add_argument("--probe_steps", type=int, default=60, help="of the short runs")
    figures.add_json_option(parser)
    arguments = parser.parse_args(argv)
    logging.disable(logging.INFO)
    pairs = list(make_pairs(arguments.hr, scale=2))
    results = []
    for feeding in arguments.feedings:
        config = TrainConfig(
            data=tuple(arguments.data),
            compressed_share=0.0,
            num_blocks=2,
            feeding=feeding,
            warmup_steps=100,
            ema_momentum=0.99,
        )
        with tempfile.TemporaryDirectory() as folder:
            result = measure(config, arguments.seconds, arguments.probe_steps, pairs, Path(folder))
            results.append(result)
    best = max(result.patches_per_s for result in results)
    print(
        f"{'feeding':10}{'prepared':>10}{'on disk':>10}{'patches/s':>11}{'of best':>9}"
        f"{'read':>11}{'steps':>7}{'PSNR-Y':>8}"
    )
    for r in results:
        print(
            f"{r.feeding:10}{r.prepared_s:>8.1f} s{r.prepared_mb:>7.0f} MB{r.patches_per_s:>11.0f}"
            f"{r.patches_per_s / best:>9.2f}{r.read_mb_per_s:>6.1f} MB/s{r.steps:>7}"
            f"{r.psnr_y_db:>8.2f}"
        )
    figures.write_json(arguments.json, [dataclasses.asdict(result) for result in results])
    return 0


if __name__ == "__main__":
    sys.exit(main())
