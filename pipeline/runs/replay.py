"""Reads the catalog of a replay, `--retry`, from the rows of a previous run."""

from collections.abc import Iterator
from typing import Any

from model.network import presets
from pipeline.catalog import folders
from pipeline.catalog.manifests.files import is_prefix
from pipeline.catalog.places import BadUriError, Place
from pipeline.records import CatalogEntry, Reason, RunError
from pipeline.runs import reader
from pipeline.runs.reader import UnreadableRowsError
from pipeline.settings import Settings
from pipeline.storage.base import Storage
from pipeline.storage.locations import scheme_of

# Their rows lack what could be repeated, a URI that leads somewhere.
NEVER_REPEATED = (Reason.BAD_LINE, Reason.BAD_URI)
_COLUMNS = (
    *("uri", "product_id", "product_ids", "catalog", "reference_uri", "reference_etag"),
    *("source_etag", "source_bytes", "source_sharpening", "reason", "detail"),
)


def read_replay(part: str, files: Storage, settings: Settings) -> Iterator[CatalogEntry]:
    """Reads the entries of a previous run's rows.

    Entries to replay lose ETag and size, which are then looked up again; all others keep theirs
    and find their previous result without a request.

    Args:
        part: URI of one of the previous run's Parquet files.
        files: storage of the file.
        settings: of this run; plain paths are relative to its `input`.

    Raises:
        RunError: if the file is no complete file of rows: the catalog would lack some.
    """
    place = Place(settings.input, settings.allow_schemes)
    try:
        for _, first, batch in reader.read_batches(files, [part], _COLUMNS):
            for position, row in enumerate(batch.to_pylist(), start=first):
                yield _entry(place, position, row, settings)
    except UnreadableRowsError as error:
        raise RunError(f"{error}; --retry needs all of them: run once without --retry") from error


def _entry(place: Place, position: int, row: dict[str, Any], settings: Settings) -> CatalogEntry:
    """The entry of one row."""
    ids = row["product_ids"] or filter(None, [row["product_id"]])  # older rows have one only
    sharpening = row["source_sharpening"]
    entry = CatalogEntry(
        row["uri"],
        "",
        position,
        product_ids=tuple(ids),
        catalog=row["catalog"],
        reference_uri=row["reference_uri"],
        source_sharpening=None if sharpening is None else presets.rounded_sharpening(sharpening),
    )
    is_wanted = row["reason"] in settings.retry and row["reason"] not in NEVER_REPEATED
    if not is_wanted and row["source_etag"] is None:
        return entry.rejected(Reason(row["reason"]), row["detail"])
    try:
        entry = place.locate_entry(entry)
    except BadUriError as error:
        return entry.rejected(error.reason, error.detail)
    if is_wanted:
        problem = _problem_in_folder(entry.location, settings)
        return entry if problem is None else entry.rejected(Reason.ACCESS_DENIED, problem)
    return entry._replace(
        etag=row["source_etag"],
        size_bytes=row["source_bytes"],
        reference_etag=row["reference_etag"],
    )


def _problem_in_folder(location: str, settings: Settings) -> str | None:
    """Why a row of a folder as input is not repeated; the listing that said so is not repeated."""
    if not is_prefix(settings.input) or scheme_of(settings.input) == "s3":
        return None
    if folders.is_folder(location):
        return "a folder: a run without --retry lists it"
    if folders.leads_out(location, settings.input) and not settings.links_may_leave:
        return folders.LEADS_OUT
    return None
