"""A finished network whose results are part of the target of a smaller one."""

from dataclasses import dataclass

import numpy as np

from model.data.feeding import Batch
from model.network import loading
from model.network.rdn import RDN, jit_compile, with_planes


@dataclass(frozen=True)
class Teacher:
    """Mixes a network's result into the HR patches that another network is trained on.

    What detail of HR cannot be known from LR differs from patch to patch, and is noise to the
    gradient of a small batch. A better network leaves most of it out.

    Attributes:
        network: of the scale that is trained.
        share: of its result in the target, 0..1.

    Example:
        teacher = Teacher.load("rdn-large", 0.5, scale=2)
        rdn.train_on_batch(lr, teacher.target(batch))

    Source:
        Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"; for regression, with
        the weighted mean of truth and teacher as target.
    """

    network: RDN
    share: float

    @classmethod
    def load(cls, name: str, share: float, *, scale: int) -> "Teacher":
        """Loads a network.

        Args:
            name: a shipped name or the path of a `.keras` file.
            share: see `Teacher`.
            scale: of the network that is trained.

        Raises:
            ValueError: if there is no such network, or it has another scale.
        """
        network = loading.load_by_name(name)
        if network.scale != scale:
            raise ValueError(f"--teacher {name} enlarges by {network.scale}, the run by {scale}")
        network.compile(jit_compile=jit_compile())
        return cls(network, share)

    def target(self, batch: Batch) -> np.ndarray:
        """Returns what to train on instead of `batch.hr`: of its shape, dtype and range.

        The teacher is told of each patch what the trained network is told.
        """
        told = self.network.conditions(batch.quality, batch.sharpening)
        result = self.network.predict_on_batch(with_planes(batch.lr, told))
        result = np.clip(np.asarray(result, np.float32), 0, 1)
        return batch.hr + np.float32(self.share) * (result - batch.hr)
