import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from model import decode as module
from model.decode import (
    Animated,
    TooManyPixels,
    Unreadable,
    UnsupportedFormat,
    decode,
    read_header,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LIMIT = 10**7


def scene(height=40, width=56, mode="RGB"):
    """Smooth colours with a bright corner, so that every turn of it is told apart."""
    small = np.random.default_rng(1).integers(30, 226, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((250, 20, 20), (0, 0, width // 3, height // 4))
    image = image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize((width, height)))
    return image


def saved(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def pixels(image, mode="RGB"):
    return np.asarray(image.convert(mode)).astype(int)


def check(data, expected_rgb, tolerance, **attributes):
    header, picture = decode(data, max_pixels=LIMIT)
    assert picture.rgb.dtype == np.uint8
    assert np.abs(picture.rgb.astype(int) - expected_rgb).mean() <= tolerance
    for name, value in attributes.items():
        assert getattr(picture, name) == value, name
    assert (header.height, header.width) == (picture.height, picture.width)
    return header, picture


LOSSLESS = [
    ("RGB", "PNG"),
    ("RGB", "BMP"),
    ("RGB", "TIFF"),
    ("L", "PNG"),
    ("L", "BMP"),
    ("L", "TIFF"),
    ("1", "PNG"),
    ("1", "TIFF"),
    ("P", "PNG"),
    ("P", "GIF"),
    ("L", "GIF"),
    ("P", "BMP"),
]


@pytest.mark.parametrize(("mode", "file_format"), LOSSLESS)
def test_lossless_formats_keep_every_pixel(mode, file_format):
    image = scene(mode=mode)
    header, _ = check(
        saved(image, file_format),
        pixels(image),
        0,
        alpha=None,
        is_grey=mode in ("1", "L") and file_format != "GIF",
    )
    assert header.format == file_format
    assert header.is_lossless and header.jpeg_quality == 100


@pytest.mark.parametrize(
    ("mode", "file_format", "options"),
    [
        ("RGB", "JPEG", {"quality": 95}),
        ("L", "JPEG", {"quality": 95}),
        ("RGB", "WEBP", {"quality": 95}),
        ("RGB", "AVIF", {"quality": 90}),
    ],
)
def test_lossy_formats(mode, file_format, options):
    image = scene(mode=mode)
    header, _ = check(saved(image, file_format, **options), pixels(image), 3, alpha=None)
    assert (header.format, header.mode, header.is_lossless) == (file_format, mode, False)


@pytest.mark.parametrize(
    ("mode", "file_format"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "TIFF"), ("RGBA", "WEBP")]
)
def test_transparency(mode, file_format):
    image = scene(mode=mode)
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    _, picture = check(saved(image, file_format, **options), pixels(image), 0)
    np.testing.assert_array_equal(picture.alpha, np.asarray(image.getchannel("A")))
    assert picture.is_grey == (mode == "LA")


def test_transparent_palettes():
    image = scene().quantize(16)
    one = saved(image, "PNG", transparency=3)
    _, picture = decode(one, max_pixels=LIMIT)
    np.testing.assert_array_equal(picture.alpha == 0, np.asarray(image) == 3)
    graded = bytes(range(0, 256, 16))
    _, picture = decode(saved(image, "PNG", transparency=graded), max_pixels=LIMIT)
    np.testing.assert_array_equal(picture.alpha, np.asarray(image) * 16)
    _, picture = decode(saved(image, "GIF", transparency=3), max_pixels=LIMIT)
    assert picture.alpha is not None and 0 < (picture.alpha == 0).mean() < 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_key_colour_is_transparency(mode):
    image = scene(mode=mode)
    key = image.getpixel((0, 0))
    _, picture = decode(saved(image, "PNG", transparency=key), max_pixels=LIMIT)
    expected = np.asarray(image) == key
    expected = expected.all(axis=-1) if mode == "RGB" else expected
    np.testing.assert_array_equal(picture.alpha == 0, expected)


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    for file_format in ("PNG", "TIFF"):
        _, picture = decode(saved(Image.fromarray(values), file_format), max_pixels=LIMIT)
        np.testing.assert_array_equal(picture.rgb[..., 0], np.rint(values / 257))
        assert picture.is_grey


def test_floating_point_has_no_white():
    image = Image.fromarray(np.ones((20, 20), np.float32))
    with pytest.raises(UnsupportedFormat, match="floating-point"):
        decode(saved(image, "TIFF"), max_pixels=LIMIT)


def test_cmyk_and_lab_become_srgb():
    image = scene()
    for file_format in ("JPEG", "TIFF"):
        data = saved(image.convert("CMYK"), file_format)
        header, _ = check(data, pixels(image.convert("CMYK")), 3, icc_profile=None)
        assert header.mode == "CMYK"
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(image, to_lab)
    check(saved(lab, "TIFF"), pixels(image), 3)


def test_a_broken_cmyk_profile_falls_back():
    image = scene(mode="CMYK")
    data = saved(image, "JPEG", quality=95, icc_profile=b"nonsense" * 40)
    check(data, pixels(image), 3, icc_profile=None)


@pytest.mark.parametrize(("mode", "kept"), [("RGB", True), ("L", False)])
def test_a_profile_is_kept_if_it_describes_the_pixels(mode, kept):
    data = saved(scene(mode=mode), "PNG", icc_profile=SRGB)
    _, picture = decode(data, max_pixels=LIMIT)
    assert picture.icc_profile == (SRGB if kept else None)


UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_orientation_is_applied_once(orientation, file_format):
    upright = scene()
    stored = upright.transpose(UNDO[orientation]) if UNDO[orientation] is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(stored, file_format, exif=exif)
    header, picture = check(data, pixels(upright), 6)
    assert (header.height, header.width) == (40, 56)
    if file_format in ("JPEG", "PNG", "TIFF"):  # the others hold their EXIF behind the pixels
        probed = read_header(io.BytesIO(data))
        assert (probed.height, probed.width) == (40, 56)
    assert picture.alpha is None


def test_a_broken_exif_block_is_ignored():
    data = saved(scene(), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    check(data, pixels(scene()), 6)


def test_a_camera_s_mpo_is_a_jpeg():
    data = saved(scene(), "MPO", save_all=True, append_images=[scene().resize((20, 10))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    header, _ = check(data, pixels(scene()), 6)
    assert header.format == "JPEG" and header.jpeg_quality == 75


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_several_frames_are_animated(file_format):
    frames = [scene(), scene().transpose(Image.Transpose.ROTATE_180)]
    data = saved(frames[0], file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(Animated, match="2 frames"):
        decode(data, max_pixels=LIMIT)


ALL_FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


def noisy(file_format):
    noise = np.random.default_rng(1).integers(0, 256, (120, 130, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise), file_format)


@pytest.mark.parametrize("file_format", ALL_FORMATS)
@pytest.mark.parametrize("share", [0.002, 0.3, 0.9])
def test_truncated_files_are_unreadable(file_format, share):
    data = noisy(file_format)
    with pytest.raises(Unreadable):
        decode(data[: max(14, int(len(data) * share))], max_pixels=LIMIT)


@pytest.mark.parametrize("file_format", ALL_FORMATS)
def test_flipped_bytes_never_escape_as_another_error(file_format):
    data = noisy(file_format)
    generator = np.random.default_rng(7)
    for _ in range(40):
        broken = bytearray(data)
        for at in generator.integers(0, min(len(data), 2000), 6):
            broken[at] = int(generator.integers(256))
        try:
            _, picture = decode(bytes(broken), max_pixels=LIMIT)
        except module.PictureError as error:
            assert "\n" not in str(error)
        else:
            assert picture.rgb.ndim == 3


def test_empty_and_foreign_files():
    with pytest.raises(Unreadable, match="empty"):
        decode(b"", max_pixels=LIMIT)
    for data in (
        b"<html>not found</html>",
        b"8BPS\0\1" + bytes(40),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        saved(scene(), "PPM"),
        saved(scene(), "ICO"),
    ):
        with pytest.raises(UnsupportedFormat, match="JPEG, PNG"):
            decode(data, max_pixels=LIMIT)


def png_header_only(height, width):
    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000))


def test_bombs_are_refused_by_their_header():
    with pytest.raises(TooManyPixels, match="60000 x 60000"):
        decode(png_header_only(60_000, 60_000), max_pixels=LIMIT)
    extended = bytes([0x10, 0, 0, 0]) + (16383).to_bytes(3, "little") * 2
    webp = b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + extended
    with pytest.raises(TooManyPixels, match="16384 x 16384"):
        decode(webp + bytes(80), max_pixels=LIMIT)


@pytest.mark.parametrize("quality", [5, 20, 49, 50, 51, 75, 90, 95, 100])
def test_the_jpeg_quality_is_found_in_its_tables(quality):
    header = read_header(io.BytesIO(saved(scene(), "JPEG", quality=quality)))
    assert abs(header.jpeg_quality - quality) <= 1


class CountingFile(io.BytesIO):
    """Remembers how far into the file was read."""

    furthest = 0

    def read(self, size=-1):
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return data


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        *((name, {}) for name in ALL_FORMATS),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0"}),
    ],
)
def test_the_header_agrees_with_the_picture_and_is_read_from_few_bytes(file_format, options):
    noise = np.random.default_rng(1).integers(0, 256, (333, 517, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), file_format, **options)
    file = CountingFile(data)
    header = read_header(file)
    found, picture = decode(data, max_pixels=LIMIT)
    assert (header.height, header.width) == (333, 517) == (picture.height, picture.width)
    assert header.is_lossless == found.is_lossless
    assert header.is_lossless == (
        file_format in ("PNG", "GIF", "BMP", "TIFF") or bool(options.get("lossless"))
    )
    assert len(data) > 50_000
    if file_format != "TIFF":  # its directory may stand at the end; it is read by seeking there
        assert file.furthest < 10_000
