"""AVIF files: the boxes that tell size and colour of the primary image."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from model.imaging.errors import UnreadableImageError

# An image's meta box holds its colour profile; no profile in use has a tenth of this.
_MAX_META_BYTES = 8 << 20
_MAX_TOP_LEVEL_BOXES = 1000


@dataclass(frozen=True)
class AvifInfo:
    """What the boxes tell of the primary image.

    Attributes:
        height: rows, before rotation.
        width: columns, before rotation.
        nclx: colour primaries and transfer characteristics (ITU-T H.273); None without.

    Example:
        >>> AvifInfo(40, 56, (1, 13)).nclx
        (1, 13)
    """

    height: int
    width: int
    nclx: tuple[int, int] | None


class _Box(NamedTuple):
    """A box: its kind, and where its content starts and stops."""

    kind: bytes
    start: int
    stop: int


def read_avif(file: BinaryIO | io.RawIOBase) -> AvifInfo:
    """Reads size and colour of an AVIF's primary image.

    Args:
        file: seekable. Only the heads of top-level boxes and the meta box are read, wherever
            that stands.

    Returns:
        See `AvifInfo`.

    Raises:
        UnreadableImageError: if there is no meta box with a size.

    Source:
        ISO/IEC 14496-12, 4.2 and 8.11 (meta, pitm, iprp); ISO/IEC 23008-12, 6.5.3 (ispe),
        9.3 (ipco, ipma); ISO/IEC 14496-12, 12.1.5 (colr).
    """
    meta = _read_meta(file)
    boxes = {box.kind: box for box in _walk(meta, 4, len(meta))}
    if b"iprp" not in boxes:
        raise UnreadableImageError("an AVIF header without a size")
    inside = list(_walk(meta, boxes[b"iprp"].start, boxes[b"iprp"].stop))
    properties = [
        box for group in inside if group.kind == b"ipco" for box in _walk(meta, *group[1:])
    ]
    primary = _primary_item(meta, boxes.get(b"pitm"))
    of_primary = [
        properties[index - 1]
        for group in inside
        if group.kind == b"ipma"
        for index in _associations(meta[group.start : group.stop]).get(primary, ())
        if 0 < index <= len(properties)
    ]
    size = _size(meta, of_primary) or _size(meta, properties)
    if size is None:
        raise UnreadableImageError("an AVIF header without a size")
    return AvifInfo(*size, _nclx(meta, of_primary))


def _read_meta(file: BinaryIO | io.RawIOBase) -> bytes:
    """Content of the meta box; other boxes are skipped."""
    file_size = file.seek(0, io.SEEK_END)
    at = 0
    for _ in range(_MAX_TOP_LEVEL_BOXES):
        file.seek(at)
        head = file.read(16) or b""
        if len(head) < 8:
            break
        box = next(_walk(head + bytes(8), 0, 1 << 63), None)
        if box is None:
            break
        stop = file_size if box.stop == 1 << 63 else at + box.stop
        if box.kind == b"meta":
            file.seek(at + box.start)
            return file.read(min(stop - at - box.start, _MAX_META_BYTES)) or b""
        at = stop
    raise UnreadableImageError("an AVIF file without a meta box")


def _walk(data: bytes, start: int, stop: int) -> Iterator[_Box]:
    """Yields the boxes between two offsets; ends at the first that is none."""
    at = start
    while at + 8 <= stop and at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):  # 64 bits
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        end = stop if size == 0 else min(at + size, stop)  # 0: to the end
        if end < at + head:
            return
        yield _Box(kind, at + head, end)
        at = end


def _primary_item(meta: bytes, pitm: _Box | None) -> int:
    """The primary item's number; 0, which is none, without a pitm box."""
    if pitm is None:
        return 0
    content = meta[pitm.start : pitm.stop]
    return int.from_bytes(content[4:6] if content[:1] == b"\0" else content[4:8])


def _associations(ipma: bytes) -> dict[int, list[int]]:
    """Which properties, counted from 1, belong to which item."""
    if len(ipma) < 8:
        return {}
    version, wide = ipma[0], ipma[3] & 1
    (count,) = struct.unpack_from(">I", ipma, 4)
    at, found = 8, {}
    for _ in range(min(count, len(ipma))):
        id_bytes = 4 if version else 2
        item = int.from_bytes(ipma[at : at + id_bytes])
        at += id_bytes
        if at >= len(ipma):
            break
        entries, at = ipma[at], at + 1
        size = 2 if wide else 1
        mask = 0x7FFF if wide else 0x7F
        found[item] = [
            int.from_bytes(ipma[at + i * size : at + (i + 1) * size]) & mask
            for i in range(entries)
        ]
        at += entries * size
    return found


def _size(meta: bytes, properties: list[_Box]) -> tuple[int, int] | None:
    """Height and width: the largest image spatial extents."""
    sizes = [
        struct.unpack_from(">II", meta, box.start + 4)
        for box in properties
        if box.kind == b"ispe" and box.start + 12 <= min(box.stop, len(meta))
    ]
    if not sizes:
        return None
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


def _nclx(meta: bytes, properties: list[_Box]) -> tuple[int, int] | None:
    """Primaries and transfer characteristics of the first nclx colour box."""
    for box in properties:
        content = meta[box.start : box.stop]
        if box.kind == b"colr" and content[:4] == b"nclx" and len(content) >= 8:
            primaries, transfer = struct.unpack_from(">HH", content, 4)
            return primaries, transfer
    return None
