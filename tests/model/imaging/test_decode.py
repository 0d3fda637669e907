import dataclasses
import io
import struct

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageCms, ImageFile, PngImagePlugin, TiffImagePlugin

from model.imaging import decode as module
from model.imaging.decode import assumed_quality, decode, from_pillow
from model.imaging.encode import choose_format, encode
from model.imaging.errors import (
    AnimatedImageError,
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from model.imaging.header import FORMATS, read_header
from model.imaging.sandbox import DecoderPool
from model.scenes.drawing import draw_scene
from tests.malformed import (
    SRGB,
    animated_gif,
    bmp,
    foreign_files,
    malformed_files,
    png,
    saved,
    tiff,
)

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


def pixels(image, mode="RGB"):
    return np.asarray(image.convert(mode)).astype(int)


def profile(device, space, connection, *transform):
    """A minimal ICC profile (ICC.1:2022, section 7): `transform` are its own tags."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [
        (b"desc", name),
        (b"cprt", b"text" + bytes(4) + b"none\0"),
        (b"wtpt", white),
        *transform,
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


def wide_profile():
    """Adobe RGB (1998): its primaries, adapted to D50, and gamma 563/256."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 563)
    primaries = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
    }
    tags = [(name, b"XYZ " + bytes(4) + fixed(*xyz)) for name, xyz in primaries.items()]
    curves = [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return profile(b"mntr", b"RGB ", b"XYZ ", *tags, *curves)


def fixed(*numbers):
    return struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))


def in_srgb(data):
    """What a colour-managed viewer shows, by Pillow's own way."""
    image = Image.open(io.BytesIO(data))
    if "icc_profile" not in image.info:
        return pixels(image)
    embedded = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    srgb = ImageCms.createProfile("sRGB")
    return pixels(ImageCms.profileToProfile(image, embedded, srgb, outputMode="RGB"))


def cmyk_profile():
    """Inks of another press: cyan prints as plain grey of L* 50, black as black."""
    grid = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    lab = b"".join(bytes([round(255 * (1 - k) * (1 - c / 2)), 128, 128]) for c, _, _, k in grid)
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    line = bytes(range(256))
    table = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + identity + 4 * line + lab + 3 * line
    return profile(b"prtr", b"CMYK", b"Lab ", (b"A2B0", table))


def check(data, expected_rgb, tolerance, **attributes):
    header, image = decode(data, max_pixels=LIMIT)
    assert image.rgb.dtype == np.uint8
    assert np.abs(image.rgb.astype(int) - expected_rgb).mean() <= tolerance
    for name, value in attributes.items():
        assert getattr(image, name) == value, name
    assert (header.height, header.width) == (image.height, image.width)
    return header, image


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
        is_grey=mode in ("1", "L"),
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
    _, decoded = check(saved(image, file_format, **options), pixels(image), 0)
    np.testing.assert_array_equal(decoded.alpha, np.asarray(image.getchannel("A")))
    assert decoded.is_grey == (mode == "LA")


def test_transparent_palettes():
    image = scene().quantize(16)
    one = saved(image, "PNG", transparency=3)
    _, decoded = decode(one, max_pixels=LIMIT)
    np.testing.assert_array_equal(decoded.alpha == 0, np.asarray(image) == 3)
    graded = bytes(range(0, 256, 16))
    _, decoded = decode(saved(image, "PNG", transparency=graded), max_pixels=LIMIT)
    np.testing.assert_array_equal(decoded.alpha, np.asarray(image) * 16)
    _, decoded = decode(saved(image, "GIF", transparency=3), max_pixels=LIMIT)
    assert decoded.alpha is not None and 0 < (decoded.alpha == 0).mean() < 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_key_colour_is_transparency(mode):
    image = scene(mode=mode)
    key = image.getpixel((0, 0))
    _, decoded = decode(saved(image, "PNG", transparency=key), max_pixels=LIMIT)
    expected = np.asarray(image) == key
    expected = expected.all(axis=-1) if mode == "RGB" else expected
    np.testing.assert_array_equal(decoded.alpha == 0, expected)


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    for file_format in ("PNG", "TIFF"):
        _, image = decode(saved(Image.fromarray(values), file_format), max_pixels=LIMIT)
        np.testing.assert_array_equal(image.rgb[..., 0], np.rint(values / 257))
        assert image.is_grey


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
    _, image = decode(data, max_pixels=LIMIT)
    assert image.rgb[0, :, 0].tolist() == levels and image.is_grey
    hidden = key * 255 // (2**bits - 1)
    assert image.alpha[0].tolist() == [0 if level == hidden else 255 for level in levels]


def test_sixteen_bit_ends_and_steps():
    values = np.array([[0, 257, 257 * 100, 65535]], np.uint16)
    for file_format in ("PNG", "TIFF"):
        _, image = decode(saved(Image.fromarray(values), file_format), max_pixels=LIMIT)
        assert image.rgb[0, :, 0].tolist() == [0, 1, 100, 255]


def test_sixteen_bit_colours():
    body = b"\0" + struct.pack(">8H", 65535, 0, 257 * 9, 65535, 257 * 3, 257 * 4, 257 * 5, 257 * 6)
    _, image = decode(png(1, 2, 16, 6, body), max_pixels=LIMIT)
    assert image.rgb[0].tolist() == [[255, 0, 9], [3, 4, 5]]
    assert image.alpha[0].tolist() == [255, 6]


@pytest.mark.parametrize("level", [-1, 65536])
def test_thirty_two_bits_beyond_sixteen_have_no_white(level):
    image = Image.fromarray(np.full((20, 20), level, np.int32))
    with pytest.raises(UnsupportedFormatError, match="beyond 65535"):
        decode(saved(image, "TIFF"), max_pixels=LIMIT)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_luma_and_chroma_become_rgb(file_format):
    options = {"compression": "jpeg"} if file_format == "TIFF" else {}
    data = saved(scene(mode="YCbCr"), file_format, quality=95, **options)
    check(data, pixels(scene()), 3, is_grey=False, alpha=None)


def test_floating_point_has_no_white():
    image = Image.fromarray(np.ones((20, 20), np.float32))
    with pytest.raises(UnsupportedFormatError, match="floating-point"):
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
def test_grey_with_a_profile_of_rgb_is_converted_and_stays_grey(file_format):
    data = saved(scene(mode="L"), file_format, icc_profile=wide_profile())
    _, image = decode(data, max_pixels=LIMIT)
    assert image.is_grey and image.icc_profile is None
    plain = decode(saved(scene(mode="L"), file_format), max_pixels=LIMIT)[1]
    rgb = saved(Image.fromarray(plain.rgb), "PNG", icc_profile=wide_profile())
    assert np.abs(image.rgb - in_srgb(rgb)).max() <= 1
    assert (image.rgb != plain.rgb).any()


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
    _, image = decode(data, max_pixels=LIMIT)
    assert image.icc_profile == (embedded if kept else None)
    np.testing.assert_array_equal(image.rgb, decode(plain, max_pixels=LIMIT)[1].rgb)


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
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "AVIF"])
def test_the_orientation_is_applied_once(orientation, file_format):
    upright = scene()
    stored = upright.transpose(UNDO[orientation]) if UNDO[orientation] is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(stored, file_format, exif=exif)
    header, image = check(data, pixels(upright), 6)
    assert (header.height, header.width) == (40, 56)
    if file_format != "AVIF":  # whose EXIF stands behind the pixels
        probed = read_header(io.BytesIO(data))
        assert (probed.height, probed.width) == (40, 56)
    assert image.alpha is None


def test_the_orientation_of_a_webp_is_ignored_as_browsers_do():
    exif = Image.Exif()
    exif[0x0112] = 6
    check(saved(scene(), "WEBP", lossless=True, exif=exif), pixels(scene()), 0)


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
    with pytest.raises(AnimatedImageError, match=r"more than one frame.*other commands need one"):
        decode(data, max_pixels=LIMIT)
    first = saved(frames[0], file_format)
    expected = decode(first, max_pixels=LIMIT)[1].rgb.astype(int)
    _, image = decode(data, max_pixels=LIMIT, first_frame=True)
    assert np.abs(image.rgb - expected).mean() < (4 if file_format in ("AVIF", "WEBP") else 1)


@pytest.mark.parametrize(
    ("data", "guess"),
    [
        (b"root:x:0:0:root:/root:/bin/bash\n" * 9, None),
        (b"AWS_SECRET_ACCESS_KEY=abcdefgh", None),
        (b"<!doctype html><title>404</title>", "HTML"),
        (b'{"error": "not found"}', "JSON"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "a film"),
    ],
)
def test_the_error_does_not_repeat_what_the_file_holds(data, guess):
    """A manifest may name a file that its author may not read."""
    with pytest.raises(UnsupportedFormatError) as caught:
        decode(data, max_pixels=LIMIT)
    text = str(caught.value)
    assert text.endswith(f"; it looks like {guess}" if guess else "AVIF)")
    assert all(data[at : at + 4].decode("latin-1") not in text for at in range(8))


def test_frames_are_not_counted(monkeypatch):
    def count(_):
        raise AssertionError("the whole file is read to count its frames")

    monkeypatch.setattr(GifImagePlugin.GifImageFile, "n_frames", property(count))
    with pytest.raises(AnimatedImageError):
        decode(animated_gif(5000), max_pixels=LIMIT)
    assert decode(animated_gif(5000), max_pixels=LIMIT, first_frame=True)[1].height == 1


ALL_FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


def noisy(file_format):
    noise = np.random.default_rng(1).integers(0, 256, (120, 130, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise), file_format)


@pytest.mark.parametrize("file_format", ALL_FORMATS)
@pytest.mark.parametrize("share", [0.002, 0.3, 0.9])
def test_truncated_files_are_unreadable(file_format, share):
    data = noisy(file_format)
    with pytest.raises(UnreadableImageError):
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
            _, image = decode(bytes(broken), max_pixels=LIMIT)
        except ImageError as error:
            assert "\n" not in str(error)
        else:
            assert image.rgb.ndim == 3


def test_malformed_files_never_escape_as_another_error():
    """Without a process between; `test_sandbox` runs them all."""
    for name, data in malformed_files(seed=2):
        if name.rpartition(".")[0] in ("tags", "text-bomb", "profile-bomb", "international-bomb"):
            continue  # they take memory until there is a limit
        try:
            decode(data, max_pixels=100_000)
        except ImageError as error:
            assert "\n" not in str(error)


def test_an_empty_file():
    with pytest.raises(UnreadableImageError, match="empty"):
        decode(b"", max_pixels=LIMIT)


@pytest.mark.parametrize(("name", "data"), foreign_files().items())
def test_decoders_outside_the_list_are_never_started(monkeypatch, name, data):
    def never(*_):
        raise AssertionError(f"{name} reached a decoder")

    Image.init()  # imports, and so registers, every plugin
    foreign = {key: (never, accept) for key, (_, accept) in Image.OPEN.items()}
    allowed = {key: Image.OPEN[key] for key in FORMATS}
    monkeypatch.setattr(Image, "OPEN", foreign | allowed)
    with pytest.raises(UnsupportedFormatError, match="JPEG, PNG"):
        decode(data, max_pixels=LIMIT)
    with pytest.raises(UnsupportedFormatError, match="JPEG, PNG"):
        read_header(io.BytesIO(data))


def test_bombs_are_refused_by_their_header(monkeypatch):
    def never(*_):
        raise AssertionError("a bomb reached a decoder")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(
        TooManyPixelsError, match="60000 x 60000 is 3600000000 pixels, the limit is"
    ):
        decode(png(60_000, 60_000, 8, 2, bytes(1000)), max_pixels=LIMIT)
    monkeypatch.setattr(Image, "open", never)  # of a WebP the canvas is allocated here
    extended = bytes([0x10, 0, 0, 0]) + (16383).to_bytes(3, "little") * 2
    webp = b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + extended
    with pytest.raises(
        TooManyPixelsError, match="16384 x 16384 is 268435456 pixels, the limit is"
    ):
        decode(webp + bytes(80), max_pixels=LIMIT)


def test_where_pillow_s_limit_holds_it_is_an_error_of_the_image(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for call in (lambda d: read_header(io.BytesIO(d)), lambda d: decode(d, max_pixels=LIMIT)):
        with pytest.raises(TooManyPixelsError, match="exceeds limit of 2000 pixels"):
            call(saved(scene(40, 56), "PNG"))


def test_the_limit_itself_is_allowed():
    data = saved(scene(40, 56), "PNG")
    assert decode(data, max_pixels=40 * 56)[1].height == 40
    with pytest.raises(TooManyPixelsError):
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
def test_the_header_agrees_with_the_image_and_is_read_from_few_bytes(file_format, options):
    noise = np.random.default_rng(1).integers(0, 256, (333, 517, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), file_format, **options)
    file = CountingFile(data)
    header = read_header(file)
    found, image = decode(data, max_pixels=LIMIT)
    assert (header.height, header.width) == (333, 517) == (image.height, image.width)
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


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("result_format", ["png", "jpeg", "webp"])
def test_wide_gamut_looks_the_same_after_all(file_format, result_format):
    """Pixels keep their numbers, and the result carries the profile that gives them colours."""
    wide = wide_profile()
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "AVIF": {"quality": 95}}
    data = saved(scene(), file_format, icc_profile=wide, **options.get(file_format, {}))
    _, image = decode(data, max_pixels=LIMIT)
    assert image.icc_profile == wide
    np.testing.assert_array_equal(image.rgb, pixels(Image.open(io.BytesIO(data))))
    result = encode(image, result_format, lossless=True).data
    assert np.abs(in_srgb(result) - in_srgb(data)).mean() < 3
    assert np.abs(in_srgb(data) - pixels(scene())).mean() > 6  # the profile does matter


def test_cmyk_agrees_with_pillow_s_colour_management():
    image = scene(200, 160, "CMYK")
    embedded = cmyk_profile()
    data = saved(image, "TIFF", icc_profile=embedded)
    expected = in_srgb(data)
    _, decoded = decode(data, max_pixels=LIMIT)
    np.testing.assert_array_equal(decoded.rgb, expected)
    assert np.abs(expected - pixels(image)).mean() > 10


def test_lab_as_other_programs_write_it():
    """TIFF 6.0, section 23: L* in 0..255, a* and b* as signed bytes; white is D50's."""
    body = bytes([255, 0, 0, 0, 0, 0, 138, 81, 70, 137, 0, 0])
    tags = {258: (3, [8, 8, 8]), 262: (3, [8]), 277: (3, [3])}
    _, image = decode(tiff(1, 4, body, tags), max_pixels=LIMIT)
    expected = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [128, 128, 128]]
    assert np.abs(image.rgb[0].astype(int) - expected).max() <= 5  # 8 bits of Lab


@pytest.mark.parametrize(
    ("bits", "photometric", "body", "levels"),
    [
        (16, 1, struct.pack("<3H", 0, 257 * 100, 65535), [0, 100, 255]),
        (16, 0, struct.pack("<3H", 0, 257 * 100, 65535), [255, 155, 0]),
        (12, 1, bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00]), [0, 128, 255]),
        (8, 0, bytes([0, 100, 255]), [255, 155, 0]),
        (1, 0, bytes([0b01000000]), [255, 0, 255]),
    ],
)
def test_grey_tiffs_of_any_depth_and_sense(bits, photometric, body, levels):
    tags = {258: (3, [bits]), 262: (3, [photometric])}
    _, image = decode(tiff(1, 3, body, tags), max_pixels=LIMIT)
    assert image.rgb[0, :, 0].tolist() == levels
    assert image.is_grey


def test_signed_grey_has_no_white():
    tags = {258: (3, [16]), 262: (3, [1]), 339: (3, [2])}
    with pytest.raises(UnsupportedFormatError, match="signed"):
        decode(tiff(1, 2, bytes(4), tags), max_pixels=LIMIT)


def test_a_key_colour_of_sixteen_bits():
    body = b"\0" + struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 1, 2, 3)
    key = (b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    _, image = decode(png(1, 2, 16, 2, body, key), max_pixels=LIMIT)
    assert image.rgb[0].tolist() == [[0x12, 0x56, 0x9A], [0, 0, 0]]
    assert image.alpha[0].tolist() == [0, 255]


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_transparency_stays_grey(bits):
    values = [255, 128, 9, 0] if bits == 8 else [65535, 128 * 257, 9 * 257, 0]
    body = b"\0" + struct.pack(f">4{'B' if bits == 8 else 'H'}", *values)
    _, image = decode(png(1, 2, bits, 4, body), max_pixels=LIMIT)
    assert image.is_grey
    assert image.rgb[0, :, 0].tolist() == [255, 9]
    assert image.alpha[0].tolist() == [128, 0]


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_of_greys_is_grey(file_format):
    palette = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16) // 16, "P")
    palette.putpalette([level for k in range(16) for level in (17 * k, 17 * k, 17 * k)])
    _, image = decode(saved(palette, file_format), max_pixels=LIMIT)
    assert image.is_grey
    assert image.rgb[:, 0, 0].tolist() == [17 * k for k in range(16)]
    palette.putpalette([level for k in range(16) for level in (17 * k, 17 * k, 16 * k)])
    assert not decode(saved(palette, file_format), max_pixels=LIMIT)[1].is_grey


def test_a_palette_of_greys_with_a_colour_profile_stays_colour():
    palette = scene(mode="L").convert("P")
    _, image = decode(saved(palette, "PNG", icc_profile=SRGB), max_pixels=LIMIT)
    assert (image.is_grey, image.icc_profile) == (False, SRGB)


@pytest.mark.parametrize(("opacity", "expected"), [(0, None), (1, [1, 1]), (200, [200, 200])])
def test_a_bmp_without_any_opacity_is_opaque(opacity, expected):
    body = bytes([30, 20, 10, opacity] * 2)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    data = bytearray(bmp(1, 2, 32, 3, masks + body, header_size=56))
    data[10:14] = struct.pack("<I", 54 + 16)
    _, image = decode(bytes(data), max_pixels=LIMIT)
    assert image.rgb[0].tolist() == [[10, 20, 30]] * 2
    assert (None if image.alpha is None else image.alpha[0].tolist()) == expected


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r" xmlns:tiff="t">
<rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "TIFF", "AVIF", "PNG"])
def test_an_orientation_in_the_xmp_is_ignored_as_browsers_do(file_format):
    options = {"tiffinfo": {700: XMP}} if file_format == "TIFF" else {"xmp": XMP}
    if file_format == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP)
    data = saved(scene(), file_format, **options)
    assert b"tiff:Orientation" in data
    check(data, pixels(scene()), 6)
    assert read_header(io.BytesIO(data)).height == 40


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "AVIF"])
@pytest.mark.parametrize("result_format", ["png", "jpeg", "webp"])
def test_the_result_needs_no_turning(file_format, result_format):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = scene().transpose(Image.Transpose.ROTATE_90)
    _, image = decode(saved(stored, file_format, exif=exif), max_pixels=LIMIT)
    result = Image.open(io.BytesIO(encode(image, result_format).data))
    assert 0x0112 not in result.getexif()
    assert np.abs(pixels(result) - pixels(scene())).mean() < 8


def broken_profiles():
    wide = wide_profile()
    return {
        "no tags": wide[:128] + bytes(len(wide) - 128),
        "tags beyond its end": wide[:132] + b"\xff" * 120 + wide[252:],
        "no primaries": wide.replace(b"rXYZ", b"xxxx"),
        "no signature": wide.replace(b"acsp", b"abcd"),
        "a press": cmyk_profile(),
        "half": wide[: len(wide) // 2],
    }


@pytest.mark.parametrize(("name", "broken"), broken_profiles().items())
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_broken_profile_is_not_kept(file_format, name, broken):
    data = saved(scene(), file_format, icc_profile=broken)
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == broken, name
    check(data, pixels(scene()), 6, icc_profile=None)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_absurd_profile_is_not_kept(file_format):
    options = {"lossless": True} if file_format == "WEBP" else {}
    for padding, kept in ((1_500_000, True), (5_000_000, False)):
        large = SRGB + bytes(padding)
        data = saved(scene(), file_format, icc_profile=large, **options)
        check(data, pixels(scene()), 6, icc_profile=large if kept else None)


def test_much_text_is_no_reason_to_refuse_an_image():
    info = PngImagePlugin.PngInfo()
    info.add_text("history", "saved again; " * 300_000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000)
    check(saved(scene(), "PNG", pnginfo=info), pixels(scene()), 0)


@pytest.mark.parametrize("file_format", ALL_FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_images_one_pixel_wide(file_format, size):
    header, image = decode(saved(Image.new("RGB", size, "red"), file_format), max_pixels=LIMIT)
    assert (image.width, image.height) == size == (header.width, header.height)


def test_the_header_of_a_tiff_is_read_past_its_layers():
    """Photoshop keeps all layers in one tag, which Pillow reads to tell the size."""
    tags = {37724: (1, bytes(3_000_000)), 258: (3, [8]), 262: (3, [1]), 274: (3, [6])}
    data = tiff(20, 30, bytes(600), tags)
    file = CountingFile(data)
    header = read_header(file)
    assert (header.format, header.height, header.width) == ("TIFF", 30, 20)
    assert file.read_bytes < 10_000
    assert decode(data, max_pixels=LIMIT)[1].height == 30


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_big", [False, True])
def test_tiff_headers_of_both_orders_and_sizes(order, is_big):
    mark = b"II" if order == "<" else b"MM"
    sizes = [(256, 3, 500), (257, 4, 400)]
    if is_big:
        values = [struct.pack(order + ("H6x" if kind == 3 else "L4x"), v) for _, kind, v in sizes]
        tags = [struct.pack(order + "HHQ", t, k, 1) for t, k, _ in sizes]
        data = mark + struct.pack(order + "HHHQQ", 43, 8, 0, 16, 2)
    else:
        values = [struct.pack(order + ("H2x" if kind == 3 else "L"), v) for _, kind, v in sizes]
        tags = [struct.pack(order + "HHL", t, k, 1) for t, k, _ in sizes]
        data = mark + struct.pack(order + "HLH", 42, 8, 2)
    data += b"".join(tag + value for tag, value in zip(tags, values, strict=True)) + bytes(8)
    header = read_header(io.BytesIO(data))
    assert (header.height, header.width) == (400, 500)


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff" + bytes(20),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(30),
        b"II+\0\x08\0\0\0" + b"\xff" * 16,
        b"MM\0*",
    ],
)
def test_broken_tiff_directories(data):
    with pytest.raises(UnreadableImageError):
        read_header(io.BytesIO(data))


def test_an_avif_by_its_other_brands():
    data = saved(scene(), "AVIF").replace(b"ftypavif", b"ftypmif1", 1)
    header, _ = check(data, pixels(scene()), 6)
    assert header.format == "AVIF"
    assert read_header(io.BytesIO(data)).format == "AVIF"


def test_an_avif_sequence_without_a_time_scale():
    """A division by zero in Pillow, which is no reason to crash."""
    data = bytearray(saved(scene(), "AVIF", save_all=True, append_images=[scene().rotate(9)]))
    at = data.index(b"mdhd") + 4 + 4 + 16
    assert int.from_bytes(data[at : at + 4]) == 1000
    data[at : at + 4] = bytes(4)
    with pytest.raises(UnreadableImageError, match="broken AVIF file"):
        decode(bytes(data), max_pixels=LIMIT, first_frame=True)


def test_without_memory_there_is_a_reason(monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    data = saved(scene(), "PNG")
    monkeypatch.setattr(module, "_to_image", exhausted)
    with pytest.raises(UnreadableImageError, match="decoding 56 x 40 pixels takes more memory"):
        decode(data, max_pixels=LIMIT)
    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(UnreadableImageError, match="header takes more memory"):
        read_header(io.BytesIO(data))


def test_a_side_that_no_row_can_hold_is_a_broken_header():
    data = tiff(10, 2**31, bytes(1000), {})
    with pytest.raises(UnreadableImageError, match="2147483648 x 10 pixels"):
        read_header(io.BytesIO(data))


def jpeg_of(quality):
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(5, 160, 200)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def saved_again(data, file_format, **options):
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as opened:
        opened.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "stated", "found"),
    [
        (jpeg_of(75), 75, 75),
        (saved_again(jpeg_of(75), "PNG"), 100, 75),
        (saved_again(jpeg_of(50), "JPEG", quality=95), 95, 50),
        (saved_again(jpeg_of(60), "WEBP", lossless=True), 100, 60),
    ],
    ids=["honest", "png", "twice", "webp"],
)
def test_the_network_is_conditioned_on_the_lower_quality(data, stated, found):
    header, _ = decode(data, max_pixels=LIMIT)
    assert header.jpeg_quality == stated
    assert abs(header.found_jpeg_quality - found) <= 1
    assert assumed_quality(header) == min(header.jpeg_quality, header.found_jpeg_quality)


def test_nobody_looks_for_jpeg_where_no_network_asks():
    header, image = decode(jpeg_of(75), max_pixels=LIMIT, finds_jpeg=False)
    assert (header.jpeg_quality, header.found_jpeg_quality) == (75, None)
    with DecoderPool(1, max_pixels=LIMIT) as decoders:
        found, pixels = decoders.decode(jpeg_of(75), max_pixels=LIMIT, finds_jpeg=False)
    assert found == header and np.array_equal(pixels.rgb, image.rgb)


def test_pixels_that_show_no_jpeg_leave_the_stated_quality():
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(5, 160, 200)).save(buffer, "PNG")
    header, _ = decode(buffer.getvalue(), max_pixels=LIMIT)
    assert (header.found_jpeg_quality, assumed_quality(header)) == (None, 100)
    for quality, expected in ((None, 85), (40, 40)):
        assert assumed_quality(dataclasses.replace(header, jpeg_quality=quality)) == expected


def gif_frame_inside_its_canvas():
    data = bytearray(saved(scene(20, 24, "P"), "GIF"))
    data[6:10] = struct.pack("<2H", 40, 30)  # the canvas; the frame stays
    return bytes(data)


def opaque_by_browsers():
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    data = bytearray(bmp(1, 2, 32, 3, masks + bytes([30, 20, 10, 0] * 2), header_size=56))
    data[10:14] = struct.pack("<I", 54 + 16)
    return bytes(data)


OPENED = {
    "JPEG of quality 60": lambda: saved(scene(), "JPEG", quality=60),
    "lossless WebP": lambda: saved(scene(), "WEBP", lossless=True),
    "lossy WebP": lambda: saved(scene(), "WEBP"),
    "lossy AVIF": lambda: saved(scene(), "AVIF"),
    "BMP without opacity": opaque_by_browsers,
    "grey of 2 bits with a key": lambda: png(1, 4, 2, 0, bytes([0, 0x1B]), (b"tRNS", b"\0\2")),
    "16-bit colours with a key": lambda: png(
        *(1, 1, 16, 2, b"\0" + b"\1\x80" * 3, (b"tRNS", b"\1\x80" * 3))
    ),
    "16-bit grey with transparency": lambda: png(1, 1, 16, 4, b"\0\x80\0\x40\0"),
    "gAMA": lambda: png(1, 1, 8, 2, b"\0abc", (b"gAMA", struct.pack(">I", 100_000))),
    "cICP": lambda: png(1, 1, 8, 2, b"\0abc", (b"cICP", bytes([12, 13, 0, 1]))),
    "GIF's frame inside its canvas": gif_frame_inside_its_canvas,
    "TIFF with an orientation in XMP": lambda: saved(scene(), "TIFF", tiffinfo={700: XMP}),
    "12-bit negative": lambda: saved(scene(mode="L"), "TIFF", tiffinfo={262: 0}),
}


@pytest.mark.parametrize("name", OPENED)
def test_an_image_that_pillow_has_opened_is_that_of_its_file(name):
    data = OPENED[name]()
    header, expected = decode(data, max_pixels=LIMIT)
    opened = Image.open(io.BytesIO(data))
    info = dict(opened.info)
    for _ in range(2):
        header_found, found = from_pillow(opened)
        np.testing.assert_array_equal(found.rgb, expected.rgb)
        assert assumed_quality(header_found) == assumed_quality(header)
        assert header_found.is_lossless == header.is_lossless
        assert (found.is_grey, found.icc_profile) == (expected.is_grey, expected.icc_profile)
        assert (found.alpha is None) == (expected.alpha is None)
        if expected.alpha is not None:
            np.testing.assert_array_equal(found.alpha, expected.alpha)
    assert opened.info == info


@pytest.mark.parametrize("file_format", ["PPM", "TGA", "PCX", "SGI"])
def test_other_lossless_formats_that_pillow_opens_are_lossless(file_format):
    header, image = from_pillow(Image.open(io.BytesIO(saved(scene(), file_format))))
    assert header.is_lossless and assumed_quality(header) == 100
    np.testing.assert_array_equal(image.rgb, pixels(scene()))


def test_a_later_frame_is_the_one_that_is_shown():
    """Pillow draws it over those before it: what lies outside its rectangle stays."""
    first, second = Image.new("RGB", (20, 16), "red"), Image.new("RGB", (20, 16), "red")
    second.paste((0, 0, 255), (4, 4, 8, 8))
    data = io.BytesIO()
    first.save(data, "GIF", save_all=True, append_images=[second])
    opened = Image.open(data)
    opened.seek(1)
    _, image = from_pillow(opened)
    np.testing.assert_array_equal(image.over_white(), pixels(second))


def test_what_a_program_did_to_an_opened_image_counts():
    opened = Image.open(io.BytesIO(saved(scene(), "JPEG", icc_profile=SRGB)))
    del opened.info["icc_profile"]
    assert from_pillow(opened)[1].icc_profile is None
    opened = Image.open(io.BytesIO(saved(scene(400, 560), "JPEG")))
    opened.draft("RGB", (140, 100))
    _, image = from_pillow(opened)
    assert (image.width, image.height) == opened.size == (140, 100)
    frames = [Image.new("RGB", (20, 16), colour).quantize(4) for colour in ("red", "blue")]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    opened = Image.open(data)  # its file stays open
    opened.load()
    opened.paste(Image.new("P", (20, 16), opened.getpixel((0, 0))), (0, 0))
    opened.putpixel((3, 2), 1 - opened.getpixel((0, 0)))
    np.testing.assert_array_equal(from_pillow(opened)[1].rgb, pixels(opened))


def test_an_opened_file_needs_no_more_than_pillow_needs():
    class Bare:
        """A file without `closed`."""

        def __init__(self, data):
            file = io.BytesIO(data)
            self.read, self.seek, self.tell = file.read, file.seek, file.tell

    header, _ = from_pillow(Image.open(Bare(saved(scene(), "WEBP", lossless=True))))
    assert header.is_lossless


def test_premultiplied_grey():
    plain = scene(mode="LA")
    _, image = from_pillow(plain.convert("La"))
    _, expected = from_pillow(plain.convert("La").convert("LA"))
    np.testing.assert_array_equal(image.rgb, expected.rgb)
    assert image.is_grey and image.alpha is not None


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels(size):
    with pytest.raises(UnreadableImageError, match=f"{size[0]} x {size[1]} pixels"):
        from_pillow(Image.new("RGB", size))


@pytest.mark.parametrize("quality", [30, 50, 75, 90])
def test_a_jpeg_in_a_tiff_has_its_quality(quality):
    data = saved(scene(), "TIFF", compression="jpeg", quality=quality)
    header, _ = decode(data, max_pixels=LIMIT)
    assert header.jpeg_quality == assumed_quality(header) == quality and not header.is_lossless
    assert choose_format(header, "auto") == "jpeg"
    assert from_pillow(Image.open(io.BytesIO(data)))[0].jpeg_quality == quality
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate"):
        header, _ = decode(saved(scene(), "TIFF", compression=compression), max_pixels=LIMIT)
        assert header.is_lossless and assumed_quality(header) == 100


def tiff_of_pages(*kinds):
    """A TIFF of an image and smaller ones, by their NewSubfileType."""
    pages = [scene(40 // (i + 1), 56 // (i + 1)) for i in range(len(kinds))]
    infos = [TiffImagePlugin.ImageFileDirectory_v2() for _ in kinds]
    for info, kind in zip(infos, kinds, strict=True):
        info[254] = kind
    data = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(data, new=True) as writer:
        for page, info in zip(pages, infos, strict=True):
            page.save(writer, "TIFF", tiffinfo=info)
            writer.newFrame()
    return data.getvalue()


def test_smaller_copies_in_a_tiff_are_no_frames():
    check(tiff_of_pages(0, 1, 1), pixels(scene()), 0)
    check(tiff_of_pages(1), pixels(scene()), 0)  # of what else could it be a copy?
    for kinds in ((0, 0), (0, 1, 0), (0, 2)):
        with pytest.raises(AnimatedImageError, match="give the job --animated first_frame"):
            decode(tiff_of_pages(*kinds), max_pixels=LIMIT)
    with pytest.raises(UnsupportedFormatError, match="first image is a preview"):
        decode(tiff_of_pages(1, 0), max_pixels=LIMIT, first_frame=True)
