"""Decodes a file to a `RasterImage`, for every format and mode that catalogs hold."""

import dataclasses
import io

import numpy as np
from PIL import Image

from model.imaging import profiles
from model.imaging.containers import tiff
from model.imaging.containers.repair import repair
from model.imaging.errors import (
    AnimatedImageError,
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from model.imaging.header import (
    BROKEN_FILE,
    Header,
    exif_orientation,
    jpeg_quality,
    one_line,
    open_image,
    read_header,
)
from model.imaging.image import RasterImage
from model.imaging.jpeg_history import find_jpeg
from model.imaging.metadata.file_rights import read_rights

# Of all formats that Pillow and its extensions open, those that change pixels by default.
_LOSSY = {"JPEG", "MPO", "WEBP", "AVIF", "JPEG2000", "HEIF", "JXL"}
# The default quality of WebP and AVIF encoders looks about like this JPEG quality.
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
    """Returns the JPEG quality that a network is conditioned on.

    A file tells the last compression only: an old JPEG that was saved again as PNG, WebP, or JPEG
    of a higher quality keeps the noise of the first one. So the lower quality of two counts: that
    of the file, and that which the pixels show.

    Args:
        header: of the decoded source.

    Returns:
        1..100; for lossy WebP and AVIF at most that of a good JPEG.
    """
    stated = _OTHER_LOSSY_QUALITY if header.jpeg_quality is None else header.jpeg_quality
    found = header.found_jpeg_quality
    return stated if found is None else min(stated, found)


def decode(
    data: bytes, *, max_pixels: int, first_frame: bool = False, finds_jpeg: bool = True
) -> tuple[Header, RasterImage]:
    """Decodes a whole file.

    The EXIF orientation is applied. Palettes and bilevel images become grey or RGB; 16-bit
    images are scaled to 8 bits; CMYK and Lab go through their profiles to sRGB; the profile of
    an RGB or grey image is kept beside its unchanged pixels, and colours that a PNG or AVIF
    describes by numbers get a profile. Copyright, creators and licence are read; all other
    metadata is dropped. Damage that browsers ignore is ignored, and the header's `note` says so.

    Args:
        data: the file.
        max_pixels: refuse to decode more than this.
        first_frame: of an animated image (or the first page of several) decode the first
            frame, instead of raising `AnimatedImageError`.
        finds_jpeg: look for the JPEG compression that the pixels show, which takes about as long
            as decoding; False for an image that no network upscales.

    Returns:
        The header, now with the final mode and displayed size, and the image.

    Raises:
        ImageError: one of its kinds, with a line for people.

    Example:
        header, image = decode(Path("shoe.jpg").read_bytes(), max_pixels=40_000_000)
    """
    header = read_header(io.BytesIO(data))
    _check_pixels(header.height, header.width, max_pixels)
    try:
        data, note = repair(data, header.format)
        mode, image = _decode(data, header, first_frame)
    except ImageError:
        raise
    except BROKEN_FILE as error:
        raise UnreadableImageError(f"broken {header.format} file: {one_line(error)}") from error
    except MemoryError as error:
        raise UnreadableImageError(
            f"decoding {header.width} x {header.height} pixels takes more memory than allowed"
        ) from error
    trace = find_jpeg(image.rgb) if finds_jpeg else None
    header = dataclasses.replace(
        header,
        mode=mode,
        height=image.height,
        width=image.width,
        found_jpeg_quality=None if trace is None else trace.quality,
        note=note,
    )
    return header, image


def from_pillow(image: Image.Image) -> tuple[Header, RasterImage]:
    """Converts an image that Pillow has opened or that a program has made.

    An opened file becomes what `decode` makes of it, but that damage is an error; it is read
    again and `image` stays as it is. Once its pixels are loaded, Pillow no longer tells whether a
    WebP is lossless, a PNG's colour chunks and depth, nor a GIF's frame. Of an animation the
    current frame is converted.

    Args:
        image: of any mode that has a defined white.

    Returns:
        The header, whose qualities say how the pixels were compressed, and the image.

    Raises:
        ImageError: if the pixels cannot be read, or have no defined appearance.
    """
    if not image.width or not image.height:
        raise UnreadableImageError(f"an image of {image.width} x {image.height} pixels")
    try:
        opened, data, header = _opened_again(image) or (image, None, None)
        if data is not None and header is not None:
            repair(data, header.format)  # raises where pixels are missing, which Pillow invents
        converted = dataclasses.replace(_to_raster(opened, data), rights=read_rights(opened))
    except ImageError:
        raise
    except BROKEN_FILE as error:
        raise UnreadableImageError(f"Pillow cannot read the image: {one_line(error)}") from error
    trace = find_jpeg(converted.rgb)
    if header is None:
        is_lossless = image.format not in _LOSSY
        quality = 100 if is_lossless else jpeg_quality(image)
    else:
        is_lossless, quality = header.is_lossless, header.jpeg_quality
    header = Header(
        format=image.format or "PNG",
        mode=image.mode,
        height=converted.height,
        width=converted.width,
        is_lossless=is_lossless,
        jpeg_quality=quality,
        found_jpeg_quality=None if trace is None else trace.quality,
    )
    return header, converted


def _opened_again(image: Image.Image) -> tuple[Image.Image, bytes, Header] | None:
    """The file that Pillow will read an image from, and its header; None for a loaded image."""
    file = getattr(image, "fp", None)
    # Plugins that keep their file empty `tile`; the two others replace what they read from.
    is_loaded = not getattr(image, "tile", ()) and image.format not in ("WEBP", "AVIF")
    if file is None or getattr(file, "closed", False) or is_loaded:
        return None
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    try:
        header, again = read_header(io.BytesIO(data)), open_image(io.BytesIO(data), data)
    except ImageError:  # a format of other programs
        return None
    again.seek(image.tell())
    again.info = dict(image.info)
    # After `draft` it is a smaller image, or one without colours.
    is_same = (again.size, again.mode) == (image.size, image.mode)
    return (again, data, header) if is_same else None


def _decode(data: bytes, header: Header, first_frame: bool) -> tuple[str, RasterImage]:
    """Pillow's name of the pixel type, and the image; errors of broken files pass through."""
    opened = open_image(io.BytesIO(data), data)
    # The size filter has decided by the header: no other size gets decoded.
    if {opened.height, opened.width} != {header.height, header.width}:
        raise UnreadableImageError(
            f"the header says {header.width} x {header.height} pixels, the decoder "
            f"{opened.width} x {opened.height}"
        )
    tiff.check_first(opened)
    if not first_frame and _has_frames(opened):
        raise AnimatedImageError(
            "more than one frame: for the first, give the job --animated first_frame, or "
            "UpscaleImages first_frame=True; other commands need one frame, saved as an image of "
            "its own"
        )
    image = _to_raster(opened, data)
    return opened.mode, dataclasses.replace(image, rights=read_rights(opened))


def _has_frames(opened: Image.Image) -> bool:
    """Whether a file holds several images of equal standing; a camera's MPO is one with previews.

    They are not counted: a GIF is read to its end for that.
    """
    if opened.format == "MPO" or not getattr(opened, "is_animated", False):
        return False
    return opened.format != "TIFF" or tiff.has_second_page(opened)


def _to_raster(opened: Image.Image, data: bytes | None) -> RasterImage:
    """Loads and converts an image, without its rights; errors of broken files pass through.

    Args:
        opened: by Pillow; loaded or not.
        data: the file that it is loaded from, None if it is loaded or no file.
    """
    _scale_key(opened)
    if opened.format == "TIFF":
        tiff.prepare(opened)
    is_grey = opened.mode in ("1", "L", "LA", "La") or _raw_mode(opened) == "LA;16B"
    is_grey = is_grey or opened.mode.startswith("I")
    frame = _gif_frame(opened)
    _load(opened)
    orientation = exif_orientation(opened)
    # `transpose` keeps `info`, where a palette's or key colour's transparency stands.
    upright = opened.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else opened
    if data is None:
        profile = opened.info.get("icc_profile")
    else:
        profile = profiles.of_file(opened, data, is_grey)
    if opened.mode.startswith("I"):
        image = _from_16_bit(upright, profile, *tiff.white_of_grey(opened))
    else:
        image = _to_image(upright, profile, is_grey)
    if frame is not None:
        image = _transparent_outside(image, frame)
    # Writers without transparency leave this byte 0; browsers show such a BMP as opaque.
    if opened.format == "BMP" and image.alpha is not None and not image.alpha.any():
        image = dataclasses.replace(image, alpha=None)
    return image


def _load(image: Image.Image) -> None:
    """Decodes an opened image; Pillow would turn a TIFF by the orientation in its XMP."""
    packet = image.info.pop("xmp", None) if image.format == "TIFF" else None
    try:
        image.load()
    finally:
        if packet is not None:
            image.info["xmp"] = packet


def _gif_frame(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Left, upper, right, lower edge of a GIF's first frame; None if it covers the canvas."""
    tiles = getattr(image, "tile", ())
    if image.format != "GIF" or not tiles or image.tell() > 0:
        return None
    frame = tuple(tiles[0].extents)
    return None if frame == (0, 0, *image.size) else frame


def _transparent_outside(image: RasterImage, frame: tuple[int, int, int, int]) -> RasterImage:
    """Makes all but one rectangle transparent, as browsers show a GIF's canvas."""
    left, upper, right, lower = frame
    alpha = np.zeros(image.rgb.shape[:2], np.uint8)
    inside = slice(upper, lower), slice(left, right)
    alpha[inside] = 255 if image.alpha is None else image.alpha[inside]
    return dataclasses.replace(image, alpha=alpha)


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Rejects a size before anything is allocated for it."""
    if height * width > max_pixels:
        raise TooManyPixelsError(
            f"{width} x {height} is {height * width} pixels, the limit is {max_pixels} "
            "(max_pixels)"
        )
    if height < 1 or width < 1:
        raise UnreadableImageError(f"the header says {width} x {height} pixels")


def _raw_mode(image: Image.Image) -> str | None:
    """Pillow's raw mode of the file's pixels, None if unknown; before decoding only."""
    tiles = getattr(image, "tile", ())
    return tiles[0].args if tiles and isinstance(tiles[0].args, str) else None


def _scale_key(image: Image.Image) -> None:
    """Puts a PNG's transparent grey or colour on the scale of its pixels; before decoding.

    The file counts the key in steps of its own depth. Pillow scales pixels of 2 and 4 bits to
    0..255 and keeps the high bytes of 16-bit colours, but does not scale the key.
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
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    if image.mode == "CMYK":
        image, profile = profiles.cmyk_to_srgb(image, profile), None
    elif image.mode == "LAB":
        image, profile = profiles.lab_to_srgb(image), None
    wanted = "RGBA" if has_alpha else "RGB"
    pixels = np.asarray(image if image.mode == wanted else image.convert(wanted))
    rgb = np.ascontiguousarray(pixels[..., :3])
    alpha = np.ascontiguousarray(pixels[..., 3]) if has_alpha else None
    converted = profiles.with_profile(RasterImage(rgb, alpha, is_grey), profile)
    if has_palette and converted.icc_profile is None:
        return dataclasses.replace(converted, is_grey=bool((rgb == rgb[..., :1]).all()))
    return converted


def _from_16_bit(image: Image.Image, profile: bytes | None, black: int, white: int) -> RasterImage:
    """Grey with 16 bits (or 16 of 32), which `convert` would clip instead of scaling."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UnsupportedFormatError("32-bit pixels beyond 65535 have no defined white")
    span = abs(white - black)
    levels = values.astype(np.uint32) if white else black - values.astype(np.uint32)
    grey = ((levels * 255 + span // 2) // span).astype(np.uint8)
    key = image.info.get("transparency")
    converted = RasterImage(
        rgb=np.repeat(grey[..., None], 3, axis=-1),
        alpha=np.where(values == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None,
        is_grey=True,
    )
    return profiles.with_profile(converted, profile)
