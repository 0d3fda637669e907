"""From a file's bytes to a `Picture`, for every format and mode that catalogs hold."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, features

from model.picture import Picture

# Decoders outside this list are never started.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"] + (
    ["AVIF"] if features.check("avif") else []
)
# What encoders of WebP and AVIF do by default looks about like this.
_OTHER_LOSSY_QUALITY = 85
_LOSSLESS = {"PNG", "GIF", "BMP", "TIFF"}

# The size gate decides what is decoded, from the header and with its own limit; Pillow's global
# limit would hide a picture's size behind an exception.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's plugins raise on broken files, found by reading them and by trying.
_BROKEN_FILE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_SIGNATURES = (
    b"\xff\xd8",
    b"\x89PNG",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """A file that cannot become a picture. `reason` is the stable code of the row."""

    reason = "unreadable"


class Unreadable(PictureError):
    """A known format, but broken, truncated or empty."""


class UnsupportedFormat(PictureError):
    """Not a picture of an allowed format, or a pixel type without a defined appearance."""

    reason = "unsupported_format"


class TooManyPixels(PictureError):
    """More pixels than the run allows to decode."""

    reason = "too_many_pixels"


class Animated(PictureError):
    """More than one frame."""

    reason = "animated"


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


def assumed_quality(header: Header) -> int:
    """The JPEG quality to tell a network, 1..100; for lossy WebP and AVIF that of a good JPEG."""
    return _OTHER_LOSSY_QUALITY if header.jpeg_quality is None else header.jpeg_quality


def read_header(file: BinaryIO | io.RawIOBase) -> Header:
    """Reads format and size without decoding, from as few bytes as the format allows.

    Args:
        file: seekable, at its start; only what is needed is read from it.

    Returns:
        See `Header`.

    Raises:
        Unreadable: if the file is empty, or its header is broken.
        UnsupportedFormat: if it is no picture of an allowed format.
    """
    start = file.read(4096) or b""
    if not start:
        raise Unreadable("the file is empty")
    # Pillow reads these two whole, and allocates their canvas, before it tells their size.
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _webp_header(start)
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return _avif_header(start)
    file.seek(0)
    picture = _open(file, start)
    try:
        # Of a TIFF Pillow gives the displayed size already, of other formats the stored one.
        turned = _orientation(picture) >= 5 and picture.format != "TIFF"
        quality = _jpeg_quality(picture)
    except _BROKEN_FILE as error:
        raise Unreadable(f"broken {picture.format} header: {_one_line(error)}") from error
    height, width = picture.height, picture.width
    return Header(
        format=_format_name(picture),
        mode=picture.mode,
        height=width if turned else height,
        width=height if turned else width,
        is_lossless=picture.format in _LOSSLESS,
        jpeg_quality=100 if picture.format in _LOSSLESS else quality,
    )


def decode(data: bytes, *, max_pixels: int) -> tuple[Header, Picture]:
    """Decodes a whole file.

    The EXIF orientation is applied. Palettes and bilevel pictures become grey or RGB; 16-bit
    pictures are scaled to 8 bits; CMYK and Lab go through their profiles to sRGB; a profile of
    an RGB or grey picture is kept beside its unchanged pixels.

    Args:
        data: the file.
        max_pixels: refuse to decode more than this.

    Returns:
        The header, now with the final mode and displayed size, and the picture.

    Raises:
        PictureError: one of its kinds, with a line for people.
    """
    header = read_header(io.BytesIO(data))
    _check_pixels(header.height, header.width, max_pixels)
    opened = _open(io.BytesIO(data), data)
    try:
        _check_pixels(opened.height, opened.width, max_pixels)
        # A camera's MPO is one photograph with its previews, not an animation.
        if opened.format != "MPO" and getattr(opened, "is_animated", False):
            raise Animated(f"{opened.n_frames} frames")  # type: ignore[attr-defined]
        _scale_key_grey(opened)
        opened.load()
        mode, profile = opened.mode, opened.info.get("icc_profile")
        orientation = _orientation(opened)
        upright = opened.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else opened
        # `transpose` keeps `info`, where a palette's or key colour's transparency stands.
        picture = _to_picture(upright, profile)
    except PictureError:
        raise
    except _BROKEN_FILE as error:
        raise Unreadable(f"broken {header.format} file: {_one_line(error)}") from error
    except MemoryError as error:
        raise TooManyPixels(f"no memory to decode {header.height} x {header.width}") from error
    header = Header(
        format=header.format,
        mode=mode,
        height=picture.height,
        width=picture.width,
        is_lossless=header.is_lossless,
        jpeg_quality=header.jpeg_quality,
    )
    return header, picture


def _open(file: BinaryIO | io.RawIOBase, start: bytes) -> Image.Image:
    """Opens with the allowed decoders only; nothing is decoded yet."""
    try:
        return Image.open(file, formats=FORMATS)  # type: ignore[arg-type]
    except Image.UnidentifiedImageError as error:
        known = start.startswith(_SIGNATURES) or start[8:12] in (b"WEBP", b"avif", b"avis")
        if known:
            raise Unreadable("broken or truncated header") from error
        raise UnsupportedFormat(
            f"not a picture of an allowed format ({', '.join(FORMATS)}); "
            f"it starts with {start[:8]!r}"
        ) from error
    except _BROKEN_FILE as error:
        raise Unreadable(f"broken header: {_one_line(error)}") from error


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Refuses before anything of that size is allocated."""
    if height * width > max_pixels:
        raise TooManyPixels(
            f"{height} x {width} is {height * width} pixels, the limit is {max_pixels} "
            "(--max_pixels)"
        )
    if height < 1 or width < 1:
        raise Unreadable(f"the header says {height} x {width} pixels")


def _format_name(picture: Image.Image) -> str:
    """The format's own name: an MPO is a JPEG."""
    return "JPEG" if picture.format == "MPO" else str(picture.format)


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none or the EXIF block is broken."""
    has_none = not {"exif", "Raw profile type exif"} & picture.info.keys()
    if picture.format == "PNG" and has_none:
        return 1  # getexif would decode the whole picture to look for it behind the pixels
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN_FILE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _scale_key_grey(picture: Image.Image) -> None:
    """Puts a PNG's transparent grey on the scale of its pixels; call it before decoding.

    The file counts it in steps of its own depth. Pillow spreads pixels of 2 and 4 bits over
    0..255 but leaves the key, which then matches none of them.
    """
    key, tiles = picture.info.get("transparency"), getattr(picture, "tile", ())
    if picture.format == "PNG" and isinstance(key, int) and tiles:
        picture.info["transparency"] = key * {"L;2": 85, "L;4": 17}.get(tiles[0].args, 1)


def _to_picture(image: Image.Image, profile: bytes | None) -> Picture:
    """Converts any allowed pixel type; `image` is loaded and upright."""
    mode = image.mode
    has_alpha = image.has_transparency_data
    if mode.startswith("I"):
        return _from_16_bit(image, profile)
    if mode == "F":
        raise UnsupportedFormat("floating-point pixels have no defined white")
    if mode == "CMYK":
        image, profile = _cmyk_to_srgb(image, profile), None
    elif mode == "LAB":
        to_srgb = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        converted = ImageCms.applyTransform(image, to_srgb)
        assert converted is not None  # inPlace is off
        image, profile = converted, None

    is_grey = mode in ("1", "L", "LA", "La")
    rgba = np.asarray(image.convert("RGBA")) if has_alpha else None
    rgb = rgba[..., :3] if rgba is not None else np.asarray(image.convert("RGB"))
    return Picture(
        rgb=np.ascontiguousarray(rgb),
        alpha=None if rgba is None else np.ascontiguousarray(rgba[..., 3]),
        is_grey=is_grey,
        icc_profile=_matching_profile(profile, is_grey),
    )


def _from_16_bit(image: Image.Image, profile: bytes | None) -> Picture:
    """Grey with 16 bits (or 16 of 32): 65535 is white, and `convert` would clip instead."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UnsupportedFormat("32-bit pixels beyond 65535 have no defined white")
    grey = np.rint(values / 257).astype(np.uint8)
    key = image.info.get("transparency")
    return Picture(
        rgb=np.repeat(grey[..., None], 3, axis=-1),
        alpha=np.where(values == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None,
        is_grey=True,
        icc_profile=_matching_profile(profile, is_grey=True),
    )


def _cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Through the embedded profile; without a usable one by Pillow's plain formula."""
    if profile is not None:
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):
            return image.convert("RGB")
        assert converted is not None  # inPlace is off
        return converted
    return image.convert("RGB")


def _matching_profile(profile: bytes | None, is_grey: bool) -> bytes | None:
    """The profile, if it describes the pixels that will be written (ICC.1:2022, table 18)."""
    if profile is None or len(profile) < 128:
        return None
    return profile if profile[16:20] == (b"GRAY" if is_grey else b"RGB ") else None


def _jpeg_quality(picture: Image.Image) -> int | None:
    """Estimates libjpeg's quality setting from the luma quantisation table.

    libjpeg scales the standard's table by 200 - 2q percent for q >= 50 and by 5000/q below;
    the mean ratio over the entries that were not clipped inverts that.
    Source: ITU-T T.81, table K.1; libjpeg `jcparam.c`, `jpeg_quality_scaling`.
    """
    tables = getattr(picture, "quantization", None)
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
        raise Unreadable("truncated WebP header")
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
        raise Unreadable(f"unknown first WebP chunk {chunk!r}")
    # An extended file's picture chunk comes after profile and animation chunks; the 4 KB at
    # hand nearly always reach it, and a lossless one taken for lossy is only stored lossily.
    is_lossless = chunk == b"VP8L" or (chunk == b"VP8X" and b"VP8L" in start)
    return Header("WEBP", mode, height, width, is_lossless, 100 if is_lossless else None)


def _avif_header(start: bytes) -> Header:
    """ISO/IEC 23008-12, 6.5.3: the image spatial extents; the largest is the picture's."""
    if "AVIF" not in FORMATS:
        raise UnsupportedFormat("this Pillow was built without AVIF")
    sizes = []
    at = start.find(b"ispe")
    while at != -1 and at + 16 <= len(start):
        width, height = struct.unpack(">II", start[at + 8 : at + 16])
        sizes.append((height, width))
        at = start.find(b"ispe", at + 4)
    if not sizes:
        raise Unreadable("an AVIF header without a size")
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    return Header("AVIF", None, height, width, False, None)


def _one_line(error: BaseException) -> str:
    """An error's text, short and on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


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
