"""Colours that a file describes by numbers, against formulas written out here from the standards.

`shown` is what a colour-managed viewer displays of a result: its profile applied by littleCMS. The
references use neither profiles nor littleCMS. One test asks a real browser.
"""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from model.imaging import colour
from model.imaging.decode import decode
from model.imaging.encode import encode
from model.imaging.errors import UnsupportedFormatError
from tests.malformed import SRGB, png, saved
from tests.pipeline.browser import opened

LIMIT = 10**7
RAMP = np.arange(256, dtype=np.uint8)
# Neutral and coloured: each row one hue, from dark to light.
COLOURS = np.stack([np.outer(RAMP, hue) for hue in np.eye(4, 3) * 0.5 + 0.5]).astype(np.uint8)

# To CIE XYZ of D65: IEC 61966-2-1 and, for Display P3, SMPTE EG 432-1 as printed there.
SRGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
P3_TO_XYZ = np.array(
    [
        [0.48657095, 0.26566769, 0.19821729],
        [0.22897456, 0.69173852, 0.07928691],
        [0, 0.04511338, 1.04394437],
    ]
)
# ITU-R BT.2020 by way of BT.2087.
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
CHRM_SRGB = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
CHRM_P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def srgb_encoded(light):
    light = np.clip(light, 0, 1)
    return 255 * np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    )


def srgb_decoded(levels):
    x = levels / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def png_of(rgb, *chunks):
    height, width = rgb.shape[:2]
    body = b"".join(b"\0" + row.tobytes() for row in rgb)
    return png(height, width, 8, 2 if rgb.ndim == 3 else 0, body, *chunks)


def gama(steps):
    return b"gAMA", struct.pack(">I", steps)


def chrm(values):
    return b"cHRM", struct.pack(">8I", *values)


def cicp(*values):
    return b"cICP", bytes(values)


def iccp(profile):
    return b"iCCP", b"a\0\0" + zlib.compress(profile)


def shown(data):
    """The sRGB levels of an image file, float [H, W, 3]."""
    image = Image.open(io.BytesIO(data))
    profile = image.info.get("icc_profile")
    if profile is None:
        return np.asarray(image.convert("RGB")).astype(float)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    rgb = ImageCms.profileToProfile(image, source, srgb, renderingIntent=1, outputMode="RGB")
    return np.asarray(rgb).astype(float)


def result_of(data, result_format="png"):
    _, image = decode(data, max_pixels=LIMIT)
    return encode(image, result_format, lossless=True).data


CASES = {
    "gamma 1/1.8": ([gama(55556)], srgb_encoded((COLOURS / 255) ** 1.8)),
    "gamma 1/2.2": (
        [gama(45455), chrm(CHRM_SRGB)],
        srgb_encoded((COLOURS / 255) ** 2.2),
    ),
    "linear": ([gama(100000)], srgb_encoded(COLOURS / 255)),
    "linear by cICP": ([cicp(1, 8, 0, 1)], srgb_encoded(COLOURS / 255)),
    "P3": (
        [cicp(12, 13, 0, 1)],
        srgb_encoded(srgb_decoded(COLOURS) @ P3_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T),
    ),
    "P3 primaries by cHRM": (
        [gama(45455), chrm(CHRM_P3)],
        srgb_encoded((COLOURS / 255) ** 2.2 @ P3_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T),
    ),
    "BT.2020": (
        [cicp(9, 14, 0, 1)],
        srgb_encoded((COLOURS / 255) ** 2.4 @ BT2020_TO_BT709.T),
    ),
    "BT.2020 primaries": (
        [cicp(9, 13, 0, 1)],
        srgb_encoded(srgb_decoded(COLOURS) @ BT2020_TO_BT709.T),
    ),
    "BT.709": ([cicp(1, 1, 0, 1)], srgb_encoded((COLOURS / 255) ** 2.4)),
    "SMPTE 240M's curve": (
        [cicp(1, 7, 0, 1)],
        srgb_encoded(
            np.where(
                COLOURS / 255 < 0.0912,
                COLOURS / 255 / 4,
                ((COLOURS / 255 + 0.1115) / 1.1115) ** (1 / 0.45),
            )
        ),
    ),
}


@pytest.mark.parametrize("result_format", ["png", "webp"])
@pytest.mark.parametrize("name", CASES)
def test_a_png_s_numbers_decide_its_colours(name, result_format):
    chunks, expected = CASES[name]
    data = png_of(COLOURS, *chunks)
    error = np.abs(shown(result_of(data, result_format)) - expected)
    assert error.max() <= 3 and error.mean() <= 0.6
    _, image = decode(data, max_pixels=LIMIT)
    np.testing.assert_array_equal(image.rgb, COLOURS)  # the pixels keep their numbers
    assert np.abs(COLOURS - expected).mean() > (0.7 if name == "gamma 1/2.2" else 2)


PRECEDENCE = {
    "cICP before iCCP": ([cicp(1, 8, 0, 1), iccp(SRGB), gama(55556)], "linear"),
    "cICP of sRGB before gAMA": ([cicp(1, 13, 0, 1), gama(100000)], None),
    "iCCP before gAMA": ([iccp(SRGB), gama(100000)], "embedded"),
    "iCCP before sRGB": ([(b"sRGB", b"\0"), iccp(SRGB)], "embedded"),
    "sRGB before gAMA": ([(b"sRGB", b"\0"), gama(100000), chrm(CHRM_P3)], None),
    "an unusable iCCP is none": ([iccp(SRGB[:200]), gama(100000)], "linear"),
    "cICP of YCbCr is none": ([cicp(1, 8, 1, 1), gama(55556)], "gamma 1/1.8"),
    "cICP of narrow range is none": ([cicp(1, 8, 0, 0), gama(55556)], "gamma 1/1.8"),
    "cICP too short": ([(b"cICP", b"\1\x08\0"), gama(55556)], "gamma 1/1.8"),
    "a gamma of nothing": ([gama(0)], None),
    "impossible primaries": ([gama(55556), chrm((31270, 32900, 0, 0, 0, 0, 0, 0))], None),
    "a gamma like sRGB's": ([gama(45455)], None),
    "a gamma nearly like sRGB's": ([gama(44000)], None),
    "cHRM of P3 alone": ([chrm(CHRM_P3)], None),
    "cHRM of sRGB alone": ([chrm(CHRM_SRGB)], None),
    "unspecified": ([cicp(2, 2, 0, 1)], None),
    "no numbers": ([], None),
}


@pytest.mark.parametrize("name", PRECEDENCE)
def test_which_chunk_counts(name):
    """PNG (third edition), section 12.1."""
    chunks, expected = PRECEDENCE[name]
    _, image = decode(png_of(COLOURS, *chunks), max_pixels=LIMIT)
    if expected in (None, "embedded"):
        assert image.icc_profile == (SRGB if expected else None)
        return
    error = np.abs(shown(encode(image, "png").data) - CASES[expected][1])
    assert error.max() <= 3 and error.mean() <= 0.6


@pytest.mark.parametrize("result_format", ["png", "jpeg", "webp"])
def test_grey_keeps_one_plane_and_its_gamma(result_format):
    grey = np.tile(RAMP, (16, 1))
    data = png_of(grey, gama(55556))
    _, image = decode(data, max_pixels=LIMIT)
    assert image.is_grey and image.icc_profile[16:20] == b"GRAY"
    expected = srgb_encoded((grey / 255) ** 1.8)
    error = np.abs(shown(result_of(data, result_format))[..., 0] - expected)
    assert error.mean() <= 0.6 and error.max() <= (8 if result_format == "jpeg" else 3)


def test_sixteen_bits_and_palettes_have_gamma_too():
    deep = struct.pack(">3H", 0, 128 * 257, 65535)
    grey = png(1, 3, 16, 0, b"\0" + deep, gama(55556))
    palette = (b"PLTE", bytes([200, 100, 50, 9, 9, 9]))
    indexed = png(1, 2, 8, 3, b"\0\0\1", gama(100000), palette)
    expected = srgb_encoded((np.array([0, 128, 255]) / 255) ** 1.8)
    assert np.abs(shown(result_of(grey))[0, :, 0] - expected).max() <= 1.5
    expected = srgb_encoded(np.array([200, 100, 50]) / 255)
    assert np.abs(shown(result_of(indexed))[0, 0] - expected).max() <= 1.5


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("file_format", ["PNG", "AVIF"])
def test_high_dynamic_range_has_a_reason(file_format, transfer, name):
    if file_format == "PNG":
        data = png_of(COLOURS, cicp(9, transfer, 0, 1))
    else:
        data = avif_of(COLOURS, 9, transfer)
    with pytest.raises(UnsupportedFormatError, match=rf"high dynamic range.*{name}") as caught:
        decode(data, max_pixels=LIMIT)
    assert caught.value.reason == "unsupported_format"


def avif_of(rgb, primaries, transfer):
    """An AVIF whose nclx box holds these numbers."""
    data = saved(Image.fromarray(rgb), "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    assert struct.unpack_from(">HH", data, at) == (1, 13)
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


@pytest.mark.parametrize(
    ("primaries", "transfer", "name"),
    [
        (12, 13, "P3"),
        (1, 8, "linear"),
        (9, 14, "BT.2020 primaries"),
        (9, 13, "BT.2020 primaries"),
        (1, 13, None),
        (2, 2, None),
        (1, 1, None),
    ],
)
def test_an_avif_s_numbers_decide_its_colours(primaries, transfer, name):
    data = avif_of(COLOURS, primaries, transfer)
    plain = shown(saved(Image.open(io.BytesIO(data)), "PNG", icc_profile=None))
    assert np.abs(plain - COLOURS).mean() < 1  # 8 bits of YCbCr
    expected = plain if name is None else CASES[name][1]
    error = np.abs(shown(result_of(data)) - expected)
    assert error.mean() <= (0 if name is None else 1.5)


def test_an_avif_s_profile_counts_more_than_its_numbers():
    data = saved(Image.fromarray(COLOURS), "AVIF", icc_profile=SRGB)
    _, image = decode(data, max_pixels=LIMIT)
    assert image.icc_profile == SRGB


def test_profiles_are_read_alike_by_littlecms():
    """Every space of the table: its profile opens, and white stays white."""
    spaces = [colour.from_h273(p, t, is_png=True) for p in range(23) for t in (4, 5, 7, 8, 13)]
    profiles = {colour.icc_profile(space, is_grey=False) for space in spaces} - {None}
    assert len(profiles) > 40
    for profile in profiles:
        data = saved(Image.new("RGB", (1, 1), (255, 255, 255)), "PNG", icc_profile=profile)
        assert np.abs(shown(data) - 255).max() <= 1


@pytest.mark.parametrize("steps", [1, 10, 100, 2**31])
def test_absurd_gammas_are_no_reason_to_fail(steps):
    _, image = decode(png_of(COLOURS, gama(steps)), max_pixels=LIMIT)
    np.testing.assert_array_equal(image.rgb, COLOURS)


@pytest.mark.slow
def test_a_browser_shows_source_and_result_alike(tmp_path):
    """A canvas of a real Chromium, in sRGB: the source, and what is published of it."""
    sources = {name: png_of(COLOURS, *chunks) for name, (chunks, _) in CASES.items()}
    sources |= {name: png_of(COLOURS, *chunks) for name, (chunks, _) in PRECEDENCE.items()}
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><meta charset=utf-8>")
    with opened(page) as view:
        for name, data in sources.items():
            if name == "cICP of YCbCr is none":  # Chromium refuses such a file
                continue
            source, result = (in_browser(view.page, one) for one in (data, result_of(data)))
            error = np.abs(source - result)
            assert error.mean() <= 0.6 and error.max() <= 4, name
            if name in CASES:
                assert np.abs(result - CASES[name][1]).mean() <= 1, name
        for numbers in ((12, 13), (9, 14), (1, 1), (1, 8), (2, 2), (1, 4)):
            data = avif_of(COLOURS, *numbers)
            source = in_browser(view.page, data, "avif")
            assert np.abs(source - in_browser(view.page, result_of(data))).mean() <= 0.7, numbers
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6  # which Chromium does not apply to a WebP
        options = {"WEBP": {"lossless": True, "exif": exif}}
        for file_format, image in (
            *((one, Image.fromarray(COLOURS).convert("L")) for one in ("PNG", "JPEG", "AVIF")),
            ("WEBP", Image.fromarray(COLOURS)),
        ):
            options[file_format] = options.get(file_format, {"quality": 95, "icc_profile": WIDE})
            data = saved(image, file_format, **options[file_format])
            source = in_browser(view.page, data, file_format.lower())
            result = in_browser(view.page, result_of(data))
            assert np.abs(source - result).mean() <= 1, file_format


# Of no space's primaries, and gamma 1.8.
WIDE = colour.icc_profile(
    colour.ColourSpace((0.3127, 0.329, 0.73, 0.27, 0.16, 0.8, 0.1, 0.05), (1.8,)), is_grey=False
)
IN_BROWSER = """async url => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", {colorSpace: "srgb"});
  context.drawImage(image, 0, 0);
  return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
}"""


def in_browser(page, data, kind="png"):
    """The sRGB levels that Chromium draws, float [H, W, 3]."""
    url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    levels = np.array(page.evaluate(IN_BROWSER, url), float)
    return levels.reshape(*COLOURS.shape[:2], 4)[..., :3]
