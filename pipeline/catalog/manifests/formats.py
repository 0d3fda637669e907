"""Readers of the manifest formats: one record a line, in bounded memory."""

import decimal
import functools
import json
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pipeline.catalog.manifests.columns import USUAL_COLUMNS, ManifestColumns
from pipeline.catalog.manifests.delimited import read_delimited
from pipeline.catalog.manifests.parquet_files import read_lines
from pipeline.catalog.manifests.record import Record, record_of
from pipeline.catalog.manifests.text_files import MAX_LINE, keep_quiet, open_text, short_lines

FORMATS = ("csv", "tsv", "jsonl", "parquet", "txt")
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
        if broken := _broken(line):
            yield Record(number, problem=broken)
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


def _exact_number(digits: str) -> int | decimal.Decimal | str:
    """A number with all its digits, which a float has not; 7.0 of a product is 7."""
    try:
        value = decimal.Decimal(digits)
    except decimal.InvalidOperation:  # even its exponent is too large
        return digits
    if abs(value.adjusted()) > _MAX_EXPONENT:
        return digits
    return int(value) if value == value.to_integral_value() else value


def _read_txt(
    file: BinaryIO, _name: str, columns: ManifestColumns, _tell: _Tell
) -> Iterator[Record]:
    for number, line in enumerate(short_lines(file), start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
        if broken := _broken(line):
            yield Record(number, problem=broken)
        elif text:
            yield record_of(number, {columns.uri: text}, columns)


def _read_parquet(
    file: BinaryIO, name: str, columns: ManifestColumns, _tell: _Tell
) -> Iterator[Record]:
    for lines in read_lines(file, name, columns):
        yield from lines.records(columns)


_READERS: dict[str, Callable[[BinaryIO, str, ManifestColumns, _Tell], Iterator[Record]]] = {
    "csv": read_delimited,
    "tsv": functools.partial(read_delimited, usual="\t"),
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "txt": _read_txt,
}


def _broken(line: bytes) -> str | None:
    """What is wrong with a line of text as such."""
    if b"\r" in line.strip():
        return r"has a carriage return in it: end each line by \n or \r\n"
    return f"longer than {MAX_LINE >> 20} MiB" if len(line) > MAX_LINE else None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
