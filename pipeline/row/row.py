"""The row that a run writes for each URI.

`pipeline.output.schema` derives the Arrow schema from the declarations of the row and its parts,
and a test checks the documents' table of columns against them.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from model.metrics.quality import Measures
from pipeline.records import Status
from pipeline.row.declaration import Column, RowColumn, build, columns_of
from pipeline.row.parts import (
    NO_REFERENCE,
    NO_SOURCE,
    NOT_MEASURED,
    NOT_TIMED,
    EncodedImage,
    Reference,
    SourceInfo,
    Timings,
)


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
    catalog: Annotated[
        str | None, Column("the manifest's columns of `--keep_columns`, as a JSON object of texts")
    ] = None
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
    source: SourceInfo = NO_SOURCE
    encoded: EncodedImage | None = None
    measures: Measures = NOT_MEASURED
    reference: Annotated[Reference, Column(after="self_gain_db")] = NO_REFERENCE
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
        return 500 + len(self.catalog or "") + (len(image["bytes"]) if image is not None else 0)

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
        row = build(cls, {**columns, "status": Status(columns["status"])})
        assert isinstance(row, cls)  # a row has always a URI
        return row


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


# All columns, in the order of the files.
COLUMNS = columns_of(Row)
