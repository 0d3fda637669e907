"""Third step: upscales a decoded image, scores it, applies the quality gate and encodes it."""

import contextlib
import dataclasses
import threading
import time
from typing import Protocol

from model.imaging.decode import assumed_quality
from model.imaging.encode import choose_format, encode
from model.imaging.image import RasterImage
from model.inference.measured import UpscaledImage, upscale_with_self_test
from model.inference.upscaler import Upscaler
from model.metrics.quality import Measures
from model.network import loading
from model.network.presets import SavedModel
from pipeline.records import Status
from pipeline.settings import RunPlan
from pipeline.upscale import quality_gate
from pipeline.upscale.steps import Decoded, Upscaled, ms_since

# Images in work at a time, one of them on the device, the others measured and encoded: memory is
# bounded.
_IN_WORK = 4
# With a GPU more: the tiles of several go through one call.
_ON_GPU = 16


class ImageUpscaler(Protocol):
    """The third step. Several threads call it at the same time.

    Example:
        upscaler: ImageUpscaler = open_upscaler(files, plan)
        upscaled = upscaler.upscale(decoded, keep_result=False)
    """

    def upscale(self, decoded: Decoded, *, keep_result: bool) -> Upscaled:
        """Upscales, scores, gates and encodes an image.

        Args:
            decoded: of any size.
            keep_result: whether to return the pixels beside the encoded image.

        Raises:
            OutOfMemoryError: if the device cannot hold even a small tile.
            RunError: if no image can be upscaled any more.
        """


class LocalUpscaler:
    """Upscales images in this process. Threads may share it.

    Args:
        network: ready to upscale.
        plan: of the run.

    Example:
        upscaler = LocalUpscaler(Upscaler(rdn), plan)
        image_file = upscaler.upscale(decoded, keep_result=False).encoded.data
    """

    def __init__(self, network: Upscaler, plan: RunPlan) -> None:
        self.scale = network.scale
        self._network = network
        self._plan = plan
        self._settings = plan.settings
        self._slots = threading.BoundedSemaphore(_IN_WORK if network.one_at_a_time else _ON_GPU)
        # Not between two images' calls: each is finished soon.
        self._turn = threading.Lock() if network.one_at_a_time else contextlib.nullcontext()

    def upscale(self, decoded: Decoded, *, keep_result: bool) -> Upscaled:
        """See `ImageUpscaler`."""
        with self._slots:
            with self._turn:
                upscaled = upscale_with_self_test(
                    self._network,
                    decoded.image,
                    jpeg_quality=assumed_quality(decoded.header),
                    extent=self._settings.self_psnr,
                )
            started = time.perf_counter()
            measures = upscaled.measure()
            rejection = quality_gate.failed_rule(measures, quality_gate.GateLimits())
            result = upscaled.result
            if rejection is not None:
                result, measures = _fall_back(upscaled, measures)
            measure_ms = upscaled.self_test_ms + ms_since(started)
            started = time.perf_counter()
            image_format = choose_format(decoded.header, self._settings.image_format)
            encoded = encode(
                result,
                image_format,
                lossless=decoded.header.is_lossless,
                encoding=self._settings.encoding,
            )
        timings = dataclasses.replace(
            decoded.timings,
            inference_ms=upscaled.inference_ms,
            measure_ms=measure_ms,
            encode_ms=ms_since(started),
        )
        is_fallback = rejection is not None
        return Upscaled(
            status=Status.FALLBACK if is_fallback else Status.UPSCALED,
            reason=None if rejection is None else f"gate:{rejection.rule}",
            detail=None if rejection is None else f"published is bicubic: {rejection.detail}",
            encoded=encoded,
            height=result.height,
            width=result.width,
            scale=self.scale,
            model="bicubic" if is_fallback else self._settings.model,
            model_sha256=None if is_fallback else self._plan.model_sha256,
            measures=measures,
            timings=timings,
            result=result if keep_result else None,
        )


def load(saved: SavedModel, plan: RunPlan) -> LocalUpscaler:
    """Loads a saved network for the images of a run.

    Args:
        saved: the network.
        plan: of the run.
    """
    network = Upscaler(
        loading.load(saved),
        compute_dtype=plan.compute_dtype,
        skip_background=plan.settings.blank == "skip",
    )
    return LocalUpscaler(network, plan)


def _fall_back(rejected: UpscaledImage, measures: Measures) -> tuple[RasterImage, Measures]:
    """Bicubic in place of the network's result, and its measures.

    The self PSNR stays the network's: it says what the network does on this image.
    """
    result = quality_gate.bicubic_image(rejected.source, rejected.scale)
    bicubic = UpscaledImage(rejected.source, result, rejected.scale).measure()
    return result, dataclasses.replace(
        bicubic,
        self_psnr_db=measures.self_psnr_db,
        self_bicubic_psnr_db=measures.self_bicubic_psnr_db,
        self_gain_db=measures.self_gain_db,
    )
