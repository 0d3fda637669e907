"""The Arrow schema of the files, derived from `Row`, and batches of rows in it."""

import datetime
import json
from collections.abc import Iterable, Mapping

import pyarrow as pa

from pipeline.records import Status
from pipeline.row.declaration import RowColumn
from pipeline.row.parts import ImageFile
from pipeline.row.row import COLUMNS, Row, column_values

_ARROW_TYPES = {
    str: pa.string(),
    Status: pa.string(),
    tuple[str, ...]: pa.list_(pa.string()),
    float: pa.float32(),
    datetime.datetime: pa.timestamp("us", tz="UTC"),
    ImageFile: pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
}


def _field(column: RowColumn) -> pa.Field:
    is_integer = column.type is int
    arrow_type = getattr(pa, f"int{column.bits}")() if is_integer else _ARROW_TYPES[column.type]
    return pa.field(column.name, arrow_type, nullable=not column.is_required)


# The images stand last: whoever reads the other columns of a row group reads them in one piece.
# The metadata is for Hugging Face `datasets` and its viewer: they show `image` as an image.
SCHEMA = pa.schema(
    [_field(column) for column in COLUMNS],
    metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
)


def to_batch(rows: Iterable[Row]) -> pa.RecordBatch:
    """Turns rows into one Arrow batch of `SCHEMA`, without a copy of an image in between.

    Args:
        rows: any number.

    Returns:
        A column for each of `pipeline.row.row.COLUMNS`, in that order.
    """
    arrays = [
        pa.array(values, type=field.type)
        for field, values in zip(SCHEMA, column_values(rows, COLUMNS), strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def from_columns(rows: int, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """Builds a batch of `SCHEMA` from some of its columns; null in the others.

    Args:
        rows: number of rows.
        columns: arrays of this length, by name.
    """
    arrays = [columns.get(field.name, pa.nulls(rows, field.type)) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def completed(batch: pa.RecordBatch, columns: Iterable[str]) -> pa.RecordBatch:
    """Returns exactly these columns of a file, in the types of `SCHEMA`.

    Args:
        batch: of a file that perhaps another version of this program wrote.
        columns: names of `SCHEMA`; null where the batch lacks one.
    """
    fields = [SCHEMA.field(name) for name in columns]
    arrays = []
    for field in fields:
        if field.name not in batch.schema.names:
            arrays.append(pa.nulls(batch.num_rows, field.type))
        elif batch[field.name].type == field.type:
            arrays.append(batch[field.name])
        else:
            arrays.append(batch[field.name].cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
