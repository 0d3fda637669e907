import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from model.decode import Header
from model.encode import choose_format, encode
from model.picture import Picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(*, grey=False, alpha=False, profile=None, size=(30, 40)):
    generator = np.random.default_rng(1)
    small = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    rgb = np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))
    if grey:
        rgb = np.repeat(rgb[..., :1], 3, axis=-1)
    opacity = generator.integers(0, 256, size, dtype=np.uint8) if alpha else None
    return Picture(rgb, opacity, is_grey=grey, icc_profile=profile)


def header(name, lossless):
    return Header(name, "RGB", 10, 10, lossless, None)


@pytest.mark.parametrize(
    ("name", "lossless", "expected"),
    [
        ("JPEG", False, "jpeg"),
        ("PNG", True, "png"),
        ("GIF", True, "png"),
        ("BMP", True, "png"),
        ("TIFF", True, "png"),
        ("WEBP", False, "webp"),
        ("WEBP", True, "webp"),
        ("AVIF", False, "webp"),
    ],
)
def test_auto_keeps_the_format_and_lossless_stays_lossless(name, lossless, expected):
    assert choose_format(header(name, lossless), "auto") == expected
    assert choose_format(header(name, lossless), "png") == "png"


def test_unknown_formats():
    with pytest.raises(ValueError, match="bmp"):
        choose_format(header("PNG", True), "bmp")
    with pytest.raises(ValueError, match="gif"):
        encode(picture(), "gif")


MODES = {(False, False): "RGB", (False, True): "RGBA", (True, False): "L", (True, True): "LA"}


@pytest.mark.parametrize(("grey", "alpha"), MODES)
def test_png_keeps_mode_and_pixels(grey, alpha):
    source = picture(grey=grey, alpha=alpha)
    image = Image.open(io.BytesIO(encode(source, "png").data))
    assert image.mode == MODES[grey, alpha]
    rgba = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(rgba[..., :3], source.rgb)
    np.testing.assert_array_equal(rgba[..., 3], 255 if source.alpha is None else source.alpha)


def test_lossless_webp_keeps_pixels_and_transparency():
    source = picture(alpha=True)
    image = Image.open(io.BytesIO(encode(source, "webp", lossless=True).data))
    np.testing.assert_array_equal(np.asarray(image)[..., :3], source.rgb)
    np.testing.assert_array_equal(np.asarray(image)[..., 3], source.alpha)


@pytest.mark.parametrize(("grey", "mode"), [(False, "RGB"), (True, "L")])
def test_jpeg_is_close_and_lies_over_white(grey, mode):
    for alpha in (False, True):
        source = picture(grey=grey, alpha=alpha)
        image = Image.open(io.BytesIO(encode(source, "jpeg").data))
        assert image.mode == mode
        difference = np.asarray(image.convert("RGB")).astype(int) - source.over_white()
        assert np.abs(difference).mean() < (25 if alpha else 4)
    clear = Picture(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8))
    assert np.asarray(Image.open(io.BytesIO(encode(clear, "jpeg").data))).min() >= 254


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_profiles_are_kept_and_nothing_else(image_format):
    image = Image.open(io.BytesIO(encode(picture(profile=SRGB), image_format).data))
    assert image.info["icc_profile"] == SRGB
    assert not image.getexif()
    plain = Image.open(io.BytesIO(encode(picture(), image_format).data))
    assert "icc_profile" not in plain.info


@pytest.mark.parametrize(("image_format", "longest"), [("webp", 16_383), ("jpeg", 65_500)])
def test_too_long_for_a_format_becomes_png(image_format, longest):
    for size in ((1, longest), (longest, 1)):
        encoded = encode(picture(size=size), image_format)
        assert encoded.image_format == image_format
        assert Image.open(io.BytesIO(encoded.data)).size == size[::-1]
    encoded = encode(picture(size=(2, longest + 1)), image_format)
    assert encoded.image_format == "png"
    image = Image.open(io.BytesIO(encoded.data))
    assert (image.format, image.size) == ("PNG", (longest + 1, 2))


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_the_same_picture_gives_the_same_file(image_format):
    first, second = encode(picture(), image_format), encode(picture(), image_format)
    assert first == second
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()
    assert first.image_format == image_format


@pytest.mark.parametrize(("grey", "alpha"), MODES)
def test_webp_has_no_grey_but_shows_it(grey, alpha):
    source = picture(grey=grey, alpha=alpha)
    image = Image.open(io.BytesIO(encode(source, "webp", lossless=True).data))
    assert image.mode == ("RGBA" if alpha else "RGB")
    np.testing.assert_array_equal(np.asarray(image)[..., :3], source.rgb)


def test_lossy_webp_is_close():
    source = picture()
    image = Image.open(io.BytesIO(encode(source, "webp").data))
    assert 0 < np.abs(np.asarray(image).astype(int) - source.rgb).mean() < 4


def test_half_transparent_black_is_mid_grey_in_a_jpeg():
    half = Picture(np.zeros((20, 20, 3), np.uint8), np.full((20, 20), 128, np.uint8))
    shown = np.asarray(Image.open(io.BytesIO(encode(half, "jpeg").data))).astype(int)
    assert np.abs(shown - 127).max() <= 1
