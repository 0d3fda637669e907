"""`UpscaleImages`, a PTransform for pipelines of other people: files in, upscaled files out.

Knows neither catalogs nor runs. Importing this module loads Beam, but no TensorFlow.
"""

import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from model import startup
from model.imaging.encode import check_format
from model.imaging.errors import ImageError
from model.imaging.formats import IMAGE_FORMATS
from model.imaging.sandbox import DecoderPool
from model.inference.dtypes import COMPUTE_DTYPES
from model.inference.target import whole_number
from model.metrics.quality import Measures
from model.network import presets
from pipeline.options.declaration import AUTO
from pipeline.records import Reason, RunError
from pipeline.row.parts import NOT_TIMED
from pipeline.settings import RunPlan, Settings
from pipeline.storage.routing import open_storage
from pipeline.upscale.saved_model import read_model
from pipeline.upscale.steps import Decoded

if TYPE_CHECKING:  # it imports TensorFlow
    from pipeline.upscale.upscaling import ImageUpscaler

UPSCALED, ERRORS = "upscaled", "errors"


class UpscaledFile(NamedTuple):
    """An upscaled image.

    Attributes:
        data: content of the file.
        image_format: `png`, `jpeg`, `webp` or `avif`.
        height, width: pixels.
        model: the network, followed by `blended` where a part of the result is bicubic; `bicubic`
            where the quality gate rejected the network's result.
        reason: `gate:<rule>` of bicubic; else None.
        detail: one line for people about bicubic or blending; else None.
        measures: of the result, by the names of the job's columns.

    Example:
        >>> file = UpscaledFile(b"...", "png", 80, 120, "rdn-product", None, None, Measures())
        >>> file.model
        'rdn-product'
    """

    data: bytes
    image_format: str
    height: int
    width: int
    model: str
    reason: str | None
    detail: str | None
    measures: Measures


class UpscaleError(NamedTuple):
    """Why a file could not be upscaled.

    Attributes:
        reason: one of the job's stable codes, such as `unreadable` or `too_many_pixels`.
        detail: one line for people.

    Example:
        >>> UpscaleError("unreadable", "the file is empty").reason
        'unreadable'
    """

    reason: str
    detail: str


@dataclass(eq=False)
class UpscaleImages(beam.PTransform):
    """Upscales image files: (key, bytes) to (key, `UpscaledFile`), errors on their own output.

    Each process of a worker loads one network, which its threads share, and opens files in
    sandboxed processes with limits on memory and time. The quality gate publishes bicubic where it
    rejects a result. Windows and timestamps stay. Workers need the package, not the checkout.

    Attributes:
        model: name of a shipped network, or path or S3 URI of a `.keras` file of `model.train`;
            the workers read it, too.
        scale: enlargement, 2 to 4; of a network of scale 2, 4 is two passes and 3 is 4 shrunk.
            None for that of the network. With `target_side` the largest one allowed.
        target_side: longer side of each result, pixels; None for `scale` times the source. An
            image that has it already becomes an error, `large_enough`.
        source_sharpening: how all images were sharpened when they were made, log2, -0.75..1.5, as
            `python -m model.sharpening` measures it; None where the network shall see in each
            image for itself.
        image_format: of the results: `auto` (as the source, lossless stays lossless), `png`,
            `jpeg`, `webp` or `avif`.
        precision: dtype that the network computes in. With `bfloat16` and `float16` results
            differ by one grey level between kinds of machines, and by more where one of them just
            takes a source for sharpened and another does not.
        max_pixels: a file with more becomes an error; at least 1.
        first_frame: of an animated image upscale the first frame, instead of returning an error.

    Raises:
        ValueError: when applied, if an option's value is not allowed, there is no such network, or
            it cannot reach the scale.

    Example:
        upscaled, errors = files | UpscaleImages(model="rdn-product")
    """

    model: str = presets.DEFAULT
    scale: int | None = None
    target_side: int | None = None
    source_sharpening: float | None = None
    image_format: str = AUTO
    precision: str = "float32"
    max_pixels: int = 40_000_000
    first_frame: bool = False

    def expand(self, pcoll: beam.PCollection[tuple[Any, bytes]]) -> Any:
        """Beam: (key, bytes) to the outputs `upscaled` and `errors`, a `DoOutputsTuple`."""
        upscaling = beam.ParDo(_UpscaleDoFn(self._plan()))
        return pcoll | "Upscale" >> upscaling.with_outputs(ERRORS, main=UPSCALED)

    def _plan(self) -> RunPlan:
        """What the job's third step needs to know; it reads no catalog and writes nothing."""
        max_pixels = self._check_options()
        settings = Settings(
            input="",
            output="",
            run_id="",
            model=self.model,
            scale=self.scale,
            target_side=self.target_side,
            source_sharpening=self.source_sharpening,
            image_format=self.image_format,
            precision=self.precision,
            max_pixels=max_pixels,
            animated="first_frame" if self.first_frame else "skip",
        )
        target = settings.target
        try:
            saved = read_model(open_storage(settings.storage), self.model)
        except RunError as error:
            raise ValueError(str(error).removeprefix("--")) from error
        target.check(saved.scale)
        saved.check_sharpening(self.source_sharpening)
        return RunPlan(
            settings,
            started_at=datetime.datetime.now(datetime.UTC),
            model_sha256=saved.sha256,
            network_scale=saved.scale,
            workers=1,
            compute_dtype=self.precision,
        )

    def _check_options(self) -> int:
        """Checks those that neither `TargetSize` nor the model does; returns `max_pixels`."""
        _check("model", self.model, _is_name(self.model), "a shipped name, a path or an S3 URI")
        for name, value, allowed in (
            ("image_format", self.image_format, (AUTO, *IMAGE_FORMATS)),
            ("precision", self.precision, COMPUTE_DTYPES),
        ):
            _check(name, value, value in allowed, f"one of {', '.join(allowed)}")
        check_format(self.image_format)
        is_flag = isinstance(self.first_frame, (bool, np.bool_))
        _check("first_frame", self.first_frame, is_flag, "True or False")
        max_pixels = whole_number(self.max_pixels) or 0
        _check("max_pixels", self.max_pixels, max_pixels >= 1, "a whole number, at least 1")
        return max_pixels


def _is_name(model: object) -> bool:
    """Whether a model is named at all."""
    return isinstance(model, str) and bool(model)


def _check(name: str, value: object, is_allowed: bool, rule: str) -> None:
    """Raises the ValueError of an option."""
    if not is_allowed:
        raise ValueError(f"{name} is {rule}. Received: {value!r}")


class _UpscaleDoFn(beam.DoFn):
    """Upscales one file after the other; the threads of a process do so side by side."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._shared_decoders = Shared()
        self._shared_upscaler = Shared()

    def setup(self) -> None:
        """Beam: once for each thread of a process."""
        startup.import_tensorflow(is_ours=False)
        from pipeline.upscale.processes import open_upscaler  # noqa: PLC0415

        plan, cores = self._plan, os.cpu_count() or 1
        files = open_storage(plan.settings.storage)
        self._upscaler = self._shared_upscaler.acquire(lambda: open_upscaler(files, plan))
        self._decoders = self._shared_decoders.acquire(
            lambda: DecoderPool(cores, max_pixels=plan.settings.max_pixels)
        )

    def process(self, element: tuple[Any, bytes]) -> Iterator[Any]:
        """Beam: each element."""
        key, data = element
        if not isinstance(data, bytes):
            raise TypeError(
                f"UpscaleImages takes (key, bytes of a file). Received: {type(data).__name__}"
            )
        outcome = upscale_file(data, self._decoders, self._upscaler, self._plan.settings)
        if isinstance(outcome, UpscaleError):
            Metrics.counter("catalog_magnifier", outcome.reason).inc()
            yield TaggedOutput(ERRORS, (key, outcome))
        else:
            Metrics.counter("catalog_magnifier", outcome.reason or UPSCALED).inc()
            yield key, outcome


def upscale_file(
    data: bytes, decoders: DecoderPool, upscaler: "ImageUpscaler", settings: Settings
) -> UpscaledFile | UpscaleError:
    """Upscales one image file, with the quality gate.

    Args:
        data: content of the file.
        decoders: processes that open it.
        upscaler: has the network.
        settings: limits of the decoder; others are the upscaler's.

    Returns:
        The result, or why there is none.

    Raises:
        DecoderUnavailableError: if no decoder process can be started.
        RunError: if no image can be upscaled any more.
    """
    from model.inference.upscaler import OutOfMemoryError  # noqa: PLC0415 - TensorFlow

    try:
        header, image = decoders.decode(
            data,
            max_pixels=settings.max_pixels,
            first_frame=settings.animated == "first_frame",
        )
        if settings.target.has_reached(image.height, image.width):
            return UpscaleError(
                str(Reason.LARGE_ENOUGH),
                f"{image.width} x {image.height}, the target side is {settings.target_side}",
            )
        done = upscaler.upscale(Decoded(image, header, NOT_TIMED), keep_result=False)
    except ImageError as error:
        return UpscaleError(error.reason, str(error))
    except OutOfMemoryError as error:
        return UpscaleError(str(Reason.OUT_OF_MEMORY), str(error))
    return UpscaledFile(
        data=done.encoded.data,
        image_format=done.encoded.image_format,
        height=done.height,
        width=done.width,
        model=done.model,
        reason=done.reason,
        detail=done.detail,
        measures=done.measures,
    )
