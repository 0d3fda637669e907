"""Encodes a `RasterImage` as PNG, JPEG or WebP."""

import dataclasses
import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from model.imaging.formats import IMAGE_FORMATS
from model.imaging.header import Header
from model.imaging.image import RasterImage

# The coding error stays far below the difference between two networks.
_LOSSY_QUALITY = 92
# Level 1 takes a fifth of the default level's time; the file is about 10 % larger.
_PNG_LEVEL = 1
# VP8 has 14 bits, less one; libjpeg's limit is 65,500, slightly below that of JPEG.
_MAX_SIDE_PX = {"webp": 16383, "jpeg": 65500, "png": 2**31 - 1}


@dataclass(frozen=True)
class Encoded:
    """An image file in memory.

    Attributes:
        data: content of the file.
        image_format: `png`, `jpeg` or `webp`.
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


def encode(image: RasterImage, image_format: str, *, lossless: bool = False) -> Encoded:
    """Encodes an image with its colour profile and without other metadata.

    Args:
        image: for JPEG, which has no transparency, it is composited over white.
        image_format: one of `IMAGE_FORMATS`; an image too long for the format becomes PNG.
        lossless: for WebP, keep every pixel.

    Returns:
        The file. One Pillow version gives the same bytes for the same image.

    Raises:
        ValueError: if the format is unknown.
    """
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f"image format is one of {IMAGE_FORMATS}. Received: {image_format!r}")
    if max(image.height, image.width) > _MAX_SIDE_PX[image_format]:
        image_format = "png"
    if image_format == "webp" and image.is_grey and image.icc_profile:
        image = _grey_to_srgb(image, image.icc_profile)  # WebP's pixels are RGB
    pil_image = to_pillow(image, with_alpha=image_format != "jpeg")
    profile = {"icc_profile": image.icc_profile} if image.icc_profile else {}
    buffer = io.BytesIO()
    if image_format == "png":
        pil_image.save(buffer, "PNG", compress_level=_PNG_LEVEL, **profile)
    elif image_format == "webp":
        pil_image.save(
            buffer,
            "WEBP",
            quality=_LOSSY_QUALITY,
            lossless=lossless,
            method=2,
            exact=True,  # keep the colours under transparent pixels
            **profile,
        )
    else:
        # Chroma at half the size of the result has the resolution of the source.
        pil_image.save(buffer, "JPEG", quality=_LOSSY_QUALITY, subsampling="4:2:0", **profile)
    data = buffer.getvalue()
    return Encoded(data, image_format, hashlib.sha256(data).hexdigest())


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


def _grey_to_srgb(image: RasterImage, profile: bytes) -> RasterImage:
    """Converts grey by its profile to sRGB; drops an unusable profile."""
    try:
        srgb = ImageCms.profileToProfile(
            Image.fromarray(np.ascontiguousarray(image.rgb[..., 0])),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError):
        return dataclasses.replace(image, icc_profile=None)
    return dataclasses.replace(image, rgb=np.asarray(srgb), icc_profile=None)
