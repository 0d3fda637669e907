"""Upscaler: runs a loaded RDN on images of any size in bounded memory."""

import functools
import logging
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from model.imaging import resampling
from model.imaging.image import RasterImage
from model.inference import background, tiling
from model.inference.backends import ExecutionBackend, choose_backend
from model.inference.errors import OutOfMemoryError
from model.network import dihedral, presets
from model.network.rdn import RDN

DEFAULT_MAX_CALL_PX = 420_000
_MIN_CALL_PX = 64 * 64
# What a call of so many pixels may keep in memory: as much as rdn-small in float32 at most.
_CALL_BYTES = 1_220_000_000

_log = logging.getLogger(__name__)


class Upscaler:
    """One network, ready to upscale. Threads may share it.

    Args:
        rdn: the network.
        compute_dtype: one of `dtypes.COMPUTE_DTYPES`. In bfloat16 results differ from those in
            float32 by one grey level at most, in one value of 60, if the network is told the same,
            and a CPU with bfloat16 takes half the time; see `backends.fastest_dtype`.
        max_call_px: most LR pixels of one call; larger images are cut into tiles. By default
            `DEFAULT_MAX_CALL_PX`, and less for a network that keeps more of each pixel in memory.
        skip_background: fill constant white background instead of upscaling it; see
            `model.inference.background`. Without effect if the network changes white.
        self_ensemble: return the mean over the eight dihedral transforms of each image, "RDN+" in
            papers: slightly better at eight times the time and the same memory. The result of a
            flipped or rotated image is then exactly the flipped or rotated result, if the network
            is told the same.
        backend: runs the network instead of the backend that fits the machine; `compute_dtype`
            then only sets the default of `max_call_px`.

    Example:
        upscaler = Upscaler(loading.load_by_name("rdn-product"))
        result = upscaler.upscale_image(image, jpeg_quality=85)

    Source:
        Timofte et al., "Seven ways to improve example-based single image super resolution",
        CVPR 2016 (enhanced prediction); Zhang et al., "Residual Dense Network for Image
        Super-Resolution", CVPR 2018 (RDN+).
    """

    def __init__(
        self,
        rdn: RDN,
        *,
        compute_dtype: str = "float32",
        max_call_px: int | None = None,
        skip_background: bool = True,
        self_ensemble: bool = False,
        backend: ExecutionBackend | None = None,
    ) -> None:
        self.scale = rdn.scale
        self.self_ensemble = self_ensemble
        self.knows_sharpening = rdn.knows_sharpening
        self.believes_source = rdn.believes_source
        self._halo_px = rdn.halo_px
        self._conditions = rdn.conditions
        self._max_call_px = max_call_px or _fitting_px(rdn, compute_dtype)
        self._backend = backend or choose_backend(
            rdn, compute_dtype=compute_dtype, max_call_px=self._max_call_px
        )
        self._skip_background = skip_background

    @property
    def one_at_a_time(self) -> bool:
        """See `ExecutionBackend`."""
        return self._backend.one_at_a_time

    def upscale_rgb(
        self, lr: np.ndarray, *, jpeg_quality: int = 100, sharpening: float = math.nan
    ) -> np.ndarray:
        """Upscales one 8-bit RGB image.

        Args:
            lr: uint8 [H, W, 3].
            jpeg_quality: 1..100 with which `lr` was compressed, 100 if it was not; used by
                networks conditioned on it.
            sharpening: of `lr`, log2, see `Recipe.sharpening`; not a number where it is unknown;
                used by networks conditioned on it.

        Returns:
            uint8 [H * scale, W * scale, 3].

        Raises:
            OutOfMemoryError: if the device cannot hold even a small tile.
        """
        conditions = self._conditions(jpeg_quality, sharpening)
        upscale = functools.partial(self._rgb_tile, conditions=conditions)
        boxes = background.find_boxes(lr) if self._skip_background else None
        if boxes is None or not self._keeps_white:
            return self._in_tiles(lr, upscale)
        return self._in_boxes(lr, boxes, upscale)

    def upscale_image(
        self, image: RasterImage, *, jpeg_quality: int = 100, sharpening: float = math.nan
    ) -> RasterImage:
        """Upscales a decoded image with its transparency; keeps its mode and profile.

        The same network upscales the colours of a transparent image, extended beyond its edge, and
        its alpha as a grey image: both stay sharp, and colours hidden under transparent pixels
        cannot show as a fringe. `jpeg_quality` is that of the colours; the alpha counts as never
        compressed or sharpened.

        Args:
            image: see `RasterImage`.
            jpeg_quality, sharpening: see `upscale_rgb`.

        Returns:
            An image of `scale` times the height and width, with the same mode and profile.

        Raises:
            OutOfMemoryError: if the device cannot hold even a small tile.
        """
        if image.alpha is None or image.is_opaque:
            sr = self.upscale_rgb(image.rgb, jpeg_quality=jpeg_quality, sharpening=sharpening)
            alpha = None if image.alpha is None else np.full(sr.shape[:2], 255, np.uint8)
        else:
            rgba = np.dstack([image.bled(), image.alpha])
            alpha_told = self._conditions(100, 0.0)
            conditions = np.concatenate([self._conditions(jpeg_quality, sharpening), alpha_told])
            upscale = functools.partial(self._rgba_tile, conditions=conditions)
            result = self._in_tiles(rgba, upscale)
            sr, alpha = np.ascontiguousarray(result[..., :3]), result[..., 3]
        return image.with_pixels(sr, alpha)

    def _in_tiles(self, lr: np.ndarray, upscale: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """uint8 [H, W, K] to [H * scale, W * scale, K]; halves its tiles while memory runs out."""
        max_call_px = self._max_call_px
        while True:
            try:
                return tiling.upscale_tiled(
                    lr,
                    upscale,
                    scale=self.scale,
                    max_call_px=max_call_px,
                    halo=self._halo_px,
                )
            except tf.errors.ResourceExhaustedError as error:
                failed_px = min(max_call_px, lr.shape[0] * lr.shape[1])
                smaller = failed_px // 2
                if smaller < _MIN_CALL_PX:
                    raise OutOfMemoryError(
                        f"the device has no memory for a call of {failed_px} pixels"
                    ) from error
                _log.warning("Out of device memory: trying tiles of at most %d pixels.", smaller)
                max_call_px = smaller

    def _in_boxes(
        self,
        lr: np.ndarray,
        boxes: list[background.Box],
        upscale: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """uint8 [H, W, 3] to [H * scale, W * scale, 3]: the boxes upscaled, the rest white."""
        shape = lr.shape[0] * self.scale, lr.shape[1] * self.scale, 3
        sr = np.full(shape, background.WHITE, np.uint8)
        for box in boxes:
            seen_sr = self._in_tiles(np.ascontiguousarray(lr[box.seen]), upscale)
            inside = tuple(
                slice(kept.start - seen.start, kept.stop - seen.start)
                for kept, seen in zip(box.kept, box.seen, strict=True)
            )
            sr[self._scaled(box.kept)] = seen_sr[self._scaled(inside)]
        return sr

    def _scaled(self, block: tuple[slice, ...]) -> tuple[slice, ...]:
        """Rows and columns of LR pixels as rows and columns of the result."""
        return tuple(slice(one.start * self.scale, one.stop * self.scale) for one in block)

    @functools.cached_property
    def _keeps_white(self) -> bool:
        """Whether the network keeps white background white, within rounding.

        Found out at the first image that has one; threads that meet there find the same. The mean
        of the self-ensemble keeps what the network keeps.
        """
        lr = np.full((64, 64, 3), 255, np.uint8)
        lr[24:40, 26:38] = (200, 60, 20)
        boxes = background.find_boxes(lr)
        assert boxes is not None  # two thirds of it are white
        told = [(30, math.nan), (75, math.nan), (100, math.nan)]
        if self.knows_sharpening:
            told += [(100, presets.MIN_SHARPENING), (100, presets.MAX_SHARPENING)]
        for one in told:
            upscale = functools.partial(self._single_tile, conditions=self._conditions(*one))
            whole, filled = self._in_tiles(lr, upscale), self._in_boxes(lr, boxes, upscale)
            if np.abs(np.subtract(whole, filled, dtype=np.int16)).max() > 1:
                _log.info("The network changes white: its background is not skipped.")
                return False
        return True

    def _rgb_tile(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """Upscales a tile, uint8 [h, w, 3] to [h * scale, w * scale, 3]; rounds once."""
        if self.self_ensemble:
            return resampling.to_uint8(self._network(lr[None], conditions)[0])
        return self._single_tile(lr, conditions)

    def _single_tile(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """As `_rgb_tile`, by the network alone, without self-ensemble."""
        return self._backend.rounded(lr[None], conditions)[0]

    def _rgba_tile(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """Upscales a tile, uint8 [h, w, 4] to [h * scale, w * scale, 4].

        Colours and alpha one after the other, so that a call has no more pixels than allowed.
        """
        alpha = np.repeat(lr[..., 3:], 3, axis=-1)
        planes = (np.ascontiguousarray(lr[..., :3]), alpha)
        colours, alpha = (
            self._network(one[None], told[None])[0]
            for one, told in zip(planes, conditions, strict=True)
        )
        return np.dstack([resampling.to_uint8(colours), resampling.to_uint8(alpha.mean(axis=-1))])

    def _network(self, lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """uint8 [N, h, w, 3] and conditions [N, K] to grey levels [N, h * scale, w * scale, 3].

        The self-ensemble runs one transform after the other, so that memory does not grow.
        """
        if not self.self_ensemble:
            return self._backend.levels(lr, conditions)
        n, height, width, _ = lr.shape
        # float64 holds the sum of eight float32 exactly: the order of the transforms, which
        # depends on the image's orientation, does not change it.
        total = np.zeros((n, height * self.scale, width * self.scale, 3))
        for transform in dihedral.DIHEDRAL_TRANSFORMS:
            levels = self._backend.levels(dihedral.transform(lr, *transform), conditions)
            total += dihedral.invert(levels, *transform)
        return (total / len(dihedral.DIHEDRAL_TRANSFORMS)).astype(np.float32)


def _fitting_px(rdn: RDN, compute_dtype: str) -> int:
    """Most LR pixels of a call whose activations fit into `_CALL_BYTES`."""
    # The blocks' results and their concatenation stay until the fusion. Measured, values per
    # pixel: 627 for rdn-product, 1858 for rdn-large; this estimate gives 630 and 2070.
    values = 150 + 3 * rdn.num_blocks * rdn.features
    return min(DEFAULT_MAX_CALL_PX, _CALL_BYTES // (values * tf.as_dtype(compute_dtype).size))
