"""Columns declared as annotated fields of dataclasses, and their order in the files."""

import dataclasses
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple


class Column(NamedTuple):
    """Declaration of a column, beside its field's type; also of where a part's columns stand.

    Attributes:
        meaning: one line for people.
        unit: `px`, `bytes`, `ms`; empty without one.
        bits: of an integer.
        after: the column that it follows in the files; empty for the field before it.

    Example:
        >>> Column("time to decode it", "ms").unit
        'ms'
    """

    meaning: str = ""
    unit: str = ""
    bits: int = 32
    after: str = ""


class RowColumn(NamedTuple):
    """A column of the files, in Python's terms.

    Attributes:
        name: of the column, and of the attribute that holds it.
        part: attributes that lead from a row to the holder of the value.
        type: of a value that is not None.
        is_required: whether every row has a value.
        meaning, unit, bits, after: see `Column`.

    Example:
        >>> from pipeline.row.row import COLUMNS
        >>> [column.name for column in COLUMNS if column.is_required]
        ['uri', 'status', 'processed_at']
    """

    name: str
    part: tuple[str, ...]
    type: type
    is_required: bool
    meaning: str
    unit: str
    bits: int
    after: str


class _Field(NamedTuple):
    """A field of a part, its annotation taken apart."""

    name: str
    type: type
    is_optional: bool
    column: Column

    @property
    def is_part(self) -> bool:
        return dataclasses.is_dataclass(self.type)


@functools.cache
def _fields(part: type) -> tuple[_Field, ...]:
    """The fields of a part, in order."""
    fields = []
    annotations = typing.get_type_hints(part, include_extras=True)
    for field in dataclasses.fields(part):
        annotation, column = annotations[field.name], Column()
        if typing.get_origin(annotation) is Annotated:
            annotation, declared = typing.get_args(annotation)
            column = Column(*declared)
        inner = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        is_optional = isinstance(annotation, types.UnionType)
        fields.append(
            _Field(field.name, inner[0] if is_optional else annotation, is_optional, column)
        )
    return tuple(fields)


def build(part: type, columns: Mapping[str, Any]) -> Any:
    """Builds a dataclass of columns and parts from values by column.

    Args:
        part: the dataclass.
        columns: values; a missing one is None. An inner part without any is None where it may be.
    """
    values: dict[str, Any] = {}
    for field in _fields(part):
        if not field.is_part:
            value = columns.get(field.name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
            continue
        inner = build(field.type, columns)
        is_empty = all(value is None for value in vars(inner).values())
        values[field.name] = None if is_empty and field.is_optional else inner
    return part(**values)


def columns_of(part: type) -> tuple[RowColumn, ...]:
    """Returns the columns that a dataclass and its parts declare, in the order of the files."""
    return tuple(_in_file_order(_columns(part)))


def _columns(part: type, path: tuple[str, ...] = (), is_always: bool = True) -> list[RowColumn]:
    """The columns of a part in the order of its fields."""
    columns: list[RowColumn] = []
    for field in _fields(part):
        is_required = is_always and not field.is_optional
        if not field.is_part:
            columns.append(RowColumn(field.name, path, field.type, is_required, *field.column))
            continue
        inner = _columns(field.type, (*path, field.name), is_required)
        if field.column.after:  # the first follows that column, each other one its neighbour
            places = [field.column.after, *(column.name for column in inner)]
            inner = [
                column._replace(after=after) for column, after in zip(inner, places, strict=False)
            ]
        columns += inner
    return columns


def _in_file_order(columns: list[RowColumn]) -> Iterator[RowColumn]:
    """The columns as they stand in the files."""
    followers = {column.after: column for column in columns if column.after}
    for column in columns:
        if column.after:
            continue
        yield column
        name = column.name
        while name in followers:
            yield followers[name]
            name = followers[name].name
