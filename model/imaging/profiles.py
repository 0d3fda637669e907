"""Colour profiles of files: which one applies, which are usable, conversion to sRGB."""

import functools
import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms

from model.imaging import colour
from model.imaging.containers import avif, png
from model.imaging.image import RasterImage

# Larger profiles would be copied into each result; the largest of presses have 3 MB.
MAX_PROFILE_BYTES = 4 << 20


def of_file(image: Image.Image, data: bytes, is_grey: bool) -> bytes | None:
    """Returns the profile that gives a file's pixels their colours.

    Args:
        image: opened by Pillow.
        data: the file.
        is_grey: whether its pixels have one grey plane.

    Returns:
        The embedded profile, or one built from the numbers of a PNG (by precedence cICP, iCCP,
        sRGB, gAMA and cHRM) or an AVIF (ICC, nclx); None for sRGB. It may be unusable: see
        `usable`.

    Raises:
        UnsupportedFormatError: for transfer functions of high dynamic range.

    Source:
        PNG (third edition), section 12.1; ISO/IEC 14496-12, 12.1.5.
    """
    embedded = image.info.get("icc_profile")
    applies = usable(embedded, is_grey) or (is_grey and usable(embedded, is_grey=False))
    if image.format == "AVIF" and not applies:
        nclx = avif.read_avif(io.BytesIO(data)).nclx
        space = None if nclx is None else colour.from_h273(*nclx, is_png=False)
    elif image.format == "PNG":
        chunks = png.colour_chunks(data)
        space = _of_cicp(chunks.cicp)
        if space is None and applies:
            return embedded
        if space is None and not chunks.is_srgb:
            space = colour.from_gamma(chunks.gamma, chunks.chromaticities)
    else:
        return embedded
    return None if space is None else colour.icc_profile(space, is_grey=is_grey)


def _of_cicp(cicp: tuple[int, ...] | None) -> colour.ColourSpace | None:
    """The space of a PNG's cICP chunk; None where browsers ignore it: YCbCr or narrow range."""
    if cicp is None or cicp[2:] != (0, 1):
        return None
    return colour.from_h273(*cicp[:2], is_png=True)


def with_profile(image: RasterImage, profile: bytes | None) -> RasterImage:
    """Gives an image the profile of its file.

    Args:
        image: without a profile.
        profile: of the file, or None.

    Returns:
        The image with it; without one if it is unusable. Grey with a profile of RGB is converted
        to sRGB, as browsers show it, and stays grey: no profile of grey says the same.
    """
    if usable(profile, image.is_grey):
        return replace(image, icc_profile=profile)
    if profile is None or not image.is_grey or not usable(profile, is_grey=False):
        return image
    converted = _converted(Image.fromarray(image.rgb), profile)
    srgb = image.with_pixels(np.asarray(converted), image.alpha)
    # Most of them are sRGB's own, whose conversion does nothing but round.
    is_rounding = np.abs(np.subtract(srgb.rgb, image.rgb, dtype=np.int16)).max() <= 1
    return image if is_rounding else srgb


def to_srgb(image: RasterImage) -> RasterImage:
    """Converts an image by its profile to sRGB, as a browser shows it on common screens.

    Args:
        image: of any size. Pixels can be compared with those of another image in one colour
            space only.

    Returns:
        The image without a profile, grey if it was grey; the same one if it has no profile or an
        unusable one.
    """
    if image.icc_profile is None:
        return image
    pixels = np.ascontiguousarray(image.rgb[..., 0]) if image.is_grey else image.rgb
    converted = _converted(Image.fromarray(pixels), image.icc_profile)
    if converted is None:
        return image
    return replace(image.with_pixels(np.asarray(converted), image.alpha), icc_profile=None)


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts CMYK to RGB by the embedded profile.

    Args:
        image: mode CMYK.
        profile: of the file; without a usable one Pillow's plain formula converts.

    Returns:
        An image of mode RGB, in sRGB.
    """
    converted = None if profile is None else _converted(image, profile)
    return image.convert("RGB") if converted is None else converted


def _converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    """An image in sRGB, mode RGB; None if its profile is unusable."""
    try:
        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError):
        return None


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """Converts CIE L*a*b* of D50, mode LAB, to an image of mode RGB, in sRGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    to_srgb = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, to_srgb)
    assert converted is not None  # inPlace is off
    return converted


def usable(profile: bytes | None, is_grey: bool) -> bytes | None:
    """Returns a profile if colours can be computed by it, else None.

    Args:
        profile: of the file, or None.
        is_grey: whether the profile must be one of grey pixels, instead of RGB.
    """
    return profile if profile is not None and _is_usable(profile, is_grey) else None


# A catalog has few profiles; building a transform takes longer than decoding a small image.
@functools.lru_cache(maxsize=8)
def _is_usable(profile: bytes, is_grey: bool) -> bool:
    """Whether colours can be computed by a profile of this colour space (ICC.1:2022, table 18)."""
    space, mode = (b"GRAY", "L") if is_grey else (b"RGB ", "RGB")
    if not 128 <= len(profile) <= MAX_PROFILE_BYTES or profile[16:20] != space:
        return False
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return False
    return True
