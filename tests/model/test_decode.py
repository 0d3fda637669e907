import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

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


def png(height, width, bits, colour_type, body, *chunks):
    """A PNG written by hand, for what Pillow reads but does not write."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def profile(device, space, connection, transform):
    """A minimal ICC profile (ICC.1:2022, section 7): `transform` is its tag and that's content."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [
        (b"desc", name),
        (b"cprt", b"text" + bytes(4) + b"none\0"),
        (b"wtpt", white),
        transform,
    ]
    directory, content = struct.pack(">I", len(tags)), b""
    for signature, body in tags:
        at = 128 + 4 + 12 * len(tags) + len(content)
        directory += signature + struct.pack(">II", at, len(body))
        content += body + bytes(-len(body) % 4)
    head = struct.pack(">I4sI", 128 + len(directory + content), b"lcms", 0x02400000)
    head += device + space + connection + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    head += bytes(28) + white[8:]
    return head.ljust(128, b"\0") + directory + content


def grey_profile():
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256))
    return profile(b"mntr", b"GRAY", b"XYZ ", (b"kTRC", curve))


def cmyk_profile():
    """Inks of another press: cyan prints as plain grey of L* 50, black as black."""
    grid = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    lab = b"".join(bytes([round(255 * (1 - k) * (1 - c / 2)), 128, 128]) for c, _, _, k in grid)
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    line = bytes(range(256))
    table = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + identity + 4 * line + lab + 3 * line
    return profile(b"prtr", b"CMYK", b"Lab ", (b"A2B0", table))


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


@pytest.mark.parametrize(
    ("bits", "row", "key", "levels"),
    [
        (1, [0b01010000], 1, [0, 255, 0, 255]),
        (2, [0b00011011], 3, [0, 85, 170, 255]),
        (2, [0b00011011], 1, [0, 85, 170, 255]),
        (4, [0x0F, 0x1E], 15, [0, 255, 17, 238]),
        (8, [0, 255, 7, 9], 255, [0, 255, 7, 9]),
        (16, [0, 0, 255, 255, 1, 1, 0x2A, 0x2A], 65535, [0, 255, 1, 42]),
    ],
)
def test_a_key_grey_is_transparency_at_any_depth(bits, row, key, levels):
    data = png(1, 4, bits, 0, bytes([0, *row]), (b"tRNS", struct.pack(">H", key)))
    _, picture = decode(data, max_pixels=LIMIT)
    assert picture.rgb[0, :, 0].tolist() == levels and picture.is_grey
    hidden = key * 255 // (2**bits - 1)
    assert picture.alpha[0].tolist() == [0 if level == hidden else 255 for level in levels]


def test_sixteen_bit_ends_and_steps():
    values = np.array([[0, 257, 257 * 100, 65535]], np.uint16)
    for file_format in ("PNG", "TIFF"):
        _, picture = decode(saved(Image.fromarray(values), file_format), max_pixels=LIMIT)
        assert picture.rgb[0, :, 0].tolist() == [0, 1, 100, 255]


def test_sixteen_bit_colours():
    body = b"\0" + struct.pack(">8H", 65535, 0, 257 * 9, 65535, 257 * 3, 257 * 4, 257 * 5, 257 * 6)
    _, picture = decode(png(1, 2, 16, 6, body), max_pixels=LIMIT)
    assert picture.rgb[0].tolist() == [[255, 0, 9], [3, 4, 5]]
    assert picture.alpha[0].tolist() == [255, 6]


@pytest.mark.parametrize("level", [-1, 65536])
def test_thirty_two_bits_beyond_sixteen_have_no_white(level):
    image = Image.fromarray(np.full((20, 20), level, np.int32))
    with pytest.raises(UnsupportedFormat, match="beyond 65535"):
        decode(saved(image, "TIFF"), max_pixels=LIMIT)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_luma_and_chroma_become_rgb(file_format):
    options = {"compression": "jpeg"} if file_format == "TIFF" else {}
    data = saved(scene(mode="YCbCr"), file_format, quality=95, **options)
    check(data, pixels(scene()), 3, is_grey=False, alpha=None)


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


@pytest.mark.parametrize(
    ("ink", "by_profile", "plainly"),
    [
        ((0, 0, 0, 0), (255, 255, 255), (255, 255, 255)),
        ((255, 0, 0, 0), (119, 119, 119), (0, 255, 255)),  # L* 50 in sRGB
        ((0, 0, 0, 255), (0, 0, 0), (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile(file_format, ink, by_profile, plainly):
    image = Image.new("CMYK", (16, 16), ink)
    with_profile = saved(image, file_format, icc_profile=cmyk_profile())
    check(with_profile, by_profile, 1, icc_profile=None, is_grey=False)
    check(saved(image, file_format), plainly, 1, icc_profile=None, is_grey=False)


def test_a_broken_cmyk_profile_falls_back():
    image = scene(mode="CMYK")
    data = saved(image, "JPEG", quality=95, icc_profile=b"nonsense" * 40)
    check(data, pixels(image), 3, icc_profile=None)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("mode", "embedded", "kept"),
    [
        ("RGB", SRGB, True),
        ("L", SRGB, False),
        ("L", grey_profile(), True),
        ("RGB", grey_profile(), False),
        ("RGB", SRGB[:100], False),
    ],
    ids=["colour", "colour on grey", "grey", "grey on colour", "cut"],
)
def test_a_profile_is_kept_if_it_describes_the_pixels(file_format, mode, embedded, kept):
    plain = saved(scene(mode=mode), file_format)
    data = saved(scene(mode=mode), file_format, icc_profile=embedded)
    _, picture = decode(data, max_pixels=LIMIT)
    assert picture.icc_profile == (embedded if kept else None)
    np.testing.assert_array_equal(picture.rgb, decode(plain, max_pixels=LIMIT)[1].rgb)


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


def test_bombs_are_refused_by_their_header(monkeypatch):
    def never(*_):
        raise AssertionError("a bomb reached a decoder")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(TooManyPixels, match="60000 x 60000 is 3600000000 pixels, the limit is"):
        decode(png(60_000, 60_000, 8, 2, bytes(1000)), max_pixels=LIMIT)
    monkeypatch.setattr(module, "_open", never)  # of a WebP the canvas is allocated here
    extended = bytes([0x10, 0, 0, 0]) + (16383).to_bytes(3, "little") * 2
    webp = b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + extended
    with pytest.raises(TooManyPixels, match="16384 x 16384 is 268435456 pixels, the limit is"):
        decode(webp + bytes(80), max_pixels=LIMIT)


def test_the_limit_itself_is_allowed():
    data = saved(scene(40, 56), "PNG")
    assert decode(data, max_pixels=40 * 56)[1].height == 40
    with pytest.raises(TooManyPixels):
        decode(data, max_pixels=40 * 56 - 1)


@pytest.mark.parametrize("quality", range(5, 101, 5))
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_jpeg_quality_is_found_in_its_tables(quality, mode):
    header = read_header(io.BytesIO(saved(scene(mode=mode), "JPEG", quality=quality)))
    assert abs(header.jpeg_quality - quality) <= 1


class CountingFile(io.BytesIO):
    """Remembers how far into the file was read, and how much."""

    furthest = 0
    read_bytes = 0

    def read(self, size=-1):
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        *((name, {}) for name in ALL_FORMATS),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"icc_profile": SRGB}),
        ("WEBP", {"icc_profile": SRGB, "lossless": True}),
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
    assert header.mode in (found.mode, None)
    assert header.is_lossless == (
        file_format in ("PNG", "GIF", "BMP", "TIFF") or bool(options.get("lossless"))
    )
    assert len(data) > 50_000
    assert file.read_bytes < 16_000
    if file_format != "TIFF":  # its directory may stand at the end; it is read by seeking there
        assert file.furthest < 10_000


@pytest.mark.parametrize(
    ("options", "chunk"),
    [({}, b"VP8 "), ({"lossless": True}, b"VP8L"), ({"icc_profile": SRGB}, b"VP8X")],
)
def test_the_webp_headers_above_are_all_three_kinds(options, chunk):
    assert saved(scene(), "WEBP", **options)[12:16] == chunk


@pytest.mark.parametrize("lossless", [True, False])
def test_the_header_of_a_transparent_webp(lossless):
    header = read_header(io.BytesIO(saved(scene(mode="RGBA"), "WEBP", lossless=lossless)))
    assert (header.mode, header.height, header.width) == ("RGBA", 40, 56)
