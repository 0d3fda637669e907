"""A sharpening table: how the images below each prefix were sharpened.

    prefix,source_sharpening
    s3://shop/images/a/,0.75
    s3://shop/images/b/,0.00

An empty number stands for images of which nothing is known.
"""

import csv
import io
import os
from pathlib import Path

from model.network import presets

COLUMNS = ("prefix", "source_sharpening")
_SHOWN_CHARACTERS = 60


def parse(data: bytes) -> dict[str, float | None]:
    """Reads a table.

    Args:
        data: CSV in UTF-8 with the header `prefix,source_sharpening`.

    Returns:
        The number of each prefix, log2, as spelled and in order; None where it is empty.

    Raises:
        ValueError: if it is no such table; the message names the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    lines = csv.reader(io.StringIO(text, newline=""))
    found: dict[str, float | None] = {}
    try:
        header = ",".join(next(lines, []))
        if header != ",".join(COLUMNS):
            raise ValueError(f"line 1 must be {','.join(COLUMNS)}, it is {_shown(header)}")
        for fields in lines:
            if any(map(str.strip, fields)):
                prefix, number = _read_line(fields, lines.line_num)
                if prefix in found:
                    raise ValueError(f"line {lines.line_num} names {prefix} again")
                found[prefix] = number
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num} is no CSV: {error}") from error
    return found


def _read_line(fields: list[str], line: int) -> tuple[str, float | None]:
    """Prefix and number of a line; raises ValueError if it has others."""
    if len(fields) != len(COLUMNS):
        raise ValueError(
            f"line {line} must be a prefix, a comma and a number: {_shown(','.join(fields))}"
        )
    prefix, number = fields
    if not prefix.endswith("/"):
        raise ValueError(f"line {line}: a prefix ends in /: {prefix}")
    if not number.strip():
        return prefix, None
    try:
        value = float(number)
        presets.check_sharpening_range(value)
    except ValueError as error:
        raise ValueError(
            f"line {line}: the number must be empty or from {presets.MIN_SHARPENING} to "
            f"{presets.MAX_SHARPENING}, as model.sharpening prints it: {_shown(number)}"
        ) from error
    return prefix, presets.rounded_sharpening(value)


def _shown(text: str) -> str:
    return text[:_SHOWN_CHARACTERS] or "empty"


def read(path: Path) -> dict[str, float | None]:
    """Reads a local table that will be added to; empty if there is none yet.

    Raises:
        OSError: if it cannot be read or written, or its folder does not exist.
        ValueError: if it is no such table; the message names file and line.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"no permission to write {path}")
    if not path.exists():
        return {}
    try:
        return parse(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def append(path: Path, prefix: str, number: float) -> None:
    """Adds a line to a table; begins the table if there is none.

    Args:
        path: of the table.
        prefix: ends in `/`.
        number: log2.

    Raises:
        OSError: if it cannot be written.
    """
    before = path.read_bytes() if path.exists() else b""
    lines = io.StringIO()
    if not before:
        csv.writer(lines, lineterminator="\n").writerow(COLUMNS)
    elif not before.endswith(b"\n"):
        lines.write("\n")
    fields = [prefix, f"{number:.2f}"]
    if prefix.isprintable():
        csv.writer(lines, lineterminator="\n").writerow(fields)
    else:  # a carriage return needs quotes
        csv.writer(lines, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(fields)
    with path.open("ab") as file:
        file.write(lines.getvalue().encode())
