"""TIFF: size and orientation from the first directory, and pixel layouts that Pillow misreads."""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import ExifTags, Image, TiffImagePlugin

from model.imaging.errors import UnreadableImageError, UnsupportedFormatError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF 6.0, section 2, and BigTIFF: the integer types of a tag, as `struct` names them.
_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}
_SIZE_TAGS = (ExifTags.Base.ImageLength, ExifTags.Base.ImageWidth)
# Old and new JPEG, the JPEG of DNG, WebP.
_LOSSY_COMPRESSIONS = (6, 7, 34892, 50001)
_JPEG_TABLES, _MAX_TABLES_BYTES = 347, 4096
_SUBFILE_TYPE, _REDUCED = 254, 1
_SUB_DIRECTORIES = 330
# A pyramid halves its image a few times.
_MAX_REDUCED_PAGES = 32
_SIGNED = 2
_SEPARATE_PLANES = 2


@dataclass(frozen=True)
class TiffInfo:
    """Size of a TIFF's image, from its first directory.

    Attributes:
        height: rows as displayed.
        width: columns as displayed.
        is_lossless: whether its compression keeps every pixel.
        jpeg_tables: the tables of a JPEG compression, as a JPEG without a frame; empty without.

    Example:
        >>> TiffInfo(40, 56).is_lossless
        True
    """

    height: int
    width: int
    is_lossless: bool = True
    jpeg_tables: bytes = b""


def read_tiff(file: BinaryIO | Any, start: bytes) -> TiffInfo:
    """Reads size and orientation from a TIFF's first directory.

    Args:
        file: seekable. Only the directory is read: some files hold all their layers in one tag.
        start: the file's first 16 bytes or more.

    Returns:
        See `TiffInfo`.

    Raises:
        UnreadableImageError: if the directory has no size, or two that differ: decoders disagree
            which one counts.
        struct.error: if the file ends before its directory.

    Source:
        TIFF 6.0, section 2, and BigTIFF.
    """
    order = "<" if start[:2] == b"II" else ">"
    is_big = 43 in start[2:4]
    # The directory's offset and where that stands; its count; an entry: tag, type, count, value.
    layout = ("Q", 8, "Q", "HHQ8s") if is_big else ("L", 4, "H", "HHL4s")
    (offset,) = struct.unpack_from(order + layout[0], start, layout[1])
    file.seek(offset)
    size = struct.calcsize(order + layout[2])
    (entries,) = struct.unpack(order + layout[2], file.read(size) or b"")
    entry = struct.Struct(order + layout[3])
    directory = file.read(entry.size * min(entries, 65535)) or b""
    found: dict[int, int] = {}
    tables = b""
    for at in range(0, len(directory) - entry.size + 1, entry.size):
        tag, kind, count, value = entry.unpack_from(directory, at)
        if tag == _JPEG_TABLES and 4 < count <= _MAX_TABLES_BYTES:
            file.seek(struct.unpack_from(order + layout[0], value)[0])
            tables = file.read(count) or b""
        letter = _INTEGERS.get(kind)
        if count != 1 or not letter or struct.calcsize(order + letter) > len(value):
            continue
        (number,) = struct.unpack_from(order + letter, value)
        if tag in _SIZE_TAGS and found.get(tag, number) != number:
            raise UnreadableImageError(f"a TIFF with two sizes: {found[tag]} and {number}")
        found[tag] = number
    try:
        height, width = (found[tag] for tag in _SIZE_TAGS)
    except KeyError as error:
        raise UnreadableImageError("a TIFF directory without a size") from error
    if found.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        height, width = width, height
    is_lossless = found.get(TiffImagePlugin.COMPRESSION, 1) not in _LOSSY_COMPRESSIONS
    return TiffInfo(height, width, is_lossless, tables)


def prepare(image: Image.Image) -> None:
    """Corrects how Pillow will read a TIFF; before decoding.

    Of uncompressed separate planes of 16 bits Pillow takes each byte for a pixel.

    Args:
        image: opened, a TIFF.

    Raises:
        UnsupportedFormatError: for signed integers of up to 16 bits, whose black and white are
            undefined and which Pillow wraps around; for such planes of other modes than RGB.
    """
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    is_signed = _SIGNED in tags.get(TiffImagePlugin.SAMPLEFORMAT, ())
    if is_signed and max(bits) <= 16:
        raise UnsupportedFormatError(f"signed {max(bits)}-bit pixels have no defined white")
    is_planar = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE_PLANES
    tiles = getattr(image, "tile", ())
    is_raw = all(tile.codec_name == "raw" for tile in tiles)
    if is_planar and is_raw and len(bits) > 1 and max(bits) == 16:
        if image.mode not in ("RGB", "RGBA"):
            raise UnsupportedFormatError(f"separate planes of 16-bit {image.mode} pixels")
        order = "B" if getattr(tags, "prefix", b"") == b"MM" else "L"
        image.tile = [_of_16_bits(tile, order) for tile in tiles]  # type: ignore[attr-defined]


def has_second_page(image: Image.Image) -> bool:
    """Whether a file holds more than one image and smaller copies of it.

    Args:
        image: opened, a TIFF of several images; left at its first one.

    Source:
        TIFF 6.0, section 8: NewSubfileType.
    """
    try:
        for page in range(1, _MAX_REDUCED_PAGES):
            image.seek(page)
            if not _is_reduced(image):
                break
        found = True
    except EOFError:
        found = False
    image.seek(0)
    return found


def check_first(image: Image.Image) -> None:
    """Checks that a file's first image is not the preview of another one.

    Args:
        image: opened, of any format.

    Raises:
        UnsupportedFormatError: for a camera's raw file, which holds its photograph elsewhere.
    """
    has_others = _SUB_DIRECTORIES in getattr(image, "tag_v2", {})
    if _is_reduced(image) and (has_others or getattr(image, "is_animated", False)):
        raise UnsupportedFormatError("the TIFF's first image is a preview of another one")


def _is_reduced(image: Image.Image) -> bool:
    """Whether an image calls itself a smaller copy of another one of its file."""
    kind = getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)
    return isinstance(kind, int) and bool(kind & _REDUCED)


def white_of_grey(image: Image.Image) -> tuple[int, int]:
    """Returns the levels of black and white of an image of mode I or I;16.

    Args:
        image: opened, of any format.
    """
    tags = getattr(image, "tag_v2", {})
    white = 4095 if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else 65535
    is_negative = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    return (white, 0) if is_negative else (0, white)


def _of_16_bits(tile: Any, order: str) -> Any:
    """The same tile of one plane, its pixels two bytes in this order."""
    plane, *rest = tile.args
    return tile._replace(args=(f"{plane};16{order}", *rest))
