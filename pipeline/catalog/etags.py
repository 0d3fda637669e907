"""ETag and size lookup: by listing folders that hold many wanted images, else by HEAD requests.

A listing saves requests and decides nothing: what it does not have is asked for by itself.
"""

import collections
import concurrent.futures
import contextlib
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog import batches
from pipeline.catalog.listing import lists_true_etags
from pipeline.records import CatalogEntry, RunError
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError, StoredObject

# A page of a listing holds 1,000 objects and costs about as much as 12 requests for single ones.
_PAGE_OBJECTS = 1000
_MIN_PER_PAGE = 20

_Found = dict[str, StoredObject]


def identify_batches(
    files: Storage, waiting: list[pa.RecordBatch], threads: concurrent.futures.Executor
) -> Iterator[pa.RecordBatch]:
    """Adds ETag and size to batches of the catalog where they are not known yet.

    Args:
        files: where the images lie.
        waiting: of `batches.SCHEMA`.
        threads: for requests at the same time.

    Yields:
        The same entries in other batches; see `identify_all`.
    """
    unknown: list[CatalogEntry] = []
    for batch in waiting:
        is_unknown = needs_lookup(batch)
        unknown += batches.to_entries(batch.filter(is_unknown))
        yield batch.filter(pc.invert(is_unknown))
    yield from batches.from_entries(identify_all(files, unknown, threads))


def needs_lookup(batch: pa.RecordBatch) -> pa.Array:
    """Whether each entry of a batch lacks its ETag and is not rejected."""
    return pc.and_(pc.is_null(batch["etag"]), pc.is_null(batch["reason"]))


def identify_all(
    files: Storage, entries: Iterable[CatalogEntry], threads: concurrent.futures.Executor
) -> Iterator[CatalogEntry]:
    """Adds etag and size where they are not known yet, to images and their references.

    Args:
        files: where the images lie.
        entries: those that have an etag, or were rejected, pass as they are.
        threads: for requests at the same time.

    Returns:
        The entries in order; one whose image cannot be identified is rejected with the reason.
        A reference that cannot be found keeps no etag: its image is upscaled all the same.
    """
    entries = list(entries)
    asked = [entry for entry in entries if entry.reason is None and entry.etag is None]
    places = [entry.location for entry in asked]
    places += [entry.reference_location for entry in asked if entry.reference_location]
    listed = _list_where_many(files, places)
    return threads.map(lambda entry: _identify(files, listed, entry), entries)


def _identify(files: Storage, listed: _Found, entry: CatalogEntry) -> CatalogEntry:
    if entry.reason is not None or entry.etag is not None:
        return entry
    try:
        found = _look_up(files, listed, entry.location)
    except StorageError as error:
        return entry.rejected(error.reason, error.detail)
    reference_etag = None
    if entry.reference_location is not None:
        with contextlib.suppress(StorageError):  # its row will say why it was not compared
            reference_etag = _look_up(files, listed, entry.reference_location).etag
    return entry._replace(
        etag=found.etag, size_bytes=found.size_bytes, reference_etag=reference_etag
    )


def _look_up(files: Storage, listed: _Found, location: str) -> StoredObject:
    return listed[location] if location in listed else files.identify(location)


def _list_where_many(files: Storage, places: Iterable[str]) -> _Found:
    """The objects that listings have, of folders where many are wanted."""
    folders: dict[str, set[str]] = collections.defaultdict(set)
    for location in places:
        if locations.scheme_of(location) == "s3":
            folders[location.rpartition("/")[0] + "/"].add(location)
    found: _Found = {}
    for folder, wanted in folders.items():
        if len(wanted) >= _MIN_PER_PAGE:
            found |= _list_folder(files, folder, wanted)
    return found


def _list_folder(files: Storage, folder: str, wanted: set[str]) -> _Found:
    """Walks a folder's names behind the first wanted one, while that is worth its pages."""
    found: _Found = {}
    last = max(wanted)
    # No permission to list is no reason to stop: the objects may be readable.
    with contextlib.suppress(RunError):
        for seen, item in enumerate(files.list(folder, after=min(wanted)), start=1):
            if item.uri in wanted and item.etag is not None:
                if not found and not lists_true_etags(files, item):
                    return {}
                found[item.uri] = item
            is_over = item.uri >= last or len(found) == len(wanted)
            if is_over and seen % _PAGE_OBJECTS == 0:
                break
            if seen % _PAGE_OBJECTS == 0 and len(found) * _PAGE_OBJECTS < seen * _MIN_PER_PAGE:
                break  # the rest one by one
    return found
