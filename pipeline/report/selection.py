"""Finds the rows of a run that match a query, in an order, and reads those of one page.

Searching reads only the columns of the query, batch by batch; a page reads only the row groups of
its rows, without their images. Memory: 16 bytes for each row that matches, and one row group.
"""

import collections
import functools
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import Status
from pipeline.report.aggregate import COLUMNS, LocatedRow, to_floats
from pipeline.runs import reader
from pipeline.storage.base import Storage

# Columns to sort by, and their names for people.
SORTS = {
    "self_gain_db": "self gain",
    "roundtrip_psnr_db": "round trip",
    "sharpness_ratio": "sharpness",
    "background_noise": "noise",
    "background_grain": "grain",
    "blockiness": "blocks",
    "reference_psnr_db": "PSNR to the reference",
    "image_bytes": "bytes of the result",
    "inference_ms": "time of the network",
}
# Keys of S3 are what they are; a URI of a file is percent-encoded.
_ENCODED_FILE = "(?i)^file:.*%"
# Instead of a status.
WITH_RESULT, ALL = "with_result", "all"
STATUSES = (WITH_RESULT, ALL, *(str(status) for status in Status))


@dataclass(frozen=True)
class Query:
    """Which rows, in which order.

    Attributes:
        search: part of the URI, of a local file's name or of a product id, in upper or lower
            case; empty for all.
        status: of `STATUSES`.
        reason: code; a trailing `:` takes all that begin so; empty for all.
        sort: key of `SORTS`; empty for the order of the files.
        ascending: whether the smallest value comes first; rows without a value come last.

    Raises:
        ValueError: if status or sort is unknown.

    Example:
        >>> Query(status="fallback", sort="self_gain_db").search
        ''
    """

    search: str = ""
    status: str = WITH_RESULT
    reason: str = ""
    sort: str = ""
    ascending: bool = False

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is one of {', '.join(STATUSES)}. Received: {self.status!r}")
        if self.sort and self.sort not in SORTS:
            raise ValueError(f"sort is one of {', '.join(SORTS)}. Received: {self.sort!r}")


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows that match a query, in its order.

    Attributes:
        parts: int32 [N], number of each row's Parquet file.
        numbers: int64 [N], number of the row in its file.

    Example:
        found = select(files, parts, Query(search="shoe"))
        rows = read_rows(files, parts, found, range(0, 48))
    """

    parts: np.ndarray
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)


def select(files: Storage, parts: Sequence[str], query: Query) -> Selection:
    """Finds the rows that match.

    Args:
        files: storage of the run.
        parts: URIs of its Parquet files.
        query: which rows, in which order.

    Raises:
        RunError: if a file cannot be read.
    """
    columns = ["uri", "product_id", "product_ids", "status", "reason", "image_format"]
    order = {part: index for index, part in enumerate(parts)}
    found: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for part, first, batch in reader.read_batches(files, parts, [*columns, *_sorted_by(query)]):
        matches = np.flatnonzero(_matches(batch, query))
        found["numbers"].append(first + matches)
        found["parts"].append(np.full(len(matches), order[part], np.int32))
        if query.sort:
            found["keys"].append(to_floats(batch[query.sort])[matches])
    if not found:
        return Selection(np.empty(0, np.int32), np.empty(0, np.int64))
    joined = {name: np.concatenate(arrays) for name, arrays in found.items()}
    if query.sort:
        keys = joined["keys"] if query.ascending else -joined["keys"]
        by_key = np.argsort(keys, kind="stable")  # nan last
        joined = {name: values[by_key] for name, values in joined.items()}
    return Selection(joined["parts"], joined["numbers"])


def read_rows(
    files: Storage, parts: Sequence[str], selection: Selection, shown: range
) -> list[LocatedRow]:
    """Reads some of the selected rows, without their images.

    Args:
        files: storage of the run.
        parts: as given to `select`.
        selection: of the run's rows.
        shown: which of them; those beyond its end are left out.

    Raises:
        RunError: if a file cannot be read.
    """
    places = [
        (int(selection.parts[i]), int(selection.numbers[i])) for i in shown if i < len(selection)
    ]
    found: dict[tuple[int, int], LocatedRow] = {}
    group, first = pa.table({}), 0
    at: int | None = None
    for part, number in sorted(places):
        if at != part or not first <= number < first + group.num_rows:
            first, group = reader.read_row_group(files, parts[part], number, COLUMNS)
            at = part
        row = group.slice(number - first, 1).to_pylist()[0]
        found[part, number] = _located(row, parts[part], number)
    return [found[place] for place in places]


def _located(row: dict[str, Any], part: str, number: int) -> LocatedRow:
    columns = dict.fromkeys(COLUMNS) | row  # an older file may lack a column
    image_uri = columns["image_uri"]
    if image_uri is not None:
        image_uri = reader.absolute_pointer(part, image_uri)
    elif columns["image_bytes"] is not None:
        image_uri = reader.image_pointer(part, number)
    return LocatedRow(columns, image_uri)


def _sorted_by(query: Query) -> Iterable[str]:
    return [query.sort] if query.sort else []


def _contains(texts: pa.Array, part: str) -> pa.Array:
    """Whether each text, perhaps null, contains a part in upper or lower case."""
    return pc.fill_null(pc.match_substring(texts, part, ignore_case=True), False)


def _any_contains(batch: pa.RecordBatch, part: str) -> pa.Array:
    """Whether one of the product ids of each row contains a part."""
    ids = batch["product_ids"]
    rows = pc.list_parent_indices(ids).filter(_contains(pc.list_flatten(ids), part))
    found = np.zeros(batch.num_rows, bool)
    found[rows.to_numpy()] = True
    return pa.array(found)


def _path_contains(uris: pa.Array, part: str) -> pa.Array:
    """Whether the name of each local file, which its URI has percent-encoded, contains a part."""
    is_encoded = pc.match_substring_regex(uris, _ENCODED_FILE)
    encoded = np.flatnonzero(is_encoded.to_numpy(zero_copy_only=False))
    names = [_composed(unquote(uri)) for uri in uris.take(pa.array(encoded)).to_pylist()]
    found = np.zeros(len(uris), bool)
    is_found = _contains(pa.array(names, pa.string()), _composed(part))
    found[encoded] = is_found.to_numpy(zero_copy_only=False)
    return pa.array(found)


def _composed(name: str) -> str:
    """A name in the form that people type: macOS writes an ü as u and two dots."""
    return unicodedata.normalize("NFC", name)


def _matches(batch: pa.RecordBatch, query: Query) -> np.ndarray:
    """Which rows of a batch match, bool [N]."""
    tests = []
    if query.status == WITH_RESULT:
        tests.append(pc.is_valid(batch["image_format"]))
    elif query.status != ALL:
        tests.append(pc.equal(batch["status"], query.status))
    if query.reason.endswith(":"):
        tests.append(pc.starts_with(batch["reason"], query.reason))
    elif query.reason:
        tests.append(pc.equal(batch["reason"], query.reason))
    if query.search:
        found = [_contains(batch[name], query.search) for name in ("uri", "product_id")]
        found += [_any_contains(batch, query.search), _path_contains(batch["uri"], query.search)]
        tests.append(functools.reduce(pc.or_, found))
    matches = np.ones(batch.num_rows, bool)
    for test in tests:
        matches &= pc.fill_null(test, False).to_numpy(zero_copy_only=False)
    return matches
