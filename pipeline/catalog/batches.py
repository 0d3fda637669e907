"""Reads the catalog as Arrow batches: a row for each mention of an image, with columns of a
`CatalogEntry`."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import CatalogEntry

# The position of a URI whose row an earlier attempt has finished: before all that a catalog holds.
KEPT = -1
# The fields of `CatalogEntry`, in order. A location of null is the URI itself.
SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("location", pa.string()),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("product_ids", pa.list_(pa.string())),
        pa.field("catalog", pa.string()),
        pa.field("reference_uri", pa.string()),
        pa.field("reference_location", pa.string()),
        pa.field("source_sharpening", pa.float64()),
        pa.field("etag", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("reference_etag", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("mentions", pa.int64(), nullable=False),
    ]
)
assert tuple(SCHEMA.names) == CatalogEntry._fields
_BATCH_ROWS = 4096
_FILE_NAME = r"[^/]*\z"


def from_columns(rows: int, **columns: pa.Array) -> pa.RecordBatch:
    """A batch of `SCHEMA` from some of its columns; null in the others, 1 mention each.

    Args:
        rows: number of rows.
        columns: arrays of this length; `uri` and `position` are required.
    """
    columns.setdefault("mentions", pa.repeat(pa.scalar(1, pa.int64()), rows))
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(rows, field.type)) for field in SCHEMA], schema=SCHEMA
    )


def from_entries(entries: Iterable[CatalogEntry]) -> Iterator[pa.RecordBatch]:
    """Batches of `SCHEMA` with a row for each entry, in order."""
    entries = iter(entries)
    while some := list(itertools.islice(entries, _BATCH_ROWS)):
        values = [list(column) for column in zip(*some, strict=True)]
        values[1] = [None if one.location == one.uri else one.location for one in some]
        values[3] = [one.product_ids or None for one in some]
        yield pa.RecordBatch.from_arrays(
            [pa.array(column, field.type) for column, field in zip(values, SCHEMA, strict=True)],
            schema=SCHEMA,
        )


def fill_sharpening(
    batch: pa.RecordBatch, number_of: Callable[[str], float | None]
) -> pa.RecordBatch:
    """Fills in the sharpening of the rows that have none, by the folders of their images.

    Args:
        batch: of `SCHEMA`.
        number_of: of a folder, which ends in `/`: log2; None where it is unknown.
    """
    where = pc.coalesce(batch["location"], batch["uri"])
    folders = pc.replace_substring_regex(where, _FILE_NAME, "").dictionary_encode()
    numbers = [number_of(folder) for folder in folders.dictionary.to_pylist()]
    filled = pc.coalesce(
        batch["source_sharpening"], pa.array(numbers, pa.float64()).take(folders.indices)
    )
    at = SCHEMA.get_field_index("source_sharpening")
    return batch.set_column(at, SCHEMA.field(at), filled)


def to_entries(batch: pa.RecordBatch) -> list[CatalogEntry]:
    """The rows of a batch as entries, in order.

    Args:
        batch: with the columns of `SCHEMA`, and perhaps others.
    """
    columns = {name: batch[name] for name in SCHEMA.names}
    columns["location"] = pc.coalesce(columns["location"], columns["uri"])
    lists = [ids or () for ids in columns.pop("product_ids").to_pylist()]
    values = {name: column.to_pylist() for name, column in columns.items()}
    values["product_ids"] = [tuple(ids) for ids in lists]
    ordered = [values[name] for name in SCHEMA.names]
    return [CatalogEntry(*fields) for fields in zip(*ordered, strict=True)]
