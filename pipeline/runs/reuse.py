"""What previous runs have finished: found by content key, reused into this run's rows.

Each run's rows are a complete snapshot of the catalog. An image that a previous run made is not
made again; its row points to where it lies.
"""

import functools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from pipeline.catalog import manifest
from pipeline.catalog.size_filter import reject_size
from pipeline.records import CatalogEntry, PreviousResult, Reason, RunError, Status
from pipeline.row import COLUMNS, TIMED_STAGES, Row
from pipeline.settings import NEWEST, NONE, Settings
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_ranged
from pipeline.storage.routing import list_if_any

# Between the URI of a Parquet file and the number of a row in it, counted from 0.
ROW_MARK = "#row="

# What this run finds itself, or what took time in the earlier one and none now.
_NOT_REUSED = {
    *("uri", "product_id", "status", "reason", "content_key", "source_etag", "source_bytes"),
    *("reference_uri", "reference_etag", "image"),
    *TIMED_STAGES,
}
REUSED_COLUMNS = tuple(one.name for one in COLUMNS if one.name not in _NOT_REUSED)
_JOINED = ("content_key", "reference_etag", "status", "reason")

_MADE = {Status.UPSCALED, Status.FALLBACK, Status.UNCHANGED}
_GATED = {Reason.TOO_SMALL, Reason.LARGE_ENOUGH, Reason.TOO_MANY_PIXELS}
# Content that is broken today is broken tomorrow; what storages and devices answer may change.
_LASTING = {Reason.ANIMATED, Reason.UNREADABLE, Reason.UNSUPPORTED_FORMAT}


def find_run(files: Storage, settings: Settings) -> str | None:
    """Decides in which previous run reusable results are looked up.

    Args:
        files: where the runs lie.
        settings: `previous` is the newest finished run, one by its id, or none.

    Returns:
        The run's id; None if there is none.

    Raises:
        RunError: if the run that is asked for is not finished, or `--retry` finds none.
    """
    found = None
    if settings.previous == NEWEST:
        found = newest_finished(files, settings.output, other_than=settings.run_id)
        if found is None and settings.retry:
            raise RunError(f"--retry: there is no finished run under {settings.output}")
    elif settings.previous != NONE:
        found = settings.previous
        if read_summary(files, settings.folder_of_run(found)) is None:
            raise RunError(f"--previous {found}: no such finished run under {settings.output}")
    return found


def read_summary(files: Storage, run_folder: str) -> dict[str, Any] | None:
    """Reads the summary of a finished run; None if it is not finished, or there is none."""
    try:
        files.read(locations.join(run_folder, "_SUCCESS"))
        return json.loads(files.read(locations.join(run_folder, "summary.json")))
    except StorageError as error:
        if error.reason != Reason.NOT_FOUND:
            raise RunError(f"cannot read the run {run_folder}: {error.detail}") from error
        return None


def newest_finished(files: Storage, output: str, *, other_than: str = "") -> str | None:
    """The id of the run that finished last under an output; None if there is none.

    Args:
        files: where the runs lie.
        output: as given to the runs.
        other_than: an id that does not count.
    """
    folder = locations.join(output, "runs")
    if locations.scheme_of(folder) != "s3" and not locations.local_path(folder).is_dir():
        return None
    finished = [
        (item.modified_at, item.uri.split("/")[-2])
        for item in files.list(f"{folder}/")
        if item.uri.endswith("/_SUCCESS")
    ]
    others = [(at, run_id) for at, run_id in finished if run_id != other_than]
    return max(others)[1] if others else None


def read_previous_results(
    part: str, files: Storage, settings: Settings
) -> Iterator[PreviousResult]:
    """Yields what the rows of a previous run know of contents, without their images.

    Args:
        part: URI of one of its Parquet files.
        files: where it lies.
        settings: of this run.
    """
    columns = list(dict.fromkeys((*_JOINED, *REUSED_COLUMNS, "image_uri", "image_bytes")))
    first, image_uri = 0, REUSED_COLUMNS.index("image_uri")
    exists = functools.cache(lambda folder: set(list_if_any(files, folder)))
    with open_ranged(files, part) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=2000, columns=columns):
            for number, row in enumerate(batch.to_pylist(), start=first):
                if row["content_key"] is None:
                    continue
                values = [row[name] for name in REUSED_COLUMNS]
                if row["image_bytes"] is not None and row["image_uri"] is None:
                    values[image_uri] = f"{part}{ROW_MARK}{number}"
                holder, mark, _ = (values[image_uri] or "").rpartition(ROW_MARK)
                if mark and holder not in exists(holder.rpartition("/")[0]):
                    continue  # its file was deleted: it is made again
                yield PreviousResult(
                    row["content_key"],
                    row["reference_etag"],
                    row["status"],
                    row["reason"],
                    row["source_height"],
                    row["source_width"],
                    tuple(values),
                )
            first += batch.num_rows


class ReusableResult(NamedTuple):
    """A previous run's result that serves this run.

    Attributes:
        status, reason: of the rows of this run.
        columns: values by column, for the rows of this run.
    """

    status: Status
    reason: str
    columns: dict[str, Any]


def reuse_result(previous: PreviousResult, settings: Settings) -> ReusableResult | None:
    """Decides whether a previous run's result serves this run.

    Args:
        previous: of the same content, model and settings that change the result.
        settings: of this run, whose size limits may be others.

    Returns:
        The result; None if the image must be upscaled again.
    """
    if previous.reason in settings.retry:
        return None
    columns = dict(zip(REUSED_COLUMNS, previous.columns, strict=True))
    if previous.source_height is not None and previous.source_width is not None:
        rejection = reject_size(previous.source_height, previous.source_width, settings.limits)
        if rejection is not None:
            found = {name: columns[name] for name in REUSED_COLUMNS if name.startswith("source_")}
            reason, detail = rejection
            when = {"detail": detail, "processed_at": columns["processed_at"]}
            return ReusableResult(reason.status, str(reason), found | when)
    if previous.status in _MADE:
        lies_in_rows = ROW_MARK in columns["image_uri"]
        if lies_in_rows and settings.images != "parquet":
            return None  # this run wants files, and there is none
        why = previous.reason or str(Reason.SAME_CONTENT)
        return ReusableResult(Status.UNCHANGED, why, columns)
    if previous.reason in _LASTING or (settings.retry and previous.reason not in _GATED):
        assert previous.reason is not None  # as all that were not upscaled
        return ReusableResult(Status(previous.status), previous.reason, columns)
    return None


def reused_row(result: ReusableResult, entry: CatalogEntry, content_key: str) -> Row:
    """Returns the row of a URI whose result is reused.

    Args:
        result: of a previous run.
        entry: the URI, as this run's catalog has it.
        content_key: of its content.
    """
    return Row.from_columns(
        {
            **result.columns,
            "status": result.status,
            "reason": result.reason,
            "uri": entry.uri,
            "product_id": entry.product_id,
            "content_key": content_key,
            "source_etag": entry.etag,
            "source_bytes": entry.size_bytes,
            "reference_uri": entry.reference_uri,
            "reference_etag": entry.reference_etag,
        }
    )


def read_kept(part: str, files: Storage) -> Iterator[CatalogEntry]:
    """Yields an entry for each row that an earlier attempt of this very run has finished."""
    with open_ranged(files, part) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=["uri"]):
            for uri in batch["uri"].to_pylist():
                yield CatalogEntry(uri, "", KEPT)


# The position of an entry whose row is finished already: before all that a catalog holds.
KEPT = -1


def read_replay(part: str, files: Storage, settings: Settings) -> Iterator[CatalogEntry]:
    """Yields the catalog of a previous run from its rows, for `--retry`.

    What shall be replayed is identified afresh; all else keeps its identity and is found again
    among the reusable results, without a request.

    Args:
        part: URI of one of its Parquet files.
        files: where it lies.
        settings: of this run; `input` tells what plain paths mean.
    """
    place = manifest.Place(settings.input, settings.allow_schemes)
    columns = [
        *("uri", "product_id", "reference_uri", "reference_etag"),
        *("source_etag", "source_bytes", "reason", "detail"),
    ]
    position = 0
    with open_ranged(files, part) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=columns):
            for row in batch.to_pylist():
                yield _replayed(place, position, row, settings)
                position += 1


def _replayed(
    place: manifest.Place, position: int, row: dict[str, Any], settings: Settings
) -> CatalogEntry:
    entry = CatalogEntry(
        row["uri"], "", position, row["product_id"], reference_uri=row["reference_uri"]
    )
    is_wanted = row["reason"] in settings.retry and row["reason"] != Reason.BAD_LINE
    if not is_wanted and row["source_etag"] is None:
        return entry.rejected(Reason(row["reason"]), row["detail"])
    try:
        entry = place.locate_entry(entry)
    except manifest.BadUri as error:
        return entry.rejected(error.reason, error.detail)
    if is_wanted:
        return entry
    return entry._replace(
        etag=row["source_etag"],
        size_bytes=row["source_bytes"],
        reference_etag=row["reference_etag"],
    )
