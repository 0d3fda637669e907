"""Damage that browsers ignore: PNG checksums outside the pixels, a JPEG without its end marker."""

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from model.imaging.containers import png
from model.imaging.errors import UnreadableImageError

_END = b"\xff\xd9"
# Markers but for stuffed zeros, restarts and fill bytes.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_FRAME, _SCAN_KIND, _END_KIND = 0xC2, 0xDA, 0xD9
# Bytes that decode to noise where a scan goes on, and are skipped where it has ended.
_FILLER = np.random.default_rng(1).integers(0, 255, 4096, dtype=np.uint8).tobytes()
# A scan's last byte is padded by ones: it does not end in so many zeros.
_MIN_BLANK_BYTES = 16


class _Segment(NamedTuple):
    """A JPEG's marker: kind, offset of the marker, content of its segment."""

    kind: int
    start: int
    content: bytes


def repair(data: bytes, file_format: str) -> tuple[bytes, str | None]:
    """Repairs what browsers ignore.

    Args:
        data: the file.
        file_format: see `Header.format`.

    Returns:
        The file as Pillow decodes it, and one line for people; the file itself and None where
        nothing had to be repaired.

    Raises:
        UnreadableImageError: if pixels are missing: a PNG's stream or a JPEG's last scan ends too
            early, or a JPEG without an end marker has not all scans.
        OSError: and what else Pillow raises on such a file.
    """
    if file_format == "PNG":
        png.check_pixels(data)
        return png.without_broken_chunks(data)
    if file_format == "JPEG":
        return _repair_jpeg(data)
    return data, None


def _repair_jpeg(data: bytes) -> tuple[bytes, str | None]:
    """See `repair`."""
    segments = list(_segments(data))
    has_end = bool(segments) and segments[-1].kind == _END_KIND
    # What follows the end marker is no part of the image.
    body = _without_blank_end(data[: segments[-1].start] if has_end else data)
    if not _ends_with_its_scan(body) or not (has_end or _has_all_scans(segments)):
        raise UnreadableImageError("broken JPEG file: truncated")
    return (data, None) if has_end else (body + _END, "the JPEG's end marker is missing")


def _without_blank_end(body: bytes) -> bytes:
    """Drops what fills up a file whose end was never written; it would decode to pixels."""
    zeros = len(body) - len(body.rstrip(b"\0"))
    return body[: len(body) - zeros * (zeros >= _MIN_BLANK_BYTES)].rstrip(b"\xff")


def _ends_with_its_scan(body: bytes) -> bool:
    """Whether the last scan is whole: what follows it then has no influence on the pixels."""
    first, second = (
        np.asarray(Image.open(io.BytesIO(body + end), formats=["JPEG"]))
        for end in (_END, _FILLER + _END)
    )
    return bool(np.array_equal(first, second))


def _segments(jpeg: bytes) -> Iterator[_Segment]:
    """Yields a JPEG's segments, up to its end marker if there is one."""
    at = 2
    while found := _MARKER.search(jpeg, at):
        kind, start = found[1][0], found.end()
        if kind == _END_KIND:
            yield _Segment(kind, found.start(), b"")
            return
        length = max(2, int.from_bytes(jpeg[start : start + 2]))
        yield _Segment(kind, found.start(), jpeg[start + 2 : start + length])
        at = start + length


def _has_all_scans(segments: list[_Segment]) -> bool:
    """Whether a progressive JPEG, if it is one, has every coefficient to its last bit.

    Source:
        ITU-T T.81, B.2.2, B.2.3 and G.1.
    """
    components: set[int] = set()
    complete: set[tuple[int, int]] = set()
    for kind, _, content in segments:
        if kind == _FRAME and len(content) >= 6:
            components = set(content[6::3])
        elif kind == _SCAN_KIND and content and len(content) >= 4 + 2 * content[0]:
            first, last, approximation = content[1 + 2 * content[0] :][:3]
            if not approximation & 15:  # down to bit 0
                of_scan = content[1 : 1 + 2 * content[0] : 2]
                complete |= {(c, k) for c in of_scan for k in range(first, min(last, 63) + 1)}
    return all((c, k) in complete for c in components for k in range(64))
