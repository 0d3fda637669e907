"""Runs a loaded RDN on pictures of any size, in bounded memory."""

import functools
import logging
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from model import blank, degrade, tiling
from model.picture import Picture
from model.rdn import RDN
from model.transparency import bleed_colours
from model.turns import VERSIONS, turned, undone

# 1.6 KB of activations for each pixel and 32 feature maps: about 0.7 GB for C3 D4 G32.
DEFAULT_MAX_CALL_PX = 420_000
_SMALLEST_CALL_PX = 64 * 64

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
        skip_blank: leave exactly white background out: it stays as it is. See `model.blank`. A
            network that does not keep white white is shown everything all the same.
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
        skip_blank: bool = True,
        self_ensemble: bool = False,
    ) -> None:
        self.scale = rdn.scale
        self.self_ensemble = self_ensemble
        self._halo_px = rdn.halo_px
        self._max_call_px = max_call_px
        signature = [
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([None], tf.float32),
        ]
        levels = functools.partial(_levels, rdn)
        self._levels = tf.function(levels, input_signature=signature, jit_compile=False)
        self._rounded = tf.function(
            lambda lr, quality: _to_uint8(levels(lr, quality)),
            input_signature=signature,
            jit_compile=False,
        )
        self._skips_blank = skip_blank and self._keeps_white()

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
        magnify = functools.partial(self._rgb_tile, jpeg_quality=jpeg_quality)
        layout = blank.find_layout(lr) if self._skips_blank else None
        if layout is None:
            return self._in_tiles(lr, magnify)
        sr = np.empty((lr.shape[0] * self.scale, lr.shape[1] * self.scale, 3), np.uint8)
        sr[:] = layout.colour
        for box in layout.boxes:
            seen = self._in_tiles(np.ascontiguousarray(lr[box.seen]), magnify)
            inside = tuple(
                slice(kept.start - seen_.start, kept.stop - seen_.start)
                for kept, seen_ in zip(box.kept, box.seen, strict=True)
            )
            sr[self._scaled(box.kept)] = seen[self._scaled(inside)]
        return sr

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

    def _scaled(self, place: tuple[slice, ...]) -> tuple[slice, ...]:
        """Rows and columns of LR pixels as rows and columns of the result."""
        return tuple(slice(one.start * self.scale, one.stop * self.scale) for one in place)

    def _keeps_white(self) -> bool:
        """Whether the network's result on blank background is blank, within rounding."""
        lr = np.full((96, 96, 3), 255, np.uint8)
        lr[36:60, 40:56] = (200, 60, 20)
        for jpeg_quality in (30, 75, 100):
            self._skips_blank = False
            whole = self.magnify_rgb(lr, jpeg_quality=jpeg_quality)
            self._skips_blank = True
            skipped = self.magnify_rgb(lr, jpeg_quality=jpeg_quality)
            if np.abs(np.subtract(whole, skipped, dtype=np.int16)).max() > 1:
                _log.info("the network changes white: blank background is not skipped")
                return False
        return True

    def _rgb_tile(self, lr: np.ndarray, jpeg_quality: int) -> np.ndarray:
        """uint8 [h, w, 3] to [h * scale, w * scale, 3], rounded once."""
        qualities = np.array([jpeg_quality])
        if self.self_ensemble:
            return degrade.to_uint8(self._network(lr[None], qualities)[0])
        return self._call(self._rounded, lr[None], qualities)[0]

    def _rgba_tile(self, lr: np.ndarray, jpeg_quality: int) -> np.ndarray:
        """uint8 [h, w, 4] to [h * scale, w * scale, 4]: colours beside their clean alpha."""
        alpha = np.repeat(lr[..., 3:], 3, axis=-1)
        both = np.stack([lr[..., :3], alpha])
        colours, alpha = self._network(both, np.array([jpeg_quality, 100]))
        return np.dstack([degrade.to_uint8(colours), degrade.to_uint8(alpha.mean(axis=-1))])

    def _network(self, lr: np.ndarray, jpeg_quality: np.ndarray) -> np.ndarray:
        """uint8 [N, h, w, 3] and qualities [N] to grey levels [N, h * scale, w * scale, 3].

        With self-ensemble one version after the other, so that memory does not grow.
        """
        if not self.self_ensemble:
            return self._call(self._levels, lr, jpeg_quality)
        n, height, width, _ = lr.shape
        # float64 holds the sum of eight float32 exactly, so that their order, which a turn of
        # the picture changes, does not matter.
        total = np.zeros((n, height * self.scale, width * self.scale, 3))
        for turns, mirrored in VERSIONS:
            levels = self._call(self._levels, turned(lr, turns, mirrored), jpeg_quality)
            total += undone(levels, turns, mirrored)
        return (total / len(VERSIONS)).astype(np.float32)

    def _call(
        self, run: Callable[..., tf.Tensor], lr: np.ndarray, jpeg_quality: np.ndarray
    ) -> np.ndarray:
        """uint8 [N, h, w, 3] to [N, h * scale, w * scale, 3], one thread at a time."""
        with _ONE_CALL_AT_A_TIME:
            return run(tf.constant(lr), tf.constant(jpeg_quality, tf.float32)).numpy()


def _levels(rdn: RDN, lr: tf.Tensor, jpeg_quality: tf.Tensor) -> tf.Tensor:
    """uint8 [N, h, w, 3] and 1..100 [N] to float32 grey levels [N, h * scale, w * scale, 3].

    Bytes cross the bus to the device, and what `with_quality_plane` does is done there.
    """
    unit = tf.cast(lr, tf.float32) / 255
    if rdn.knows_quality:
        told = tf.reshape(jpeg_quality / 100, [-1, 1, 1, 1])
        plane = tf.broadcast_to(told, tf.concat([tf.shape(lr)[:3], [1]], axis=0))
        unit = tf.concat([unit, plane], axis=-1)
    return rdn(unit, training=False) * 255


def _to_uint8(levels: tf.Tensor) -> tf.Tensor:
    """Clips to 0..255 and rounds half to even, as `degrade.to_uint8`."""
    return tf.cast(tf.round(tf.clip_by_value(levels, 0.0, 255.0)), tf.uint8)
