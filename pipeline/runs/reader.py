"""Reads a run's Parquet files by ranged requests: the only module that opens them.

A truncated, empty or foreign file raises `UnreadableRowsError`, which names the file; the caller
decides whether the run can do without it.
"""

import contextlib
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output import schema
from pipeline.records import Reason, RunError
from pipeline.runs.layout import Layout
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_ranged
from pipeline.storage.routing import list_if_any

BATCH_ROWS = 4096
# Between the URI of a Parquet file and the number of a row in it, counted from 0.
ROW_MARK = "#row="


class UnreadableRowsError(RunError):
    """A Parquet file of rows is missing, truncated, empty, or holds something else.

    Example:
        try:
            rows = count_rows(files, part)
        except UnreadableRowsError as error:
            print(error)  # names the file
    """


def image_pointer(part: str, number: int) -> str:
    """Names the image in a row, as `image_uri` does: `<Parquet file>#row=<number>`.

    Example:
        >>> split_pointer(image_pointer("s3://shop/out/rows/run_id=n/part-0.parquet", 7))
        ('s3://shop/out/rows/run_id=n/part-0.parquet', 7)
    """
    return f"{part}{ROW_MARK}{number}"


def split_pointer(image_uri: str) -> tuple[str, int] | None:
    """Parquet file and row number that an `image_uri` names; None for a file of its own."""
    part, mark, number = image_uri.rpartition(ROW_MARK)
    return (part, int(number)) if mark and number.isdecimal() else None


def parts_of(files: Storage, layout: Layout) -> list[str]:
    """URIs of a run's Parquet files; other files in the folder are no rows."""
    return [
        uri
        for uri in list_if_any(files, layout.rows)
        if uri.rpartition("/")[2].startswith("part-") and uri.endswith(".parquet")
    ]


def read_batches(
    files: Storage, parts: Iterable[str], columns: Iterable[str], *, batch_rows: int = BATCH_ROWS
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """Reads columns of Parquet files in batches, without the images unless they are asked for.

    Args:
        files: storage of the files.
        parts: their URIs.
        columns: names of `schema.SCHEMA`; null where an older file lacks one.
        batch_rows: most rows of a batch.

    Yields:
        (part, number of the batch's first row in it, batch).

    Raises:
        UnreadableRowsError: if a part is no complete file of rows.
    """
    wanted = list(columns)
    for part in parts:
        first = 0
        with _open(files, part) as table:
            there = [name for name in wanted if name in table.schema_arrow.names]
            for batch in table.iter_batches(batch_size=batch_rows, columns=there):
                yield part, first, schema.completed(batch, wanted)
                first += batch.num_rows


def read_columns(files: Storage, parts: Iterable[str], columns: Iterable[str]) -> pa.Table:
    """Reads small columns of Parquet files into one table; see `read_batches`."""
    wanted = list(columns)
    found = [batch for *_, batch in read_batches(files, parts, wanted)]
    types = pa.schema([schema.SCHEMA.field(name) for name in wanted])
    return pa.Table.from_batches(found, types)


def count_rows(files: Storage, part: str) -> int:
    """Number of rows in a complete Parquet file, from its footer.

    Raises:
        UnreadableRowsError: if it is none.
    """
    with _open(files, part) as table:
        return table.metadata.num_rows


def read_row_group(
    files: Storage, part: str, number: int, columns: Iterable[str]
) -> tuple[int, pa.Table]:
    """Reads the row group that holds a row.

    Args:
        files: storage of the file.
        part: its URI.
        number: of the row in the file, from 0.
        columns: to read.

    Returns:
        Number of the group's first row, and the group.

    Raises:
        UnreadableRowsError: if the file cannot be read, or has no such row.
    """
    with _open(files, part) as table:
        start = 0
        for group in range(table.num_row_groups):
            stop = start + table.metadata.row_group(group).num_rows
            if start <= number < stop:
                return start, table.read_row_group(group, columns=list(columns))
            start = stop
    raise _unreadable(part, f"it has no row {number}")


@contextlib.contextmanager
def _open(files: Storage, part: str) -> Iterator[pq.ParquetFile]:
    """Opens a file of rows; errors within the block name the file."""
    try:
        with open_ranged(files, part) as file:
            table = pq.ParquetFile(file)
            missing = {"uri", "status"} - set(table.schema_arrow.names)
            if missing:
                raise _unreadable(part, f"it has no column {min(missing)}")
            yield table
    except StorageError as error:
        if error.reason in (Reason.NOT_FOUND, Reason.CHANGED):
            raise _unreadable(part, error.detail) from error
        raise RunError(f"cannot read the rows in {part}: {error.detail}") from error
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(part, str(error).partition("\n")[0].rstrip(".")) from error


def _unreadable(part: str, detail: str) -> UnreadableRowsError:
    return UnreadableRowsError(f"cannot read the rows in {part}: {detail}")
