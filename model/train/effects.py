"""Refuses options that would have no effect: a run that ignores one is not the run meant."""

import dataclasses

from model.data.drawn_recipes import Degradation
from model.train.config import TrainConfig

# An option of the degradation, and the shares of which one must be above 0 for it to matter.
_SHARES_OF = {
    "blur_px": ("blur_share",),
    "sharpen_radius_px": ("sharpened_share",),
    "sharpen_percent": ("sharpened_share",),
    "noise_levels": ("noise_share",),
    "enlarged_by": ("enlarged_share",),
    "jpeg_quality": ("jpeg_share",),
    "hidden_share": ("jpeg_share",),
    "webp_quality": ("webp_share",),
    "twice_share": ("jpeg_share", "webp_share"),
    "earlier_quality": ("twice_share",),
    "cropped_share": ("twice_share",),
    "measured_share": ("twice_share", "hidden_share"),
    "sharpening_told_error": ("sharpening_told_share",),
}
# These matter for patches that are not degraded, too.
_OF_ALL_PATCHES = ("degraded_share", "sharpening_told_share", "sharpening_told_error")
_SCHEDULE_OF = {"halve_every": "halving", "decay_steps": "stable"}
_TOLERANCE = 1e-9


def check_effects(config: TrainConfig) -> None:
    """Checks a run that begins; one that has begun goes on with what it has.

    Raises:
        ValueError: if an option would have no effect; the message names it and the remedy.

    Example:
        check_effects(TrainConfig(data=("photographs/",), steps=100))
    """
    _check_shares(config)
    _check_degradation(config)
    if config.teacher and not config.teacher_share:
        raise ValueError("--teacher has no effect with --teacher_share 0: leave it out")
    if config.teacher_share != TrainConfig.teacher_share and not config.teacher:
        raise ValueError("--teacher_share has no effect without --teacher")
    for name, schedule in _SCHEDULE_OF.items():
        is_given = getattr(config, name) != getattr(TrainConfig, name)
        if is_given and config.schedule != schedule:
            raise ValueError(
                f"--{name} has no effect without --schedule {schedule}: give it, or leave the "
                "option out"
            )
    check_decay(config)


def check_decay(config: TrainConfig) -> None:
    """Checks that a stable learning rate has steps before its fall.

    Raises:
        ValueError: if it would fall from the first step on.
    """
    if config.schedule == "stable" and not config.stable_steps:
        raise ValueError(
            f"with --steps {config.steps} and --decay_steps {config.decay_steps} the stable rate "
            "would fall from the start and never reach --learning_rate: give fewer --decay_steps "
            "than --steps"
        )


def _check_shares(config: TrainConfig) -> None:
    """Raises ValueError for sources without a share, and shares without their source."""
    for source, name in (("compressed_data", "compressed_share"), ("drawn_scenes", "drawn_share")):
        share = getattr(config, name)
        if getattr(config, source) and not share:
            raise ValueError(
                f"--{name} 0 leaves --{source} without effect: give a share above 0, or leave "
                "the source out"
            )
        if share not in (0, getattr(TrainConfig, name)) and not getattr(config, source):
            raise ValueError(f"--{name} {share} has no effect without --{source}")
    others = config.compressed_share * bool(config.compressed_data)
    others += config.drawn_share * bool(config.drawn_scenes)
    if config.data and others > 1 - _TOLERANCE:
        raise ValueError(
            f"the shares leave nothing for --data: those of the other sources sum to {others:g}. "
            "Give smaller --compressed_share or --drawn_share, or leave --data out"
        )


def _check_degradation(config: TrainConfig) -> None:
    """Raises ValueError for options of a degradation that does not take place."""
    given = [
        field.name
        for field in dataclasses.fields(Degradation)
        if getattr(config.degradation, field.name) != field.default
    ]
    if not config.degradation.degraded_share:
        idle = [name for name in given if name not in _OF_ALL_PATCHES]
        # A network that starts from a conditioned one keeps its planes.
        if not config.initial_weights:
            told = ("knows_quality", "knows_sharpening")
            idle += [name for name in told if getattr(config, name)]
        if idle:
            raise ValueError(
                f"{', '.join(f'--{name}' for name in idle)}: no effect without degraded patches. "
                "Give --degraded_share above 0, or leave these options out"
            )
    for name, shares in _SHARES_OF.items():
        if name in given and not any(getattr(config.degradation, share) for share in shares):
            raise ValueError(
                f"--{name} has no effect without {' or '.join(f'--{one}' for one in shares)} "
                "above 0: give it, or leave the option out"
            )
