"""Reads a run's Parquet files by ranged requests: the only module that opens them.

A truncated, empty or foreign file raises `UnreadableRowsError`, one that the storage does not give
`RowsError`. Both name the file; the caller decides whether the run can do without it.
"""

import contextlib
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.output import schema
from pipeline.records import Reason, RunError
from pipeline.runs.layout import Layout, output_of
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_ranged
from pipeline.storage.routing import list_if_any

BATCH_ROWS = 4096
# Between the URI of a Parquet file and the number of a row in it, counted from 0.
ROW_MARK = "#row="
# A pointer that is no place within the output.
_ABSOLUTE = "^(/|[A-Za-z][A-Za-z0-9+.-]*:/)"


class RowsError(RunError):
    """A Parquet file of rows cannot be read. The file may be sound: the storage failed.

    An endpoint that is away as a whole raises another `RunError`.

    Example:
        try:
            rows = count_rows(files, part)
        except RowsError as error:
            print(error)  # names the file
    """


class UnreadableRowsError(RowsError):
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


def reading_order(image_uri: str | None) -> tuple[str, int]:
    """Key to sort images by, so that those of one row group are read one after the other.

    Example:
        >>> uris = [f"rows/run_id=n/part-0.parquet#row={number}" for number in (10, 2)]
        >>> [split_pointer(uri)[1] for uri in sorted(uris, key=reading_order)]
        [2, 10]
    """
    return split_pointer(image_uri or "") or (image_uri or "", 0)


def absolute_pointer(part: str, image_uri: str) -> str:
    """Returns the place that an `image_uri` of a row names.

    Args:
        part: URI of the Parquet file that holds the row.
        image_uri: relative to the output, or absolute, as rows of version 0.1.0 have it.

    Example:
        >>> absolute_pointer("s3://shop/out/rows/run_id=n/part-0.parquet", "images/ab/abc.png")
        's3://shop/out/images/ab/abc.png'
    """
    output = output_of(part)
    if output is None or locations.scheme_of(image_uri) or image_uri.startswith("/"):
        return image_uri
    return locations.join(output, image_uri)


def relative_pointer(part: str, image_uri: str) -> str:
    """Returns an `image_uri` relative to the output of a row's part, so that both can be moved.

    Args:
        part: URI of the Parquet file that holds the row.
        image_uri: a place; one outside the output stays absolute.

    Example:
        >>> part = "file:///out/rows/run_id%3Dn/part-0.parquet"
        >>> relative_pointer(part, image_pointer(part, 7))
        'rows/run_id=n/part-0.parquet#row=7'
    """
    output = output_of(part)
    if output is None:
        return image_uri
    start, place = (_same_spelling(one) for one in (f"{output}/", image_uri))
    return place.removeprefix(start) if place.startswith(start) else image_uri


def absolute_pointers(part: str, image_uris: pa.Array) -> pa.Array:
    """Returns `absolute_pointer` of many rows, perhaps null."""
    output = output_of(part)
    if output is None:
        return image_uris
    inside = pc.binary_join_element_wise(output.rstrip("/"), image_uris, "/")
    return pc.if_else(pc.match_substring_regex(image_uris, _ABSOLUTE), image_uris, inside)


def relative_pointers(part: str, image_uris: pa.Array) -> pa.Array:
    """Returns `relative_pointer` of many rows, perhaps null; relative ones stay."""
    is_absolute = pc.fill_null(pc.match_substring_regex(image_uris, _ABSOLUTE), False)
    if not pc.any(is_absolute).as_py():
        return image_uris
    found = [relative_pointer(part, uri) for uri in image_uris.filter(is_absolute).to_pylist()]
    return pc.replace_with_mask(image_uris, is_absolute, pa.array(found, pa.string()))


def parts_of(files: Storage, layout: Layout) -> list[str]:
    """URIs of a run's Parquet files; other files in the folder are no rows."""
    return [
        item.uri
        for item in list_if_any(files, layout.rows)
        if item.uri.rpartition("/")[2].startswith("part-") and item.uri.endswith(".parquet")
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
        RowsError: if the storage does not give it.
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
        RowsError: if the storage does not give it.
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
        UnreadableRowsError: if it is no complete file of rows, or has no such row.
        RowsError: if the storage does not give it.
    """
    with _open(files, part) as table:
        start = 0
        for group in range(table.num_row_groups):
            stop = start + table.metadata.row_group(group).num_rows
            if start <= number < stop:
                return start, table.read_row_group(group, columns=list(columns))
            start = stop
    raise _unreadable(part, f"it has no row {number}")


def _same_spelling(place: str) -> str:
    """A path for a file:// URI, which may name the same place; an S3 URI as it is."""
    if locations.scheme_of(place) != "file":
        return place
    return f"{locations.local_path(place)}{'/' if place.endswith('/') else ''}"


def read_row_groups(files: Storage, part: str) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a Parquet file, images included, a row group at a time.

    Args:
        files: storage of the file.
        part: its URI.

    Yields:
        A batch of `schema.SCHEMA`, at most about 16 MiB of images; null where an older file lacks
        a column.

    Raises:
        UnreadableRowsError: if it is no complete file of rows.
        RowsError: if the storage does not give it.
    """
    names = schema.SCHEMA.names
    with _open(files, part) as table:
        there = [name for name in names if name in table.schema_arrow.names]
        for group in range(table.num_row_groups):
            rows = table.read_row_group(group, columns=there).combine_chunks()
            for batch in rows.to_batches():
                yield schema.completed(batch, names)


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
        raise RowsError(f"cannot read the rows in {part}: {error.detail}") from error
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(part, str(error).partition("\n")[0].rstrip(".")) from error


def _unreadable(part: str, detail: str) -> UnreadableRowsError:
    return UnreadableRowsError(f"cannot read the rows in {part}: {detail}")
