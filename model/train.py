r"""Trains an RDN on folders of HR pictures.

    python -m model.train --data bsd400 yang91 --compressed_data product --out runs/rdn-small
    python -m model.train --compressed_data product --drawn_scenes 600 --jpeg_share 0.75 \
        --knows_quality 1 --out runs/rdn-product

A run's folder holds `config.json`, `checkpoint.keras` (the network with its optimizer),
`log.csv` and, at the end, `model.keras` (the network alone, to be evaluated and shipped). The
same command again continues from the checkpoint and, on one machine, ends in the same weights
as a run that was never interrupted.
"""

import argparse
import csv
import dataclasses
import json
import logging
import sys
import time
from pathlib import Path

import keras
import numpy as np

from model import degrade, metrics
from model.patches import Compression, Pair, draw_pairs, make_pairs, sample_batch
from model.rdn import RDN, with_quality_plane

_log = logging.getLogger("model.train")

# Pictures held out of each group for validation, and the side of the LR crop that is measured.
_VALIDATION_PICTURES = 4
_VALIDATION_LR_PX = 96
# Side of drawn LR pictures: the product fills them, so that patches seldom are empty.
_DRAWN_LR_PX = 110


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """All that decides the weights. C, D, G, G0 as in the paper (see `RDN`).

    Attributes:
        data: folders of HR pictures.
        compressed_data: folders of JPEG-compressed photographs; shrunk by 2 before use as HR.
        compressed_share: share of the patches that comes from `compressed_data`, 0..1.
        drawn_scenes: how many product scenes to draw (see `model.scenes`).
        drawn_share: share of the patches that comes from them, 0..1.
        jpeg_share: share of the LR patches that is compressed, 0..1; HR stays clean.
        lowest_jpeg_quality, highest_jpeg_quality: range of that compression.
        knows_quality: 1 tells the network the quality of each patch (see `RDN`), 0 does not.
        steps: optimizer steps in all.
        learning_rate: of Adam at the start, after a warm-up; falls to 0 along a cosine.
        warmup_steps: steps of linear warm-up.
    """

    data: tuple[str, ...] = ()
    compressed_data: tuple[str, ...] = ()
    compressed_share: float = 0.25
    drawn_scenes: int = 0
    drawn_share: float = 0.25
    jpeg_share: float = 0.0
    lowest_jpeg_quality: int = 30
    highest_jpeg_quality: int = 95
    knows_quality: int = 0
    scale: int = 2
    convs_per_block: int = 3
    num_blocks: int = 4
    growth_rate: int = 32
    features: int = 32
    steps: int = 7000
    batch_size: int = 16
    lr_patch_px: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    seed: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.lr_patch_px < 8:
            raise ValueError(
                "training needs steps >= 1, batch_size >= 1 and lr_patch_px >= 8. Received: "
                f"{self.steps}, {self.batch_size}, {self.lr_patch_px}"
            )
        for name in ("compressed_share", "drawn_share", "jpeg_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is 0..1. Received: {getattr(self, name)}")
        if not 1 <= self.lowest_jpeg_quality <= self.highest_jpeg_quality <= 100:
            raise ValueError(
                "the range of JPEG qualities lies in 1..100. Received: "
                f"{self.lowest_jpeg_quality}..{self.highest_jpeg_quality}"
            )

    @property
    def compression(self) -> Compression | None:
        """How LR patches are compressed, if they are."""
        if not self.jpeg_share:
            return None
        return Compression(self.jpeg_share, self.lowest_jpeg_quality, self.highest_jpeg_quality)


def train(config: TrainConfig, run_dir: Path, *, checkpoint_every: int = 500) -> Path:
    """Trains from the run's checkpoint if it has one, else from the start.

    Loss: L1 on RGB in 0..1. Each step draws its patches from a generator seeded with (seed,
    step), so that the checkpoint needs no random state of its own.

    Args:
        config: must equal the run's `config.json` if there is one.
        run_dir: made if missing.
        checkpoint_every: steps between checkpoints, validations and lines of `log.csv`.

    Returns:
        The path of the finished `model.keras`.

    Raises:
        ValueError: if the folder belongs to a run with another configuration.
        FileNotFoundError: if a data folder is missing or empty.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    _claim_folder(config, run_dir)
    groups, validation = _load_groups(config)
    checkpoint = run_dir / "checkpoint.keras"
    rdn = keras.saving.load_model(checkpoint) if checkpoint.exists() else _new_network(config)
    first = int(rdn.optimizer.iterations)
    _log.info(
        "steps %d to %d of %s (%d parameters), %d pictures, %s backend",
        first,
        config.steps,
        run_dir.name,
        rdn.count_params(),
        sum(len(pairs) for _, pairs in groups),
        keras.backend.backend(),
    )

    losses: list[float] = []
    started = time.monotonic()
    for step in range(first, config.steps):
        batch = sample_batch(
            groups,
            batch_size=config.batch_size,
            lr_patch_px=config.lr_patch_px,
            generator=np.random.default_rng([config.seed, step]),
            compression=config.compression,
        )
        lr = with_quality_plane(batch.lr, batch.quality) if rdn.knows_quality else batch.lr
        losses.append(float(rdn.train_on_batch(lr, batch.hr)))
        done = step + 1
        if done % checkpoint_every == 0 or done == config.steps:
            rate = (done - first) / (time.monotonic() - started)
            scores = {name: _validate(rdn, pairs) for name, pairs in validation.items()}
            _write_log_line(run_dir, done, float(np.mean(losses)), rate, scores)
            _save(rdn, checkpoint)
            losses.clear()

    finished = run_dir / "model.keras"
    _save(RDN.from_config(rdn.get_config()), finished, weights_of=rdn)
    _log.info("finished: %s", finished)
    return finished


def _claim_folder(config: TrainConfig, run_dir: Path) -> None:
    """Writes the run's configuration, or refuses a folder that belongs to another one."""
    path = run_dir / "config.json"
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    if not path.exists():
        path.write_text(json.dumps(wanted, indent=2) + "\n")
        return
    found = json.loads(path.read_text())
    if found != wanted:
        different = sorted(key for key in wanted if wanted[key] != found.get(key))
        raise ValueError(
            f"{run_dir} holds a run with another configuration ({', '.join(different)} differ): "
            "choose another --out, or repeat its options to continue it"
        )


def _load_groups(
    config: TrainConfig,
) -> tuple[list[tuple[float, list[Pair]]], dict[str, list[Pair]]]:
    """Reads all pictures; returns (share, pairs) for training and held-out pairs by group."""
    sources = (
        (
            "clean",
            1 - config.compressed_share - config.drawn_share * bool(config.drawn_scenes),
            _read_folders(config, config.data, shrink_first=1),
        ),
        (
            "compressed",
            config.compressed_share,
            _read_folders(config, config.compressed_data, shrink_first=2),
        ),
        (
            "drawn",
            config.drawn_share,
            draw_pairs(config.drawn_scenes, scale=config.scale, lr_side=_DRAWN_LR_PX),
        ),
    )
    groups, validation = [], {}
    for name, share, pairs in sources:
        if not pairs:
            continue
        # Spread over the sorted names, so that one folder does not make all of them.
        stride = max(2, len(pairs) // _VALIDATION_PICTURES)
        validation[name] = pairs[::stride][:_VALIDATION_PICTURES] if len(pairs) > 1 else pairs
        held_out = {id(pair) for pair in validation[name]} if len(pairs) > 1 else set()
        groups.append((max(share, 0.0), [pair for pair in pairs if id(pair) not in held_out]))
    total = sum(share for share, _ in groups)
    if total == 0:
        raise ValueError(
            "nothing to train on: give --data, --compressed_data or --drawn_scenes, with shares"
        )
    return [(share / total, pairs) for share, pairs in groups], validation


def _read_folders(
    config: TrainConfig, folders: tuple[str, ...], *, shrink_first: int
) -> list[Pair]:
    """The pairs of several folders."""
    return [
        pair
        for folder in folders
        for pair in make_pairs(
            Path(folder),
            scale=config.scale,
            min_lr_side=config.lr_patch_px,
            shrink_first=shrink_first,
        )
    ]


def _new_network(config: TrainConfig) -> RDN:
    """A compiled network at step 0."""
    keras.utils.set_random_seed(config.seed)
    rdn = RDN(
        convs_per_block=config.convs_per_block,
        num_blocks=config.num_blocks,
        growth_rate=config.growth_rate,
        features=config.features,
        scale=config.scale,
        knows_quality=bool(config.knows_quality),
    )
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=max(1, config.steps - config.warmup_steps),
    )
    # XLA makes these convolutions slower on CPU (measured: 2 steps/s instead of 3.3).
    rdn.compile(
        optimizer=keras.optimizers.Adam(schedule), loss="mean_absolute_error", jit_compile=False
    )
    return rdn


def _validate(rdn: RDN, pairs: list[Pair]) -> float:
    """Mean PSNR-Y in dB on the centres of held-out pictures, clean LR."""
    scores = []
    for pair in pairs:
        height, width = (min(side, _VALIDATION_LR_PX) for side in pair.lr.shape[:2])
        top, left = (pair.lr.shape[0] - height) // 2, (pair.lr.shape[1] - width) // 2
        lr = pair.lr[top : top + height, left : left + width]
        s = rdn.scale
        hr = pair.hr[top * s : (top + height) * s, left * s : (left + width) * s]
        unit = lr[None].astype(np.float32) / 255
        sr = keras.ops.convert_to_numpy(
            rdn(with_quality_plane(unit, 100) if rdn.knows_quality else unit)
        )[0]
        scores.append(metrics.psnr_y(hr, degrade.to_uint8(sr * 255), border=s))
    return float(np.mean(scores))


def _write_log_line(
    run_dir: Path, step: int, loss: float, rate: float, scores: dict[str, float]
) -> None:
    """Appends to log.csv and says the same to the user."""
    path = run_dir / "log.csv"
    line = {"step": step, "l1": f"{loss:.6f}", "steps_per_s": f"{rate:.2f}"}
    line |= {f"{name}_psnr_y_db": f"{score:.3f}" for name, score in scores.items()}
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(line))
        if is_new:
            writer.writeheader()
        writer.writerow(line)
    _log.info("  ".join(f"{key} {value}" for key, value in line.items()))


def _save(rdn: RDN, path: Path, *, weights_of: RDN | None = None) -> None:
    """Saves a network so that the file is either the old or the new one, never half."""
    if weights_of is not None:
        rdn.set_weights(weights_of.get_weights())
    partial = path.with_name(f"partial-{path.name}")
    rdn.save(partial)
    partial.replace(path)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0 done, 1 cannot train, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m model.train", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--out", required=True, type=Path, help="the run's folder")
    parser.add_argument("--checkpoint_every", type=int, default=500, metavar="STEPS")
    for field in dataclasses.fields(TrainConfig):
        if field.name in ("data", "compressed_data"):
            parser.add_argument(f"--{field.name}", nargs="+", default=(), metavar="DIR")
        else:
            parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    arguments = vars(parser.parse_args(argv))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run_dir, every = arguments.pop("out"), arguments.pop("checkpoint_every")
    for key in ("data", "compressed_data"):
        arguments[key] = tuple(arguments[key])
    try:
        train(TrainConfig(**arguments), run_dir, checkpoint_every=every)
    except (ValueError, OSError) as error:
        print(f"model.train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"model.train: interrupted; the same command continues from {run_dir}", file=sys.stderr
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
