"""Second step: fetches the rest of a source and decodes it in a process of its own."""

import dataclasses
import time

from model.imaging.errors import ImageError
from model.imaging.sandbox import DecoderPool, DecoderUnavailableError
from pipeline.catalog.size_filter import SizeLimits, reject_size
from pipeline.records import Reason, RunError
from pipeline.upscale.steps import Decoded, Probed, Rejected, ms_since


def decode(
    probed: Probed, decoders: DecoderPool, *, limits: SizeLimits, first_frame: bool
) -> Decoded | Rejected:
    """Fetches and decodes a probed source.

    Args:
        probed: see `Probed`; its file is read to the end.
        decoders: processes that decode.
        limits: of the size filter, which is asked again: the header may be wrong about the size.
        first_frame: of an animated image decode the first frame, instead of rejecting it.

    Returns:
        The pixels, or why the image is not upscaled.

    Raises:
        StorageError: if the source cannot be read to the end.
        RunError: if no decoder process can be started.
    """
    started = time.perf_counter()
    data = probed.file.whole()
    fetch_ms = (probed.timings.fetch_ms or 0.0) + ms_since(started)
    timings = dataclasses.replace(probed.timings, fetch_ms=fetch_ms)
    started = time.perf_counter()
    try:
        header, image = decoders.decode(
            data, max_pixels=limits.max_pixels, first_frame=first_frame
        )
    except ImageError as error:
        timings = dataclasses.replace(timings, decode_ms=ms_since(started))
        return Rejected(Reason(error.reason), str(error), probed.header, timings)
    except DecoderUnavailableError as error:
        raise RunError(str(error)) from error
    timings = dataclasses.replace(timings, decode_ms=ms_since(started))
    rejection = reject_size(header.height, header.width, limits)
    if rejection is not None:
        return Rejected(*rejection, header, timings)
    return Decoded(image, header, timings)
