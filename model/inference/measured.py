"""Upscales an image together with its self-test, and measures the result."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from model.imaging.image import RasterImage
from model.inference.seen_sharpening import see_sharpening
from model.inference.upscaler import Upscaler
from model.metrics import quality
from model.metrics.quality import Measures, SelfTest


@dataclass(frozen=True, eq=False)
class UpscaledImage:
    """An image, its upscaled version, and what the measures of it need.

    Attributes:
        source: [H, W].
        result: [H * scale, W * scale].
        scale: of all passes of the network.
        self_test: see `model.metrics.quality.self_test`; None for an image too small for it.
        self_sr: `self_test.lr` upscaled by the same network, uint8; None with `self_test`.
        sharpening: of the source, log2, as the network was told; None for unknown.
        believes_source: see `RDN`.
        inference_ms: the network's time for `result`, and to see how the source was sharpened.
        self_test_ms: the time of the self-test: its choice, and the network's time for it.

    Example:
        >>> image = RasterImage(np.zeros((20, 20, 3), np.uint8))
        >>> result = RasterImage(np.zeros((40, 40, 3), np.uint8))
        >>> UpscaledImage(image, result, scale=2).measure().roundtrip_psnr_db
        100.0
    """

    source: RasterImage
    result: RasterImage
    scale: int
    self_test: SelfTest | None = None
    self_sr: np.ndarray | None = None
    sharpening: float | None = None
    believes_source: bool = False
    inference_ms: float = 0.0
    self_test_ms: float = 0.0

    def measure(self) -> Measures:
        """Measures `result` with its source as the only reference, without the network.

        Raises:
            ValueError: if the sizes of source and result do not belong together.
        """
        measures = quality.measure(
            self.source,
            self.result,
            scale=self.scale,
            self_test=self.self_test,
            self_sr=self.self_sr,
        )
        return replace(measures, told_sharpening=self.sharpening)


def upscale_with_self_test(
    upscaler: Upscaler,
    source: RasterImage,
    *,
    jpeg_quality: int,
    sharpening: float | None = None,
    extent: str = "window",
    passes: int = 1,
) -> UpscaledImage:
    """Makes all calls of the network that one image needs: its upscaling and its self-test.

    `UpscaledImage.measure` needs no network: a caller that guards the network by a lock may
    measure after it has released the lock. A second pass counts its input as never compressed:
    the first pass has removed that noise.

    Args:
        upscaler: the network.
        source: decoded, of any size.
        jpeg_quality: 1..100, with which the source was compressed; 100 if it was not.
        sharpening: of the source, log2, see `Recipe.sharpening`; None where the network shall see
            for itself, not a number where it shall be told that it is unknown. The LR image of the
            self-test, which is made by plain bicubic, has 0.
        extent: of the self-test, `window`, `full` or `off`; see `model.metrics.quality.self_test`.
        passes: how many times the network upscales, the next time its own result.

    Returns:
        See `UpscaledImage`.

    Raises:
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    scale = upscaler.scale**passes
    started = time.perf_counter()
    if sharpening is None:
        sharpening = see_sharpening(upscaler, source, jpeg_quality)
    told = math.nan if sharpening is None else sharpening
    is_known = not math.isnan(told)
    result = upscaler.upscale_image(source, jpeg_quality=jpeg_quality, sharpening=told)
    for _ in range(passes - 1):
        result = upscaler.upscale_image(result, jpeg_quality=100)
    upscaled = time.perf_counter()
    self_test = quality.self_test(source, scale, extent)
    self_sr = None
    if self_test is not None:
        of_lr = 0.0 if is_known else math.nan
        self_sr = upscaler.upscale_rgb(self_test.lr, sharpening=of_lr)
        for _ in range(passes - 1):
            self_sr = upscaler.upscale_rgb(self_sr)
    return UpscaledImage(
        source,
        result,
        scale,
        self_test,
        self_sr,
        told if is_known else None,
        upscaler.believes_source,
        inference_ms=(upscaled - started) * 1000,
        self_test_ms=(time.perf_counter() - upscaled) * 1000,
    )
