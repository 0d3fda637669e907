"""Runs a loaded RDN on pictures of any size, in bounded memory."""

import functools
import itertools
import logging
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from model import degrade, tiling
from model.picture import Picture
from model.rdn import RDN, with_quality_plane
from model.transparency import bleed_colours

# 1.6 KB of activations for each pixel and 32 feature maps: about 0.7 GB for C3 D4 G32.
DEFAULT_MAX_CALL_PX = 420_000
_SMALLEST_CALL_PX = 64 * 64
# Quarter turns, and whether mirrored: all that map a square grid onto itself.
_VERSIONS = tuple(itertools.product(range(4), (False, True)))

# Of all networks of the process: see `Magnifier`.
_ONE_CALL_AT_A_TIME = threading.Lock()

_log = logging.getLogger(__name__)


class OutOfMemory(RuntimeError):
    """Even the smallest tile does not fit into the device's memory."""


class Magnifier:
    """One network, ready to magnify. Threads may share it: their calls wait for each other.

    They must: TensorFlow's oneDNN convolutions, run by several threads at once on pictures of
    several sizes, now and then give a wrong picture and corrupt the heap (seen in 2.21 on CPU).
    Little is lost, since one call uses all cores.

    One `tf.function` with free sizes serves every picture: on CPU a whole picture per call beats
    padding to fixed sizes, whose extra pixels cost what pixels cost.

    Args:
        rdn: the network.
        max_call_px: most LR pixels of one call; larger pictures go in tiles.
        self_ensemble: magnify each picture in its eight turned and mirrored versions and take
            the mean, which papers write as "RDN+": a little better for eight times the time, in
            the same memory. A turned picture then gives exactly the turned result.

    Source:
        Timofte et al., "Seven ways to improve example-based single image super resolution",
        CVPR 2016 (enhanced prediction); Zhang et al., "Residual Dense Network for Image
        Super-Resolution", CVPR 2018 (RDN+).
    """

    def __init__(
        self,
        rdn: RDN,
        *,
        max_call_px: int = DEFAULT_MAX_CALL_PX,
        self_ensemble: bool = False,
    ) -> None:
        self.scale = rdn.scale
        self.self_ensemble = self_ensemble
        self._knows_quality = rdn.knows_quality
        self._halo_px = rdn.halo_px
        self._max_call_px = max_call_px
        self._run = tf.function(
            lambda lr: rdn(lr, training=False),
            input_signature=[
                tf.TensorSpec([None, None, None, 4 if rdn.knows_quality else 3], tf.float32)
            ],
            jit_compile=False,
        )

    def magnify_rgb(self, lr: np.ndarray, *, jpeg_quality: int = 100) -> np.ndarray:
        """Magnifies one 8-bit RGB picture.

        Args:
            lr: uint8 [H, W, 3].
            jpeg_quality: 1..100 with which `lr` was compressed, 100 if it was not; matters to
                a network that knows it.

        Returns:
            uint8 [H * scale, W * scale, 3].

        Raises:
            OutOfMemory: if the device cannot hold even a small tile.
        """
        return self._in_tiles(lr, functools.partial(self._rgb_tile, jpeg_quality=jpeg_quality))

    def magnify_picture(self, picture: Picture, *, jpeg_quality: int = 100) -> Picture:
        """Magnifies a decoded picture: its colours, its transparency, its mode.

        Of a transparent picture the colours, continued beyond its edge, and the alpha as a grey
        picture are magnified side by side by the same network: both get sharp, and what lies
        hidden under transparent pixels cannot show as a fringe. The quality is the colours'; the
        alpha counts as never compressed.

        Args:
            picture: see `Picture`.
            jpeg_quality: see `magnify_rgb`.

        Returns:
            A picture of `scale` times the height and width, with the same mode and profile.

        Raises:
            OutOfMemory: if the device cannot hold even a small tile.
        """
        if picture.alpha is None:
            sr, alpha = self.magnify_rgb(picture.rgb, jpeg_quality=jpeg_quality), None
        elif picture.is_opaque:
            sr = self.magnify_rgb(picture.rgb, jpeg_quality=jpeg_quality)
            alpha = np.full(sr.shape[:2], 255, np.uint8)
        else:
            colours = bleed_colours(picture.rgb, picture.alpha)
            rgba = np.dstack([colours, picture.alpha])
            magnify = functools.partial(self._rgba_tile, jpeg_quality=jpeg_quality)
            result = self._in_tiles(rgba, magnify)
            sr, alpha = np.ascontiguousarray(result[..., :3]), result[..., 3]
        return picture.with_pixels(sr, alpha)

    def _in_tiles(self, lr: np.ndarray, magnify: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """uint8 [H, W, K] to [H * scale, W * scale, K]; smaller tiles when memory runs out."""
        max_call_px = self._max_call_px
        while True:
            try:
                return tiling.magnify_tiled(
                    lr,
                    magnify,
                    scale=self.scale,
                    max_call_px=max_call_px,
                    halo=self._halo_px,
                )
            except tf.errors.ResourceExhaustedError as error:
                tried = min(max_call_px, lr.shape[0] * lr.shape[1])
                smaller = tried // 2
                if smaller < _SMALLEST_CALL_PX:
                    raise OutOfMemory(
                        f"the device has no memory for a call of {tried} pixels"
                    ) from error
                _log.warning("out of memory: tiles of at most %d pixels from here", smaller)
                max_call_px = smaller

    def _rgb_tile(self, lr: np.ndarray, jpeg_quality: int) -> np.ndarray:
        """uint8 [h, w, 3] to [h * scale, w * scale, 3], rounded once."""
        sr = self._network(_as_unit(lr)[None], np.array([jpeg_quality]))[0]
        return degrade.to_uint8(sr * 255)

    def _rgba_tile(self, lr: np.ndarray, jpeg_quality: int) -> np.ndarray:
        """uint8 [h, w, 4] to [h * scale, w * scale, 4]: colours beside their clean alpha."""
        alpha = np.repeat(lr[..., 3:], 3, axis=-1)
        unit = _as_unit(np.stack([lr[..., :3], alpha]))
        colours, alpha = self._network(unit, np.array([jpeg_quality, 100])) * 255
        return np.dstack([degrade.to_uint8(colours), degrade.to_uint8(alpha.mean(axis=-1))])

    def _network(self, lr: np.ndarray, jpeg_quality: np.ndarray) -> np.ndarray:
        """float32 [N, h, w, 3] in 0..1 and qualities [N] to float32 [N, h * scale, w * scale, 3].

        With self-ensemble one version after the other, so that memory does not grow.
        """
        if self._knows_quality:
            lr = with_quality_plane(lr, jpeg_quality)
        if not self.self_ensemble:
            return self._call(lr)
        n, height, width, _ = lr.shape
        # float64 holds the sum of eight float32 exactly, so that their order, which a turn of
        # the picture changes, does not matter.
        total = np.zeros((n, height * self.scale, width * self.scale, 3))
        for turns, mirrored in _VERSIONS:
            sr = self._call(_turned(lr, turns, mirrored))
            total += _undone(sr, turns, mirrored)
        return (total / len(_VERSIONS)).astype(np.float32)

    def _call(self, lr: np.ndarray) -> np.ndarray:
        """float32 [N, h, w, K] to float32 [N, h * scale, w * scale, 3], one thread at a time."""
        with _ONE_CALL_AT_A_TIME:
            return self._run(tf.constant(lr)).numpy()


def _turned(pictures: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """[N, h, w, K] turned by quarters, then mirrored if wanted."""
    turned = np.rot90(pictures, turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned)


def _undone(pictures: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Brings back what `_turned` made of [N, h, w, K]."""
    return np.rot90(pictures[:, :, ::-1] if mirrored else pictures, -turns, axes=(1, 2))


def _as_unit(pixels: np.ndarray) -> np.ndarray:
    """uint8 to float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(255)
