"""All that decides a training run's weights, as a typed record and as command-line options."""

import argparse
import dataclasses
import math
from typing import Any

from model.data.drawn_recipes import Degradation
from model.data.patches import FEEDINGS

LOSSES = {"l1": "mean_absolute_error", "mse": "mean_squared_error"}
SCHEDULES = ("cosine", "halving", "stable")
COMPUTE_DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")

_MINIMA = {
    **{"steps": 1, "batch_size": 1, "lr_patch_px": 8, "held_out": 0, "drawn_scenes": 0},
    **{"halve_every": 1, "decay_steps": 1, "warmup_steps": 0, "seed": 0, "scale": 2},
    **{"convs_per_block": 1, "num_blocks": 1, "growth_rate": 1, "features": 1},
}
_MAX_SEED = 2**32 - 1  # numpy takes 32 bits
_CHOICES: dict[str, tuple[Any, ...]] = {
    "feeding": FEEDINGS,
    "loss": tuple(LOSSES),
    "schedule": SCHEDULES,
    "precision": COMPUTE_DTYPES,
    **{"knows_quality": (0, 1), "knows_sharpening": (0, 1)},
}


def _option(default: Any, meaning: str) -> Any:
    """A field whose meaning the command line shows."""
    return dataclasses.field(default=default, metadata={"help": meaning})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the weights. C, D, G, G0 as in the paper (see `RDN`).

    The meaning of each field stands beside it; `python -m model.train --help` prints it.
    Shares are 0..1, ranges (from, to).

    Raises:
        ValueError: if a value is out of its range.

    Example:
        >>> TrainConfig(steps=100, warmup_steps=10).scale
        2
    """

    data: tuple[str, ...] = _option((), "HR images: folders, s3:// prefixes, .txt lists")
    compressed_data: tuple[str, ...] = _option(
        (), "JPEG-compressed photographs; shrunk by 2 before they serve as HR"
    )
    compressed_share: float = _option(0.25, "share of the patches from --compressed_data")
    drawn_scenes: int = _option(0, "how many product scenes to draw, see model.scenes")
    drawn_share: float = _option(0.25, "share of the patches from drawn scenes")
    held_out: int = _option(
        4, "images of each source, a quarter at most, to keep for validation; OUT lists them"
    )
    feeding: str = _option("memory", f"{', '.join(FEEDINGS)}; see model.data.patches.prepare")
    min_variation: tuple[float, float] = _option(
        (0.0, 0.0),
        "standard deviation of a patch's luma, grey levels, below which it is drawn again: at "
        "the start and at the end of training, linear in between",
    )
    cut_out_share: float = _option(
        0.0, "share of the patches that show a part of their image on white, as packaging"
    )
    degradation: Degradation = dataclasses.field(default_factory=Degradation)
    knows_quality: int = _option(
        0, "1: the network is conditioned on each patch's JPEG quality, see RDN"
    )
    knows_sharpening: int = _option(
        0, "1: it is conditioned on how each patch was sharpened, where it is told"
    )
    scale: int = _option(2, "enlargement")
    convs_per_block: int = _option(3, "C, convolutions per residual dense block")
    num_blocks: int = _option(4, "D, residual dense blocks")
    growth_rate: int = _option(32, "G, maps that a convolution adds")
    features: int = _option(32, "G0, maps between the blocks")
    initial_weights: str = _option(
        "",
        "a shipped name or a .keras file to start from; a smaller one is grown, see grow",
    )
    teacher: str = _option(
        "", "a shipped name or a .keras file whose results are part of the target, see Teacher"
    )
    teacher_share: float = _option(0.5, "of its result in the target, the rest is HR")
    steps: int = _option(7000, "optimizer steps in all")
    batch_size: int = _option(16, "patches of a step")
    lr_patch_px: int = _option(32, "side of the LR patches, pixels")
    loss: str = _option("l1", f"{' or '.join(LOSSES)}, on RGB in 0..1")
    learning_rate: float = _option(1e-3, "Adam's, at its highest")
    warmup_steps: int = _option(500, "steps in which the learning rate rises from 0")
    schedule: str = _option(
        "cosine",
        "then it falls: cosine to 0; halving; or stable: it stays until the last --decay_steps, "
        "and the run may be continued with other --steps",
    )
    halve_every: int = _option(10_000, "steps, with halving")
    decay_steps: int = _option(2000, "last steps, in which a stable rate falls to 0")
    clip_norm: float = _option(0.0, "longest gradient, all weights together; 0: any")
    ema_momentum: float = _option(
        0.999, "of the weights' moving average, which is validated and shipped; 0: none"
    )
    precision: str = _option(
        "float32", f"{', '.join(COMPUTE_DTYPES)}; on a GPU a mixed one, before Ampere float16"
    )
    seed: int = _option(1, "of the weights and of every batch")

    def __post_init__(self) -> None:
        for name, minimum in _MINIMA.items():
            if getattr(self, name) < minimum:
                raise ValueError(
                    f"training needs {name} >= {minimum}. Received: {getattr(self, name)}"
                )
        if self.seed > _MAX_SEED:
            raise ValueError(f"seed is at most {_MAX_SEED}. Received: {self.seed}")
        self._check_numbers()
        if bool(self.knows_sharpening) != (self.degradation.sharpening_told_share > 0):
            raise ValueError(
                "knows_sharpening needs a sharpening_told_share above 0, and the other way round. "
                f"Received: {self.knows_sharpening} and {self.degradation.sharpening_told_share}"
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is one of {', '.join(map(str, choices))}. "
                    f"Received: {getattr(self, name)!r}"
                )
        start, end = self.min_variation
        if self.schedule == "stable" and start != end:
            raise ValueError(
                "the schedule stable leaves the end open, so that min_variation must be the "
                f"same at both ends. Received: {start} {end}"
            )

    def _check_numbers(self) -> None:
        """Raises ValueError for a broken number out of its range; not a number is in none."""
        for name in ("compressed_share", "drawn_share", "cut_out_share", "teacher_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is 0..1. Received: {getattr(self, name)}")
        if not 0 <= self.ema_momentum < 1:
            raise ValueError(f"ema_momentum is 0 up to below 1. Received: {self.ema_momentum}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is above 0. Received: {self.learning_rate}")
        if not 0 <= self.clip_norm < math.inf:
            raise ValueError(f"clip_norm is 0 or more. Received: {self.clip_norm}")
        if not all(0 <= value < math.inf for value in self.min_variation):
            raise ValueError(
                "min_variation is two numbers of 0 or more. "
                f"Received: {' '.join(map(str, self.min_variation))}"
            )

    @property
    def stable_steps(self) -> int:
        """Steps before the rate of the schedule `stable` falls."""
        return max(0, self.steps - self.decay_steps)

    def min_variation_at(self, step: int) -> float:
        """The least variation of a patch at a step, grey levels."""
        start, end = self.min_variation
        return start + (end - start) * step / self.steps


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each field of `TrainConfig` and `Degradation`."""
    for field in _option_fields():
        default: Any = field.default
        kind: dict[str, Any] = {"type": type(default), "metavar": type(default).__name__.upper()}
        if field.name in ("data", "compressed_data"):
            kind = {"nargs": "+", "metavar": "PLACE"}
        elif field.name == "kernels":
            kind = {"nargs": "+", "type": _weighted_name, "metavar": "NAME=WEIGHT"}
        elif isinstance(default, tuple):
            kind = {"nargs": 2, "type": type(default[0]), "metavar": ("FROM", "TO")}
        parser.add_argument(
            f"--{field.name}", default=default, help=field.metadata["help"], **kind
        )


def from_options(options: dict[str, Any]) -> TrainConfig:
    """Makes the record from parsed options, or some of them; see `add_options`.

    Raises:
        ValueError: if a value is out of its range.
    """
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    names = {field.name for field in dataclasses.fields(Degradation)}
    degradation = {name: values.pop(name) for name in names & values.keys()}
    return TrainConfig(**values, degradation=Degradation(**degradation))


def _option_fields() -> list[dataclasses.Field]:
    """The fields that are options, with those of the degradation instead of it."""
    fields: list[dataclasses.Field] = []
    for field in dataclasses.fields(TrainConfig):
        is_nested = field.name == "degradation"
        fields += dataclasses.fields(Degradation) if is_nested else (field,)
    return fields


def _weighted_name(text: str) -> tuple[str, float]:
    """`bicubic=0.4` to ("bicubic", 0.4)."""
    name, _, weight = text.partition("=")
    try:
        return name, float(weight)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"needs a name and its weight, as in bicubic=0.4. Received: {text}"
        ) from error
