"""The table of a catalog's shops: how the images below each prefix were sharpened.

    prefix,source_sharpening
    s3://shop/images/a/,0.75
    s3://shop/images/b/,0.00

An empty number stands for images of which nothing is known.
"""

import csv
import io
from pathlib import Path

from model.files import appearing
from model.network import presets

COLUMNS = ("prefix", "source_sharpening")


def parse(text: str) -> dict[str, float | None]:
    """Reads a table.

    Args:
        text: CSV with the header `prefix,source_sharpening`.

    Returns:
        The number of each prefix, log2, as spelled and in order; None where it is empty.

    Raises:
        ValueError: if it is no such table; the message names the line.
    """
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    found: dict[str, float | None] = {}
    try:
        header = next(lines, [])
        if tuple(header) != COLUMNS:
            raise ValueError(f"line 1 is not {','.join(COLUMNS)}")
        for fields in filter(None, lines):
            if len(fields) != len(COLUMNS):
                raise ValueError(f"line {lines.line_num} has {len(fields)} fields, not 2")
            prefix, number = fields
            if not prefix.endswith("/"):
                raise ValueError(f"line {lines.line_num}: the prefix does not end in /: {prefix}")
            if prefix in found:
                raise ValueError(f"line {lines.line_num} names {prefix} again")
            found[prefix] = _number(number, lines.line_num)
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num} is no CSV: {error}") from error
    return found


def read(path: Path) -> dict[str, float | None]:
    """Reads a local table; empty if there is none yet.

    Raises:
        OSError: if it cannot be read, or its folder does not exist.
        ValueError: if it is no such table; the message names file and line.
    """
    if not path.exists():
        if not path.parent.is_dir():
            raise FileNotFoundError(f"no such folder: {path.parent}")
        return {}
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _number(text: str, line: int) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
        presets.check_sharpening_range(value)
    except ValueError as error:
        raise ValueError(
            f"line {line}: the number must be empty or from {presets.MIN_SHARPENING} to "
            f"{presets.MAX_SHARPENING}, as model.sharpening prints it: {text[:40]}"
        ) from error
    return presets.rounded_sharpening(value)


def append(path: Path, prefix: str, number: float) -> None:
    """Adds a line to a table; begins the table if there is none.

    Args:
        path: of the table.
        prefix: ends in `/`.
        number: log2.

    Raises:
        OSError: if it cannot be written.
    """
    lines = io.StringIO(path.read_text(encoding="utf-8") if path.exists() else "")
    before = lines.read()
    if before and not before.endswith("\n"):
        lines.write("\n")
    writer = csv.writer(lines, lineterminator="\n")
    if not before:
        writer.writerow(COLUMNS)
    writer.writerow([prefix, f"{number:.2f}"])
    with appearing(path) as partial:
        partial.write_text(lines.getvalue(), encoding="utf-8", newline="")
