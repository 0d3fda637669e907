"""What an image file's first bytes tell, and the errors of files that are none."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, features

# Decoders outside this list are never started.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"] + (
    ["AVIF"] if features.check("avif") else []
)
_LOSSLESS = {"PNG", "GIF", "BMP", "TIFF"}

# The size gate decides what is decoded, from the header and with its own limit; Pillow's global
# limit would hide an image's size behind an exception.
Image.MAX_IMAGE_PIXELS = None
# A PNG with more than 1 MB of text or profile is no reason for Pillow to refuse its pixels.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

# What Pillow's plugins raise on broken files, found by reading them and by trying.
BROKEN_FILE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", *_TIFF_SIGNATURES)

# What rows hold in 32 bits; every format but TIFF and AVIF ends there, too.
MAX_SIDE_PX = 2**31 - 1


class ImageError(ValueError):
    """A file that cannot become an image. `reason` is the stable code of the row."""

    reason = "unreadable"


class UnreadableImageError(ImageError):
    """A known format, but broken, truncated or empty."""


class UnsupportedFormatError(ImageError):
    """Not an image of an allowed format, or a pixel type without a defined appearance."""

    reason = "unsupported_format"


class TooManyPixelsError(ImageError):
    """More pixels than the run allows to decode."""

    reason = "too_many_pixels"


class AnimatedImageError(ImageError):
    """More than one frame."""

    reason = "animated"


class DecodeTimeoutError(ImageError):
    """Decoding took longer than allowed; raised by `model.imaging.sandbox` only."""

    reason = "decode_timeout"


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file tell.

    Attributes:
        format: `JPEG`, `PNG`, `WEBP`, `GIF`, `BMP`, `TIFF` or `AVIF`.
        mode: Pillow's name of the pixel type; None where only decoding tells.
        height: rows as displayed, after the EXIF orientation where the header holds it.
        width: columns as displayed.
        is_lossless: whether the format kept every pixel.
        jpeg_quality: 1..100, estimated for JPEG; 100 if lossless; None for other lossy formats.
    """

    format: str
    mode: str | None
    height: int
    width: int
    is_lossless: bool
    jpeg_quality: int | None


def read_header(file: BinaryIO | io.RawIOBase) -> Header:
    """Reads format and size without decoding, from as few bytes as the format allows.

    Args:
        file: seekable, at its start; only what is needed is read from it.

    Returns:
        See `Header`.

    Raises:
        UnreadableImageError: if the file is empty, or its header is broken.
        UnsupportedFormatError: if it is no image of an allowed format.
    """
    try:
        header = _read_header(file)
    except ImageError:
        raise
    except BROKEN_FILE as error:
        raise UnreadableImageError(f"broken header: {one_line(error)}") from error
    except MemoryError as error:
        raise UnreadableImageError("reading its header takes more memory than allowed") from error
    if max(header.height, header.width) > MAX_SIDE_PX:
        raise UnreadableImageError(f"the header says {header.height} x {header.width} pixels")
    return header


def open_image(file: BinaryIO | io.RawIOBase, start: bytes) -> Image.Image:
    """Opens with the allowed decoders only; nothing is decoded yet.

    Args:
        file: seekable.
        start: its first bytes.

    Raises:
        UnreadableImageError: if the file says that it is of an allowed format.
        UnsupportedFormatError: if it does not.
    """
    try:
        return Image.open(file, formats=FORMATS)  # type: ignore[arg-type]
    except Image.UnidentifiedImageError as error:
        known = start.startswith(_SIGNATURES) or start[8:12] in (b"WEBP", b"avif", b"avis")
        if known:
            raise UnreadableImageError(
                "broken or truncated header, or a variant that is not supported"
            ) from error
        raise _unsupported(start) from error


def exif_orientation(image: Image.Image) -> int:
    """Tells how an image must be turned, beyond what Pillow does itself.

    XMP may name an orientation as well, which browsers ignore.

    Args:
        image: opened, or decoded: a PNG's EXIF block may stand behind its pixels.

    Returns:
        The EXIF orientation 1..8; 1 where there is none, where the block is broken, and for
        TIFF images, which Pillow turns.
    """
    block = image.info.get("exif")
    if image.format == "TIFF" or not block:
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        value = exif.get(ExifTags.Base.Orientation, 1)
    except BROKEN_FILE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def one_line(error: BaseException) -> str:
    """Returns an error's text, short and on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _read_header(file: BinaryIO | io.RawIOBase) -> Header:
    """`read_header`, before its errors are sorted."""
    start = file.read(4096) or b""
    if not start:
        raise UnreadableImageError("the file is empty")
    # Pillow reads the first two whole, and allocates their canvas, before it tells their size;
    # of the third it reads every tag, and some hold all layers of an image.
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _webp_header(start)
    if start[4:8] == b"ftyp":
        return _avif_header(start)
    if start.startswith(_TIFF_SIGNATURES):
        return _tiff_header(file, start)
    file.seek(0)
    image = open_image(file, start)
    turned = exif_orientation(image) >= 5
    height, width = image.height, image.width
    is_lossless = image.format in _LOSSLESS
    return Header(
        format=_format_name(image),
        mode=image.mode,
        height=width if turned else height,
        width=height if turned else width,
        is_lossless=is_lossless,
        jpeg_quality=100 if is_lossless else _jpeg_quality(image),
    )


def _unsupported(start: bytes) -> UnsupportedFormatError:
    """For a file that starts so."""
    return UnsupportedFormatError(
        f"not an image of an allowed format ({', '.join(FORMATS)}); it starts with {start[:12]!r}"
    )


def _format_name(image: Image.Image) -> str:
    """The format's own name: an MPO is a JPEG."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _jpeg_quality(image: Image.Image) -> int | None:
    """Estimates libjpeg's quality setting from the luma quantisation table.

    libjpeg scales the standard's table by 200 - 2q percent for q >= 50 and by 5000/q below;
    the mean ratio over the entries that were not clipped inverts that.
    Source: ITU-T T.81, table K.1; libjpeg `jcparam.c`, `jpeg_quality_scaling`.
    """
    tables = getattr(image, "quantization", None)
    if not tables or 0 not in tables or len(tables[0]) != 64:
        return None
    table = np.asarray(tables[0], dtype=np.float64)
    inside = (table > 1) & (table < 255)
    if not inside.any():
        return 100 if table.max() <= 1 else 1
    percent = 100 * float(np.mean(table[inside] / _STANDARD_LUMA[inside]))
    quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
    return int(np.clip(round(quality), 1, 100))


def _webp_header(start: bytes) -> Header:
    """RFC 9649: a lossy (VP8), lossless (VP8L) or extended (VP8X) first chunk."""
    chunk, payload = start[12:16], start[20:30]
    if len(payload) < 10:
        raise UnreadableImageError("truncated WebP header")
    if chunk == b"VP8X":
        width = int.from_bytes(payload[4:7], "little") + 1
        height = int.from_bytes(payload[7:10], "little") + 1
        mode = "RGBA" if payload[0] & 0x10 else "RGB"
    elif chunk == b"VP8L":
        bits = int.from_bytes(payload[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        mode = "RGBA" if bits >> 28 & 1 else "RGB"
    elif chunk == b"VP8 ":
        width, height = (int.from_bytes(payload[i : i + 2], "little") & 0x3FFF for i in (6, 8))
        mode = "RGB"
    else:
        raise UnreadableImageError(f"unknown first WebP chunk {chunk!r}")
    # An extended file's image chunk comes after profile and animation chunks; the 4 KB at
    # hand nearly always reach it, and a lossless one taken for lossy is only stored lossily.
    is_lossless = chunk == b"VP8L" or (chunk == b"VP8X" and b"VP8L" in start)
    return Header("WEBP", mode, height, width, is_lossless, 100 if is_lossless else None)


def _avif_header(start: bytes) -> Header:
    """ISO/IEC 23008-12, 6.5.3: the image spatial extents; the largest is the image's."""
    # ISO/IEC 14496-12, 4.3: HEIC and films begin with this box, too; it lists their brands.
    brands = start[8 : max(16, int.from_bytes(start[:4], "big"))]
    if not {b"avif", b"avis"} & {brands[at : at + 4] for at in range(0, len(brands), 4)}:
        raise _unsupported(start)
    if "AVIF" not in FORMATS:
        raise UnsupportedFormatError("this Pillow was built without AVIF")
    sizes = []
    at = start.find(b"ispe")
    while at != -1 and at + 16 <= len(start):
        width, height = struct.unpack(">II", start[at + 8 : at + 16])
        sizes.append((height, width))
        at = start.find(b"ispe", at + 4)
    if not sizes:
        raise UnreadableImageError("an AVIF header without a size")
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    return Header("AVIF", None, height, width, False, None)


def _tiff_header(file: BinaryIO | io.RawIOBase, start: bytes) -> Header:
    """TIFF 6.0, section 2, and BigTIFF: three tags of the first directory."""
    order = "<" if start[:2] == b"II" else ">"
    is_big = 43 in start[2:4]
    # Directory's offset and place of that; its count; an entry: tag, type, count, value.
    layout = ("Q", 8, "Q", "HHQ8s") if is_big else ("L", 4, "H", "HHL4s")
    (offset,) = struct.unpack_from(order + layout[0], start, layout[1])
    file.seek(offset)
    size = struct.calcsize(order + layout[2])
    (entries,) = struct.unpack(order + layout[2], file.read(size) or b"")
    entry = struct.Struct(order + layout[3])
    directory = file.read(entry.size * min(entries, 65535)) or b""
    found = {}
    for at in range(0, len(directory) - entry.size + 1, entry.size):
        tag, kind, count, value = entry.unpack_from(directory, at)
        letter = {3: "H", 4: "L", 16: "Q"}.get(kind)
        if count == 1 and letter:
            (found[tag],) = struct.unpack_from(order + letter, value)
    try:
        height, width = found[ExifTags.Base.ImageLength], found[ExifTags.Base.ImageWidth]
    except KeyError as error:
        raise UnreadableImageError("a TIFF directory without a size") from error
    if found.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        height, width = width, height
    return Header("TIFF", None, height, width, True, 100)


_STANDARD_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=np.float64,
).ravel()
