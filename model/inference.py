"""Runs a loaded RDN on pictures of any size, in bounded memory."""

import logging

import numpy as np
import tensorflow as tf

from model import degrade, tiling
from model.picture import Picture
from model.rdn import RDN

# 1.6 KB of activations for each pixel and 32 feature maps: about 0.7 GB for C3 D4 G32.
DEFAULT_MAX_CALL_PX = 420_000
_SMALLEST_CALL_PX = 64 * 64

_log = logging.getLogger(__name__)


class OutOfMemory(RuntimeError):
    """Even the smallest tile does not fit into the device's memory."""


class Magnifier:
    """One network, ready to magnify. It keeps no state between calls: threads may share it.

    One `tf.function` with free sizes serves every picture: on CPU a whole picture per call beats
    padding to fixed sizes, whose extra pixels cost what pixels cost.

    Args:
        rdn: the network.
        max_call_px: most LR pixels of one call; larger pictures go in tiles.
    """

    def __init__(self, rdn: RDN, *, max_call_px: int = DEFAULT_MAX_CALL_PX) -> None:
        self.scale = rdn.scale
        self._halo_px = rdn.halo_px
        self._max_call_px = max_call_px
        self._run = tf.function(
            lambda lr: rdn(lr, training=False),
            input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)],
            jit_compile=False,
        )

    def magnify(self, lr: np.ndarray) -> np.ndarray:
        """Magnifies a stack of RGB pictures of one size.

        Args:
            lr: float32 [N, H, W, 3], 0..1.

        Returns:
            float32 [N, H * scale, W * scale, 3], nominally 0..1, neither clipped nor rounded.

        Raises:
            OutOfMemory: if the device cannot hold even a small tile.
        """
        max_call_px = self._max_call_px
        while True:
            try:
                return tiling.magnify_tiled(
                    lr,
                    lambda tile: self._run(tf.constant(tile, tf.float32)).numpy(),
                    scale=self.scale,
                    max_call_px=max_call_px,
                    halo=self._halo_px,
                )
            except tf.errors.ResourceExhaustedError as error:
                smaller = min(max_call_px, lr.shape[0] * lr.shape[1] * lr.shape[2]) // 2
                if smaller < _SMALLEST_CALL_PX:
                    raise OutOfMemory(
                        f"the device has no memory for a call of {max_call_px} pixels"
                    ) from error
                _log.warning("out of memory: tiles of at most %d pixels from here", smaller)
                max_call_px = smaller

    def magnify_rgb(self, lr: np.ndarray) -> np.ndarray:
        """Magnifies one 8-bit RGB picture.

        Args:
            lr: uint8 [H, W, 3].

        Returns:
            uint8 [H * scale, W * scale, 3].
        """
        return degrade.to_uint8(self.magnify(_as_unit(lr)[None])[0] * 255)

    def magnify_picture(self, picture: Picture) -> Picture:
        """Magnifies a decoded picture: its colours, its transparency, its mode.

        A transparent picture is magnified premultiplied, beside its alpha as a grey picture, by
        the same network: what lies hidden under transparent pixels cannot bleed into the edge,
        and white stays exactly white up to it.

        Args:
            picture: see `Picture`.

        Returns:
            A picture of `scale` times the height and width, with the same mode and profile.
        """
        if picture.alpha is None:
            sr, alpha = self.magnify_rgb(picture.rgb), None
        elif picture.is_opaque:
            sr = self.magnify_rgb(picture.rgb)
            alpha = np.full(sr.shape[:2], 255, np.uint8)
        else:
            sr, alpha = self._magnify_transparent(picture.rgb, picture.alpha)
        return picture.with_pixels(sr, alpha)

    def _magnify_transparent(
        self, rgb: np.ndarray, alpha: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [H, W, 3] and [H, W], straight alpha in and out."""
        opacity = _as_unit(alpha)[..., None]
        stack = np.stack([_as_unit(rgb) * opacity, np.repeat(opacity, 3, axis=-1)])
        premultiplied, opacity = self.magnify(stack)
        opacity = np.clip(opacity.mean(axis=-1, keepdims=True), 0, 1)
        alpha = degrade.to_uint8(opacity[..., 0] * 255)
        straight = np.clip(premultiplied / np.maximum(opacity, 1 / 512), 0, 1) * 255
        # Under fully transparent pixels there is no colour to divide out: keep the source's.
        hidden = np.repeat(np.repeat(rgb, self.scale, axis=0), self.scale, axis=1)
        return np.where(alpha[..., None] > 0, degrade.to_uint8(straight), hidden), alpha


def _as_unit(pixels: np.ndarray) -> np.ndarray:
    """uint8 to float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(255)
