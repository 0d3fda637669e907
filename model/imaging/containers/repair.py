"""Damage that browsers ignore: PNG checksums outside the pixels, a JPEG without its end marker."""

import io
import re

import numpy as np
from PIL import Image

from model.imaging.containers import png
from model.imaging.errors import UnreadableImageError

_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
# Markers with a segment behind them: all but fill bytes, stuffed zeros, restarts and the ends.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xda-\xfe])")
# Bytes that decode to noise where a scan goes on, and are skipped where it has ended.
_FILLER = np.random.default_rng(1).integers(0, 255, 4096, dtype=np.uint8).tobytes()


def repair(data: bytes, file_format: str) -> tuple[bytes, str | None]:
    """Repairs what browsers ignore.

    Args:
        data: the file.
        file_format: see `Header.format`.

    Returns:
        The file as Pillow decodes it, and one line for people; the file itself and None where
        nothing had to be repaired.

    Raises:
        UnreadableImageError: if a JPEG without an end marker lacks pixels, too.
        OSError: and what else Pillow raises on such a file.
    """
    if file_format == "PNG":
        return png.without_broken_chunks(data)
    if file_format != "JPEG" or data.rfind(_END) > data.rfind(_SCAN):
        return data, None
    cut = data.removesuffix(b"\xff")
    if not _has_all_scans(cut) or not _ends_with_its_scan(cut):
        raise UnreadableImageError("broken JPEG file: truncated")
    return cut + _END, "the JPEG's end marker is missing"


def _ends_with_its_scan(jpeg: bytes) -> bool:
    """Whether the last scan is whole: what follows it then has no influence on the pixels."""
    ends = (_END, _FILLER + _END)
    first, second = (
        np.asarray(Image.open(io.BytesIO(jpeg + end), formats=["JPEG"])) for end in ends
    )
    return bool(np.array_equal(first, second))


def _has_all_scans(jpeg: bytes) -> bool:
    """Whether a progressive JPEG, if it is one, has every coefficient to its last bit.

    Source:
        ITU-T T.81, B.2.2, B.2.3 and G.1.
    """
    components: set[int] = set()
    complete: set[tuple[int, int]] = set()
    at = 2
    while found := _MARKER.search(jpeg, at):
        kind, start = found[1][0], found.end()
        length = int.from_bytes(jpeg[start : start + 2])
        segment = jpeg[start + 2 : start + length]
        at = start + max(length, 2)
        if kind == 0xC2 and len(segment) >= 6:
            components = set(segment[6::3])
        elif kind == 0xDA and segment and len(segment) >= 4 + 2 * segment[0]:
            first, last, approximation = segment[1 + 2 * segment[0] :][:3]
            if not approximation & 15:  # down to bit 0
                of_scan = segment[1 : 1 + 2 * segment[0] : 2]
                complete |= {(c, k) for c in of_scan for k in range(first, min(last, 63) + 1)}
    return all((c, k) in complete for c in components for k in range(64))
