"""CPU and GPU execution backends: call a network on arrays. Threads may share a backend."""

import collections
import dataclasses
import functools
import logging
import threading
from collections.abc import Callable
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from model.inference import dtypes, tiling
from model.network.rdn import RDN, precision

# Sides of a GPU's tiles are multiples of this; sides up to _SHORT_PX stay as they are.
_TILE_STEP_PX = 32
_SHORT_PX = 96
_MAX_TILE_PX = 512

_log = logging.getLogger(__name__)


class ExecutionBackend(Protocol):
    """Runs a network on images of one size. Results do not depend on concurrent calls.

    Attributes:
        one_at_a_time: whether callers should finish one image before they start the next, because
            concurrent calls would only wait for each other.

    Example:
        backend = choose_backend(rdn, compute_dtype="float32", max_call_px=420_000)
        (sr,) = backend.rounded(lr[None], rdn.conditions(100, 0.0))
    """

    one_at_a_time: bool

    def rounded(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """Upscales images to uint8.

        Args:
            lr: uint8 [N, H, W, 3].
            conditions: float32 [N, K], see `RDN.conditions`.

        Returns:
            uint8 [N, H * scale, W * scale, 3].

        Raises:
            tf.errors.ResourceExhaustedError: if the device lacks memory for the call.
        """

    def levels(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """Upscales as `rounded`, without clipping and rounding: float32, nominally 0..255."""


class Network:
    """Compiles a network's two functions of uint8 images, for calls of any size.

    Args:
        rdn: the network.
        compute_dtype: one of `dtypes.COMPUTE_DTYPES`.

    Raises:
        RuntimeError: if Keras computes with another backend than TensorFlow in this process.

    Example:
        network = Network(rdn, "float32")
        levels = network.levels(tf.constant(lr[None]), tf.constant(rdn.conditions(100, 0.0)))
    """

    def __init__(self, rdn: RDN, compute_dtype: str) -> None:
        if (used := keras.backend.backend()) != "tensorflow":
            raise RuntimeError(
                f"upscaling needs Keras on TensorFlow, and this process has it on {used}: set the "
                "environment variable KERAS_BACKEND to tensorflow before Keras is imported"
            )
        self.scale = rdn.scale
        self.halo_px = rdn.halo_px
        if compute_dtype != "float32":
            with precision(f"mixed_{compute_dtype}"):
                lower = RDN.from_config(rdn.get_config())
            lower.set_weights(rdn.get_weights())
            rdn = lower
        signature = [
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([None, rdn.conditions(100, 0.0).shape[-1]], tf.float32),
        ]
        levels = functools.partial(_levels, rdn)
        self.levels = tf.function(
            levels, input_signature=signature, autograph=False, jit_compile=False
        )
        self.rounded = tf.function(
            lambda lr, conditions: _to_uint8(levels(lr, conditions)),
            input_signature=signature,
            autograph=False,
            jit_compile=False,
        )


# One lock for all networks of the process: see `WholeImageBackend`.
_ONE_CALL_AT_A_TIME = threading.Lock()


class WholeImageBackend:
    """CPU backend: runs each image whole, one call at a time.

    A lock serialises the calls: TensorFlow's oneDNN convolutions, run by several threads at once
    on images of several sizes, sometimes return a wrong image and corrupt the heap (seen in 2.21).
    The cost is small, since one call uses all cores. Padding to fixed sizes would add its pixels
    to the work.

    Args:
        network: see `Network`.

    Example:
        backend = WholeImageBackend(Network(rdn, "float32"))
        (sr,) = backend.rounded(lr[None], rdn.conditions(100, 0.0))
    """

    one_at_a_time = True

    def __init__(self, network: Network) -> None:
        self._network = network

    def rounded(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """See `ExecutionBackend`."""
        with _ONE_CALL_AT_A_TIME:
            return _run(self._network.rounded, lr, conditions)

    def levels(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """See `ExecutionBackend`."""
        with _ONE_CALL_AT_A_TIME:
            return _run(self._network.levels, lr, conditions)


@dataclasses.dataclass(eq=False)
class _Tile:
    """A tile in the queue of the device; a call sets its `result` or `error`."""

    lr: np.ndarray
    conditions: np.ndarray
    result: np.ndarray | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether a call has processed the tile."""
        return self.result is not None or self.error is not None

    def sr(self) -> np.ndarray:
        """Returns the result [h * scale, w * scale, 3] of a processed tile; raises its error."""
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class TileBatchBackend:
    """GPU backend: batches tiles of few shapes from the images of all waiting threads.

    A GPU selects its fastest convolution again for each new shape, and small images leave it idle.
    Tiles lie within their image and overlap by their halos: each has the image's true borders, and
    the results equal those of whole images but for float32's noise. Calls hold 1, 2, 4, ... tiles.

    Untested on a GPU: none with TensorFlow was at hand. The tests run it on a CPU, where it gives
    the same images as `WholeImageBackend`.

    Args:
        network: see `Network`.
        max_call_px: most LR pixels of a call; a single tile may exceed it.

    Example:
        backend = TileBatchBackend(Network(rdn, "float16"), max_call_px=420_000)
        (sr,) = backend.rounded(lr[None], rdn.conditions(100, 0.0))
    """

    one_at_a_time = False

    def __init__(self, network: Network, *, max_call_px: int) -> None:
        self._network = network
        self._max_call_px = max_call_px
        self._device = threading.Lock()
        self._queue = threading.Lock()
        # By kind of call and shape. Threads add tiles; the holder of the device removes them.
        self._waiting: dict[tuple[str, int, int], collections.deque[_Tile]] = (
            collections.defaultdict(collections.deque)
        )

    def rounded(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """See `ExecutionBackend`."""
        return self._upscale("rounded", lr, conditions)

    def levels(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """See `ExecutionBackend`."""
        return self._upscale("levels", lr, conditions)

    def _upscale(self, kind: str, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        plan = tiling.inner_tiles(
            *lr.shape[1:3],
            step=_TILE_STEP_PX,
            short=_SHORT_PX,
            max_side=_MAX_TILE_PX,
            halo=self._network.halo_px,
        )
        by_image = [
            [_Tile(one, told) for one in tiling.cut(image, plan)]
            for image, told in zip(lr, conditions, strict=True)
        ]
        tiles = [tile for of_one in by_image for tile in of_one]
        waiting = (kind, *tiles[0].lr.shape[:2])
        with self._queue:
            self._waiting[waiting].extend(tiles)
        for tile in tiles:
            while not tile.is_done:
                with self._device:
                    if not tile.is_done:  # another thread's call may have processed it
                        self._call(waiting)
        scale = self._network.scale
        return np.stack(
            [tiling.join(plan, [tile.sr() for tile in of_one], scale) for of_one in by_image]
        )

    def _call(self, waiting: tuple[str, int, int]) -> None:
        """Upscales waiting tiles of one kind and shape. The caller holds the device's lock."""
        kind, height, width = waiting
        with self._queue:
            queue = self._waiting[waiting]
            max_tiles = min(len(queue), max(1, self._max_call_px // (height * width)))
            batch = [queue.popleft() for _ in range(1 << (max_tiles.bit_length() - 1))]
        lr = np.stack([tile.lr for tile in batch])
        conditions = np.stack([tile.conditions for tile in batch])
        try:
            results = _run(getattr(self._network, kind), lr, conditions)
        except tf.errors.ResourceExhaustedError as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            self._max_call_px = height * width * len(batch) // 2
            _log.warning(
                "Out of device memory: later calls have at most %d pixels.", self._max_call_px
            )
            with self._queue:
                queue.extendleft(reversed(batch))
            return
        except Exception as error:  # also of the threads whose tiles are in this call
            for tile in batch:
                tile.error = error
            return
        for tile, result in zip(batch, results, strict=True):
            tile.result = result


def choose_backend(rdn: RDN, *, compute_dtype: str, max_call_px: int) -> ExecutionBackend:
    """Chooses the execution backend for the device of this machine.

    Args:
        rdn: the network.
        compute_dtype: one of `dtypes.COMPUTE_DTYPES`.
        max_call_px: most LR pixels of a call.

    Returns:
        `TileBatchBackend` with a GPU, `WholeImageBackend` without.
    """
    network = Network(rdn, compute_dtype)
    if tf.config.list_physical_devices("GPU"):
        return TileBatchBackend(network, max_call_px=max_call_px)
    return WholeImageBackend(network)


def fastest_dtype() -> str:
    """Returns the compute dtype that is fastest on this machine, one of `dtypes.COMPUTE_DTYPES`.

    A GPU's compute capability decides: bfloat16 from 8.0 on, float16 from 7.0.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability", (0, 0))
        if capability >= (8, 0):
            return "bfloat16"
        return "float16" if capability >= (7, 0) else "float32"
    return dtypes.fastest_on_cpu()


def _run(run: Callable[..., tf.Tensor], lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """Calls a function of `Network` with arrays and returns an array."""
    return run(tf.constant(lr), tf.constant(conditions, tf.float32)).numpy()


def _levels(rdn: RDN, lr: tf.Tensor, conditions: tf.Tensor) -> tf.Tensor:
    """uint8 [N, h, w, 3] and float32 [N, K] to grey levels [N, h * scale, w * scale, 3].

    Only uint8 crosses the bus: the device scales and adds the planes of `with_planes`.
    """
    unit = tf.cast(lr, tf.float32) / 255
    planes = conditions.shape[-1]
    if planes:
        shape = tf.concat([tf.shape(lr)[:3], [planes]], axis=0)
        told = tf.broadcast_to(conditions[:, None, None, :], shape)
        unit = tf.concat([unit, told], axis=-1)
    return rdn(unit, training=False) * 255


def _to_uint8(levels: tf.Tensor) -> tf.Tensor:
    """Clips to 0..255 and rounds half to even, as `resampling.to_uint8`."""
    return tf.cast(tf.round(tf.clip_by_value(levels, 0.0, 255.0)), tf.uint8)
