"""PNG chunks: header, colour chunks, wrong checksums in ancillary chunks, missing pixels."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from model.imaging.errors import UnreadableImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = struct.Struct(">I4s")
# Width, height, bit depth, colour type, compression, filter, interlace method.
_IHDR = struct.Struct(">IIBBBBB")
# Samples of a pixel by colour type: grey, RGB, palette, grey and alpha, RGBA.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row of each pass, and the steps to the next.
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_INFLATED_AT_ONCE = 1 << 20
# Larger ones have no meaning for their kinds: eXIf by JPEG's limit, the others by their fields.
_MAX_CONTENT_BYTES = 64 << 10
# Chunks that change how the pixels look or how many frames there are.
_HEADER_CHUNKS = (b"IHDR", b"acTL", b"eXIf")
_COLOUR_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")


class Chunk(NamedTuple):
    """Position of one chunk in a file.

    Attributes:
        kind: four ASCII letters; the first is a lower case letter for ancillary chunks.
        start: offset of its length field.
        length: bytes of its content.

    Example:
        >>> Chunk(b"IHDR", 8, 13).stop
        33
    """

    kind: bytes
    start: int
    length: int

    @property
    def stop(self) -> int:
        """Offset behind its checksum."""
        return self.start + _HEAD.size + self.length + 4

    @property
    def is_ancillary(self) -> bool:
        """Whether decoders may ignore it (PNG, third edition, section 5.4)."""
        return bool(self.kind[0] & 0x20)


@dataclass(frozen=True)
class ColourChunks:
    """Colour information of a PNG beside its ICC profile; None where the file has no such chunk.

    Attributes:
        cicp: colour primaries, transfer characteristics, matrix, full range (ITU-T H.273).
        is_srgb: whether the pixels are sRGB by an sRGB chunk.
        gamma: exponent of the file's samples over light, from gAMA; above 0.
        chromaticities: x and y of white, red, green, blue, from cHRM.

    Example:
        >>> ColourChunks(gamma=0.45455).cicp is None
        True
    """

    cicp: tuple[int, ...] | None = None
    is_srgb: bool = False
    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None


def header_part(file: BinaryIO | io.RawIOBase) -> bytes:
    """Reads the chunks that describe the image's size, mode and orientation.

    Args:
        file: seekable, a PNG. Contents of other chunks are not read, nor anything behind the
            first pixels.

    Returns:
        A PNG that has these chunks, without pixels. Ancillary chunks with a wrong checksum are
        left out, as browsers ignore them.

    Raises:
        UnreadableImageError: if a critical chunk is broken, or there are no pixels.
    """
    parts = [SIGNATURE]
    for chunk in walk(file):
        if chunk.kind == b"IDAT":
            return (
                b"".join(parts) + _HEAD.pack(0, b"IDAT") + struct.pack(">I", zlib.crc32(b"IDAT"))
            )
        if chunk.kind not in _HEADER_CHUNKS or chunk.length > _MAX_CONTENT_BYTES:
            continue
        file.seek(chunk.start)
        whole = file.read(chunk.stop - chunk.start) or b""
        if _has_true_checksum(whole):
            parts.append(whole)
        elif not chunk.is_ancillary:
            raise UnreadableImageError(f"broken PNG: wrong checksum of {chunk.kind.decode()}")
    raise UnreadableImageError("broken or truncated PNG header: no pixels")


def colour_chunks(data: bytes) -> ColourChunks:
    """Reads the colour chunks of a PNG; of several of a kind the first.

    Args:
        data: the file. Broken chunks count as missing.

    Source:
        PNG (third edition), sections 11.3.2.1 to 11.3.2.6.
    """
    found: dict[bytes, bytes] = {}
    for chunk in walk(io.BytesIO(data)):
        if chunk.kind == b"IDAT":
            break
        if chunk.kind in _COLOUR_CHUNKS and _has_true_checksum(data[chunk.start : chunk.stop]):
            found.setdefault(chunk.kind, data[chunk.start + _HEAD.size : chunk.stop - 4])
    cicp, gamma, corners = (found.get(kind, b"") for kind in (b"cICP", b"gAMA", b"cHRM"))
    gamma_steps = int.from_bytes(gamma) if len(gamma) == 4 else 0
    return ColourChunks(
        cicp=tuple(cicp) if len(cicp) == 4 else None,
        is_srgb=b"sRGB" in found,
        gamma=gamma_steps / 100_000 or None,
        chromaticities=tuple(n / 100_000 for n in struct.unpack(">8I", corners))
        if len(corners) == 32
        else None,
    )


def without_broken_chunks(data: bytes) -> tuple[bytes, str | None]:
    """Removes ancillary chunks with a wrong checksum, which browsers ignore.

    Args:
        data: a PNG.

    Returns:
        The file without them, and a line for people; the file itself and None if all are whole.
    """
    broken = [
        chunk
        for chunk in walk(io.BytesIO(data))
        if chunk.is_ancillary
        and chunk.stop <= len(data)
        and not _has_true_checksum(data[chunk.start : chunk.stop])
    ]
    if not broken:
        return data, None
    ends = [8, *(chunk.stop for chunk in broken)]
    starts = [*(chunk.start for chunk in broken), len(data)]
    kept = b"".join(data[stop:start] for stop, start in zip(ends, starts, strict=True))
    kinds = ", ".join(sorted({chunk.kind.decode("ascii", "replace") for chunk in broken}))
    return SIGNATURE + kept, f"ignored PNG chunks with a wrong checksum: {kinds}"


def check_pixels(data: bytes) -> None:
    """Checks that the compressed pixels are as many as the header says.

    Decoders leave black what a stream lacks that ends properly, but too early; one that breaks off
    is an error for them.

    Args:
        data: a PNG; of an APNG its first image is checked.

    Raises:
        UnreadableImageError: if the stream ends before the last pixel.

    Source:
        PNG (third edition), sections 7.2 (scanlines), 8.1 (passes) and 10.
    """
    inflate, missing = zlib.decompressobj(), 0
    for chunk in walk(io.BytesIO(data)):
        content = memoryview(data)[chunk.start + _HEAD.size : chunk.stop - 4]
        if chunk.kind == b"IHDR" and len(content) == _IHDR.size:
            missing = _raw_bytes(bytes(content))
        elif chunk.kind == b"IDAT":
            try:
                while content and missing > 0 and not inflate.eof:
                    missing -= len(inflate.decompress(content, _INFLATED_AT_ONCE))
                    content = memoryview(inflate.unconsumed_tail)
            except zlib.error:  # the decoder will say so, or the damage lies behind the pixels
                return
    if inflate.eof and missing > 0:
        raise UnreadableImageError(f"broken PNG: pixels are missing (bytes: {missing})")


def _raw_bytes(header: bytes) -> int:
    """Bytes of all scanlines with their filter types, from the content of IHDR."""
    width, height, bits, colour_type, _, _, interlace_method = _IHDR.unpack(header)
    per_pixel = bits * _CHANNELS.get(colour_type, 0)
    total = 0
    for x, y, step_x, step_y in _ADAM7 if interlace_method == 1 else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * per_pixel // 8))
    return total


def walk(file: BinaryIO | io.RawIOBase) -> Iterator[Chunk]:
    """Yields the chunks of a PNG up to its end, to IEND or to the first that is none.

    Args:
        file: seekable; only lengths and kinds are read.
    """
    start = len(SIGNATURE)
    while True:
        file.seek(start)
        head = file.read(_HEAD.size) or b""
        if len(head) < _HEAD.size:
            return
        length, kind = _HEAD.unpack(head)
        if not kind.isalpha():
            return
        chunk = Chunk(kind, start, length)
        yield chunk
        if kind == b"IEND":
            return
        start = chunk.stop


def _has_true_checksum(chunk: bytes) -> bool:
    """Whether a whole chunk, from its length to its checksum, is undamaged."""
    return len(chunk) >= 12 and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
