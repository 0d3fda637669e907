"""Readers of the four manifest formats: one record a line, in bounded memory."""

import csv
import dataclasses
import datetime
import decimal
import io
import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import RunError

FORMATS = ("csv", "jsonl", "parquet", "txt")
FIELDS = ("uri", "product_id", "reference_uri")
# A line beyond this is a broken one, and is not held in memory.
_MAX_LINE = 1 << 20
_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Record:
    """One line of a manifest.

    Attributes:
        line: its number, from 1; of Parquet, of its row.
        uri, product_id, reference_uri: as the line spells them; None if empty.
        problem: why the line holds no record; None if it does.
        mentions: how many lines it stands for.

    Example:
        [record.uri for record in read_records("csv", file, "m.csv")]
    """

    line: int
    uri: str | None = None
    product_id: str | None = None
    reference_uri: str | None = None
    problem: str | None = None
    mentions: int = 1


def read_records(manifest_format: str, file: BinaryIO, name: str) -> Iterator[Record]:
    """Yields the records of a manifest, in order; broken lines with their problem.

    Args:
        manifest_format: one of `FORMATS`.
        file: at its start.
        name: for errors.

    Raises:
        RunError: if it has no column `uri`, or is damaged beyond single lines.
    """
    return _READERS[manifest_format](file, name)


def _read_csv(file: BinaryIO, name: str) -> Iterator[Record]:
    # surrogateescape keeps broken bytes visible, so that only their line is lost.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _Lines(_short_lines(text))
    header = _read_header(lines, name)
    if not header:
        return
    _require_uri(header, name)
    reader = csv.reader(lines, strict=True)
    while True:
        line = lines.mark()
        try:
            values = next(reader)
            problem = None if len(values) in (0, len(header)) else f"{len(values)} fields"
        except StopIteration:
            return
        except csv.Error as error:
            values, problem = [], str(error)
        if problem is not None:
            # A quote that is never closed must not swallow the lines after it.
            lines.keep_first_only()
            reader = csv.reader(lines, strict=True)
            yield Record(line, problem=f"{problem}, the header has {len(header)} fields")
        elif values:
            yield _record(line, _unpad(dict(zip(header, values, strict=True)), lines.taken()))


def _read_header(lines: "_Lines", name: str) -> list[str]:
    """The columns of the first line that is not empty."""
    try:
        for values in csv.reader(lines, strict=True):
            if any(value.strip() for value in values):
                return [value.strip() for value in values]
    except csv.Error as error:
        raise RunError(f"the header of the manifest {name} is no CSV: {error}") from error
    return []


def _read_jsonl(file: BinaryIO, _name: str) -> Iterator[Record]:
    for number, line in enumerate(_short_lines(file), start=1):
        if not line.strip():
            continue
        if len(line) > _MAX_LINE:
            yield Record(number, problem=_too_long())
            continue
        try:
            value = json.loads(line.decode("utf-8-sig"))
        except RecursionError:
            yield Record(number, problem="no JSON: nested too deep")
        except ValueError as error:  # of JSON, of UTF-8, or of a number with thousands of digits
            yield Record(number, problem=f"no JSON: {_first_line(error)}")
        else:
            is_object = isinstance(value, dict)
            yield _record(number, value) if is_object else Record(number, problem="no JSON object")


def _read_txt(file: BinaryIO, _name: str) -> Iterator[Record]:
    for number, line in enumerate(_short_lines(file), start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
        if len(line) > _MAX_LINE:
            yield Record(number, problem=_too_long())
        elif text:
            yield _record(number, {"uri": text})


def _read_parquet(file: BinaryIO, name: str) -> Iterator[Record]:
    try:
        table = pq.ParquetFile(file)
        _require_uri(table.schema_arrow.names, name)
        columns = [field for field in FIELDS if field in table.schema_arrow.names]
        first = 1
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            yield from _batch_records(batch, first)
            first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise RunError(
            f"the manifest {name} is no Parquet file, or damaged: {_first_line(error)}"
        ) from error


def _batch_records(batch: pa.RecordBatch, first: int) -> Iterator[Record]:
    """The records of a batch, equal ones as one: a file of KBs may repeat millions.

    Equal are records of the same URI and product.
    """
    try:
        numbers = _numbered(batch["uri"])
        if "product_id" in batch.schema.names:
            products = _numbered(batch["product_id"])
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
        record = _record(first + int(row), dict(zip(names, fields, strict=True)))
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
    return column


_READERS: dict[str, Callable[[BinaryIO, str], Iterator[Record]]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "txt": _read_txt,
}


def _record(line: int, value: dict[str, Any]) -> Record:
    """A record of the contract's fields as clean strings."""
    found: dict[str, str | None] = {}
    for field in FIELDS:
        try:
            text = _as_text(value.get(field), is_id=field == "product_id")
        except _NoTextError as error:
            return Record(line, problem=f"{field} {error}")
        found[field] = text or None
    if found["uri"] is None:
        return Record(line, problem="no uri")
    return Record(line, found["uri"], found["product_id"], found["reference_uri"])


class _NoTextError(ValueError):
    """A value is no text; the message goes on after the field's name."""


def _as_text(value: Any, *, is_id: bool) -> str | None:
    """A field's value as text; product numbers and dates as people write them."""
    if value is None:
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise _NoTextError("is not valid UTF-8")
        return _trimmed(value, is_id=is_id)
    if not is_id or not isinstance(value, _WRITABLE):
        raise _NoTextError("is not a string")
    if isinstance(value, float):  # pandas stores 7 as 7.0, and nan where one is missing
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _trimmed(text: str, *, is_id: bool) -> str:
    """Text without white space around it; a URI keeps its final spaces, which keys may have."""
    return text.strip() if is_id or not text.strip() else text.lstrip().rstrip("\r\n\t")


_WRITABLE = (int, float, decimal.Decimal, datetime.date, datetime.time, uuid.UUID)


def _unpad(value: dict[str, str], taken: list[str]) -> dict[str, str]:
    """A CSV record without the spaces that people set around commas.

    A quoted field keeps them: keys of S3 may end in a space.
    """
    raw = "".join(taken)
    return {
        name: text if text != text.strip() and f'"{text}"' in raw else text.strip()
        for name, text in value.items()
    }


def _short_lines(file: IO[Any]) -> Iterator[Any]:
    """The lines of a file; of one beyond `_MAX_LINE` only so much that its length shows."""
    while line := file.readline(_MAX_LINE + 1):
        end = "\n" if isinstance(line, str) else b"\n"
        more = line
        while len(more) > _MAX_LINE and not more.endswith(end):
            more = file.readline(_MAX_LINE + 1)
        yield line


class _Lines:
    """A file's lines, of which those since the last `mark` can be read again."""

    def __init__(self, text: Iterable[str]) -> None:
        self._fresh = iter(text)
        self._again: list[str] = []  # in reverse
        self._taken: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._fresh)
        self._taken.append(line)
        self.number += 1
        return line

    def mark(self) -> int:
        """Forgets what was taken; returns the next line's number."""
        self._taken.clear()
        return self.number + 1

    def taken(self) -> list[str]:
        """Returns the lines since the mark."""
        return self._taken

    def keep_first_only(self) -> None:
        """Gives back all lines since the mark but the first."""
        self._again += reversed(self._taken[1:])
        self.number -= len(self._taken) - 1
        self._taken.clear()


def _require_uri(columns: list[str], name: str) -> None:
    """A manifest without the column is a wrong file, not a file of broken lines."""
    if columns.count("uri") != 1:
        has = "several columns" if "uri" in columns else "no column"
        raise RunError(f"the manifest {name} has {has} uri. Received: {', '.join(columns)[:200]}")


def _too_long() -> str:
    return f"longer than {_MAX_LINE >> 20} MiB"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
