"""Turns the plain lines of a Parquet manifest into catalog entries as columns.

Plain is a line whose URI, product, reference and sharpening need no change and no second look:
nearly every line, unless the rows carry columns of it. All others go through records, which say
what is wrong with them.
"""

import math
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.network import presets
from pipeline import redaction
from pipeline.catalog import batches
from pipeline.catalog.manifests.columns import ManifestColumns
from pipeline.catalog.manifests.parquet_files import Lines
from pipeline.catalog.places import BUCKET

# Without the characters that may set off credentials, and those that end a line.
_URI = rf"\As3://{BUCKET.pattern}/[^@?&;#\r\n\t]+\z"
_PRODUCT = rf"\A[!-~]([^{re.escape(redaction.SUSPICIOUS)}]*[!-~])?\z"
# Of a number from -2 to 2.
_FLOAT32_ERROR = 1e-6


def plain(lines: Lines, columns: ManifestColumns) -> np.ndarray:
    """Returns which lines are plain, bool [lines]."""
    texts = None if columns.kept else _texts(lines, columns)
    if texts is None:
        return np.zeros(len(lines), bool)
    uri, product, reference = texts
    is_plain = pc.fill_null(pc.match_substring_regex(uri, _URI), False)
    is_plain = pc.and_(is_plain, _none_or(reference, _URI))
    is_plain = pc.and_(is_plain, _none_or(product, _PRODUCT))
    is_plain = pc.and_(is_plain, _none_or_in_range(_sharpening(lines, columns)))
    for secret in redaction.known_secrets():
        hides_none = pc.invert(pc.match_substring(product, secret))
        is_plain = pc.and_(is_plain, pc.fill_null(hides_none, True))
    return is_plain.to_numpy(zero_copy_only=False)


def entries(lines: Lines, columns: ManifestColumns, positions: np.ndarray) -> pa.RecordBatch:
    """Returns plain lines as entries of `batches.SCHEMA`.

    Args:
        lines: all of them plain.
        columns: of the manifest.
        positions: of the entries, int64 [lines].
    """
    texts = _texts(lines, columns)
    assert texts is not None
    uri, product, reference = texts
    return batches.from_columns(
        len(lines),
        uri=uri,
        position=pa.array(positions, pa.int64()),
        product_ids=_lists(product),
        reference_uri=reference,
        reference_location=reference,
        source_sharpening=_sharpening(lines, columns),
        mentions=pa.array(lines.mentions, pa.int64()),
    )


def _texts(lines: Lines, columns: ManifestColumns) -> tuple[pa.Array, pa.Array, pa.Array] | None:
    """URIs, products and references, null where empty; None if some are no texts of UTF-8."""
    found = []
    for field, column in columns.by_field().items():
        if column not in lines.values.schema.names:
            found.append(pa.nulls(len(lines), pa.string()))
            continue
        values = lines.values[column]
        if not (_is_bytes(values.type) or _is_number(values.type, field)):
            return None
        try:
            texts = values.cast(pa.string())
        except pa.ArrowInvalid:
            return None
        found.append(pc.if_else(pc.equal(texts, ""), None, texts))
    uri, product, reference = found
    return uri, product, reference


def _sharpening(lines: Lines, columns: ManifestColumns) -> pa.Array:
    """Numbers of four digits, null where one is missing; infinity for all other values."""
    if columns.source_sharpening not in lines.values.schema.names:
        return pa.nulls(len(lines), pa.float64())
    values = lines.values[columns.source_sharpening]
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        return pc.if_else(pc.is_null(values), pa.scalar(None, pa.float64()), math.inf)
    numbers = values.cast(pa.float64(), safe=False)
    rounded = pc.add(pc.round(numbers, 4), 0.0)  # as `presets.rounded_sharpening`, but for ties
    is_plain = pc.less(pc.abs(pc.subtract(numbers, rounded)), _FLOAT32_ERROR)
    return pc.if_else(pc.is_nan(numbers), None, pc.if_else(is_plain, rounded, math.inf))


def _none_or_in_range(numbers: pa.Array) -> pa.Array:
    """Whether each number is null, or one that networks were trained on."""
    at_least = pc.greater_equal(numbers, presets.MIN_SHARPENING)
    is_in_range = pc.and_(at_least, pc.less_equal(numbers, presets.MAX_SHARPENING))
    return pc.fill_null(is_in_range, True)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_number(kind: pa.DataType, field: str) -> bool:
    """Whether a column holds whole numbers, which products may be."""
    return field == "product_id" and pa.types.is_integer(kind)


def _none_or(texts: pa.Array, pattern: str) -> pa.Array:
    """Whether each text is null or matches."""
    return pc.fill_null(pc.match_substring_regex(texts, pattern), True)


def _lists(texts: pa.Array) -> pa.Array:
    """Lists of one text each; null for a null."""
    is_text = pc.is_valid(texts)
    ends = np.cumsum(is_text.to_numpy(zero_copy_only=False), dtype=np.int32)
    offsets = pa.array(np.concatenate([np.zeros(1, np.int32), ends]))
    return pa.ListArray.from_arrays(offsets, texts.drop_null(), mask=pc.invert(is_text))
