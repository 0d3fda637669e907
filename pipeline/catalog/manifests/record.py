"""One line of a manifest as clean text."""

import datetime
import decimal
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.catalog.manifests.columns import ManifestColumns


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


def record_of(line: int, values: Mapping[str, Any], columns: ManifestColumns) -> Record:
    """Returns the record of a line.

    Args:
        line: its number.
        values: by column or key, of any type.
        columns: that hold the record's fields.
    """
    found: dict[str, str | None] = {}
    for field, column in columns.by_field().items():
        try:
            text = _as_text(values.get(column), is_id=field == "product_id")
        except _NoTextError as error:
            return Record(line, problem=f"{column} {error}")
        found[field] = text or None
    if found["uri"] is None:
        return Record(line, problem=f"no {columns.uri}")
    return Record(line, found["uri"], found["product_id"], found["reference_uri"])


class _NoTextError(ValueError):
    """A value is no text; the message goes on after the column's name."""


def _as_text(value: Any, *, is_id: bool) -> str | None:
    """A value as text; product numbers and dates as people write them."""
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
        if not math.isfinite(value):
            return None if math.isnan(value) else str(value)
        return str(int(value)) if value.is_integer() else f"{decimal.Decimal(repr(value)):f}"
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _trimmed(text: str, *, is_id: bool) -> str:
    """Text without white space around it; a URI keeps its final spaces, which keys may have."""
    return text.strip() if is_id or not text.strip() else text.lstrip().rstrip("\r\n\t")


_WRITABLE = (int, float, decimal.Decimal, datetime.date, datetime.time, uuid.UUID)
