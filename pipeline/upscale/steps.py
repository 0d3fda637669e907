"""Values that pass from step to step: `Probed`, `Decoded`, `Upscaled`, or else `Rejected`."""

import time
from dataclasses import dataclass

from model.files import RangedFile
from model.imaging.decode import Header
from model.imaging.encode import Encoded
from model.imaging.image import RasterImage
from model.metrics.quality import Measures
from pipeline.records import Reason, Status
from pipeline.row.parts import NOT_TIMED, Timings


@dataclass(frozen=True)
class Rejected:
    """An image that is not upscaled.

    Attributes:
        reason: for the row.
        detail: one line for people.
        header: of the source, if it could be read.
        timings: of the stages that it reached.

    Example:
        >>> Rejected(Reason.UNREADABLE, "the file is empty").reason.status
        <Status.FAILED: 'failed'>
    """

    reason: Reason
    detail: str | None
    header: Header | None = None
    timings: Timings = NOT_TIMED


@dataclass(frozen=True)
class Probed:
    """A source whose header is read and whose size passed the filter.

    Attributes:
        file: the source; its first bytes are fetched.
        size_bytes: of the file.
        header: as its first bytes say.
        timings: so far.

    Example:
        probed = probe(entry, files, decoders, limits=limits, max_bytes=1 << 30)
        if isinstance(probed, Probed):
            data = probed.file.whole()
    """

    file: RangedFile
    size_bytes: int
    header: Header
    timings: Timings


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded source.

    Attributes:
        image: its pixels, [H, W].
        header: with the size and mode that decoding found.
        timings: so far.
        sharpening: log2, from the manifest or the sharpening table; None where the option of
            the run holds.

    Example:
        upscaled = upscaler.upscale(decoded, keep_result=False)
    """

    image: RasterImage
    header: Header
    timings: Timings
    sharpening: float | None = None


@dataclass(frozen=True, eq=False)
class Upscaled:
    """The image to publish, encoded.

    Attributes:
        status: `upscaled`, or `fallback` if the quality gate rejected the network's result.
        reason, detail: of a fallback: the rule, and one line for people.
        encoded: the file.
        height, width: of the image, pixels.
        scale: enlargement asked for; with a target side the one before the shrink.
        model, model_sha256: the network; `bicubic` and None for a fallback.
        network_share: 0..1 of the network's result in the image; the rest is bicubic.
        measures: of the image.
        timings: so far.
        result: the same image before encoding, if the caller asked for it.

    Example:
        path.write_bytes(upscaled.encoded.data)
    """

    status: Status
    reason: str | None
    detail: str | None
    encoded: Encoded
    height: int
    width: int
    scale: int
    model: str
    model_sha256: str | None
    network_share: float
    measures: Measures
    timings: Timings
    result: RasterImage | None


def ms_since(started: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return (time.perf_counter() - started) * 1000
