"""Reads format, size and JPEG quality from as few bytes of an image file as possible."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, features

from model.imaging.containers import avif, png, tiff
from model.imaging.errors import (
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from model.imaging.jpeg_history import BASE_STEPS

# Pillow's other decoders are never started.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"] + (
    ["AVIF"] if features.check("avif") else []
)
LOSSLESS = {"PNG", "GIF", "BMP", "TIFF"}

# Exceptions of Pillow's plugins on broken files, found in their sources and by tests.
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

_SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", *tiff.SIGNATURES)

# Other files that catalogs name as images, by their first bytes.
_OTHER_FILES = {
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"<": "HTML",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"8BPS": "Photoshop",
    b"PK\3\4": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"\0\0\1\0": "an icon",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL": "JPEG XL",
    b"{": "JSON",
}
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")

# Rows hold sides in 32 bits; every format but TIFF and AVIF has this limit, too.
MAX_SIDE_PX = 2**31 - 1
_MAX_WEBP_CHUNKS = 1000


@dataclass(frozen=True)
class Header:
    """Format, size and quality of an image file.

    Attributes:
        format: `JPEG`, `PNG`, `WEBP`, `GIF`, `BMP`, `TIFF` or `AVIF`.
        mode: Pillow's name of the pixel type; None where only decoding finds it.
        height: rows as displayed, after the EXIF orientation where the header holds it.
        width: columns as displayed.
        is_lossless: whether the format kept every pixel.
        jpeg_quality: 1..100, estimated for JPEG; 100 if lossless; None for other lossy formats.
        found_jpeg_quality: 1..100, of the strongest JPEG compression that the pixels show, see
            `find_jpeg`; None where they show none. Set by decoding only.
        note: one line for people about damage that browsers ignore and so do we; set by
            decoding only.

    Example:
        >>> Header("PNG", "RGB", 40, 56, is_lossless=True, jpeg_quality=100).note is None
        True
    """

    format: str
    mode: str | None
    height: int
    width: int
    is_lossless: bool
    jpeg_quality: int | None
    found_jpeg_quality: int | None = None
    note: str | None = None


def lift_pillow_limits() -> None:
    """Lets Pillow open images of any size and PNGs with any text, in the whole process.

    For processes that read nothing but catalog or training images: the size filter decides by the
    header and its own limit, and a PNG with more than 1 MB of text or profile has good pixels. A
    program that uses the library keeps Pillow's limits.
    """
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


def read_header(file: BinaryIO | io.RawIOBase) -> Header:
    """Reads format and size without decoding, from as few bytes as the format allows.

    Args:
        file: seekable, at its start. Containers are walked by seeking: what lies between is not
            read.

    Returns:
        See `Header`.

    Raises:
        TooManyPixelsError: see `open_image`.
        UnreadableImageError: if the file is empty, or its header is broken.
        UnsupportedFormatError: if it is not an image of an allowed format.
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
        raise UnreadableImageError(f"the header says {header.width} x {header.height} pixels")
    return header


def open_image(file: BinaryIO | io.RawIOBase, start: bytes) -> Image.Image:
    """Opens an image with the allowed decoders only, without decoding it.

    Args:
        file: seekable.
        start: its first bytes.

    Returns:
        Pillow's image.

    Raises:
        TooManyPixelsError: if the process has Pillow's limit, see `lift_pillow_limits`.
        UnreadableImageError: if a file with the signature of an allowed format does not open.
        UnsupportedFormatError: if it has another signature.
    """
    try:
        return Image.open(file, formats=FORMATS)  # type: ignore[arg-type]
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(one_line(error)) from error
    except Image.UnidentifiedImageError as error:
        known = start.startswith(_SIGNATURES) or start[8:12] in (b"WEBP", b"avif", b"avis")
        if known:
            raise UnreadableImageError(
                "broken or truncated header, or a variant that is not supported"
            ) from error
        raise _unsupported(start) from error


def exif_orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation that Pillow has not applied itself.

    An orientation in XMP is ignored, and so is that of a WebP, as browsers do.

    Args:
        image: opened, or decoded: a PNG's EXIF block may stand behind its pixels.

    Returns:
        1..8; 1 without an EXIF block, with a broken one, for WebP, and for TIFF images, which
        Pillow turns upright.
    """
    block = image.info.get("exif")
    if image.format in ("TIFF", "WEBP") or not block:
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        value = exif.get(ExifTags.Base.Orientation, 1)
    except BROKEN_FILE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def one_line(error: BaseException) -> str:
    """Returns an error's text on one line of up to 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _read_header(file: BinaryIO | io.RawIOBase) -> Header:
    """Reads a header; Pillow's and struct's errors pass through."""
    start = file.read(4096) or b""
    if not start:
        raise UnreadableImageError("the file is empty")
    # Pillow reads WebP and AVIF files whole, and allocates their canvas, before it knows their
    # size; it reads every tag of a TIFF, and some tags hold all layers of an image; it refuses a
    # PNG for one wrong checksum.
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _webp_header(file, start)
    if start[4:8] == b"ftyp":
        return _avif_header(file, start)
    if start.startswith(tiff.SIGNATURES):
        info = tiff.read_tiff(file, start)
        quality = 100 if info.is_lossless else _quality_of_tables(info.jpeg_tables)
        return Header("TIFF", None, info.height, info.width, info.is_lossless, quality)
    file.seek(0)
    is_png = start.startswith(png.SIGNATURE)
    image = open_image(io.BytesIO(png.header_part(file)) if is_png else file, start)
    is_on_its_side = exif_orientation(image) >= 5
    height, width = image.height, image.width
    is_lossless = image.format in LOSSLESS
    return Header(
        format=_format_name(image),
        mode=image.mode,
        height=width if is_on_its_side else height,
        width=height if is_on_its_side else width,
        is_lossless=is_lossless,
        jpeg_quality=100 if is_lossless else jpeg_quality(image),
    )


def _unsupported(start: bytes) -> UnsupportedFormatError:
    """The error for a file with these first bytes; it does not repeat them, they may be secret."""
    looks_like = next(
        (name for mark, name in _OTHER_FILES.items() if start.startswith(mark)), None
    )
    if start[4:8] == b"ftyp":
        looks_like = "HEIC" if start[8:12] in _HEIC_BRANDS else "a film"
    guess = f"; it looks like {looks_like}" if looks_like else ""
    return UnsupportedFormatError(
        f"not an image of an allowed format ({', '.join(FORMATS)}){guess}"
    )


def _format_name(image: Image.Image) -> str:
    """The format's common name: an MPO is a JPEG."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def jpeg_quality(image: Image.Image) -> int | None:
    """Estimates libjpeg's quality setting from the luma quantisation table.

    Args:
        image: opened by Pillow.

    Returns:
        1..100; None for an image that is not from a JPEG file.

    libjpeg scales the standard's table by 200 - 2q percent for q >= 50 and by 5000/q below;
    the mean ratio over the entries that were not clipped inverts that.
    Source: ITU-T T.81, table K.1 (quality 50); libjpeg `jcparam.c`, `jpeg_quality_scaling`.
    """
    tables = getattr(image, "quantization", None)
    if not tables or 0 not in tables or len(tables[0]) != 64:
        return None
    table = np.asarray(tables[0], dtype=np.float64)
    inside = (table > 1) & (table < 255)
    if not inside.any():
        return 100 if table.max() <= 1 else 1
    percent = 100 * float(np.mean(table[inside] / BASE_STEPS.ravel()[inside]))
    quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
    return int(np.clip(round(quality), 1, 100))


def _quality_of_tables(tables: bytes) -> int | None:
    """The quality of a JPEG within a TIFF, by its tables: a JPEG without a frame."""
    if not tables:
        return None
    # A grey frame of 8 x 8 pixels and the start of its scan.
    rest = b"\xff\xc0\0\x0b\x08\0\x08\0\x08\1\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0"
    jpeg = tables.removesuffix(b"\xff\xd9") + rest
    try:
        return jpeg_quality(open_image(io.BytesIO(jpeg), jpeg))
    except (ImageError, *BROKEN_FILE):
        return None


def _webp_header(file: BinaryIO | io.RawIOBase, start: bytes) -> Header:
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
    # An extended file's pixels come after its profile, and an animation's inside its frames.
    is_lossless = (_first_webp_pixels(file) if chunk == b"VP8X" else chunk) == b"VP8L"
    return Header("WEBP", mode, height, width, is_lossless, 100 if is_lossless else None)


def _first_webp_pixels(file: BinaryIO | io.RawIOBase) -> bytes | None:
    """Kind of an extended WebP's first chunk with pixels, be it in a frame; None without any."""
    at = 12
    for _ in range(_MAX_WEBP_CHUNKS):
        file.seek(at)
        head = file.read(8) or b""
        if len(head) < 8:
            break
        if head[:4] in (b"VP8L", b"VP8 "):
            return head[:4]
        # A frame's own chunks follow its 16 bytes of position and duration.
        length = 16 if head[:4] == b"ANMF" else int.from_bytes(head[4:], "little")
        at += 8 + length + length % 2
    return None


def _avif_header(file: BinaryIO | io.RawIOBase, start: bytes) -> Header:
    """Reads the size if the brands say AVIF, not HEIC or a film (ISO/IEC 14496-12, 4.3)."""
    brands = start[8 : max(16, int.from_bytes(start[:4], "big"))]
    if not {b"avif", b"avis"} & {brands[at : at + 4] for at in range(0, len(brands), 4)}:
        raise _unsupported(start)
    if "AVIF" not in FORMATS:
        raise UnsupportedFormatError("this Pillow was built without AVIF")
    info = avif.read_avif(file)
    return Header("AVIF", None, info.height, info.width, False, None)
