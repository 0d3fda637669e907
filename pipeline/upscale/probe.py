"""First step: reads a source's header from its first bytes and asks the size filter."""

import time

from model.imaging.errors import ImageError
from model.imaging.sandbox import DecoderPool, DecoderUnavailableError
from pipeline.catalog.size_filter import SizeLimits, reject_size
from pipeline.records import CatalogEntry, Reason, RunError
from pipeline.row.parts import Timings
from pipeline.storage.base import Storage
from pipeline.storage.ranged import open_object
from pipeline.upscale.steps import Probed, Rejected, ms_since


def probe(
    entry: CatalogEntry,
    files: Storage,
    decoders: DecoderPool,
    *,
    limits: SizeLimits,
    max_bytes: int,
) -> Probed | Rejected:
    """Reads format and size of a source without fetching all of it.

    Args:
        entry: with ETag and size.
        files: where the source lies.
        decoders: processes that read headers.
        limits: of the size filter.
        max_bytes: size of the largest file accepted.

    Returns:
        The open source, or why it is not upscaled.

    Raises:
        StorageError: if the source cannot be read.
        RunError: if no decoder process can be started.
    """
    started = time.perf_counter()
    if not entry.size_bytes:
        return Rejected(Reason.UNREADABLE, "the file is empty")
    if entry.size_bytes > max_bytes:
        return Rejected(Reason.TOO_MANY_BYTES, f"{entry.size_bytes} bytes, more than {max_bytes}")
    file = open_object(files, entry.location, entry.size_bytes, entry.etag)
    try:
        header = decoders.read_header(file)
    except ImageError as error:
        timings = Timings(fetch_ms=ms_since(started))
        return Rejected(Reason(error.reason), str(error), timings=timings)
    except DecoderUnavailableError as error:
        raise RunError(str(error)) from error
    timings = Timings(fetch_ms=ms_since(started))
    rejection = reject_size(header.height, header.width, limits)
    if rejection is not None:
        return Rejected(*rejection, header, timings)
    return Probed(file, entry.size_bytes, header, timings)
