"""Runs a loaded RDN on images of any size, in bounded memory."""

import functools
import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from model.imaging import resampling
from model.imaging.alpha import bleed_colours
from model.imaging.image import RasterImage
from model.inference import background, tiling
from model.inference.backends import ExecutionBackend, choose_backend
from model.network.flips import DIHEDRAL_TRANSFORMS, turned, undone
from model.network.rdn import RDN

# 1.6 KB of activations for each pixel and 32 feature maps: about 0.7 GB for C3 D4 G32.
DEFAULT_MAX_CALL_PX = 420_000
_MIN_CALL_PX = 64 * 64

_log = logging.getLogger(__name__)


class OutOfMemoryError(RuntimeError):
    """Even the smallest tile does not fit into the device's memory."""


class Upscaler:
    """One network, ready to upscale. Threads may share it.

    Args:
        rdn: the network.
        compute_dtype: one of `backends.COMPUTE_DTYPES`. In bfloat16 results differ from those in
            float32 by one grey level at most, in one value of 60, and a CPU that has it takes half
            the time; see `backends.fastest_dtype`.
        max_call_px: most LR pixels of one call; larger images go in tiles.
        skip_background: leave exactly white background out: it stays as it is. See
            `model.inference.background`. A
            network that does not keep white white is shown everything all the same.
        self_ensemble: upscale each image in its eight flipped and rotated versions and take
            the mean, which papers write as "RDN+": a little better for eight times the time, in
            the same memory. A turned image then gives exactly the turned result.
        backend: runs the network instead of the backend that fits the machine;
            `compute_dtype` then has no effect.

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
        max_call_px: int = DEFAULT_MAX_CALL_PX,
        skip_background: bool = True,
        self_ensemble: bool = False,
        backend: ExecutionBackend | None = None,
    ) -> None:
        self.scale = rdn.scale
        self.self_ensemble = self_ensemble
        self._halo_px = rdn.halo_px
        self._max_call_px = max_call_px
        self._backend = backend or choose_backend(
            rdn, compute_dtype=compute_dtype, max_call_px=max_call_px
        )
        self._skips_background = skip_background and self._keeps_white()

    @property
    def one_at_a_time(self) -> bool:
        """See `ExecutionBackend`."""
        return self._backend.one_at_a_time

    def upscale_rgb(self, lr: np.ndarray, *, jpeg_quality: int = 100) -> np.ndarray:
        """Upscales one 8-bit RGB image.

        Args:
            lr: uint8 [H, W, 3].
            jpeg_quality: 1..100 with which `lr` was compressed, 100 if it was not; matters to
                a network that knows it.

        Returns:
            uint8 [H * scale, W * scale, 3].

        Raises:
            OutOfMemoryError: if the device cannot hold even a small tile.
        """
        upscale = functools.partial(self._rgb_tile, jpeg_quality=jpeg_quality)
        layout = background.find_layout(lr) if self._skips_background else None
        if layout is None:
            return self._in_tiles(lr, upscale)
        sr = np.empty((lr.shape[0] * self.scale, lr.shape[1] * self.scale, 3), np.uint8)
        sr[:] = layout.colour
        for box in layout.boxes:
            seen = self._in_tiles(np.ascontiguousarray(lr[box.seen]), upscale)
            inside = tuple(
                slice(kept.start - seen_.start, kept.stop - seen_.start)
                for kept, seen_ in zip(box.kept, box.seen, strict=True)
            )
            sr[self._scaled(box.kept)] = seen[self._scaled(inside)]
        return sr

    def upscale_image(self, image: RasterImage, *, jpeg_quality: int = 100) -> RasterImage:
        """Upscales a decoded image: its colours, its transparency, its mode.

        Of a transparent image the colours, continued beyond its edge, and the alpha as a grey
        image are upscaled side by side by the same network: both get sharp, and what lies
        hidden under transparent pixels cannot show as a fringe. The quality is the colours'; the
        alpha counts as never compressed.

        Args:
            image: see `RasterImage`.
            jpeg_quality: see `upscale_rgb`.

        Returns:
            An image of `scale` times the height and width, with the same mode and profile.

        Raises:
            OutOfMemoryError: if the device cannot hold even a small tile.
        """
        if image.alpha is None:
            sr, alpha = self.upscale_rgb(image.rgb, jpeg_quality=jpeg_quality), None
        elif image.is_opaque:
            sr = self.upscale_rgb(image.rgb, jpeg_quality=jpeg_quality)
            alpha = np.full(sr.shape[:2], 255, np.uint8)
        else:
            colours = bleed_colours(image.rgb, image.alpha)
            rgba = np.dstack([colours, image.alpha])
            upscale = functools.partial(self._rgba_tile, jpeg_quality=jpeg_quality)
            result = self._in_tiles(rgba, upscale)
            sr, alpha = np.ascontiguousarray(result[..., :3]), result[..., 3]
        return image.with_pixels(sr, alpha)

    def _in_tiles(self, lr: np.ndarray, upscale: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """uint8 [H, W, K] to [H * scale, W * scale, K]; smaller tiles when memory runs out."""
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
                tried = min(max_call_px, lr.shape[0] * lr.shape[1])
                smaller = tried // 2
                if smaller < _MIN_CALL_PX:
                    raise OutOfMemoryError(
                        f"the device has no memory for a call of {tried} pixels"
                    ) from error
                _log.warning("out of memory: tiles of at most %d pixels from here", smaller)
                max_call_px = smaller

    def _scaled(self, place: tuple[slice, ...]) -> tuple[slice, ...]:
        """Rows and columns of LR pixels as rows and columns of the result."""
        return tuple(slice(one.start * self.scale, one.stop * self.scale) for one in place)

    def _keeps_white(self) -> bool:
        """Whether the network's result on blank background is blank, within rounding."""
        lr = np.full((96, 96, 3), 255, np.uint8)
        lr[36:60, 40:56] = (200, 60, 20)
        for jpeg_quality in (30, 75, 100):
            self._skips_background = False
            whole = self.upscale_rgb(lr, jpeg_quality=jpeg_quality)
            self._skips_background = True
            skipped = self.upscale_rgb(lr, jpeg_quality=jpeg_quality)
            if np.abs(np.subtract(whole, skipped, dtype=np.int16)).max() > 1:
                _log.info("the network changes white: blank background is not skipped")
                return False
        return True

    def _rgb_tile(self, lr: np.ndarray, jpeg_quality: int) -> np.ndarray:
        """uint8 [h, w, 3] to [h * scale, w * scale, 3], rounded once."""
        qualities = np.array([jpeg_quality])
        if self.self_ensemble:
            return resampling.to_uint8(self._network(lr[None], qualities)[0])
        return self._backend.rounded(lr[None], qualities)[0]

    def _rgba_tile(self, lr: np.ndarray, jpeg_quality: int) -> np.ndarray:
        """uint8 [h, w, 4] to [h * scale, w * scale, 4]: colours beside their clean alpha."""
        alpha = np.repeat(lr[..., 3:], 3, axis=-1)
        both = np.stack([lr[..., :3], alpha])
        colours, alpha = self._network(both, np.array([jpeg_quality, 100]))
        return np.dstack([resampling.to_uint8(colours), resampling.to_uint8(alpha.mean(axis=-1))])

    def _network(self, lr: np.ndarray, jpeg_quality: np.ndarray) -> np.ndarray:
        """uint8 [N, h, w, 3] and qualities [N] to grey levels [N, h * scale, w * scale, 3].

        With self-ensemble one version after the other, so that memory does not grow.
        """
        if not self.self_ensemble:
            return self._backend.levels(lr, jpeg_quality)
        n, height, width, _ = lr.shape
        # float64 holds the sum of eight float32 exactly, so that their order, which a turn of
        # the image changes, does not matter.
        total = np.zeros((n, height * self.scale, width * self.scale, 3))
        for turns, mirrored in DIHEDRAL_TRANSFORMS:
            levels = self._backend.levels(turned(lr, turns, mirrored), jpeg_quality)
            total += undone(levels, turns, mirrored)
        return (total / len(DIHEDRAL_TRANSFORMS)).astype(np.float32)
