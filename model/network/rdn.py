"""The Residual Dense Network (RDN) for super-resolution, in Keras 3 for any of its backends."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers, ops

_BICUBIC_TAPS = 5


@keras.saving.register_keras_serializable(package="catalog_magnifier")
class RDN(keras.Model):
    """Residual Dense Network with a bicubic skip from input to output.

    The letters of the paper: D = `num_blocks` residual dense blocks (RDB) of
    C = `convs_per_block` convolutions with growth rate G = `growth_rate`, on
    G0 = `features` feature maps.

        LR ─ sfe1 ─┬─ sfe2 ─ rdb1 ─ … ─ rdbD ─ concat of all ─ gff ─(+)─ upnet ─(+)─ shuffle ─ SR
         │         └──────────────────────────────────────────────┘            │
         └──────────────────────────── bicubic, one plane per phase ───────────┘

    Two choices beyond the paper. The upsampling net is ESPCN's: one hidden 3x3 convolution, then
    the sub-pixel convolution to 3 * scale**2 maps and one pixel shuffle, all at LR size; the
    paper's last 3-channel convolution at HR size costs time out of proportion. The output is the
    sum of the network's residual and the bicubic upscaling of the input: the network learns the
    residual only and starts as bicubic, because the last convolution starts at zero.

    Calling the model maps float32 [N, H, W, 3] RGB in 0..1 to float32
    [N, H * scale, W * scale, 3], nominally 0..1, neither clipped nor rounded. H and W are free.
    A network may be conditioned on how its input was made, by constant planes after RGB
    (`conditions`): one with the JPEG quality over 100, 1 for an image that was never compressed
    (`knows_quality`), and two for the sharpening (`knows_sharpening`), its value and whether it is
    known. One network then serves clean, compressed and sharpened images.

    Args:
        convs_per_block: C, at least 1.
        num_blocks: D, at least 1.
        growth_rate: G, at least 1.
        features: G0, at least 1.
        scale: upscaling factor, at least 2.
        knows_quality: whether the network is conditioned on the JPEG quality of its input.
        knows_sharpening: whether on its sharpening, see `Recipe.sharpening`.
        believes_source: whether it learned from clean, softly shrunk images alone: it takes noise
            and the overshoot of a sharpening for detail. Changes nothing of its results.

    Raises:
        ValueError: if a parameter is below its minimum.

    Example:
        >>> RDN(convs_per_block=3, num_blocks=4, growth_rate=32, features=32).halo_px
        17

    Source:
        Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018, section 3;
        Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
        Sub-Pixel Convolutional Neural Network", CVPR 2016, section 3 (the upsampling net);
        Zhang et al., "FFDNet", IEEE TIP 2018, section III-B (conditioning on a noise level map).
    """

    def __init__(
        self,
        *,
        convs_per_block: int,
        num_blocks: int,
        growth_rate: int,
        features: int,
        scale: int = 2,
        knows_quality: bool = False,
        knows_sharpening: bool = False,
        believes_source: bool = False,
        name: str = "rdn",
        **kwargs: Any,
    ) -> None:
        parameters = {
            "convs_per_block": convs_per_block,
            "num_blocks": num_blocks,
            "growth_rate": growth_rate,
            "features": features,
            "scale": scale,
        }
        for key, value in parameters.items():
            minimum = 2 if key == "scale" else 1
            if value < minimum:
                raise ValueError(f"RDN needs {key} >= {minimum}. Received: {key}={value}")

        planes = 3 + knows_quality + 2 * knows_sharpening
        lr = keras.Input(shape=(None, None, planes), name="lr")
        rgb = lr[..., :3] if planes > 3 else lr
        # The layers that carry grey levels stay float32 when the rest computes in half precision:
        # results then differ by less than one level, and the cost is 5 % of the time saved.
        full = {"dtype": "float32"}
        shallow = _conv(features, 3, "sfe1", **full)(lr)
        x = _conv(features, 3, "sfe2", **full)(shallow)
        blocks = []
        for d in range(1, num_blocks + 1):
            x = _residual_dense_block(x, convs_per_block, growth_rate, features, f"rdb{d}")
            blocks.append(x)
        fused = layers.Concatenate(name="gff_concat")(blocks) if num_blocks > 1 else x
        fused = _conv(features, 1, "gff_1x1")(fused)
        fused = _conv(features, 3, "gff_3x3")(fused)
        x = layers.Add(name="global_residual", **full)([shallow, fused])
        x = _conv(features, 3, "upnet_hidden", activation="relu", **full)(x)
        x = _conv(3 * scale**2, 3, "upnet_subpixel", kernel_initializer="zeros", **full)(x)
        bicubic = BicubicPhases(scale, name="bicubic", **full)(rgb)
        x = layers.Add(name="bicubic_skip", **full)([x, bicubic])
        sr = PixelShuffle(scale, name="pixel_shuffle", **full)(x)

        super().__init__(inputs=lr, outputs=sr, name=name, **kwargs)
        self.convs_per_block = convs_per_block
        self.num_blocks = num_blocks
        self.growth_rate = growth_rate
        self.features = features
        self.scale = scale
        self.knows_quality = knows_quality
        self.knows_sharpening = knows_sharpening
        self.believes_source = believes_source

    @property
    def halo_px(self) -> int:
        """Radius of the receptive field in LR pixels.

        One for each 3x3 convolution in sequence: sfe1, sfe2, D * C in the blocks, gff_3x3,
        upnet_hidden, upnet_subpixel. The bicubic skip has a radius of 2 pixels, always less.
        """
        return self.num_blocks * self.convs_per_block + 5

    def conditions(
        self, jpeg_quality: int | np.ndarray, sharpening: float | np.ndarray
    ) -> np.ndarray:
        """Returns what the network is told of images, as its planes take it.

        Args:
            jpeg_quality: 1..100, one or [N]; 100 for an image that was never compressed.
            sharpening: log2, one or [N]; see `Recipe.sharpening`. Not a number where unknown.

        Returns:
            float32 [N, K], with K = 0 for a network that is told nothing.
        """
        quality, level = np.broadcast_arrays(
            np.atleast_1d(np.asarray(jpeg_quality, np.float32)) / 100,
            np.asarray(sharpening, np.float32),
        )
        values = np.stack([quality, np.nan_to_num(level), ~np.isnan(level)], axis=-1)
        return values[:, np.flatnonzero(self.planes)].astype(np.float32)

    @property
    def planes(self) -> tuple[bool, bool, bool]:
        """Which it has: JPEG quality, sharpening, whether that is known."""
        return self.knows_quality, self.knows_sharpening, self.knows_sharpening

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, from which `from_config` rebuilds the network."""
        return {
            "convs_per_block": self.convs_per_block,
            "num_blocks": self.num_blocks,
            "growth_rate": self.growth_rate,
            "features": self.features,
            "scale": self.scale,
            "knows_quality": self.knows_quality,
            "knows_sharpening": self.knows_sharpening,
            "believes_source": self.believes_source,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "RDN":  # noqa: ARG003
        """Rebuilds the network from the result of `get_config`; Keras calls it to load a file."""
        return cls(**config)


def jit_compile() -> str | bool:
    """Returns Keras' option for `compile`: no XLA on TensorFlow.

    It makes these convolutions slower on CPU (measured: 2 training steps/s, not 3.3).
    """
    return "auto" if keras.backend.backend() != "tensorflow" else False


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Sets the compute dtype of networks built within the block; their weights stay float32.

    Args:
        policy: a Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.

    Example:
        >>> with precision("mixed_bfloat16"):
        ...     rdn = RDN(convs_per_block=1, num_blocks=1, growth_rate=4, features=4)
        >>> rdn.get_layer("rdb1_conv1").compute_dtype
        'bfloat16'
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def with_planes(lr: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """Adds the planes that condition a network.

    Args:
        lr: float32 [N, H, W, 3], 0..1.
        conditions: float32 [N, K] or [1, K], see `RDN.conditions`.

    Returns:
        float32 [N, H, W, 3 + K].
    """
    shape = (*lr.shape[:3], conditions.shape[-1])
    planes = np.broadcast_to(conditions[:, None, None, :], shape)
    return np.concatenate([lr, planes], axis=-1, dtype=np.float32)


@keras.saving.register_keras_serializable(package="catalog_magnifier")
class PixelShuffle(layers.Layer):
    """Rearranges [N, H, W, scale**2 * K] into [N, H * scale, W * scale, K].

    The channels hold, slowest first, the row phase, the column phase and the K planes.

    Args:
        scale: upscaling factor, at least 2.

    Example:
        >>> tuple(PixelShuffle(2)(np.zeros((1, 5, 6, 12), np.float32)).shape)
        (1, 10, 12, 3)

    Source:
        Shi et al. 2016 (ESPCN), equation 4, with the planes as the fastest index.
    """

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x: Any) -> Any:
        """Keras: the forward pass."""
        n, height, width, channels = ops.shape(x)
        s = self.scale
        planes = channels // s**2
        x = ops.reshape(x, (n, height, width, s, s, planes))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # [N, H, s, W, s, K]
        return ops.reshape(x, (n, height * s, width * s, planes))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Keras: the static shape, None where free."""
        n, height, width, channels = input_shape
        s = self.scale
        return (n, height and height * s, width and width * s, channels // s**2)

    def get_config(self) -> dict[str, Any]:
        """Keras: the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="catalog_magnifier")
class BicubicPhases(layers.Layer):
    """Bicubic upscaling before its pixel shuffle: [N, H, W, K] to [N, H, W, scale**2 * K].

    Taps outside the image are dropped and the other weights renormalised, as in Pillow, so that
    `PixelShuffle` of the result equals `resampling.bicubic` up to float rounding. It is a sum of
    shifted images, not a 5x5 convolution: a backend selects the convolution's kernel by image
    size, and the last bits then differ between tiles, which would show a seam.

    Args:
        scale: upscaling factor, at least 2.

    Example:
        >>> tuple(BicubicPhases(2)(np.zeros((1, 5, 6, 3), np.float32)).shape)
        (1, 5, 6, 12)
    """

    def __init__(self, scale: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x: Any) -> Any:
        """Keras: the forward pass."""
        # The weights of the taps inside the image, summed.
        of_rows = self._phases(ops.ones_like(x[:1, :, :1, :1]), axis=1)
        of_columns = self._phases(ops.ones_like(x[:1, :1, :, :1]), axis=2)
        rows = [row / inside for row, inside in zip(self._phases(x, axis=1), of_rows, strict=True)]
        phases = [
            phase / inside
            for row in rows
            for phase, inside in zip(self._phases(row, axis=2), of_columns, strict=True)
        ]
        return ops.concatenate(phases, axis=-1)

    def _phases(self, x: Any, axis: int) -> list[Any]:
        """The `scale` sums along an axis, each of the input's size, with zeros outside."""
        reach = _BICUBIC_TAPS // 2
        length = ops.shape(x)[axis]
        padded = ops.pad(x, [(reach, reach) if i == axis else (0, 0) for i in range(4)])
        shifted = [
            padded[:, i : i + length] if axis == 1 else padded[:, :, i : i + length]
            for i in range(_BICUBIC_TAPS)
        ]
        return [
            sum(float(w) * part for w, part in zip(weights, shifted, strict=True) if w)
            for weights in bicubic_phase_weights(self.scale)
        ]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Keras: the static shape, None where free."""
        return (*input_shape[:3], input_shape[3] * self.scale**2)

    def get_config(self) -> dict[str, Any]:
        """Keras: the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


def bicubic_phase_weights(scale: int) -> np.ndarray:
    """Returns the weights of bicubic upscaling (a = -0.5), one row for each phase.

    Args:
        scale: upscaling factor, at least 2.

    Returns:
        float64 [scale, 5]: the weights of the pixels at distance -2..2; each row sums to 1.

    Source:
        Keys 1981, equation 4 with a = -0.5.
    """
    taps = np.arange(_BICUBIC_TAPS) - _BICUBIC_TAPS // 2
    # Output pixel scale * y + p lies at y + (p + 0.5) / scale - 0.5 of the input.
    offsets = (np.arange(scale) + 0.5) / scale - 0.5
    distance = np.abs(offsets[:, None] - taps[None, :])  # [phase, tap]
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _residual_dense_block(x: Any, convs: int, growth: int, features: int, name: str) -> Any:
    """One RDB: densely connected convolutions, local feature fusion, local residual.

    The fusion starts at zero, so each block starts as an identity. With random weights in both the
    fusion and the last convolution, Adam's first steps, whose size does not depend on the tiny
    gradients, blew the features up and left every ReLU of the upsampling net dead (measured: on
    drawn scenes with 100 steps of warm-up the loss did not fall within 2,500 steps).
    """
    state = x
    for c in range(1, convs + 1):
        grown = _conv(growth, 3, f"{name}_conv{c}", activation="relu")(state)
        state = layers.Concatenate(name=f"{name}_concat{c}")([state, grown])
    fused = _conv(features, 1, f"{name}_lff", kernel_initializer="zeros")(state)
    return layers.Add(name=f"{name}_residual")([x, fused])


def _conv(filters: int, size: int, name: str, **kwargs: Any) -> layers.Conv2D:
    """Builds a same-size convolution, channels last regardless of the user's Keras settings."""
    return layers.Conv2D(
        filters, size, padding="same", data_format="channels_last", name=name, **kwargs
    )
