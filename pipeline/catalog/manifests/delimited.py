"""Reads manifests of columns between commas, semicolons, tabs or bars; finds out which."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from pipeline.catalog.manifests.columns import ManifestColumns
from pipeline.catalog.manifests.record import Record, record_of
from pipeline.catalog.manifests.text_files import short_lines
from pipeline.records import RunError

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_delimited(
    file: BinaryIO,
    name: str,
    columns: ManifestColumns,
    tell: Callable[[str], None],
    *,
    usual: str = ",",
) -> Iterator[Record]:
    """Yields the records of a manifest, in order; broken lines with their problem.

    Args:
        file: UTF-8; other bytes cost their line only.
        name: for errors.
        columns: to read.
        tell: gets a line for people if the columns are separated in another way than usual.
        usual: what separates them if the header does not say.

    Raises:
        RunError: if a column is missing.
    """
    # surrogateescape keeps broken bytes visible, so that only their line is lost.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _Lines(short_lines(text))
    delimiter = _find_delimiter(lines, columns, usual)
    if delimiter != usual:
        tell(f"{name} has {_NAMES[delimiter]} between its columns")
    header = _read_header(lines, name, delimiter)
    if not header:
        return
    columns.check(header, name)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
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
            lines.give_back(keep=1)
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            yield Record(line, problem=f"{problem}, the header has {len(header)} fields")
        elif values:
            found = _unpad(dict(zip(header, values, strict=True)), lines.taken())
            yield record_of(line, found, columns)


def _find_delimiter(lines: "_Lines", columns: ManifestColumns, usual: str) -> str:
    """The delimiter by which the header has the column of URIs; else the most columns."""
    lines.mark()
    header = next((line for line in lines if line.strip()), "")
    lines.give_back(keep=0)
    columns_by: dict[str, list[str]] = {}
    for delimiter in (usual, *_NAMES):
        try:
            found = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            found = []
        columns_by[delimiter] = [value.strip() for value in found]
        if columns.uri in columns_by[delimiter]:
            return delimiter
    return max(columns_by, key=lambda delimiter: len(columns_by[delimiter]))


def _read_header(lines: "_Lines", name: str, delimiter: str) -> list[str]:
    """The columns of the first line that is not empty."""
    try:
        for values in csv.reader(lines, delimiter=delimiter, strict=True):
            if any(value.strip() for value in values):
                return [value.strip() for value in values]
    except csv.Error as error:
        raise RunError(f"the header of the manifest {name} is no CSV: {error}") from error
    return []


def _unpad(value: dict[str, str], taken: list[str]) -> dict[str, str]:
    """A record without the spaces that people set around commas.

    A quoted field keeps them: keys of S3 may end in a space.
    """
    raw = "".join(taken)
    return {
        name: text if text != text.strip() and f'"{text}"' in raw else text.strip()
        for name, text in value.items()
    }


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

    def give_back(self, *, keep: int) -> None:
        """Gives back all lines since the mark but the first ones."""
        self._again += reversed(self._taken[keep:])
        self.number -= len(self._taken[keep:])
        self._taken.clear()
