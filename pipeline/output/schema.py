"""The row: one for each URI, and the one Arrow schema that it is written with."""

import dataclasses
import datetime
from collections.abc import Iterable

import pyarrow as pa

from pipeline.records import Status


@dataclasses.dataclass(frozen=True)
class Row:
    """What a run knows of one URI. The columns are described in the README.

    Heights and widths are those that people see, after the EXIF orientation. The image's bytes
    stand in `image` unless the run writes files only.
    """

    uri: str
    status: Status
    processed_at: datetime.datetime
    product_id: str | None = None
    reason: str | None = None
    detail: str | None = None
    content_key: str | None = None
    source_etag: str | None = None
    source_bytes: int | None = None
    source_format: str | None = None
    source_mode: str | None = None
    source_width: int | None = None
    source_height: int | None = None
    source_jpeg_quality: int | None = None
    width: int | None = None
    height: int | None = None
    image_format: str | None = None
    image_bytes: int | None = None
    image_sha256: str | None = None
    image_uri: str | None = None
    model: str | None = None
    model_sha256: str | None = None
    scale: int | None = None
    roundtrip_psnr_db: float | None = None
    self_psnr_db: float | None = None
    self_bicubic_psnr_db: float | None = None
    self_gain_db: float | None = None
    reference_uri: str | None = None
    reference_etag: str | None = None
    reference_psnr_db: float | None = None
    reference_bicubic_psnr_db: float | None = None
    reference_ssim: float | None = None
    sharpness_ratio: float | None = None
    blockiness_source: float | None = None
    blockiness: float | None = None
    background_noise_source: float | None = None
    background_noise: float | None = None
    clipped_share: float | None = None
    channel_drift: float | None = None
    background_grain: float | None = None
    block_drift: float | None = None
    block_shift_px: float | None = None
    fetch_ms: float | None = None
    decode_ms: float | None = None
    inference_ms: float | None = None
    measure_ms: float | None = None
    encode_ms: float | None = None
    image: dict[str, bytes | str] | None = None

    @property
    def size_bytes(self) -> int:
        """Roughly what the row takes in memory and in the file."""
        return 500 + (len(self.image["bytes"]) if self.image else 0)


def _float_columns(names: str) -> list[pa.Field]:
    return [pa.field(name, pa.float32()) for name in names.split()]


# The columns that say where an image's time went.
TIMED_STAGES = ("fetch_ms", "decode_ms", "inference_ms", "measure_ms", "encode_ms")

# The images stand last: whoever reads the other columns of a row group reads them in one piece.
SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("product_id", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("content_key", pa.string()),
        pa.field("source_etag", pa.string()),
        pa.field("source_bytes", pa.int64()),
        pa.field("source_format", pa.string()),
        pa.field("source_mode", pa.string()),
        pa.field("source_width", pa.int32()),
        pa.field("source_height", pa.int32()),
        pa.field("source_jpeg_quality", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("image_format", pa.string()),
        pa.field("image_bytes", pa.int64()),
        pa.field("image_sha256", pa.string()),
        pa.field("image_uri", pa.string()),
        pa.field("model", pa.string()),
        pa.field("model_sha256", pa.string()),
        pa.field("scale", pa.int32()),
        *_float_columns("roundtrip_psnr_db self_psnr_db self_bicubic_psnr_db self_gain_db"),
        pa.field("reference_uri", pa.string()),
        pa.field("reference_etag", pa.string()),
        *_float_columns("reference_psnr_db reference_bicubic_psnr_db reference_ssim"),
        *_float_columns("sharpness_ratio blockiness_source blockiness"),
        *_float_columns("background_noise_source background_noise clipped_share channel_drift"),
        *_float_columns("background_grain block_drift block_shift_px"),
        *_float_columns(" ".join(TIMED_STAGES)),
        pa.field("processed_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ]
)


def to_batch(rows: Iterable[Row]) -> pa.RecordBatch:
    """Turns rows into one Arrow batch of `SCHEMA`, without a copy of an image in between."""
    rows = list(rows)
    arrays = [
        pa.array([getattr(row, field.name) for row in rows], type=field.type) for field in SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
