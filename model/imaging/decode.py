"""From a file's bytes to a `RasterImage`, for every format and mode that catalogs hold."""

import dataclasses
import functools
import io

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from model.imaging.header import (
    BROKEN_FILE,
    AnimatedImageError,
    Header,
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
    exif_orientation,
    one_line,
    open_image,
    read_header,
)
from model.imaging.image import RasterImage

# Larger colour profiles would be copied into each result; presses' largest have 3 MB.
MAX_PROFILE_BYTES = 4 << 20
# What encoders of WebP and AVIF do by default looks about like this.
_OTHER_LOSSY_QUALITY = 85

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def assumed_quality(header: Header) -> int:
    """The JPEG quality to tell a network, 1..100; for lossy WebP and AVIF that of a good JPEG."""
    return _OTHER_LOSSY_QUALITY if header.jpeg_quality is None else header.jpeg_quality


def decode(
    data: bytes, *, max_pixels: int, first_frame: bool = False
) -> tuple[Header, RasterImage]:
    """Decodes a whole file.

    The EXIF orientation is applied. Palettes and bilevel images become grey or RGB; 16-bit
    images are scaled to 8 bits; CMYK and Lab go through their profiles to sRGB; a profile of
    an RGB or grey image is kept beside its unchanged pixels. All other metadata is dropped.

    Args:
        data: the file.
        max_pixels: refuse to decode more than this.
        first_frame: of an animated image (or the first page of several) decode the first
            frame, instead of raising `AnimatedImageError`.

    Returns:
        The header, now with the final mode and displayed size, and the image.

    Raises:
        ImageError: one of its kinds, with a line for people.
    """
    header = read_header(io.BytesIO(data))
    _check_pixels(header.height, header.width, max_pixels)
    try:
        mode, image = _decode(data, max_pixels, first_frame)
    except ImageError:
        raise
    except BROKEN_FILE as error:
        raise UnreadableImageError(f"broken {header.format} file: {one_line(error)}") from error
    except MemoryError as error:
        raise UnreadableImageError(
            f"decoding {header.height} x {header.width} pixels takes more memory than allowed"
        ) from error
    header = dataclasses.replace(header, mode=mode, height=image.height, width=image.width)
    return header, image


def _decode(data: bytes, max_pixels: int, first_frame: bool) -> tuple[str, RasterImage]:
    """Pillow's name of the pixel type, and the image; errors are not sorted yet."""
    opened = open_image(io.BytesIO(data), data)
    _check_pixels(opened.height, opened.width, max_pixels)
    # A camera's MPO is one photograph with its previews, not an animation. The frames are not
    # counted: a GIF is read to its end for that.
    may_have_frames = not first_frame and opened.format != "MPO"
    if may_have_frames and getattr(opened, "is_animated", False):
        raise AnimatedImageError("more than one frame")
    _scale_key(opened)
    is_grey = opened.mode in ("1", "L", "LA", "La") or _raw_mode(opened) == "LA;16B"
    opened.info.pop("xmp", None)  # by its orientation a TIFF would be turned in `load`
    opened.load()
    orientation = exif_orientation(opened)
    # `transpose` keeps `info`, where a palette's or key colour's transparency stands.
    upright = opened.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else opened
    profile = opened.info.get("icc_profile")
    if opened.mode.startswith("I"):
        return opened.mode, _from_16_bit(upright, profile, *_ends_of_grey(opened))
    image = _to_image(upright, profile, is_grey)
    # Writers that know no transparency leave this byte 0; browsers show such a BMP, too.
    if opened.format == "BMP" and image.alpha is not None and not image.alpha.any():
        image = dataclasses.replace(image, alpha=None)
    return opened.mode, image


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Refuses before anything of that size is allocated."""
    if height * width > max_pixels:
        raise TooManyPixelsError(
            f"{height} x {width} is {height * width} pixels, the limit is {max_pixels} "
            "(--max_pixels)"
        )
    if height < 1 or width < 1:
        raise UnreadableImageError(f"the header says {height} x {width} pixels")


def _raw_mode(image: Image.Image) -> str | None:
    """How the file stores its pixels, in Pillow's words, where it tells; before decoding only."""
    tiles = getattr(image, "tile", ())
    return tiles[0].args if tiles and isinstance(tiles[0].args, str) else None


def _scale_key(image: Image.Image) -> None:
    """Puts a PNG's transparent grey or colour on the scale of its pixels; before decoding.

    The file counts it in steps of its own depth. Pillow spreads pixels of 2 and 4 bits over
    0..255 and keeps the high bytes of 16-bit colours, but leaves the key, which then matches
    none of them.
    """
    key, raw_mode = image.info.get("transparency"), _raw_mode(image)
    if image.format == "PNG" and isinstance(key, int):
        image.info["transparency"] = key * {"L;2": 85, "L;4": 17}.get(raw_mode or "", 1)
    elif isinstance(key, tuple) and raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _to_image(image: Image.Image, profile: bytes | None, is_grey: bool) -> RasterImage:
    """Converts any pixel type of up to 8 bits; `image` is loaded and upright."""
    has_alpha = image.has_transparency_data
    if image.mode == "F":
        raise UnsupportedFormatError("floating-point pixels have no defined white")
    has_palette = image.mode in ("P", "PA")
    if image.mode == "CMYK":
        image, profile = _cmyk_to_srgb(image, profile), None
    elif image.mode == "LAB":
        image, profile = _lab_to_srgb(image), None
    wanted = "RGBA" if has_alpha else "RGB"
    pixels = np.asarray(image if image.mode == wanted else image.convert(wanted))
    rgb = np.ascontiguousarray(pixels[..., :3])
    alpha = np.ascontiguousarray(pixels[..., 3]) if has_alpha else None
    profile = _usable_profile(profile, is_grey)
    if has_palette and profile is None:
        is_grey = bool((rgb == rgb[..., :1]).all())
    return RasterImage(rgb, alpha, is_grey, profile)


def _ends_of_grey(image: Image.Image) -> tuple[int, int]:
    """The levels of black and white of an image of mode I or I;16."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE)
    if bits == (16,) and 2 in tags.get(TiffImagePlugin.SAMPLEFORMAT, ()):
        raise UnsupportedFormatError("signed 16-bit pixels have no defined white")
    white = 4095 if bits == (12,) else 65535
    is_negative = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    return (white, 0) if is_negative else (0, white)


def _from_16_bit(image: Image.Image, profile: bytes | None, black: int, white: int) -> RasterImage:
    """Grey with 16 bits (or 16 of 32), which `convert` would clip instead of scaling."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UnsupportedFormatError("32-bit pixels beyond 65535 have no defined white")
    span = abs(white - black)
    levels = values.astype(np.uint32) if white else black - values.astype(np.uint32)
    grey = ((levels * 255 + span // 2) // span).astype(np.uint8)
    key = image.info.get("transparency")
    return RasterImage(
        rgb=np.repeat(grey[..., None], 3, axis=-1),
        alpha=np.where(values == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None,
        is_grey=True,
        icc_profile=_usable_profile(profile, is_grey=True),
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


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    """From CIE L*a*b* of D50."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    to_srgb = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, to_srgb)
    assert converted is not None  # inPlace is off
    return converted


def _usable_profile(profile: bytes | None, is_grey: bool) -> bytes | None:
    """The profile, if it describes the pixels that will be written and is whole."""
    return profile if profile is not None and _is_usable(profile, is_grey) else None


# A catalog has a handful of profiles; making a transform takes longer than a small image.
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
