"""The parts of a row: source, result, reference and times. Each column is declared once, here."""

import dataclasses
from typing import Annotated, TypedDict

from model.imaging.header import Header
from model.metrics.quality import Measures, ReferenceMeasures
from pipeline.records import CatalogEntry
from pipeline.row.declaration import Column


class ImageFile(TypedDict):
    """An encoded image in a row, laid out as Hugging Face `datasets` reads it.

    Example:
        >>> ImageFile(bytes=b"...", path="0f3a.png")["path"]
        '0f3a.png'
    """

    bytes: bytes
    path: str


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """The source image: from the catalog and the storage, then from its header.

    Example:
        >>> SourceInfo(source_format="PNG", source_height=40, source_width=60).source_width
        60
    """

    source_etag: Annotated[str | None, Column("ETag of the source; of a local file a digest")] = (
        None
    )
    source_bytes: Annotated[int | None, Column("size of the source", "bytes", bits=64)] = None
    source_format: Annotated[str | None, Column("format of the source, as `JPEG`")] = None
    source_mode: Annotated[str | None, Column("Pillow's mode of the source, as `RGB`")] = None
    source_width: Annotated[
        int | None, Column("width as displayed, after the EXIF orientation", "px")
    ] = None
    source_height: Annotated[
        int | None, Column("height as displayed, after the EXIF orientation", "px")
    ] = None
    source_jpeg_quality: Annotated[
        int | None,
        Column(
            "JPEG quality that the file states, estimated from the quantisation tables; 100 for "
            "lossless formats"
        ),
    ] = None
    source_found_jpeg_quality: Annotated[
        int | None,
        Column("JPEG quality of the strongest compression that the pixels show; null if none"),
    ] = None
    source_sharpening: Annotated[
        float | None,
        Column(
            "how the source was sharpened, log2, from the manifest or the sharpening table; "
            "null where neither says it"
        ),
    ] = None

    @classmethod
    def of(cls, entry: CatalogEntry, header: Header | None) -> "SourceInfo":
        """The source of a catalog entry; without a header only what its storage knows."""
        known = cls(
            source_etag=entry.etag,
            source_bytes=entry.size_bytes,
            source_sharpening=entry.source_sharpening,
        )
        if header is None:
            return known
        return dataclasses.replace(
            known,
            source_format=header.format,
            source_mode=header.mode,
            source_width=header.width,
            source_height=header.height,
            source_jpeg_quality=header.jpeg_quality,
            source_found_jpeg_quality=header.found_jpeg_quality,
        )


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """The published image: its size and file, and the network that upscaled it.

    Example:
        pixels = row.encoded.height * row.encoded.width  # None for a row without an image
    """

    width: Annotated[int, Column("width of the result", "px")]
    height: Annotated[int, Column("height of the result", "px")]
    image_format: Annotated[str, Column("format of the result")]
    image_bytes: Annotated[int, Column("size of the encoded result", "bytes", bits=64)]
    image_sha256: Annotated[str, Column("SHA-256 of the encoded result")]
    image_uri: Annotated[
        str | None,
        Column(
            "the result's file, or `<Parquet file>#row=<number>` in a previous run, relative to"
            " `--output`; null if the image is only in this row"
        ),
    ]
    model: Annotated[str, Column("network of the result")]
    model_sha256: Annotated[str | None, Column("SHA-256 of the network's file")]
    scale: Annotated[int, Column("enlargement; with `--target_side` the one before the shrink")]
    network_share: Annotated[
        float, Column("share of the network's result in the image, 0 to 1; the rest is bicubic")
    ]
    image: Annotated[
        ImageFile | None,
        Column(
            (
                "`bytes` and `path` of the encoded result, as Hugging Face `datasets` "
                "reads it; null with `--images files`"
            ),
            after="processed_at",
        ),
    ]


@dataclasses.dataclass(frozen=True)
class Reference:
    """The true HR image that a result was compared with, if the manifest names one.

    Example:
        >>> Reference("s3://shop/hr.png", "5d41").measures is None  # not compared
        True
    """

    reference_uri: Annotated[str | None, Column("from the manifest")] = None
    reference_etag: Annotated[str | None, Column("ETag of the reference")] = None
    measures: ReferenceMeasures | None = None

    @classmethod
    def of(cls, entry: CatalogEntry, measures: ReferenceMeasures | None = None) -> "Reference":
        """The reference of a catalog entry, with the measures against it."""
        return cls(entry.reference_uri, entry.reference_etag, measures)


@dataclasses.dataclass(frozen=True)
class Timings:
    """Milliseconds that an image took in each stage; None for a stage that it did not reach.

    Example:
        >>> Timings(fetch_ms=12.5).decode_ms is None
        True
    """

    fetch_ms: Annotated[float | None, Column("time to read the source from the storage", "ms")] = (
        None
    )
    decode_ms: Annotated[float | None, Column("time to decode it", "ms")] = None
    inference_ms: Annotated[float | None, Column("time of the network", "ms")] = None
    measure_ms: Annotated[float | None, Column("time of the measures", "ms")] = None
    encode_ms: Annotated[float | None, Column("time to encode and store the result", "ms")] = None


# Of rows without a published image, and without any work.
NO_SOURCE = SourceInfo()
NO_REFERENCE = Reference()
NOT_MEASURED = Measures()
NOT_TIMED = Timings()
# The columns that say where an image's time went.
TIMED_STAGES = tuple(field.name for field in dataclasses.fields(Timings))
