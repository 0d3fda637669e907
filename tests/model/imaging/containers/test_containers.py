"""WebP, AVIF and GIF whose parts stand where a parser of first bytes does not look."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

from model.imaging import decode as decode_module
from model.imaging.decode import decode
from model.imaging.errors import UnreadableImageError
from model.imaging.header import read_header
from tests.malformed import SRGB, saved

LIMIT = 10**7


class CountingFile(io.BytesIO):
    """Counts the bytes that are read."""

    read_bytes = 0

    def read(self, size=-1):
        data = super().read(size)
        self.read_bytes += len(data)
        return data


def scene():
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8))


def padded_profile(size):
    """A good profile of a size, whose rest does not compress."""
    return SRGB + np.random.default_rng(1).bytes(size - len(SRGB))


@pytest.mark.parametrize("size", [3000, 5000, 70_000, 1_500_000])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_is_lossless_behind_any_profile(size, lossless):
    profile = padded_profile(size)
    data = saved(scene(), "WEBP", lossless=lossless, icc_profile=profile)
    file = CountingFile(data)
    header = read_header(file)
    assert header.is_lossless is lossless
    assert header.jpeg_quality == (100 if lossless else None)
    assert file.read_bytes < 6000
    found, image = decode(data, max_pixels=LIMIT)
    assert found.is_lossless is lossless and image.icc_profile == profile
    if lossless:
        np.testing.assert_array_equal(image.rgb, np.asarray(scene()))


@pytest.mark.parametrize("lossless", [True, False])
def test_an_animated_webp_by_its_first_frame(lossless):
    more = {"save_all": True, "append_images": [scene().rotate(180)]}
    data = saved(scene(), "WEBP", lossless=lossless, icc_profile=padded_profile(9000), **more)
    assert read_header(io.BytesIO(data)).is_lossless is lossless


def test_a_lossy_webp_is_not_lossless_by_a_word_in_its_profile():
    data = saved(scene(), "WEBP", icc_profile=SRGB + b"VP8L")
    assert b"VP8L" in data[:4096]
    assert not read_header(io.BytesIO(data)).is_lossless


@pytest.mark.parametrize("size", [3000, 5000, 70_000, 1_500_000])
def test_an_avif_with_any_profile(size):
    profile = padded_profile(size)
    data = saved(scene(), "AVIF", icc_profile=profile)
    header = read_header(io.BytesIO(data))
    assert (header.format, header.height, header.width) == ("AVIF", 40, 56)
    _, image = decode(data, max_pixels=LIMIT)
    assert image.icc_profile == profile


def avif_boxes(data):
    """The top-level boxes of an AVIF: kind and whole content."""
    at, found = 0, []
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at : at + size]))
        at += size
    return found


def shifted(meta, by):
    """A meta box whose iloc offsets grow by so many bytes (version 0, 4-byte offsets)."""
    at = meta.index(b"iloc") + 4
    assert meta[at] == 0 and meta[at + 4] == 0x44
    (items,) = struct.unpack_from(">H", meta, at + 6)
    result, at = bytearray(meta), at + 8
    for _ in range(items):
        (extents,) = struct.unpack_from(">H", meta, at + 4)
        at += 6
        for _ in range(extents):
            (offset,) = struct.unpack_from(">I", meta, at)
            struct.pack_into(">I", result, at, offset + by)
            at += 8
    return bytes(result)


@pytest.mark.parametrize("free_bytes", [5000, 300_000])
@pytest.mark.parametrize("is_wide", [False, True])
def test_an_avif_whose_meta_box_comes_late(free_bytes, is_wide):
    data = saved(scene(), "AVIF")
    (ftyp, meta, mdat) = avif_boxes(data)
    assert (ftyp[0], meta[0], mdat[0]) == (b"ftyp", b"meta", b"mdat")
    filler = os.urandom(free_bytes)
    free = struct.pack(">I4s", 8 + free_bytes, b"free") + filler
    if is_wide:
        free = struct.pack(">I4sQ", 1, b"free", 16 + free_bytes) + filler
    late = ftyp[1] + free + shifted(meta[1], len(free)) + mdat[1]
    file = CountingFile(late)
    assert read_header(file) == read_header(io.BytesIO(data))
    assert file.read_bytes < 6000
    expected = decode(data, max_pixels=LIMIT)[1].rgb
    np.testing.assert_array_equal(decode(late, max_pixels=LIMIT)[1].rgb, expected)


def test_the_primary_item_s_size_counts():
    """Of an image with transparency the alpha is an item of its own."""
    rgba = scene().convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    header, image = decode(saved(rgba, "AVIF"), max_pixels=LIMIT)
    assert (header.height, header.width) == (40, 56) and image.alpha is not None


@pytest.mark.parametrize("cut", [16, 30, 60, 150, 250])
def test_a_cut_avif_header_is_unreadable(cut):
    data = saved(scene(), "AVIF")
    with pytest.raises(UnreadableImageError):
        decode(data[:cut], max_pixels=LIMIT)


def gif(canvas, frame, colours, *, transparent=None):
    """A GIF of one frame [H, W] of palette indices, at (left, upper) on (width, height)."""
    (left, upper), pixels = frame
    height, width = pixels.shape
    image = Image.fromarray(pixels, "P")
    image.putpalette([level for colour in colours for level in colour])
    options = {} if transparent is None else {"transparency": transparent}
    data = bytearray(saved(image, "GIF", **options))
    data[6:10] = struct.pack("<2H", *canvas)
    at = data.index(b"," + struct.pack("<4H", 0, 0, width, height))
    data[at + 1 : at + 5] = struct.pack("<2H", left, upper)
    return bytes(data)


@pytest.mark.parametrize("transparent", [None, 1])
def test_a_gif_is_transparent_where_its_frame_is_not(transparent):
    pixels = np.random.default_rng(1).integers(0, 3, (10, 20)).astype(np.uint8)
    colours = [(200, 30, 30), (20, 220, 40), (10, 20, 250)]
    data = gif((50, 40), ((12, 7), pixels), colours, transparent=transparent)
    header, image = decode(data, max_pixels=LIMIT)
    assert (header.height, header.width) == (40, 50)
    inside = slice(7, 17), slice(12, 32)
    expected = np.zeros((40, 50), np.uint8)
    expected[inside] = 255 if transparent is None else 255 * (pixels != transparent)
    np.testing.assert_array_equal(image.alpha, expected)
    visible = image.alpha == 255
    whole = np.zeros((40, 50, 3), np.uint8)
    whole[inside] = np.array(colours, np.uint8)[pixels]
    np.testing.assert_array_equal(image.rgb[visible], whole[visible])


def test_a_gif_whose_frame_covers_its_canvas_has_no_alpha():
    pixels = np.zeros((10, 20), np.uint8)
    data = gif((20, 10), ((0, 0), pixels), [(200, 30, 30)])
    assert decode(data, max_pixels=LIMIT)[1].alpha is None


def test_no_other_size_than_the_header_s_is_decoded(monkeypatch):
    """Whatever format hides a larger image next: the size filter has decided by the header."""
    small = read_header(io.BytesIO(saved(scene(), "PNG")))
    monkeypatch.setattr(decode_module, "read_header", lambda file: small)
    large = saved(Image.new("RGB", (4000, 4000)), "PNG")
    with pytest.raises(
        UnreadableImageError, match="the header says 56 x 40 pixels, the decoder 4000 x"
    ):
        decode(large, max_pixels=40_000_000)
