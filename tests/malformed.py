"""Hostile, broken and unusual image files of every format, and writers of files by hand."""

import io
import itertools
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_HUGE = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0")


def saved(image, file_format, **options):
    """An image's file, as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_chunk(kind, content):
    """One PNG chunk with its checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(height, width, bits, colour_type, body, *chunks, interlaced=False):
    """A PNG, for what Pillow reads but does not write; `body` is not yet compressed."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


_TIFF_LETTERS = {1: "B", 3: "H", 4: "L"}


def tiff(height, width, body, tags):
    """A little-endian TIFF of one strip.

    Args:
        body: the strip.
        tags: number to (type, values), beside those about size and strip.
    """
    tags = {256: (4, [width]), 257: (4, [height]), 278: (4, [height]), **tags}
    tags = {273: (4, [0]), 279: (4, [len(body)]), **tags}
    values_at = 8 + 2 + 12 * len(tags) + 4
    body_at = values_at + sum(_tiff_room(*tag) for tag in tags.values())
    if tags[273] == (4, [0]):
        tags[273] = (4, [body_at])
    directory, values = struct.pack("<H", len(tags)), b""
    for number, (kind, content) in sorted(tags.items()):
        packed = struct.pack(f"<{len(content)}{_TIFF_LETTERS[kind]}", *content)
        if len(packed) > 4:
            at = values_at + len(values)
            values += packed + bytes(len(packed) % 2)
            packed = struct.pack("<L", at)
        directory += struct.pack("<HHL", number, kind, len(content)) + packed.ljust(4, b"\0")
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + values + body


def _tiff_room(kind, content):
    """Bytes that a tag takes outside the directory."""
    size = struct.calcsize(f"<{len(content)}{_TIFF_LETTERS[kind]}")
    return size + size % 2 if size > 4 else 0


def bmp(height, width, bits, compression, body, *, header_size=40):
    """A BMP with a black palette where its depth has one."""
    palette = bytes(4 << bits) if bits <= 8 else b""
    at = 54 + len(palette)
    head = struct.pack("<IHHI", at + len(body), 0, 0, at)
    info = struct.pack(
        "<IIiHHIIiiII", header_size, width, height, 1, bits, compression, len(body), 0, 0, 0, 0
    )
    return b"BM" + head + info + palette + body


def slow_bmp(width):
    """A few bytes whose run-length decoder fills a line of `width` pixels one by one."""
    return bmp(2, width, 8, 1, b"\x01\x05\0\0\0\1")


def scan_bomb(height, width, scans):
    """A progressive JPEG of some 50 to 100 bytes a scan; each walks over the whole image."""

    def segment(marker, content):
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    blocks = -(-height // 8) * -(-width // 8)
    one_symbol = bytes([1]) + bytes(15)
    # The code "0" for "the next 2^14 + r blocks are empty", then 14 bits of r, all ones.
    runs = ("0" + "1" * 14) * (blocks // 32767 + 1)
    bits = int(runs + "1" * (-len(runs) % 8), 2).to_bytes(-(-len(runs) // 8), "big")
    scan = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + bits.replace(b"\xff", b"\xff\0")
    return (
        b"\xff\xd8"
        + segment(0xDB, bytes([0]) + bytes([1] * 64))
        + segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
        + segment(0xC4, bytes([0x10]) + one_symbol + bytes([0xE0]))
        + scan * scans
        + b"\xff\xd9"
    )


def animated_gif(frames):
    """A GIF of one-pixel frames, 20 bytes each."""
    frame = b"!\xf9\x04\0\x01\0\0\0," + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def tag_bomb(tags, bytes_each):
    """A TIFF whose every tag is the same long stretch of the file: read, each is a copy."""
    body = bytes(bytes_each)
    directory = [(256, 4, 1, 10), (257, 4, 1, 10)]
    directory += [(1000 + i, 1, bytes_each, 8) for i in range(tags)]
    entries = b"".join(struct.pack("<HHLL", *entry) for entry in directory)
    at = 8 + len(body)
    head = b"II*\0" + struct.pack("<L", at) + body
    return head + struct.pack("<H", len(directory)) + entries + bytes(4)


def valid_files():
    """Names and bytes of valid images: every allowed format in its common varieties."""
    small = np.random.default_rng(1).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    rgba = Image.fromarray(small).resize((61, 47), Image.Resampling.BICUBIC)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    palette = rgb.quantize(32)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "text " * 50, zip=True)
    more = {"save_all": True, "append_images": [rgb.rotate(180), rgb]}
    return {
        "baseline.jpg": saved(rgb, "JPEG", exif=exif, icc_profile=SRGB),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True, comment=b"hello"),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG"),
        "camera.jpg": saved(rgb, "MPO", **more),
        "colour.png": saved(rgb, "PNG", exif=exif, icc_profile=SRGB, pnginfo=info),
        "palette.png": saved(palette, "PNG", transparency=bytes(range(0, 256, 8))),
        "deep.png": saved(deep, "PNG"),
        "frames.png": saved(rgb, "PNG", **more),
        "lossy.webp": saved(rgb, "WEBP", exif=exif, icc_profile=SRGB),
        "lossless.webp": saved(rgba, "WEBP", lossless=True),
        "frames.webp": saved(rgb, "WEBP", **more),
        "palette.gif": saved(palette, "GIF", transparency=3, comment=b"hello"),
        "frames.gif": saved(rgb, "GIF", **more),
        "colour.bmp": saved(rgb, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
        "runs.bmp": bmp(9, 9, 8, 1, b"\x09\x05\0\0" * 9 + b"\0\1"),
        "plain.tif": saved(rgb, "TIFF", exif=exif, icc_profile=SRGB),
        "lzw.tif": saved(rgba, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": saved(rgb, "TIFF", compression="jpeg"),
        "fax.tif": saved(grey.convert("1"), "TIFF", compression="group4"),
        # A copy: Pillow keeps the JPEG encoder's settings on an image.
        "pages.tif": saved(rgb.copy(), "TIFF", save_all=True, append_images=[rgb.rotate(180)]),
        "colour.avif": saved(rgb, "AVIF", exif=exif, icc_profile=SRGB),
        "alpha.avif": saved(rgba, "AVIF"),
    }


def malformed_files(seed=1):
    """Yields names and bytes: some 400 mutations of `valid_files`, then `hostile_files`.

    Args:
        seed: of the mutations.
    """
    generator = np.random.default_rng(seed)
    sources = valid_files()
    for (name, data), (kind, mutate) in itertools.product(sources.items(), _MUTATIONS.items()):
        stem, _, suffix = name.partition(".")
        for repeat in range(2):
            yield f"{stem}-{kind}-{repeat}.{suffix}", mutate(data, generator)
    for (name, data), (other, more) in itertools.pairwise(sources.items()):
        yield f"{other}-behind-{name}", data + more
        yield f"{other}-within-{name}", data[: len(data) // 3] + more
    yield from hostile_files().items()


def _flip_bits(data: bytes, generator: np.random.Generator) -> bytes:
    broken = bytearray(data)
    for at in generator.integers(0, len(data), 1 + len(data) // 100):
        broken[at] ^= 1 << int(generator.integers(8))
    return bytes(broken)


def _garble_start(data: bytes, generator: np.random.Generator) -> bytes:
    broken = bytearray(data)
    for at in generator.integers(2, min(len(data), 600), 4):
        broken[at] = int(generator.integers(256))
    return bytes(broken)


def _cut(data: bytes, generator: np.random.Generator) -> bytes:
    return data[: int(generator.integers(1, len(data)))]


def _splice(data: bytes, generator: np.random.Generator) -> bytes:
    start, stop, to = sorted(generator.integers(0, len(data), 3))
    return data[:start] + data[stop:to] + data[start:stop] + data[to:]


def _drop(data: bytes, generator: np.random.Generator) -> bytes:
    start, stop = sorted(generator.integers(8, len(data), 2))
    return data[:start] + data[min(stop, start + 40) :]


def _huge_number(data: bytes, generator: np.random.Generator) -> bytes:
    """In the first bytes, where formats keep sizes, counts and lengths."""
    at = int(generator.integers(4, min(len(data) - 4, 200)))
    return data[:at] + _HUGE[int(generator.integers(len(_HUGE)))] + data[at + 4 :]


def _true_checksums(data: bytes, generator: np.random.Generator) -> bytes:
    """Of PNG: a garbled chunk that its checksum does not give away; others: two garbled bytes."""
    if not data.startswith(b"\x89PNG"):
        return _garble_start(data[: len(data) // 2], generator) + data[len(data) // 2 :]
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], bytearray(data[at + 8 : at + 8 + length])))
        at += length + 12
    _, content = chunks[int(generator.integers(len(chunks) - 1))]
    content[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
    return data[:8] + b"".join(png_chunk(kind, bytes(body)) for kind, body in chunks)


_MUTATIONS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "flipped": _flip_bits,
    "garbled": _garble_start,
    "cut": _cut,
    "spliced": _splice,
    "dropped": _drop,
    "huge": _huge_number,
    "checked": _true_checksums,
}


def hostile_files():
    """Names and bytes of hostile files, and of unusual but valid ones."""
    tiny = Image.new("RGB", (10, 10), (200, 30, 30))
    zeros = zlib.compress(bytes(80 << 20), 9)
    body = bytes(10 * 31)
    webp_size = bytes([0x10, 0, 0, 0]) + (16383).to_bytes(3, "little") * 2
    icc = [
        b"\xff\xe2" + struct.pack(">H", 65535) + b"ICC_PROFILE\0" + bytes([i, 255]) + bytes(65519)
        for i in range(1, 256)
    ]
    jpeg = saved(tiny, "JPEG")
    files = {
        "giant.png": png(60_000, 60_000, 8, 2, bytes(1000)),
        "giant-side.png": png(1, 2**31 - 1, 8, 2, bytes(1000)),
        "no-size.png": png(0, 0, 8, 2, b""),
        "text-bomb.png": png(10, 10, 8, 2, body, (b"zTXt", b"a\0\0" + zeros)),
        "international-bomb.png": png(10, 10, 8, 2, body, (b"iTXt", b"a\0\1\0\0\0" + zeros)),
        "profile-bomb.png": png(10, 10, 8, 2, body, (b"iCCP", b"a\0\0" + zeros)),
        "pixel-bomb.png": png(10, 10, 8, 2, bytes(80 << 20)),
        "a-million-frames.png": png(
            10, 10, 8, 2, body, (b"acTL", struct.pack(">II", 2**31 - 1, 0))
        ),
        "profile-chain.jpg": jpeg[:2] + b"".join(icc) + jpeg[2:],
        "exif-chain.jpg": jpeg[:2]
        + (b"\xff\xe1" + struct.pack(">H", 65535) + b"Exif\0\0" + b"\xff" * 65527) * 40
        + jpeg[2:],
        "giant.jpg": jpeg.replace(struct.pack(">HH", 10, 10), b"\xff\xff\xff\xff", 1),
        "scans.jpg": scan_bomb(1000, 1000, 200),
        "giant.webp": b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0" + webp_size + bytes(80),
        "thousands.gif": animated_gif(20_000),
        "frame-beyond-canvas.gif": saved(tiny, "GIF").replace(
            b"," + struct.pack("<4H", 0, 0, 10, 10), b"," + struct.pack("<4H", 0, 0, 65535, 65535)
        ),
        "comment.gif": b"GIF89a\x0a\0\x0a\0\0\0\0!\xfe" + (b"\xff" + b"c" * 255) * 4000 + b"\0;",
        "slow.bmp": slow_bmp(1_900_000),
        "giant-header.bmp": bmp(10, 10, 24, 0, bytes(320), header_size=2**32 - 1),
        "giant.bmp": bmp(2**31 - 1, 2**31, 24, 0, bytes(320)),
        "tags.tif": tag_bomb(30_000, 100_000),
        "tile.tif": tiff(
            10, 10, bytes(300), {259: (3, [5]), 322: (4, [60_000]), 323: (4, [60_000])}
        ),
        "strip.tif": tiff(10, 10, bytes(300), {259: (3, [8]), 278: (4, [2**32 - 1])}),
        "counts.tif": tiff(10, 10, bytes(300), {279: (4, [2**32 - 1]), 258: (3, [8])}),
        "endless.tif": b"II*\0\x08\0\0\0" + struct.pack("<HL", 0, 8),
        "giant.avif": saved(tiny, "AVIF").replace(
            b"ispe" + bytes(4) + struct.pack(">II", 10, 10),
            b"ispe" + bytes(4) + struct.pack(">II", 60_000, 60_000),
        ),
        "lying.avif": saved(Image.new("RGB", (900, 900)), "AVIF").replace(
            b"ispe" + bytes(4) + struct.pack(">II", 900, 900),
            b"ispe" + bytes(4) + struct.pack(">II", 10, 10),
        ),
        "archive.jpg": jpeg + b"PK\3\4" + bytes(300) + b"PK\5\6" + bytes(18),
        "page.gif": saved(tiny, "GIF") + b"<html><script>alert(1)</script></html>",
        "nothing.png": b"",
        "one-byte.jpg": b"\xff",
        "zeros.webp": bytes(5000),
    }
    files |= foreign_files()
    for name, size in (("wide", (3000, 1)), ("high", (1, 3000))):
        for file_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
            line = Image.new("RGB", size, (200, 30, 30))
            files[f"{name}.{file_format.lower()}"] = saved(line, file_format)
    return files


def foreign_files():
    """Formats whose Pillow decoders must not start, and other files named as images."""
    tiny = Image.new("RGB", (10, 10), (200, 30, 30))
    written = ("EPS", "PPM", "ICO", "ICNS", "JPEG2000", "PCX", "SGI", "TGA", "PDF", "DDS", "IM")
    files = {f"{name.lower()}.jpg": saved(tiny, name) for name in written}
    return files | {
        "psd.jpg": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 10, 10, 8, 3) + bytes(400),
        "fits.jpg": b"SIMPLE  =                    T".ljust(2880),
        "xbm.jpg": b"#define im_width 8\n#define im_height 1\nstatic char im_bits[] = {\n0x00};",
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "page.png": b"<!doctype html><title>404</title>",
        "heic.jpg": struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(200),
        "film.webp": struct.pack(">I", 24) + b"ftypisom" + bytes(4) + b"isommp42" + bytes(200),
        "archive.png": b"PK\3\4" + bytes(100),
    }
