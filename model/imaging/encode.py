"""Encodes a `RasterImage` as PNG, JPEG, WebP or AVIF."""

import dataclasses
import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, features

from model.imaging import profiles
from model.imaging.formats import IMAGE_FORMATS, Encoding
from model.imaging.header import Header
from model.imaging.image import RasterImage
from model.imaging.metadata import exif, xmp
from model.imaging.metadata.rights import Rights

# The coding error stays far below the difference between two networks.
_LOSSY_QUALITY = {"jpeg": 92, "webp": 92, "avif": 85}
# Level 1 takes a fifth of the default level's time; the file is about 10 % larger.
_PNG_LEVEL = 1
# VP8 has 14 bits, less one; libjpeg's limit is 65,500, slightly below that of JPEG; libavif
# decodes up to 16,384 x 16,384.
_MAX_SIDE_PX = {"webp": 16383, "jpeg": 65500, "avif": 16384, "png": 2**31 - 1}
DEFAULT_ENCODING = Encoding()
# 0 slowest, 10 fastest.
_AVIF_SPEED = 9


@dataclass(frozen=True)
class Encoded:
    """An image file in memory.

    Attributes:
        data: content of the file.
        image_format: one of `IMAGE_FORMATS`.
        sha256: of `data`, hexadecimal.

    Example:
        >>> encode(RasterImage(np.zeros((4, 4, 3), np.uint8)), "png").data[:4]
        b'\\x89PNG'
    """

    data: bytes
    image_format: str
    sha256: str


def choose_format(header: Header, wanted: str) -> str:
    """Chooses the format of a result.

    Args:
        header: of the source.
        wanted: `auto` (as the source; lossless stays lossless) or one of `IMAGE_FORMATS`.

    Returns:
        One of `IMAGE_FORMATS`.

    Raises:
        ValueError: if `wanted` is neither.
    """
    if wanted in IMAGE_FORMATS:
        return wanted
    if wanted != "auto":
        raise ValueError(f"image format is auto or one of {IMAGE_FORMATS}. Received: {wanted!r}")
    if header.format == "WEBP":
        return "webp"
    if header.format == "AVIF":
        return "webp"  # lossy with transparency, and every browser reads it
    return "png" if header.is_lossless else "jpeg"


def check_format(image_format: str) -> None:
    """Checks that this machine can write a format.

    Args:
        image_format: one of `IMAGE_FORMATS`, or `auto`.

    Raises:
        ValueError: if Pillow was built without it.
    """
    if image_format == "avif" and not features.check("avif"):
        raise ValueError(
            "this Pillow was built without AVIF: install pillow 11.3 or later from PyPI, or "
            "choose another image format"
        )


def encode(
    image: RasterImage,
    image_format: str,
    *,
    lossless: bool = False,
    encoding: Encoding = DEFAULT_ENCODING,
) -> Encoded:
    """Encodes an image with its colour profile and its rights, without other metadata.

    Args:
        image: for JPEG, which has no transparency, it is composited over white.
        image_format: one of `IMAGE_FORMATS`; an image too long for the format becomes PNG.
        lossless: for WebP, keep every pixel.
        encoding: quality, profile and metadata.

    Returns:
        The file. One Pillow version gives the same bytes for the same image.

    Raises:
        ValueError: if the format is unknown, or Pillow was built without it.
    """
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f"image format is one of {IMAGE_FORMATS}. Received: {image_format!r}")
    check_format(image_format)
    if max(image.height, image.width) > _MAX_SIDE_PX[image_format]:
        image_format = "png"
    if image.icc_profile and encoding.profile == "srgb":
        image = profiles.to_srgb(image)
    if image_format in ("webp", "avif") and image.is_grey and image.icc_profile:
        # Their pixels are RGB, which no profile of grey describes.
        image = dataclasses.replace(profiles.to_srgb(image), icc_profile=None)
    options: dict[str, Any] = {"icc_profile": image.icc_profile} if image.icc_profile else {}
    if image.rights is not None and encoding.metadata == "rights":
        options |= _rights_options(image.rights, image_format)
    options |= _pixel_options(image_format, encoding, lossless)
    buffer = io.BytesIO()
    pil_image = to_pillow(image, with_alpha=image_format != "jpeg")
    pil_image.save(buffer, image_format.upper(), **options)
    data = buffer.getvalue()
    return Encoded(data, image_format, hashlib.sha256(data).hexdigest())


def _pixel_options(image_format: str, encoding: Encoding, lossless: bool) -> dict[str, Any]:
    """Pillow's options for the pixels."""
    if image_format == "png":
        return {"compress_level": _PNG_LEVEL}
    default = _LOSSY_QUALITY[image_format]
    quality = default if encoding.quality is None else encoding.quality
    if image_format == "webp":
        return {
            "quality": default if lossless else quality,  # of lossless WebP it is the effort
            "lossless": lossless,
            "method": 2,
            "exact": True,  # keep the colours under transparent pixels
        }
    # Chroma at half the size of the result has the resolution of the source.
    if image_format == "jpeg":
        progressive = {"progressive": True} if encoding.is_progressive else {}
        return {"quality": quality, "subsampling": "4:2:0", **progressive}
    # With several threads the file would depend on the machine.
    return {"quality": quality, "speed": _AVIF_SPEED, "max_threads": 1}


def _rights_options(rights: Rights, image_format: str) -> dict[str, Any]:
    """Pillow's options for an EXIF block and an XMP packet with the rights."""
    block, packet = exif.write(rights), xmp.write(rights)
    options: dict[str, Any] = {"exif": block} if block else {}
    if packet and image_format == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode())
    elif packet:
        options["xmp"] = packet
    return options


def to_pillow(image: RasterImage, *, with_alpha: bool = True) -> Image.Image:
    """Converts an image to Pillow's, of mode L, LA, RGB or RGBA.

    Args:
        image: of any size; its profile is not passed on.
        with_alpha: keep the transparency of an image that has some; else composite over white.
    """
    if image.alpha is None or not with_alpha:
        rgb = image.over_white()
        return Image.fromarray(np.ascontiguousarray(rgb[..., 0]) if image.is_grey else rgb)
    if image.is_grey:
        return Image.fromarray(np.stack([image.rgb[..., 0], image.alpha], axis=-1))
    return Image.fromarray(np.dstack([image.rgb, image.alpha]))
