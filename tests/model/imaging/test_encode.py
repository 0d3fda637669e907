import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from model.imaging.colour import from_h273, icc_profile
from model.imaging.decode import decode
from model.imaging.encode import check_format, choose_format, encode
from model.imaging.formats import IMAGE_FORMATS, Encoding
from model.imaging.header import Header
from model.imaging.image import RasterImage
from model.imaging.profiles import MAX_PROFILE_BYTES
from tests.malformed import SRGB, saved
from tests.model.imaging.test_decode import grey_profile


def image(*, grey=False, alpha=False, profile=None, size=(30, 40)):
    generator = np.random.default_rng(1)
    small = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    rgb = np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))
    if grey:
        rgb = np.repeat(rgb[..., :1], 3, axis=-1)
    opacity = generator.integers(0, 256, size, dtype=np.uint8) if alpha else None
    return RasterImage(rgb, opacity, is_grey=grey, icc_profile=profile)


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
        encode(image(), "gif")


MODES = {(False, False): "RGB", (False, True): "RGBA", (True, False): "L", (True, True): "LA"}


@pytest.mark.parametrize(("grey", "alpha"), MODES)
def test_png_keeps_mode_and_pixels(grey, alpha):
    source = image(grey=grey, alpha=alpha)
    opened = Image.open(io.BytesIO(encode(source, "png").data))
    assert opened.mode == MODES[grey, alpha]
    rgba = np.asarray(opened.convert("RGBA"))
    np.testing.assert_array_equal(rgba[..., :3], source.rgb)
    np.testing.assert_array_equal(rgba[..., 3], 255 if source.alpha is None else source.alpha)


def test_lossless_webp_keeps_pixels_and_transparency():
    source = image(alpha=True)
    opened = Image.open(io.BytesIO(encode(source, "webp", lossless=True).data))
    np.testing.assert_array_equal(np.asarray(opened)[..., :3], source.rgb)
    np.testing.assert_array_equal(np.asarray(opened)[..., 3], source.alpha)


@pytest.mark.parametrize(("grey", "mode"), [(False, "RGB"), (True, "L")])
def test_jpeg_is_close_and_lies_over_white(grey, mode):
    for alpha in (False, True):
        source = image(grey=grey, alpha=alpha)
        opened = Image.open(io.BytesIO(encode(source, "jpeg").data))
        assert opened.mode == mode
        difference = np.asarray(opened.convert("RGB")).astype(int) - source.over_white()
        assert np.abs(difference).mean() < (25 if alpha else 4)
    clear = RasterImage(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8))
    assert np.asarray(Image.open(io.BytesIO(encode(clear, "jpeg").data))).min() >= 254


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_profiles_are_kept_and_nothing_else(image_format):
    opened = Image.open(io.BytesIO(encode(image(profile=SRGB), image_format).data))
    assert opened.info["icc_profile"] == SRGB
    assert not opened.getexif()
    plain = Image.open(io.BytesIO(encode(image(), image_format).data))
    assert "icc_profile" not in plain.info


@pytest.mark.parametrize(
    ("image_format", "longest"), [("webp", 16_383), ("jpeg", 65_500), ("avif", 16_384)]
)
def test_too_long_for_a_format_becomes_png(image_format, longest):
    for size in ((1, longest), (longest, 1)):
        encoded = encode(image(size=size), image_format)
        assert encoded.image_format == image_format
        assert Image.open(io.BytesIO(encoded.data)).size == size[::-1]
    encoded = encode(image(size=(2, longest + 1)), image_format)
    assert encoded.image_format == "png"
    opened = Image.open(io.BytesIO(encoded.data))
    assert (opened.format, opened.size) == ("PNG", (longest + 1, 2))


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_the_same_image_gives_the_same_file(image_format):
    first, second = encode(image(), image_format), encode(image(), image_format)
    assert first == second
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()
    assert first.image_format == image_format


@pytest.mark.parametrize(("grey", "alpha"), MODES)
def test_webp_has_no_grey_but_shows_it(grey, alpha):
    source = image(grey=grey, alpha=alpha)
    opened = Image.open(io.BytesIO(encode(source, "webp", lossless=True).data))
    assert opened.mode == ("RGBA" if alpha else "RGB")
    np.testing.assert_array_equal(np.asarray(opened)[..., :3], source.rgb)


def test_lossy_webp_is_close():
    source = image()
    opened = Image.open(io.BytesIO(encode(source, "webp").data))
    assert 0 < np.abs(np.asarray(opened).astype(int) - source.rgb).mean() < 4


def test_half_transparent_black_is_mid_grey_in_a_jpeg():
    half = RasterImage(np.zeros((20, 20, 3), np.uint8), np.full((20, 20), 128, np.uint8))
    shown = np.asarray(Image.open(io.BytesIO(encode(half, "jpeg").data))).astype(int)
    assert np.abs(shown - 127).max() <= 1


SECRET = "Jane Roe, 1 Main Street"


def personal_files():
    """An image whose every block of metadata names a person, outside of its rights."""
    opened = Image.fromarray(image().rgb)
    exif = Image.Exif()
    exif[0x010E], exif[0x010F] = SECRET, SECRET  # description, maker
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: SECRET})  # GPS
    exif.get_ifd(0x8769)[0x9286] = SECRET.encode()  # the user's comment
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><creator>{SECRET}</creator></x:xmpmeta>".encode()
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", SECRET)
    text.add_itxt("XML:com.adobe.xmp", xmp)
    jpeg = saved(opened, "JPEG", exif=exif, xmp=xmp, comment=SECRET.encode())
    iptc = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\x20" + SECRET.encode().ljust(32)
    iptc = b"\xff\xed" + (len(iptc) + 2).to_bytes(2) + iptc
    return {
        "jpeg": jpeg[:2] + iptc + jpeg[2:],
        "png": saved(opened, "PNG", exif=exif, pnginfo=text),
        "webp": saved(opened, "WEBP", exif=exif, xmp=xmp),
        "avif": saved(opened, "AVIF", exif=exif, xmp=xmp),
        "tiff": saved(opened, "TIFF", exif=exif, tiffinfo={700: xmp, 270: SECRET}),
        "gif": saved(opened, "GIF", comment=SECRET.encode()),
    }


@pytest.mark.parametrize(("name", "data"), personal_files().items())
@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_what_identifies_people_is_dropped(name, data, image_format):
    assert SECRET.encode() in data, name
    _, source = decode(data, max_pixels=10**6)
    result = encode(source, image_format).data
    assert SECRET.encode() not in result
    image = Image.open(io.BytesIO(result))
    image.load()
    assert not image.getexif() and not image.getexif().get_ifd(0x8825)
    known = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background"}
    assert set(image.info) <= known | {"timestamp", "duration"}


def test_a_grey_profile_is_applied_where_only_colour_can_be_written():
    source = image(grey=True, alpha=True, profile=grey_profile())
    expected = ImageCms.profileToProfile(
        Image.fromarray(np.ascontiguousarray(source.rgb[..., 0])),
        ImageCms.ImageCmsProfile(io.BytesIO(grey_profile())),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
    )
    opened = Image.open(io.BytesIO(encode(source, "webp", lossless=True).data))
    assert "icc_profile" not in opened.info
    np.testing.assert_array_equal(np.asarray(opened)[..., :3], np.asarray(expected))
    np.testing.assert_array_equal(np.asarray(opened)[..., 3], source.alpha)
    assert (np.asarray(expected) != source.rgb).any()
    broken = image(grey=True, profile=b"nonsense" * 40)
    opened = Image.open(io.BytesIO(encode(broken, "webp", lossless=True).data))
    assert "icc_profile" not in opened.info
    np.testing.assert_array_equal(np.asarray(opened.convert("RGB")), broken.rgb)


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_the_largest_profile_fits_into_every_format(image_format):
    profile = SRGB.ljust(MAX_PROFILE_BYTES, b"\1")
    data = encode(image(profile=profile), image_format).data
    assert decode(data, max_pixels=10**6)[1].icc_profile == profile


def shown(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def smooth(*, profile=None, grey=False):
    """A shop image's colours, without noise: what a lossy format must keep."""
    return image(grey=grey, profile=profile, size=(90, 120))


@pytest.mark.parametrize("image_format", ["jpeg", "webp", "avif"])
def test_quality_decides_size_and_error(image_format):
    source = smooth()
    sizes, errors = [], []
    for quality in (20, 60, None, 100):
        data = encode(source, image_format, encoding=Encoding(quality=quality)).data
        sizes.append(len(data))
        errors.append(np.abs(shown(data) - source.rgb).mean())
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    assert errors == sorted(errors, reverse=True) and errors[2] < 3


def test_quality_leaves_lossless_files_as_they_are():
    for image_format in ("png", "webp"):
        plain = encode(image(), image_format, lossless=True)
        assert encode(image(), image_format, lossless=True, encoding=Encoding(quality=20)) == plain


@pytest.mark.parametrize(("grey", "alpha"), MODES)
def test_avif_keeps_colours_and_transparency(grey, alpha):
    source = image(grey=grey, alpha=alpha, size=(60, 80))
    data = encode(source, "avif", encoding=Encoding(quality=100)).data
    header, found = decode(data, max_pixels=10**6)
    assert (header.format, found.rgb.shape, found.icc_profile) == ("AVIF", (60, 80, 3), None)
    weight = 1 if found.alpha is None else found.alpha[..., None] / 255
    assert (np.abs(found.rgb.astype(int) - source.rgb) * weight).mean() < 4
    if alpha:
        assert np.abs(found.alpha.astype(int) - source.alpha).mean() < 2
    else:
        assert found.alpha is None


def test_a_pillow_without_avif_is_one_clear_line(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    with pytest.raises(ValueError, match=r"without AVIF: install pillow 11\.3 or later"):
        encode(image(), "avif")
    for image_format in ("auto", "png", "jpeg", "webp"):
        check_format(image_format)


def test_progressive_jpegs_have_the_same_pixels():
    plain = encode(smooth(), "jpeg").data
    progressive = encode(smooth(), "jpeg", encoding=Encoding(is_progressive=True)).data
    assert Image.open(io.BytesIO(progressive)).info["progressive"]
    assert "progressive" not in Image.open(io.BytesIO(plain)).info
    np.testing.assert_array_equal(shown(progressive), shown(plain))
    for image_format in ("png", "webp"):
        options = {"encoding": Encoding(is_progressive=True)}
        assert encode(image(), image_format, **options) == encode(image(), image_format)


P3 = icc_profile(from_h273(12, 13, is_png=True), is_grey=False)


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
@pytest.mark.parametrize("profile", [P3, SRGB])
def test_colours_are_converted_to_srgb(profile, image_format):
    source = smooth(profile=profile)
    # By LittleCMS, as `tests/model/imaging/test_colour.py` compares with the formulas.
    expected = ImageCms.profileToProfile(
        Image.fromarray(source.rgb),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
    )
    assert (np.abs(np.asarray(expected).astype(int) - source.rgb).mean() > 2) == (profile == P3)
    options = {"lossless": True, "encoding": Encoding(profile="srgb")}
    data = encode(source, image_format, **options).data
    assert "icc_profile" not in Image.open(io.BytesIO(data)).info
    limit = 0 if image_format in ("png", "webp") else 3
    assert np.abs(shown(data) - np.asarray(expected)).mean() <= limit
    assert decode(data, max_pixels=10**6)[1].icc_profile is None


def test_grey_stays_grey_in_srgb():
    source = smooth(grey=True, profile=grey_profile())
    opened = Image.open(io.BytesIO(encode(source, "png", encoding=Encoding(profile="srgb")).data))
    assert opened.mode == "L" and "icc_profile" not in opened.info
    as_webp = encode(source, "webp", lossless=True).data  # converts grey anyway
    np.testing.assert_array_equal(shown(as_webp)[..., 0], np.asarray(opened))
    assert (np.asarray(opened) != source.rgb[..., 0]).any()


def test_an_image_without_a_profile_is_srgb_already():
    for image_format in IMAGE_FORMATS:
        options = {"encoding": Encoding(profile="srgb")}
        assert encode(image(), image_format, **options) == encode(image(), image_format)
