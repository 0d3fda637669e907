"""Reuses results of previous runs, matched by content key.

Each run's rows are a complete snapshot of the catalog. An image that a previous run upscaled is
not upscaled again; its row points to the previous run's file.
"""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline import text
from pipeline.catalog.size_filter import reject_size
from pipeline.records import CatalogEntry, PreviousResult, Reason, Status
from pipeline.row import COLUMNS, TIMED_STAGES, Row
from pipeline.runs import reader
from pipeline.runs.images_on_hand import ImagesOnHand
from pipeline.runs.reader import UnreadableRowsError
from pipeline.settings import Settings
from pipeline.storage.base import Storage

_log = logging.getLogger(__name__)

# Columns that this run finds itself, and times that only the previous run spent.
_NOT_REUSED = {
    *("uri", "product_id", "status", "reason", "content_key", "source_etag", "source_bytes"),
    *("reference_uri", "reference_etag", "image"),
    *TIMED_STAGES,
}
REUSED_COLUMNS = tuple(one.name for one in COLUMNS if one.name not in _NOT_REUSED)
_JOINED = ("content_key", "reference_etag", "status", "reason")

_WITH_IMAGE = {Status.UPSCALED, Status.FALLBACK, Status.UNCHANGED}
_SIZE_REASONS = {Reason.TOO_SMALL, Reason.LARGE_ENOUGH, Reason.TOO_MANY_PIXELS}
# Broken content stays broken; answers of storages and devices may change.
_LASTING = {Reason.ANIMATED, Reason.UNREADABLE, Reason.UNSUPPORTED_FORMAT}


def read_previous_results(part: str, files: Storage) -> Iterator[PreviousResult]:
    """Reads the results that a previous run's rows hold, without their images.

    Results whose image is gone or cannot be read are left out: their images are upscaled again.
    So are all results of a file that cannot be read, after a warning.

    Args:
        part: URI of one of the previous run's Parquet files.
        files: storage of the file.
    """
    columns = list(dict.fromkeys((*_JOINED, *REUSED_COLUMNS, "image_bytes")))
    images = ImagesOnHand(files)
    lost = 0
    try:
        images.look_up(part)
        for _, first, batch in reader.read_batches(files, [part], columns):
            for number, row in enumerate(batch.to_pylist(), start=first):
                if row["content_key"] is None:
                    continue
                if row["image_bytes"] is not None and row["image_uri"] is None:
                    row["image_uri"] = reader.image_pointer(part, number)
                if row["image_uri"] is not None:
                    place = reader.absolute_pointer(part, row["image_uri"])
                    if place not in images:
                        lost += 1
                        continue
                    row["image_uri"] = reader.relative_pointer(part, place)
                yield PreviousResult(
                    row["content_key"],
                    row["reference_etag"],
                    row["status"],
                    row["reason"],
                    row["source_height"],
                    row["source_width"],
                    tuple(row[name] for name in REUSED_COLUMNS),
                )
    except UnreadableRowsError as error:
        _log.warning("%s; its images are upscaled again", error)
    if lost:
        _log.warning(
            "%s that %s points to cannot be found; upscaled again", text.count(lost, "image"), part
        )


class ReusableResult(NamedTuple):
    """A previous run's result that serves this run.

    Attributes:
        status, reason: of the rows of this run.
        columns: values by column, for the rows of this run.

    Example:
        result = reuse_result(previous, settings)
        result.status  # unchanged, skipped or failed
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
    if previous.status in _WITH_IMAGE:
        lies_in_rows = reader.split_pointer(columns["image_uri"]) is not None
        if lies_in_rows and settings.images != "parquet":
            return None  # this run wants files, and there is none
        why = previous.reason or str(Reason.SAME_CONTENT)
        return ReusableResult(Status.UNCHANGED, why, columns)
    if previous.reason in _LASTING or (settings.retry and previous.reason not in _SIZE_REASONS):
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
