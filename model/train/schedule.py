"""Learning rates of a training run."""

from typing import Any

import keras
import numpy as np
from keras import ops

from model.train.config import (
    TrainConfig,
)


@keras.saving.register_keras_serializable(package="catalog_magnifier")
class WarmUpThenFall(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly, then falls.

    Args:
        peak: the highest rate.
        warmup_steps: in which it rises from 0.
        steps: in all.
        schedule: `cosine` falls to 0 at the end; `halving` halves every `halve_every` steps;
            `stable` falls linearly to 0 in the last `decay_steps`.
        halve_every: steps.
        decay_steps: steps.

    Example:
        keras.optimizers.Adam(learning_rate(TrainConfig(steps=7000)))
    """

    def __init__(
        self,
        *,
        peak: float,
        warmup_steps: int,
        steps: int,
        schedule: str,
        halve_every: int,
        decay_steps: int,
    ) -> None:
        self._config = {
            "peak": peak,
            "warmup_steps": warmup_steps,
            "steps": steps,
            "schedule": schedule,
            "halve_every": halve_every,
            "decay_steps": decay_steps,
        }
        self.peak, self.warmup_steps, self.steps = peak, warmup_steps, steps
        self.schedule, self.halve_every, self.decay_steps = schedule, halve_every, decay_steps

    def __call__(self, step: Any) -> Any:
        """The rate of a step, which counts from 0."""
        step = ops.cast(step, "float32")
        warm = ops.minimum(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.schedule == "halving":
            return self.peak * warm * 0.5 ** ops.floor(step / self.halve_every)
        if self.schedule == "stable":
            return self.peak * ops.minimum(warm, (self.steps - step) / self.decay_steps)
        fallen = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.peak * warm * 0.5 * (1 + ops.cos(np.pi * ops.clip(fallen, 0.0, 1.0)))

    def get_config(self) -> dict[str, Any]:
        """Keras: the constructor's arguments."""
        return self._config


def learning_rate(config: TrainConfig) -> WarmUpThenFall:
    """The rate of each step."""
    return WarmUpThenFall(
        peak=config.learning_rate,
        warmup_steps=config.warmup_steps,
        steps=config.steps,
        schedule=config.schedule,
        halve_every=config.halve_every,
        decay_steps=config.decay_steps,
    )
