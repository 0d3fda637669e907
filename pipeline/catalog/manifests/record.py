"""One line of a manifest as clean text."""

import datetime
import decimal
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.network import presets
from pipeline.catalog.manifests.columns import ManifestColumns
from pipeline.redaction import redact


@dataclass(frozen=True)
class Record:
    """One line of a manifest.

    Attributes:
        line: its number, from 1; of Parquet, of its row.
        uri, product_id, reference_uri: as the line spells them; None if empty.
        source_sharpening: log2; None if empty.
        catalog: the columns to keep, as a JSON object of texts; None if none is kept.
        keys: of the line, if it lacks a column that the user asked for; else empty.
        problem: why the line holds no record; None if it does.
        mentions: how many lines it stands for.

    Example:
        [record.uri for record in read_records("csv", file, "m.csv")]
    """

    line: int
    uri: str | None = None
    product_id: str | None = None
    reference_uri: str | None = None
    source_sharpening: float | None = None
    catalog: str | None = None
    keys: tuple[str, ...] = ()
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
    try:
        sharpening = _sharpening(values.get(columns.source_sharpening))
    except ValueError as error:
        return Record(line, problem=f"{columns.source_sharpening} {error}")
    kept = {name: _kept_text(values.get(name)) for name in columns.kept}
    return Record(
        line,
        found["uri"],
        found["product_id"],
        found["reference_uri"],
        sharpening,
        catalog=json.dumps(kept, ensure_ascii=False) if kept else None,
        keys=() if values.keys() >= columns.asked.keys() else tuple(values),
    )


def _sharpening(value: Any) -> float | None:
    """A number, or its text; None where a value is missing, to which pandas gives nan.

    Raises:
        ValueError: if it is no number that networks were trained on; the message goes on after
            the column's name.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = "" if value is None else type(value).__name__
    if isinstance(value, str | int | float | decimal.Decimal):
        text = str(value).strip()
    if text.lower() in ("", "nan"):
        return None
    try:
        number = float(text) if len(text) <= _MAX_NUMBER_CHARACTERS else math.nan
        presets.check_sharpening_range(number)
    except ValueError as error:
        received = redact(_SURROGATE.sub("\ufffd", text[:_MAX_NUMBER_CHARACTERS]))
        raise ValueError(
            f"must be empty or a number from {presets.MIN_SHARPENING} to "
            f"{presets.MAX_SHARPENING}, as model.sharpening prints it: {received}"
        ) from error
    return presets.rounded_sharpening(number)


def _kept_text(value: Any) -> str | None:
    """A value to keep as text: a strange one costs no line, as nothing depends on it."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list | dict):
        text = json.dumps(value, ensure_ascii=False, default=_json_number)
    elif isinstance(value, bytes):
        text = value.decode("utf-8", "replace").strip()
    elif isinstance(value, str):
        text = value.strip()
    else:
        text = (_as_text(value, is_id=True) if isinstance(value, _WRITABLE) else value) or ""
        text = str(text)
    return redact(_SURROGATE.sub("\ufffd", text)) or None


def _json_number(value: Any) -> float | str:
    """A value that JSON does not know, within a list or an object."""
    return float(value) if isinstance(value, decimal.Decimal) else str(value)


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


# A longer text is no number of a sharpening.
_MAX_NUMBER_CHARACTERS = 40
# Half a character, or a byte that is not UTF-8.
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_WRITABLE = (int, float, decimal.Decimal, datetime.date, datetime.time, uuid.UUID)
