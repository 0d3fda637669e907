"""Files that browsers show although they are damaged, beside those that have lost pixels."""

import base64
import io
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.imaging.decode import decode, from_pillow
from model.imaging.errors import UnreadableImageError
from model.imaging.header import read_header
from tests.malformed import png, png_chunk, saved
from tests.pipeline.browser import opened

LIMIT = 10**7
VARIETIES = {
    "baseline": {},
    "4:4:4": {"subsampling": "4:4:4"},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True, "quality": 40},
}


def scene(seed=1, height=90, width=130):
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("variety", VARIETIES)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_jpeg_without_its_end_marker_is_whole(missing, variety, mode, seed):
    data = saved(scene(seed).convert(mode), "JPEG", **VARIETIES[variety])
    header, image = decode(data[:-missing], max_pixels=LIMIT)
    assert header.note == "the JPEG's end marker is missing"
    whole, expected = decode(data, max_pixels=LIMIT)
    assert whole.note is None
    np.testing.assert_array_equal(image.rgb, expected.rgb)


@pytest.mark.parametrize("variety", VARIETIES)
@pytest.mark.parametrize(
    "behind", [b"\xff\xc2\0\x11\xff\xda", b"PK\3\4\xff\xda\0", b"\xff\xd8\xff\xda"]
)
def test_what_follows_a_jpeg_is_no_part_of_it(variety, behind):
    data = saved(scene(), "JPEG", **VARIETIES[variety])
    header, image = decode(data + behind, max_pixels=LIMIT)
    assert header.note is None
    np.testing.assert_array_equal(image.rgb, decode(data, max_pixels=LIMIT)[1].rgb)


def scan_ends(jpeg):
    """Where the scans of a progressive JPEG end."""
    starts = [at for at in range(len(jpeg) - 1) if jpeg[at : at + 2] == b"\xff\xda"]
    markers = (b"\xc4", b"\xda", b"\xd9")
    return [
        next(
            at
            for at in range(start + 2, len(jpeg))
            if jpeg[at] == 0xFF and jpeg[at + 1 : at + 2] in markers
        )
        for start in starts
    ]


@pytest.mark.parametrize("variety", VARIETIES)
@pytest.mark.parametrize("kept", [0.4, 0.8, 0.97])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_jpeg_without_pixels_is_not(variety, kept, seed):
    data = saved(scene(seed), "JPEG", **VARIETIES[variety])
    with pytest.raises(UnreadableImageError, match="broken JPEG file"):
        decode(data[: int(len(data) * kept)], max_pixels=LIMIT)


@pytest.mark.parametrize("variety", VARIETIES)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
@pytest.mark.parametrize("blank", [b"", b"\0", b"\xff"])
def test_a_jpeg_whose_end_is_blank_is_not_whole(variety, end, blank):
    """A cut download, and what a file that was given its size beforehand holds instead."""
    data = saved(scene(), "JPEG", **VARIETIES[variety])
    kept = len(data) * 4 // 5
    cut = data[:kept] + blank * (len(data) - kept - len(end)) + end
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(cut, max_pixels=LIMIT)


@pytest.mark.parametrize("variety", ["baseline", "optimised"])
def test_a_jpeg_with_a_hole_is_not_whole(variety):
    noise = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), "JPEG", **VARIETIES[variety])
    third = len(data) // 3
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode(data[:third] + data[third + 2000 :], max_pixels=LIMIT)


@pytest.mark.parametrize("padding", [b"\0" * 40, b"\xff" * 40, b"\0" * 3])
def test_padding_before_the_end_of_a_whole_jpeg_is_ignored(padding):
    data = saved(scene(), "JPEG")
    header, image = decode(data[:-2] + padding + data[-2:], max_pixels=LIMIT)
    np.testing.assert_array_equal(image.rgb, decode(data, max_pixels=LIMIT)[1].rgb)
    assert header.note is None


def test_a_progressive_jpeg_cut_between_its_scans_is_not_whole():
    data = saved(scene(), "JPEG", progressive=True)
    ends = scan_ends(data)
    assert len(ends) > 5 and ends[-1] == len(data) - 2
    for end in ends[:-1]:
        with pytest.raises(UnreadableImageError, match="truncated"):
            decode(data[:end], max_pixels=LIMIT)


@pytest.mark.parametrize("lost", [3, 4, 6, 10, 20])
def test_a_jpeg_of_noise_that_lost_a_little_more(lost):
    """Noise fills its last bytes with pixels."""
    noise = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), "JPEG", quality=95)
    expected = decode(data, max_pixels=LIMIT)[1].rgb
    try:
        _, image = decode(data[:-lost], max_pixels=LIMIT)
    except UnreadableImageError:
        return
    assert lost == 3  # nothing but padding of the last byte
    np.testing.assert_array_equal(image.rgb, expected)


def broken_chunk(kind, content):
    """A chunk whose checksum is wrong."""
    chunk = png_chunk(kind, content)
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


BODY = b"".join(b"\0" + bytes(range(9 * y, 9 * y + 9)) for y in range(3))
PLAIN = png(3, 3, 8, 2, BODY)
ANCILLARY = {
    b"tEXt": b"Comment\0hello",
    b"gAMA": struct.pack(">I", 100_000),
    b"iCCP": b"a\0\0nonsense",
    b"pHYs": bytes(9),
    b"tRNS": struct.pack(">3H", 0, 1, 2),
    b"eXIf": b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
    b"zzZz": b"anything",
}


@pytest.mark.parametrize("kind", ANCILLARY)
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_with_a_broken_ancillary_chunk(kind, behind):
    at = PLAIN.index(b"IEND") - 4 if behind else 33
    data = PLAIN[:at] + broken_chunk(kind, ANCILLARY[kind]) + PLAIN[at:]
    header, image = decode(data, max_pixels=LIMIT)
    assert header.note == f"ignored PNG chunks with a wrong checksum: {kind.decode()}"
    np.testing.assert_array_equal(image.rgb.ravel(), np.arange(27))
    assert image.alpha is None and image.icc_profile is None
    assert read_header(io.BytesIO(data)) == read_header(io.BytesIO(PLAIN))


def test_a_png_with_a_broken_critical_chunk():
    data = bytearray(PLAIN)
    data[29] ^= 1  # the checksum of IHDR
    for call in (
        lambda: read_header(io.BytesIO(data)),
        lambda: decode(bytes(data), max_pixels=LIMIT),
    ):
        with pytest.raises(UnreadableImageError, match="wrong checksum of IHDR"):
            call()


def test_a_sound_file_has_no_note():
    for file_format in ("PNG", "JPEG", "WEBP", "GIF"):
        assert decode(saved(scene(), file_format), max_pixels=LIMIT)[0].note is None


@pytest.mark.slow
def test_a_browser_shows_these_files(tmp_path):
    """Chromium shows them as the undamaged files; of JPEG all but the last rows of blocks."""
    jpeg = saved(scene(), "JPEG")
    pairs = {"jpeg": [(jpeg[:-2], jpeg), (jpeg[:-1], jpeg)], "png": []}
    for kind, content in ANCILLARY.items():
        damaged = PLAIN[:33] + broken_chunk(kind, content) + PLAIN[33:]
        pairs["png"].append((damaged, PLAIN))
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>")
    script = """async url => {
      const image = new Image();
      image.src = url;
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
    }"""
    with opened(page) as view:
        for kind, files in pairs.items():
            for damaged, whole in files:
                urls = [
                    f"data:image/{kind};base64,{base64.b64encode(one).decode()}"
                    for one in (damaged, whole)
                ]
                first, second = (view.page.evaluate(script, url) for url in urls)
                same = len(first) * 2 // 3 if kind == "jpeg" else len(first)
                assert first[:same] == second[:same] and len(first) == len(second)


# Of each pass: first column and row, steps to the next (PNG, third edition, 8.1).
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
ADAM7 += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
# Bit depth, colour type and samples of a pixel.
PIXELS = [(1, 0, 1), (2, 3, 1), (4, 0, 1), (8, 2, 3), (8, 4, 2), (8, 6, 4), (16, 0, 1), (16, 2, 3)]


def scanlines(height, width, bits, passes):
    """Scanlines of grey pixels, each with its filter type 0."""
    return b"".join(
        b"\0" + b"\x55" * math.ceil(len(range(x, width, step_x)) * bits / 8)
        for x, y, step_x, step_y in passes
        if x < width
        for _ in range(y, height, step_y)
    )


@pytest.mark.parametrize(("bits", "colour_type", "samples"), PIXELS)
@pytest.mark.parametrize("passes", [[(0, 0, 1, 1)], ADAM7], ids=["rows", "interlaced"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 9), (9, 3), (8, 8), (13, 17)])
def test_a_png_whose_stream_ends_too_early_has_lost_pixels(
    height, width, passes, bits, colour_type, samples
):
    body = scanlines(height, width, bits * samples, passes)
    palette = [(b"PLTE", bytes(range(12)))] if colour_type == 3 else []

    def of(pixels):
        interlaced = passes is ADAM7
        return png(height, width, bits, colour_type, pixels, *palette, interlaced=interlaced)

    _, image = decode(of(body), max_pixels=LIMIT)
    assert image.rgb.min() > 0 or bits < 8
    for lacking in (1, len(body)):
        told = rf"broken PNG: pixels are missing \(bytes: {lacking}\)"
        with pytest.raises(UnreadableImageError, match=told):
            decode(of(body[:-lacking]), max_pixels=LIMIT)
    decode(of(body + b"more than needed"), max_pixels=LIMIT)


def test_the_pixels_of_a_png_may_lie_in_many_chunks():
    whole = saved(scene(), "PNG")
    at = whole.index(b"IDAT") - 4
    pixels = zlib.compress(zlib.decompress(whole[at + 8 : whole.index(b"IEND") - 8]))
    parts = [png_chunk(b"IDAT", pixels[i : i + 50]) for i in range(0, len(pixels), 50)]
    data = whole[:at] + b"".join([*parts, png_chunk(b"IDAT", b""), png_chunk(b"IEND", b"")])
    _, image = decode(data, max_pixels=LIMIT)
    np.testing.assert_array_equal(image.rgb, np.asarray(scene()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_program_gets_no_image_that_has_lost_pixels(kind):
    """Pillow opens these, and makes up what is missing: black in a PNG, grey in a JPEG."""
    if kind == "PNG":
        data = png(8, 9, 8, 2, scanlines(5, 9, 24, [(0, 0, 1, 1)]))
    else:
        whole = saved(scene(), "JPEG")
        data = whole[: len(whole) // 2] + b"\xff\xd9"
    opened = Image.open(io.BytesIO(data))
    with pytest.raises(UnreadableImageError, match=f"broken {kind}"):
        from_pillow(opened)
    opened.load()
