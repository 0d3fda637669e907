"""TIFFs of tifffile, which shares no code with Pillow, and by hand."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from model.imaging.decode import decode
from model.imaging.errors import UnreadableImageError, UnsupportedFormatError
from model.imaging.header import read_header
from tests.malformed import tiff

LIMIT = 10**7


def planes(levels, order, *, rows_per_strip=None, tile_px=None, alpha=False):
    """An uncompressed 16-bit TIFF of separate planes; `levels` uint16 [K, H, W]."""
    count, height, width = levels.shape
    letter = ">" if order == "MM" else "<"
    stored = levels.astype(f"{letter}u2")
    if tile_px:
        padded = np.pad(stored, ((0, 0), (0, -height % tile_px), (0, -width % tile_px)))
        pieces = [
            padded[k, y : y + tile_px, x : x + tile_px].tobytes()
            for k in range(count)
            for y in range(0, height, tile_px)
            for x in range(0, width, tile_px)
        ]
        where = {322: (4, [tile_px]), 323: (4, [tile_px])}
        offsets, sizes = 324, 325
    else:
        step = rows_per_strip or height
        pieces = [
            stored[k, y : y + step].tobytes() for k in range(count) for y in range(0, height, step)
        ]
        where, offsets, sizes = {278: (4, [step])}, 273, 279
    tags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [16] * count),
        259: (3, [1]),
        262: (3, [2]),
        277: (3, [count]),
        284: (3, [2]),
        **where,
        **({338: (3, [2])} if alpha else {}),
        offsets: (4, [0] * len(pieces)),
        sizes: (4, [len(piece) for piece in pieces]),
    }
    formats = {3: "H", 4: "L"}
    room = 8 + 2 + 12 * len(tags) + 4
    values_at = {}
    for tag, (kind, numbers) in sorted(tags.items()):
        size = len(numbers) * struct.calcsize(f"<{formats[kind]}")
        if size > 4:
            values_at[tag] = room
            room += size
    starts, at = [], room
    for piece in pieces:
        starts.append(at)
        at += len(piece)
    tags[offsets] = (4, starts)
    directory, values = struct.pack(f"{letter}H", len(tags)), b""
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"{letter}{len(numbers)}{formats[kind]}", *numbers)
        if tag in values_at:
            values += packed
            packed = struct.pack(f"{letter}L", values_at[tag])
        directory += struct.pack(f"{letter}HHL", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    head = order.encode() + struct.pack(f"{letter}HL", 42, 8)
    return head + directory + bytes(4) + values + b"".join(pieces)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("layout", [{}, {"rows_per_strip": 7}, {"tile_px": 16}])
@pytest.mark.parametrize("alpha", [False, True])
def test_uncompressed_planes_of_16_bits(order, layout, alpha):
    levels = np.random.default_rng(1).integers(0, 65536, (4 if alpha else 3, 33, 41), np.uint16)
    _, image = decode(planes(levels, order, alpha=alpha, **layout), max_pixels=LIMIT)
    expected = np.moveaxis(levels, 0, -1) / 257
    assert np.abs(image.rgb - expected[..., :3]).max() <= 1
    if alpha:
        assert np.abs(image.alpha - expected[..., 3]).max() <= 1
    assert (image.alpha is not None) == alpha


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colour_tiffs_of_every_layout(compression, planar, dtype, order):
    tifffile = pytest.importorskip("tifffile")
    top = np.iinfo(dtype).max
    levels = np.random.default_rng(1).integers(0, top + 1, (20, 30, 3)).astype(dtype)
    stored = levels if planar == "contig" else np.moveaxis(levels, -1, 0)
    file = io.BytesIO()
    options = {"photometric": "rgb", "planarconfig": planar, "byteorder": order}
    tifffile.imwrite(file, stored, compression=compression, **options)
    _, image = decode(file.getvalue(), max_pixels=LIMIT)
    assert np.abs(image.rgb - levels * (255 / top)).max() <= 1


def test_planes_of_16_bit_inks_are_refused():
    levels = np.zeros((4, 8, 8), np.uint16)
    data = planes(levels, "II").replace(
        struct.pack("<HHLL", 262, 3, 1, 2), struct.pack("<HHLL", 262, 3, 1, 5)
    )
    with pytest.raises(UnsupportedFormatError, match="16-bit CMYK"):
        decode(data, max_pixels=LIMIT)


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_pixels_have_no_white(bits):
    tags = {258: (3, [bits]), 262: (3, [1]), 339: (3, [2])}
    with pytest.raises(UnsupportedFormatError, match=f"signed {bits}-bit"):
        decode(tiff(1, 4, bytes(8), tags), max_pixels=LIMIT)


SIGNED_LONG = 9


@pytest.mark.parametrize("first", [(4, 100), (SIGNED_LONG, 4000)])
def test_two_sizes_are_no_size(first):
    """One tag says 100, the other 4,000: decoders disagree which of them counts."""
    kinds = [first, (SIGNED_LONG, 4000) if first[0] == 4 else (4, 100)]
    entries = [(tag, kind, number) for tag in (256, 257) for kind, number in kinds]
    entries += [(258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200), (278, 4, 4000)]
    entries += [(279, 4, 16_000_000)]
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    data += b"".join(struct.pack("<HHLl", tag, kind, 1, number) for tag, kind, number in entries)
    data = data.ljust(200, b"\0") + bytes(16_000_000)
    assert max(Image.open(io.BytesIO(data)).size) in (100, 4000)
    for call in (
        lambda: read_header(io.BytesIO(data)),
        lambda: decode(data, max_pixels=40_000_000),
    ):
        with pytest.raises(UnreadableImageError, match="two sizes: "):
            call()


@pytest.mark.parametrize("kind", [3, 4, SIGNED_LONG])
def test_a_size_of_any_integer_type(kind):
    body = bytes(range(12))
    data = tiff(3, 4, body, {258: (3, [8]), 262: (3, [1])})
    for tag, number in ((256, 4), (257, 3)):
        old = struct.pack("<HHLL", tag, 4, 1, number)
        assert old in data
        data = data.replace(old, struct.pack("<HHLL", tag, kind, 1, number))
    header = read_header(io.BytesIO(data))
    found, image = decode(data, max_pixels=100)
    assert (header.height, header.width) == (3, 4) == (found.height, found.width)
    np.testing.assert_array_equal(image.rgb[..., 0].ravel(), np.arange(12))
