"""Draws the sample catalog of the demo: products in many formats, with the usual problems."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.imaging import resampling
from model.scenes import drawing


@dataclass(frozen=True)
class Sample:
    """One image of the sample catalog, with its expected result.

    Attributes:
        key: of its object.
        data: the file; None for an object that the manifest names but nobody uploaded.
        product_id: for the manifest.
        expected_status: status of its row with default options.
        expected_reason: reason of its row; None for `upscaled`.
        reference_key: of the HR image that it was shrunk from; None without one.

    Example:
        Sample("broken/empty.jpg", b"", "B", "failed", "unreadable")
    """

    key: str
    data: bytes | None
    product_id: str
    expected_status: str = "upscaled"
    expected_reason: str | None = None
    reference_key: str | None = None


@dataclass(frozen=True)
class SampleCatalog:
    """All samples, and the HR images that some of them refer to, by key.

    Example:
        catalog = sample_catalog()
        len(catalog.samples)
    """

    samples: list[Sample]
    references: dict[str, bytes]


def sample_catalog(seed: int = 1) -> SampleCatalog:
    """Draws the sample catalog.

    Args:
        seed: the same seed gives the same catalog.

    Returns:
        About 50 samples: small JPEGs, other formats and modes, pairs with a reference, images
        that the size filter skips, and broken files.
    """
    samples, references = _with_references(seed)
    generator = np.random.default_rng(seed)
    for make in (_plain_jpegs, _other_formats, _filtered, _broken):
        samples += make(generator)
    return SampleCatalog(samples, references)


def manifest_csv(catalog: SampleCatalog, bucket: str) -> bytes:
    """Returns the catalog's manifest, which names one image twice, as real ones do.

    Args:
        catalog: see `sample_catalog`.
        bucket: bucket of its objects.

    Returns:
        A CSV file with the columns uri, product_id and reference_uri.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["uri", "product_id", "reference_uri"])
    for sample in [*catalog.samples, catalog.samples[0]]:
        reference = f"s3://{bucket}/{sample.reference_key}" if sample.reference_key else ""
        writer.writerow([f"s3://{bucket}/{sample.key}", sample.product_id, reference])
    return text.getvalue().encode()


def _plain_jpegs(generator: np.random.Generator) -> Iterator[Sample]:
    """Small JPEGs of mixed size and quality, as most images of a catalog."""
    for i in range(28):
        height, width = (int(side) for side in generator.integers(120, 421, 2))
        image = Image.fromarray(_scene(generator, height, width))
        quality = int(generator.integers(60, 96))
        yield Sample(f"images/{i:04d}.jpg", _file(image, "JPEG", quality=quality), f"P{i:04d}")
        if i == 0:
            twin = _file(image, "JPEG", quality=quality)
            yield Sample("images/same-as-0000.jpg", twin, "P9000")


def _other_formats(generator: np.random.Generator) -> Iterator[Sample]:
    """Other formats, modes and orientations that shops send."""
    turned = Image.Exif()
    turned[0x0112] = 6

    def scene() -> Image.Image:
        return Image.fromarray(_scene(generator, 200, 180))

    grey_16 = np.asarray(scene().convert("L")).astype(np.uint16) * 257
    cutout = Image.fromarray(drawing.draw_cutout(int(generator.integers(2**31)), 220, 220))
    files = {
        "photo.png": _file(scene(), "PNG"),
        "cut-out.png": _file(cutout, "PNG"),
        "cut-out.webp": _file(cutout, "WEBP", quality=85),
        "palette.png": _file(scene().quantize(64), "PNG"),
        "grey-16-bit.png": _file(Image.fromarray(grey_16), "PNG"),
        "grey.jpg": _file(scene().convert("L"), "JPEG"),
        "print.jpg": _file(scene().convert("CMYK"), "JPEG"),
        "phone.jpg": _file(scene().rotate(90, expand=True), "JPEG", exif=turned),
        "lossy.webp": _file(scene(), "WEBP", quality=80),
        "lossless.webp": _file(scene(), "WEBP", lossless=True),
        "old-shop.gif": _file(scene().quantize(128), "GIF"),
        "scan.tif": _file(scene(), "TIFF", compression="tiff_lzw"),
        "export.bmp": _file(scene(), "BMP"),
    }
    for i, (name, data) in enumerate(files.items()):
        yield Sample(f"formats/{name}", data, f"F{i:04d}")


def _filtered(generator: np.random.Generator) -> Iterator[Sample]:
    """Images that need no upscaling."""
    pixel = Image.new("P", (1, 1))
    icon = Image.fromarray(_scene(generator, 20, 20))
    small = {"tracking.gif": _file(pixel, "GIF"), "icon.png": _file(icon, "PNG")}
    for name, data in small.items():
        yield Sample(f"filtered/{name}", data, "S", "skipped", "too_small")
    for i, (height, width) in enumerate(((900, 1200), (1400, 700))):
        large = _file(Image.fromarray(_scene(generator, height, width)), "JPEG", quality=85)
        yield Sample(f"filtered/large-{i}.jpg", large, "S", "skipped", "large_enough")
    frames = [Image.fromarray(_scene(generator, 100, 100)).quantize(32) for _ in range(3)]
    spinning = _file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield Sample("filtered/spinning.gif", spinning, "S", "skipped", "animated")


def _broken(generator: np.random.Generator) -> Iterator[Sample]:
    """Files that cannot be decoded, and one that is missing."""
    whole = _file(Image.fromarray(_scene(generator, 300, 300)), "JPEG", quality=90)
    files = {
        "truncated.jpg": (whole[: len(whole) // 2], "unreadable"),
        "empty.jpg": (b"", "unreadable"),
        "error-page.jpg": (b"<html><body>404 Not Found</body></html>", "unsupported_format"),
        "never-uploaded.jpg": (None, "not_found"),
    }
    for name, (data, reason) in files.items():
        yield Sample(f"broken/{name}", data, "B", "failed", reason)


def _with_references(seed: int) -> tuple[list[Sample], dict[str, bytes]]:
    """Images shrunk from a larger one, which the manifest names as their reference."""
    samples, references = [], {}
    for i in range(3):
        hr = drawing.draw_scene(seed * 1000 + i, 400, 360)
        lr = Image.fromarray(resampling.to_uint8(resampling.shrink(hr, 2)))
        key = f"references/{i}.png"
        references[key] = _file(Image.fromarray(hr), "PNG")
        samples.append(Sample(f"paired/{i}.png", _file(lr, "PNG"), f"R{i}", reference_key=key))
    return samples, references


def _scene(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A drawn product, uint8 [height, width, 3]."""
    return drawing.draw_scene(int(generator.integers(2**31)), height, width)


def _file(image: Image.Image, file_format: str, **options: object) -> bytes:
    """Encodes the image."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()
