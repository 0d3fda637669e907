"""Readers of the manifest formats: one record a line, in bounded memory."""

import dataclasses
import decimal
import functools
import json
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog.manifests.columns import USUAL_COLUMNS, ManifestColumns
from pipeline.catalog.manifests.delimited import read_delimited
from pipeline.catalog.manifests.record import Record, record_of
from pipeline.catalog.manifests.text_files import MAX_LINE, keep_quiet, open_text, short_lines
from pipeline.records import RunError

FORMATS = ("csv", "tsv", "jsonl", "parquet", "txt")
_BATCH_ROWS = 65_536
# Of a number in JSON: a few characters may mean a text of gigabytes.
_MAX_EXPONENT = 300

_Tell = Callable[[str], None]


def read_records(
    manifest_format: str,
    file: BinaryIO,
    name: str,
    columns: ManifestColumns = USUAL_COLUMNS,
    tell: _Tell = keep_quiet,
) -> Iterator[Record]:
    """Yields the records of a manifest, in order; broken lines with their problem.

    Args:
        manifest_format: one of `FORMATS`; all but `parquet` may be packed by gzip.
        file: at its start.
        name: for errors.
        columns: to read.
        tell: gets a line for people about what was found out: packing, encoding, delimiter.

    Raises:
        RunError: if it lacks a column, or is damaged beyond single lines.
    """
    if manifest_format != "parquet":
        file = open_text(file, name, tell)
    return _READERS[manifest_format](file, name, columns, tell)


def _read_jsonl(
    file: BinaryIO, _name: str, columns: ManifestColumns, _tell: _Tell
) -> Iterator[Record]:
    for number, line in enumerate(short_lines(file), start=1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            yield Record(number, problem=_too_long())
            continue
        try:
            value = json.loads(line.decode("utf-8-sig"), parse_float=_exact_number)
        except RecursionError:
            yield Record(number, problem="no JSON: nested too deep")
        except ValueError as error:  # of JSON, of UTF-8, or of a number with thousands of digits
            yield Record(number, problem=f"no JSON: {_first_line(error)}")
        else:
            is_object = isinstance(value, dict)
            problem = Record(number, problem="no JSON object")
            yield record_of(number, value, columns) if is_object else problem


def _exact_number(digits: str) -> int | decimal.Decimal | float:
    """A number with all its digits, which a float has not; 7.0 of a product is 7."""
    value = decimal.Decimal(digits)
    if abs(value.adjusted()) > _MAX_EXPONENT:
        return float(digits)
    return int(value) if value == value.to_integral_value() else value


def _read_txt(
    file: BinaryIO, _name: str, columns: ManifestColumns, _tell: _Tell
) -> Iterator[Record]:
    for number, line in enumerate(short_lines(file), start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
        if len(line) > MAX_LINE:
            yield Record(number, problem=_too_long())
        elif text:
            yield record_of(number, {columns.uri: text}, columns)


def _read_parquet(
    file: BinaryIO, name: str, columns: ManifestColumns, _tell: _Tell
) -> Iterator[Record]:
    try:
        table = pq.ParquetFile(file)
        has = table.schema_arrow.names
        columns.check(has, name)
        wanted = {*columns.by_field().values(), *columns.kept}.intersection(has)
        first = 1
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted)):
            yield from _batch_records(batch, first, columns)
            first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise RunError(
            f"the manifest {name} is no Parquet file, or damaged: {_first_line(error)}"
        ) from error


def _batch_records(
    batch: pa.RecordBatch, first: int, columns: ManifestColumns
) -> Iterator[Record]:
    """The records of a batch, equal ones as one: a file of KBs may repeat millions.

    Equal are records of the same URI and product.
    """
    try:
        numbers = _numbered(batch[columns.uri])
        if columns.product_id in batch.schema.names:
            products = np.maximum(_numbered(batch[columns.product_id]), -1) + 1
            numbers = np.where(numbers < 0, numbers, numbers * (batch.num_rows + 1) + products)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # no type for URIs, such as lists
        rows, counts = np.arange(batch.num_rows), np.ones(batch.num_rows, int)
    else:
        _, rows, counts = np.unique(numbers, return_index=True, return_counts=True)
    order = np.argsort(rows)
    kept = batch.take(pa.array(rows[order]))
    names = kept.schema.names
    values = [_plain(column).to_pylist() for column in kept.columns]
    for row, count, *fields in zip(rows[order], counts[order], *values, strict=True):
        record = record_of(first + int(row), dict(zip(names, fields, strict=True)), columns)
        yield dataclasses.replace(record, mentions=int(count))


def _numbered(column: pa.Array) -> np.ndarray:
    """A number from 0 for each different value; for nulls different ones below 0."""
    indices = _plain(column).dictionary_encode().indices
    numbers = indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    nulls = np.flatnonzero(numbers < 0)
    numbers[nulls] = -1 - nulls
    return numbers


def _plain(column: pa.Array) -> pa.Array:
    """Strings as bytes, which need not be UTF-8; other types as they are."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if is_text or pa.types.is_string_view(column.type):
        return column.cast(pa.large_binary())
    if pa.types.is_timestamp(column.type):  # Python knows no nanoseconds
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


_READERS: dict[str, Callable[[BinaryIO, str, ManifestColumns, _Tell], Iterator[Record]]] = {
    "csv": read_delimited,
    "tsv": functools.partial(read_delimited, usual="\t"),
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "txt": _read_txt,
}


def _too_long() -> str:
    return f"longer than {MAX_LINE >> 20} MiB"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
