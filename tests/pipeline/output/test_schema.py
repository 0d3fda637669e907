import pyarrow as pa

from pipeline.output.schema import SCHEMA, to_batch
from pipeline.records import Status
from pipeline.row.row import COLUMNS, column_values
from tests.pipeline.conftest import NOW, make_row

# Column order and types as readers of the files know them.
CONTRACT = [
    ("uri", "string"),
    ("product_id", "string"),
    ("product_ids", "list<item: string>"),
    ("catalog", "string"),
    ("status", "string"),
    ("reason", "string"),
    ("detail", "string"),
    ("content_key", "string"),
    ("source_etag", "string"),
    ("source_bytes", "int64"),
    ("source_format", "string"),
    ("source_mode", "string"),
    ("source_width", "int32"),
    ("source_height", "int32"),
    ("source_jpeg_quality", "int32"),
    ("source_found_jpeg_quality", "int32"),
    ("source_sharpening", "float"),
    ("width", "int32"),
    ("height", "int32"),
    ("image_format", "string"),
    ("image_bytes", "int64"),
    ("image_sha256", "string"),
    ("image_uri", "string"),
    ("model", "string"),
    ("model_sha256", "string"),
    ("scale", "int32"),
    ("network_share", "float"),
    ("roundtrip_psnr_db", "float"),
    ("self_psnr_db", "float"),
    ("self_bicubic_psnr_db", "float"),
    ("self_gain_db", "float"),
    ("reference_uri", "string"),
    ("reference_etag", "string"),
    ("reference_psnr_db", "float"),
    ("reference_bicubic_psnr_db", "float"),
    ("reference_ssim", "float"),
    ("sharpness_ratio", "float"),
    ("blockiness_source", "float"),
    ("blockiness", "float"),
    ("background_noise_source", "float"),
    ("background_noise", "float"),
    ("clipped_share", "float"),
    ("channel_drift", "float"),
    ("background_grain", "float"),
    ("block_drift", "float"),
    ("block_shift_px", "float"),
    ("chroma_noise_source", "float"),
    ("chroma_noise", "float"),
    ("nyquist_ratio_source", "float"),
    ("detail_error", "float"),
    ("self_detail_error", "float"),
    ("edge_steepness_source", "float"),
    ("told_sharpening", "float"),
    ("fetch_ms", "float"),
    ("decode_ms", "float"),
    ("inference_ms", "float"),
    ("measure_ms", "float"),
    ("encode_ms", "float"),
    ("processed_at", "timestamp[us, tz=UTC]"),
    ("image", "struct<bytes: binary, path: string>"),
]


def by_column(row):
    """A row's values as a reader of its file gets them."""
    values = column_values([row], COLUMNS)
    return {column.name: value for column, (value,) in zip(COLUMNS, values, strict=True)}


def test_the_contract_s_columns_in_order_with_their_types():
    assert [(field.name, str(field.type)) for field in SCHEMA] == CONTRACT


def test_every_row_has_a_uri_a_status_and_a_time():
    assert [field.name for field in SCHEMA if not field.nullable] == [
        "uri",
        "status",
        "processed_at",
    ]


def test_every_column_says_what_it_means():
    assert [column.name for column in COLUMNS if not column.meaning] == []
    suffixes = {"_ms": "ms", "_db": "dB", "_px": "px"}
    for column in COLUMNS:
        unit = suffixes.get(column.name[column.name.rfind("_") :])
        assert unit is None or column.unit == unit, column


def test_a_batch_has_every_part_of_a_row():
    failed = make_row("s3://b/1", Status.FAILED, reason="not_found", source_etag="e")
    upscaled = make_row(
        "s3://b/2",
        width=20,
        image=b"png",
        self_gain_db=1.5,
        reference_uri="s3://b/hr",
        reference_psnr_db=30.5,
        fetch_ms=2.5,
    )
    first, second = to_batch([failed, upscaled]).to_pylist()
    assert {name: value for name, value in first.items() if value is not None} == {
        "uri": "s3://b/1",
        "status": "failed",
        "reason": "not_found",
        "source_etag": "e",
        "processed_at": NOW,
    }
    assert {name: value for name, value in second.items() if value is not None} == {
        "uri": "s3://b/2",
        "status": "upscaled",
        "width": 20,
        "image": {"bytes": b"png", "path": "a.png"},
        "self_gain_db": 1.5,
        "reference_uri": "s3://b/hr",
        "reference_psnr_db": 30.5,
        "fetch_ms": 2.5,
        "processed_at": NOW,
    }


def test_a_batch_of_no_rows_has_the_schema():
    batch = to_batch([])
    assert batch.num_rows == 0 and batch.schema.equals(SCHEMA)
    assert isinstance(batch, pa.RecordBatch)
