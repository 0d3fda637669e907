"""Reads manifests of Parquet in batches of lines, each of which may become a record."""

import dataclasses
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog.manifests.columns import ManifestColumns
from pipeline.catalog.manifests.record import Record, record_of
from pipeline.records import RunError

_BATCH_ROWS = 65_536
# Of a year, a duration, a time zone (a KeyError) or a text in a list that Python cannot hold.
_NO_PYTHON_VALUE = (ValueError, OverflowError, KeyError, pa.ArrowException)


@dataclasses.dataclass(frozen=True)
class Lines:
    """Some lines of a manifest, equal ones as one: a file of KBs may repeat millions.

    Attributes:
        numbers: of the rows in the file, from 1, int64 [lines].
        mentions: how many rows each stands for, int64 [lines].
        values: the columns that the job reads, under the manifest's names; strings as bytes,
            which need not be UTF-8.

    Example:
        >>> uris = pa.record_batch({"uri": [b"s3://shop/a.jpg"]})
        >>> lines = Lines(np.array([1]), np.array([1]), uris)
        >>> [record.uri for record in lines.records(ManifestColumns())]
        ['s3://shop/a.jpg']
    """

    numbers: np.ndarray
    mentions: np.ndarray
    values: pa.RecordBatch

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, which: np.ndarray) -> "Lines":
        """The lines at some places, int64 [any], in this order."""
        values = self.values.take(pa.array(which))
        return Lines(self.numbers[which], self.mentions[which], values)

    def records(self, columns: ManifestColumns) -> Iterator[Record]:
        """Yields a record for each line, in order; a broken one with its problem."""
        names = self.values.schema.names
        fields = [_python_values(column) for column in self.values.columns]
        numbers, mentions = self.numbers.tolist(), self.mentions.tolist()
        for number, count, *values in zip(numbers, mentions, *fields, strict=True):
            record = record_of(number, dict(zip(names, values, strict=True)), columns)
            yield dataclasses.replace(record, mentions=count)


def read_lines(file: BinaryIO, name: str, columns: ManifestColumns) -> Iterator[Lines]:
    """Yields the lines of a manifest of Parquet, in order.

    Args:
        file: at its start.
        name: for errors.
        columns: to read.

    Raises:
        RunError: if it lacks a column, or is damaged.
    """
    try:
        table = pq.ParquetFile(file)
        has = table.schema_arrow.names
        columns.check(has, name)
        wanted = [column for column in has if column in columns.read()]
        first = 1
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
            yield _distinct(batch, first, columns)
            first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        problem = str(error).partition("\n")[0][:200]
        raise RunError(f"the manifest {name} is no Parquet file, or damaged: {problem}") from error


def _distinct(batch: pa.RecordBatch, first: int, columns: ManifestColumns) -> Lines:
    """The rows of a batch; equal are those of the same URI, product and sharpening."""
    plain = [_plain(column) for column in batch.columns]
    batch = pa.RecordBatch.from_arrays(plain, batch.schema.names)
    try:
        numbers = _numbered(batch[columns.uri])
        for column in (columns.product_id, columns.source_sharpening):
            if column in batch.schema.names:
                numbers = _combined(numbers, _numbered(batch[column]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # no type for URIs, such as lists
        rows, counts = np.arange(batch.num_rows), np.ones(batch.num_rows, int)
    else:
        _, rows, counts = np.unique(numbers, return_index=True, return_counts=True)
    order = np.argsort(rows)
    kept = batch.take(pa.array(rows[order])) if len(rows) < batch.num_rows else batch
    return Lines(first + rows[order], counts[order], kept)


def _combined(numbers: np.ndarray, others: np.ndarray) -> np.ndarray:
    """A number for each different pair, below 0 where the first is; all of `others` below 0 equal.

    Args:
        numbers, others: int64 [lines], below their count.
    """
    pairs = numbers * (len(numbers) + 1) + np.maximum(others, -1) + 1
    _, small = np.unique(pairs, return_inverse=True)
    return np.where(numbers < 0, numbers, small)


def _numbered(column: pa.Array) -> np.ndarray:
    """A number from 0 for each different value; for nulls different ones below 0."""
    indices = column.dictionary_encode().indices
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
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":  # which Python has not
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _python_values(column: pa.Array) -> list[Any]:
    """The values of a column; as Arrow's text where Python has no such value."""
    try:
        return column.to_pylist()
    except _NO_PYTHON_VALUE:
        return [_python_value(value) for value in column]


def _python_value(value: pa.Scalar) -> Any:
    """The same of one value; None where Arrow has no text for it either."""
    try:
        return value.as_py()
    except _NO_PYTHON_VALUE:
        pass
    if isinstance(value, pa.ListScalar):
        return [_python_value(one) for one in value.values]
    if isinstance(value, pa.StructScalar):
        return {name: _python_value(value[name]) for name in value}
    try:
        if getattr(value.type, "tz", None):  # it may be the zone that is unknown
            value = value.cast(pa.timestamp(value.type.unit, "UTC"))
        return value.cast(pa.string()).as_py()
    except _NO_PYTHON_VALUE:
        return None
