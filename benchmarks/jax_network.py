"""A network on Keras' JAX backend, in all precisions, from uint8 to uint8; loads no TensorFlow.

Import it before Keras.
"""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import numpy as np

from model.network import loading
from model.network.rdn import RDN, precision

# By name: the dtype policy of Keras, and JAX's precision of products.
PRECISIONS = {
    "bfloat16": ("mixed_bfloat16", None),
    "float16": ("mixed_float16", None),
    "float32": ("float32", None),
    "float32 exact": ("float32", "highest"),
}


def load(model: str, shape: list[int] | None) -> RDN:
    """Loads a saved network, or builds one of (C, D, G, G0) with random weights."""
    if shape is None:
        return loading.load_by_name(model)
    convs, blocks, growth, features = shape
    rdn = RDN(
        convs_per_block=convs,
        num_blocks=blocks,
        growth_rate=growth,
        features=features,
        knows_quality=True,
        knows_sharpening=True,
    )
    random = np.random.default_rng(1)
    rdn.set_weights(
        [
            random.normal(0, 1 / math.sqrt(max(1, math.prod(weights.shape[:-1]))), weights.shape)
            for weights in rdn.get_weights()
        ]
    )
    return rdn


@dataclasses.dataclass(frozen=True)
class Point:
    """One shape of a call in one precision.

    Attributes:
        precision: a key of `PRECISIONS`.
        batch: images or tiles of a call.
        height, width: of each, LR pixels.
    """

    precision: str
    batch: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """LR pixels of a call."""
        return self.batch * self.height * self.width

    def __str__(self) -> str:
        return f"{self.precision:13} {self.batch:3} x {self.height} x {self.width}"


class Networks:
    """A network in all precisions, and its functions from uint8 to uint8.

    Args:
        rdn: the network, float32.
    """

    def __init__(self, rdn: RDN) -> None:
        self.scale, self.halo_px = rdn.scale, rdn.halo_px
        self.flop_per_px = sum(
            2 * int(np.prod(weights.shape)) for weights in rdn.get_weights() if weights.ndim == 4
        )
        self._rdn = {"float32": rdn}
        for policy in {policy for policy, _ in PRECISIONS.values()} - {"float32"}:
            with precision(policy):
                self._rdn[policy] = RDN.from_config(rdn.get_config())
        self.weights = jax.device_put(rdn.get_weights(), jax.devices()[0])

    def conditions(self, count: int) -> np.ndarray:
        """What the network is told of images of JPEG quality 85: see `RDN.conditions`."""
        return self._rdn["float32"].conditions(np.full(count, 85), 0.0)

    def rounded(self, name: str) -> Callable[..., jax.Array]:
        """As `rounded` of `model.inference.backends.Network`, of weights, images, conditions."""
        rdn = self._rdn[PRECISIONS[name][0]]

        def run(weights: list[Any], lr: Any, conditions: Any) -> Any:
            unit = lr.astype(jnp.float32) / 255
            shape = (*lr.shape[:3], conditions.shape[-1])
            planes = jnp.broadcast_to(conditions[:, None, None, :], shape)
            unit = jnp.concatenate([unit, planes], axis=-1)
            sr, _ = rdn.stateless_call(weights, [], unit, training=False)
            return jnp.round(jnp.clip(sr * 255, 0, 255)).astype(jnp.uint8)

        return run

    def lowered(self, point: Point) -> Any:
        """Traces the function for a shape; the result's `compile` may run in another thread."""
        lr = jax.ShapeDtypeStruct((point.batch, point.height, point.width, 3), jnp.uint8)
        told = self.conditions(point.batch)
        conditions = jax.ShapeDtypeStruct(told.shape, jnp.float32)
        with jax.default_matmul_precision(PRECISIONS[point.precision][1]):
            function = jax.jit(self.rounded(point.precision))
            return function.lower(self.weights, lr, conditions)
