"""From a `RasterImage` back to a file."""

import dataclasses
import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from model.imaging.formats import IMAGE_FORMATS
from model.imaging.header import Header
from model.imaging.image import RasterImage

# High enough that coding stays far below the differences between two networks.
_LOSSY_QUALITY = 92
# Level 1 costs a fifth of the default level's time for a file some 10 % larger.
_PNG_LEVEL = 1
# 14 bits less one in VP8; libjpeg stops at 65,500, a little before JPEG itself.
_MAX_SIDE_PX = {"webp": 16383, "jpeg": 65500, "png": 2**31 - 1}


@dataclass(frozen=True)
class Encoded:
    """An image file in memory: its bytes, its format (`png`, `jpeg`, `webp`), its digest."""

    data: bytes
    image_format: str
    sha256: str


def choose_format(header: Header, wanted: str) -> str:
    """Decides the format of a result.

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
    """Encodes an image; its colour profile is kept, other metadata is not.

    Args:
        image: what to write. As JPEG, which has no transparency, it is laid over white.
        image_format: one of `IMAGE_FORMATS`; an image longer than the format allows becomes
            PNG instead.
        lossless: for WebP, keep every pixel.

    Returns:
        The file. The same image always gives the same bytes under one Pillow version.

    Raises:
        ValueError: if the format is unknown.
    """
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f"image format is one of {IMAGE_FORMATS}. Received: {image_format!r}")
    if max(image.height, image.width) > _MAX_SIDE_PX[image_format]:
        image_format = "png"
    if image_format == "webp" and image.is_grey and image.icc_profile:
        image = _grey_to_srgb(image, image.icc_profile)  # WebP's pixels are RGB
    pil_image = _to_pillow(image, with_alpha=image_format != "jpeg")
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
        # 4:2:0 of the result holds as much colour detail as 4:4:4 of the source.
        pil_image.save(buffer, "JPEG", quality=_LOSSY_QUALITY, subsampling="4:2:0", **profile)
    data = buffer.getvalue()
    return Encoded(data, image_format, hashlib.sha256(data).hexdigest())


def _to_pillow(image: RasterImage, *, with_alpha: bool) -> Image.Image:
    """A Pillow image of mode L, LA, RGB or RGBA."""
    if image.alpha is None or not with_alpha:
        rgb = image.over_white()
        return Image.fromarray(np.ascontiguousarray(rgb[..., 0]) if image.is_grey else rgb)
    if image.is_grey:
        return Image.fromarray(np.stack([image.rgb[..., 0], image.alpha], axis=-1))
    return Image.fromarray(np.dstack([image.rgb, image.alpha]))


def _grey_to_srgb(image: RasterImage, profile: bytes) -> RasterImage:
    """The same look without the profile; one that cannot be used is left out."""
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
