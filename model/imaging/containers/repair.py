"""Damage that browsers ignore: PNG checksums outside the pixels, a JPEG without its end marker."""

import io
import re
from collections.abc import Iterator

import numpy as np
from PIL import Image

from model.imaging.containers import png
from model.imaging.errors import UnreadableImageError

_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
# Markers but for stuffed zeros, restarts and fill bytes.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_FRAME, _SCAN_KIND, _END_KIND = 0xC2, 0xDA, 0xD9
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
    segments = list(_segments(data))
    if segments and segments[-1][0] == _END_KIND:  # what follows is no part of the image
        return data, None
    cut = data.removesuffix(b"\xff")
    if not _has_all_scans(segments) or not _ends_with_its_scan(cut):
        raise UnreadableImageError("broken JPEG file: truncated")
    return cut + _END, "the JPEG's end marker is missing"


def _ends_with_its_scan(jpeg: bytes) -> bool:
    """Whether the last scan is whole: what follows it then has no influence on the pixels."""
    ends = (_END, _FILLER + _END)
    first, second = (
        np.asarray(Image.open(io.BytesIO(jpeg + end), formats=["JPEG"])) for end in ends
    )
    return bool(np.array_equal(first, second))


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields kind and content of a JPEG's segments, up to its end marker if there is one."""
    at = 2
    while found := _MARKER.search(jpeg, at):
        kind, start = found[1][0], found.end()
        if kind == _END_KIND:
            yield kind, b""
            return
        length = max(2, int.from_bytes(jpeg[start : start + 2]))
        yield kind, jpeg[start + 2 : start + length]
        at = start + length


def _has_all_scans(segments: list[tuple[int, bytes]]) -> bool:
    """Whether a progressive JPEG, if it is one, has every coefficient to its last bit.

    Source:
        ITU-T T.81, B.2.2, B.2.3 and G.1.
    """
    components: set[int] = set()
    complete: set[tuple[int, int]] = set()
    for kind, content in segments:
        if kind == _FRAME and len(content) >= 6:
            components = set(content[6::3])
        elif kind == _SCAN_KIND and content and len(content) >= 4 + 2 * content[0]:
            first, last, approximation = content[1 + 2 * content[0] :][:3]
            if not approximation & 15:  # down to bit 0
                of_scan = content[1 : 1 + 2 * content[0] : 2]
                complete |= {(c, k) for c in of_scan for k in range(first, min(last, 63) + 1)}
    return all((c, k) in complete for c in components for k in range(64))
