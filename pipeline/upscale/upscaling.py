"""Third step: upscales a decoded image, scores it, applies the quality gate and encodes it."""

import contextlib
import dataclasses
import functools
import threading
import time
from typing import Protocol

from model.imaging.decode import assumed_quality
from model.imaging.encode import choose_format, encode
from model.inference.measured import upscale_with_self_test
from model.inference.target import Enlargement
from model.inference.upscaler import Upscaler
from model.network import loading, presets
from model.network.presets import SavedModel
from pipeline.records import RunError, Status
from pipeline.settings import RunPlan
from pipeline.upscale import blending
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
        source, jpeg_quality = decoded.image, assumed_quality(decoded.header)
        sharpening = self._sharpening(decoded)
        plan = self._settings.target.plan(source.height, source.width, self.scale)
        with self._slots:
            with self._turn:
                upscaled = upscale_with_self_test(
                    self._network,
                    source,
                    jpeg_quality=jpeg_quality,
                    sharpening=sharpening,
                    extent=self._settings.self_psnr,
                    passes=plan.passes,
                )
            started = time.perf_counter()
            verdict = blending.judge(upscaled, jpeg_quality, sharpening=sharpening)
            measure_ms = upscaled.self_test_ms + ms_since(started)
            started = time.perf_counter()
            result = verdict.image.shrunk_to(plan.height, plan.width)
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
        rejection = verdict.rejection
        return Upscaled(
            status=Status.UPSCALED if rejection is None else Status.FALLBACK,
            reason=None if rejection is None else f"gate:{rejection.rule}",
            detail=verdict.detail,
            encoded=encoded,
            height=result.height,
            width=result.width,
            scale=plan.scale,
            model=_describe_model(self._settings.model, plan, verdict.network_share),
            model_sha256=self._plan.model_sha256 if rejection is None else None,
            network_share=verdict.network_share,
            measures=verdict.measures,
            timings=timings,
            result=result if keep_result else None,
        )

    def _sharpening(self, decoded: Decoded) -> float | None:
        """What somebody told of the source's sharpening, for the image or the run; None: nobody.

        Raises:
            RunError: if the network cannot be told.
        """
        if decoded.sharpening is None:
            return self._settings.source_sharpening
        if not self._network.knows_sharpening:
            raise RunError(
                "the manifest has numbers in the column source_sharpening, but "
                f"{presets.not_told_of_sharpening(self._settings.model)}"
            )
        return decoded.sharpening


def _describe_model(model: str, plan: Enlargement, share: float) -> str:
    """What made the published image, so that a blend never passes for the network's result."""
    if share == 0:
        return "bicubic"
    return plan.name_of(model) + (" blended" if share < 1 else "")


def load(saved: SavedModel, plan: RunPlan) -> LocalUpscaler:
    """Loads a saved network for the images of a run.

    A process that upscales for one run after the other loads it once.

    Args:
        saved: the network.
        plan: of the run.
    """
    network = _ready_network(saved, plan.compute_dtype, plan.settings.blank == "skip")
    return LocalUpscaler(network, plan)


@functools.lru_cache(maxsize=1)
def _ready_network(saved: SavedModel, compute_dtype: str, skip_background: bool) -> Upscaler:
    """The network; to load one takes a second, the last one stays in memory."""
    return Upscaler(
        loading.load(saved), compute_dtype=compute_dtype, skip_background=skip_background
    )
