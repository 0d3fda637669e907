"""The row that a run writes for each URI. Each column of the files is declared here, once.

`pipeline.output.schema` derives the Arrow schema from these declarations, and a test checks the
documents' table of columns against them.
"""

import dataclasses
import datetime
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, TypedDict

from model.imaging.header import Header
from model.metrics.quality import Measures, ReferenceMeasures
from pipeline.records import CatalogEntry, Status


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


class ImageFile(TypedDict):
    """An encoded image in a row, laid out as Hugging Face `datasets` reads it.

    Example:
        >>> ImageFile(bytes=b"...", path="0f3a.png")["path"]
        '0f3a.png'
    """

    bytes: bytes
    path: str


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """The source image: from the storage, then from its header.

    Example:
        >>> SourceInfo(source_format="PNG", source_height=40, source_width=60).source_width
        60
    """

    source_etag: Annotated[str | None, Column("ETag of the source; of a local file a digest")] = (
        None
    )
    source_bytes: Annotated[int | None, Column("size of the source", "bytes", bits=64)] = None
    source_format: Annotated[str | None, Column("format of the source, as `JPEG`")] = None
    source_mode: Annotated[str | None, Column("Pillow's mode of the source, as `RGB`")] = None
    source_width: Annotated[
        int | None, Column("width as displayed, after the EXIF orientation", "px")
    ] = None
    source_height: Annotated[
        int | None, Column("height as displayed, after the EXIF orientation", "px")
    ] = None
    source_jpeg_quality: Annotated[
        int | None,
        Column(
            "JPEG quality that the file states, estimated from the quantisation tables; 100 for "
            "lossless formats"
        ),
    ] = None
    source_found_jpeg_quality: Annotated[
        int | None,
        Column("JPEG quality of the strongest compression that the pixels show; null if none"),
    ] = None

    @classmethod
    def of(cls, entry: CatalogEntry, header: Header | None) -> "SourceInfo":
        """The source of a catalog entry; without a header only what its storage knows."""
        known = cls(source_etag=entry.etag, source_bytes=entry.size_bytes)
        if header is None:
            return known
        return dataclasses.replace(
            known,
            source_format=header.format,
            source_mode=header.mode,
            source_width=header.width,
            source_height=header.height,
            source_jpeg_quality=header.jpeg_quality,
            source_found_jpeg_quality=header.found_jpeg_quality,
        )


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """The published image: its size and file, and the network that upscaled it.

    Example:
        pixels = row.encoded.height * row.encoded.width  # None for a row without an image
    """

    width: Annotated[int, Column("width of the result", "px")]
    height: Annotated[int, Column("height of the result", "px")]
    image_format: Annotated[str, Column("format of the result")]
    image_bytes: Annotated[int, Column("size of the encoded result", "bytes", bits=64)]
    image_sha256: Annotated[str, Column("SHA-256 of the encoded result")]
    image_uri: Annotated[
        str | None,
        Column(
            "the result's file, or `<Parquet file>#row=<number>` in a previous run, relative to"
            " `--output`; null if the image is only in this row"
        ),
    ]
    model: Annotated[str, Column("network of the result")]
    model_sha256: Annotated[str | None, Column("SHA-256 of the network's file")]
    scale: Annotated[int, Column("enlargement; with `--target_side` the one before the shrink")]
    network_share: Annotated[
        float, Column("share of the network's result in the image, 0 to 1; the rest is bicubic")
    ]
    image: Annotated[
        ImageFile | None,
        Column(
            (
                "`bytes` and `path` of the encoded result, as Hugging Face `datasets` "
                "reads it; null with `--images files`"
            ),
            after="processed_at",
        ),
    ]


@dataclasses.dataclass(frozen=True)
class Reference:
    """The true HR image that a result was compared with, if the manifest names one.

    Example:
        >>> Reference("s3://shop/hr.png", "5d41").measures is None  # not compared
        True
    """

    reference_uri: Annotated[str | None, Column("from the manifest")] = None
    reference_etag: Annotated[str | None, Column("ETag of the reference")] = None
    measures: ReferenceMeasures | None = None

    @classmethod
    def of(cls, entry: CatalogEntry, measures: ReferenceMeasures | None = None) -> "Reference":
        """The reference of a catalog entry, with the measures against it."""
        return cls(entry.reference_uri, entry.reference_etag, measures)


@dataclasses.dataclass(frozen=True)
class Timings:
    """Milliseconds that an image took in each stage; None for a stage that it did not reach.

    Example:
        >>> Timings(fetch_ms=12.5).decode_ms is None
        True
    """

    fetch_ms: Annotated[float | None, Column("time to read the source from the storage", "ms")] = (
        None
    )
    decode_ms: Annotated[float | None, Column("time to decode it", "ms")] = None
    inference_ms: Annotated[float | None, Column("time of the network", "ms")] = None
    measure_ms: Annotated[float | None, Column("time of the measures", "ms")] = None
    encode_ms: Annotated[float | None, Column("time to encode and store the result", "ms")] = None


# Of rows without a published image, and without any work.
NOT_MEASURED = Measures()
NOT_TIMED = Timings()
# The columns that say where an image's time went.
TIMED_STAGES = tuple(field.name for field in dataclasses.fields(Timings))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What a run knows of one URI.

    Example:
        >>> now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        >>> row = Row(uri="s3://shop/a.png", status=Status.SKIPPED, processed_at=now)
        >>> row.timings.fetch_ms is None and row.encoded is None
        True
    """

    uri: Annotated[str, Column("the URI as the catalog spells it")]
    product_id: Annotated[str | None, Column("from the manifest; of several the first")] = None
    product_ids: Annotated[tuple[str, ...] | None, Column("all of the manifest, in order")] = None
    status: Annotated[Status, Column("what became of the URI; see below")]
    reason: Annotated[str | None, Column("a stable code for scripts; see below")] = None
    detail: Annotated[str | None, Column("one line for people")] = None
    content_key: Annotated[
        str | None,
        Column(
            "identifies the source's content together with the network and the "
            "settings that change the result"
        ),
    ] = None
    source: SourceInfo = SourceInfo()
    encoded: EncodedImage | None = None
    measures: Measures = NOT_MEASURED
    reference: Annotated[Reference, Column(after="self_gain_db")] = Reference()
    timings: Timings = NOT_TIMED
    processed_at: Annotated[
        datetime.datetime,
        Column(
            "UTC time at which a run processed the image; of an `unchanged` row, "
            "the time of the run that did"
        ),
    ]

    @property
    def size_bytes(self) -> int:
        """Roughly the row's size in memory and in the file."""
        image = self.encoded.image if self.encoded is not None else None
        return 500 + (len(image["bytes"]) if image is not None else 0)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Row":
        """Builds a row from values by column, such as those of a Parquet row.

        Args:
            columns: a missing one counts as null; `uri`, `status` and `processed_at` are required.

        Raises:
            ValueError: if the status is unknown.

        Example:
            >>> now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
            >>> found = {"uri": "a", "status": "failed", "processed_at": now, "fetch_ms": 2.0}
            >>> Row.from_columns(found).timings.fetch_ms
            2.0
        """
        row = _build(cls, {**columns, "status": Status(columns["status"])})
        assert isinstance(row, cls)  # a row has always a URI
        return row


class RowColumn(NamedTuple):
    """A column of the files, in Python's terms.

    Attributes:
        name: of the column, and of the attribute that holds it.
        part: attributes that lead from a row to the holder of the value.
        type: of a value that is not None.
        is_required: whether every row has a value.
        meaning, unit, bits, after: see `Column`.

    Example:
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


def column_values(rows: Iterable[Row], columns: Iterable[RowColumn]) -> Iterator[list[Any]]:
    """Yields the values of each column over all rows, None where a row has none."""
    holders: dict[tuple[str, ...], list[Any]] = {(): list(rows)}
    for column in columns:
        for depth, name in enumerate(column.part):
            path = column.part[: depth + 1]
            if path not in holders:
                outer = holders[column.part[:depth]]
                holders[path] = [None if one is None else getattr(one, name) for one in outer]
        values = holders[column.part]
        yield [None if one is None else getattr(one, column.name) for one in values]


class _Field(NamedTuple):
    """A field of a part, its annotation taken apart."""

    name: str
    type: type
    is_optional: bool
    column: Column

    @property
    def is_part(self) -> bool:
        return dataclasses.is_dataclass(self.type)


def _fields(part: type) -> Iterator[_Field]:
    annotations = typing.get_type_hints(part, include_extras=True)
    for field in dataclasses.fields(part):
        annotation, column = annotations[field.name], Column()
        if typing.get_origin(annotation) is Annotated:
            annotation, declared = typing.get_args(annotation)
            column = Column(*declared)
        inner = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        is_optional = isinstance(annotation, types.UnionType)
        yield _Field(field.name, inner[0] if is_optional else annotation, is_optional, column)


_PARTS = (Row, SourceInfo, EncodedImage, Measures, Reference, ReferenceMeasures, Timings)
_FIELDS: dict[type, tuple[_Field, ...]] = {part: tuple(_fields(part)) for part in _PARTS}


def _build(part: type, columns: Mapping[str, Any]) -> Any:
    """The part with its columns; an inner part without any value is None where it may be."""
    values: dict[str, Any] = {}
    for field in _FIELDS[part]:
        if not field.is_part:
            value = columns.get(field.name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
            continue
        inner = _build(field.type, columns)
        is_empty = all(value is None for value in vars(inner).values())
        values[field.name] = None if is_empty and field.is_optional else inner
    return part(**values)


def _columns(part: type, path: tuple[str, ...] = (), is_always: bool = True) -> list[RowColumn]:
    """The columns of a part in the order of its fields."""
    columns: list[RowColumn] = []
    for field in _FIELDS[part]:
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


# All columns, in the order of the files.
COLUMNS = tuple(_in_file_order(_columns(Row)))
