"""All that decides a training run's weights, as a typed record and as command-line options."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from model.degrade import Degradation
from model.patches import FEEDINGS

LOSSES = {"l1": "mean_absolute_error", "mse": "mean_squared_error"}
SCHEDULES = ("cosine", "halving")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """All that decides the weights. C, D, G, G0 as in the paper (see `RDN`).

    Attributes:
        data: places of HR pictures: folders, `s3://` prefixes, `.txt` lists.
        compressed_data: places of JPEG-compressed photographs; shrunk by 2 before use as HR.
        compressed_share: share of the patches that comes from `compressed_data`, 0..1.
        drawn_scenes: how many product scenes to draw (see `model.scenes`).
        drawn_share: share of the patches that comes from them, 0..1.
        held_out: pictures of each place's kind that are kept for validation; the run's folder
            lists them.
        feeding: see `model.patches.prepare`.
        lowest_variation: least variation of a patch at the start and at the end of training,
            grey levels, in between linearly; flatter patches are drawn again. 0 0 takes all.
        degraded_share: share of the LR patches that is degraded, 0..1; HR stays clean.
        blur_px, noise_levels, jpeg_quality: ranges of the degradations, see `Degradation`.
        knows_quality: 1 tells the network the JPEG quality of each patch (see `RDN`), 0 not.
        scale, convs_per_block, num_blocks, growth_rate, features: s, C, D, G, G0.
        initial_weights: a shipped name or a .keras file whose weights the network starts from;
            a smaller network is grown (see `model.grow`). Empty starts at random.
        steps: optimizer steps in all.
        batch_size, lr_patch_px: N patches of P x P LR pixels for each step.
        loss: `l1` or `mse`, on RGB in 0..1.
        learning_rate: Adam's, at its highest.
        warmup_steps: in which the learning rate rises from 0, linearly.
        schedule: then it falls to 0 along a `cosine`, or halves every `halve_every` steps.
        clip_norm: longest gradient, all variables together; 0 does not clip.
        ema_momentum: of the exponential moving average of the weights, which is what is
            validated and shipped; 0 takes the weights as they are.
        precision: `float32`; on a GPU `mixed_bfloat16`, or `mixed_float16` before Ampere.
        seed: of the weights and of every batch.
    """

    data: tuple[str, ...] = ()
    compressed_data: tuple[str, ...] = ()
    compressed_share: float = 0.25
    drawn_scenes: int = 0
    drawn_share: float = 0.25
    held_out: int = 4
    feeding: str = "memory"
    lowest_variation: tuple[float, float] = (0.0, 0.0)
    degraded_share: float = 0.0
    blur_px: tuple[float, float] = (0.0, 0.0)
    noise_levels: tuple[float, float] = (0.0, 0.0)
    jpeg_quality: tuple[int, int] = (30, 95)
    knows_quality: int = 0
    scale: int = 2
    convs_per_block: int = 3
    num_blocks: int = 4
    growth_rate: int = 32
    features: int = 32
    initial_weights: str = ""
    steps: int = 7000
    batch_size: int = 16
    lr_patch_px: int = 32
    loss: str = "l1"
    learning_rate: float = 1e-3
    warmup_steps: int = 500
    schedule: str = "cosine"
    halve_every: int = 10_000
    clip_norm: float = 0.0
    ema_momentum: float = 0.999
    precision: str = "float32"
    seed: int = 1

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "lr_patch_px": 8, "held_out": 0, "halve_every": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(
                    f"training needs {name} >= {minimum}. Received: {getattr(self, name)}"
                )
        for name in ("compressed_share", "drawn_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is 0..1. Received: {getattr(self, name)}")
        if not 0 <= self.ema_momentum < 1:
            raise ValueError(f"ema_momentum is 0 up to below 1. Received: {self.ema_momentum}")
        for name, choices in (
            ("feeding", FEEDINGS),
            ("loss", tuple(LOSSES)),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is one of {', '.join(choices)}. Received: {getattr(self, name)!r}"
                )
        _ = self.degradation  # its ranges are checked there

    @property
    def degradation(self) -> Degradation:
        """What happens to LR patches."""
        return Degradation(self.degraded_share, self.blur_px, self.noise_levels, self.jpeg_quality)

    def lowest_variation_at(self, step: int) -> float:
        """The least variation of a patch at a step, grey levels."""
        start, end = self.lowest_variation
        return start + (end - start) * step / self.steps


def claim_folder(config: TrainConfig, run_dir: Path) -> None:
    """Writes the run's `config.json`, or compares with the one that is there.

    Raises:
        ValueError: if the folder belongs to a run with another configuration.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "config.json"
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    if not path.exists():
        path.write_text(json.dumps(wanted, indent=2) + "\n")
        return
    found = json.loads(path.read_text())
    different = sorted(
        key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)
    )
    if different:
        raise ValueError(
            f"{run_dir} holds a run with another configuration ({', '.join(different)} differ): "
            "choose another --out, or repeat its options to continue it"
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each field of `TrainConfig`, with its default."""
    for field in dataclasses.fields(TrainConfig):
        default: Any = field.default
        if field.name in ("data", "compressed_data"):
            parser.add_argument(f"--{field.name}", nargs="+", default=default, metavar="PLACE")
        elif isinstance(default, tuple):
            kind = type(default[0])
            parser.add_argument(
                f"--{field.name}", nargs=2, type=kind, default=default, metavar=("FROM", "TO")
            )
        else:
            parser.add_argument(f"--{field.name}", type=type(default), default=default)


def from_options(options: dict[str, Any]) -> TrainConfig:
    """Makes the record from parsed options; see `add_options`.

    Raises:
        ValueError: if a value is out of its range.
    """
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    return TrainConfig(**values)
