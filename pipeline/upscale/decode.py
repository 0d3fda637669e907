"""Second step: fetches the rest of a source and decodes it in a process of its own."""

import dataclasses
import time

from model.imaging.decode import ImageError
from model.imaging.sandbox import DecoderPool, DecoderUnavailableError
from pipeline.records import Reason, RunError
from pipeline.upscale.steps import Decoded, Probed, Rejected, ms_since


def decode(
    probed: Probed, decoders: DecoderPool, *, max_pixels: int, first_frame: bool
) -> Decoded | Rejected:
    """Fetches and decodes a probed source.

    Args:
        probed: see `Probed`; its file is read to the end.
        decoders: processes that decode.
        max_pixels: refuse to decode more.
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
    started = time.perf_counter()
    try:
        header, image = decoders.decode(data, max_pixels=max_pixels, first_frame=first_frame)
    except ImageError as error:
        return Rejected(Reason(error.reason), str(error), probed.header, probed.timings)
    except DecoderUnavailableError as error:
        raise RunError(str(error)) from error
    timings = dataclasses.replace(probed.timings, fetch_ms=fetch_ms, decode_ms=ms_since(started))
    return Decoded(image, header, timings)
