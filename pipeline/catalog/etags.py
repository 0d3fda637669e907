"""ETag and size lookup: by listing folders that hold many wanted images, else by HEAD requests.

A listing saves requests and decides nothing: what it does not have is asked for by itself.
"""

import collections
import concurrent.futures
import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog import batches
from pipeline.catalog.listing import lists_true_etags
from pipeline.columns import concat
from pipeline.records import CatalogEntry, RunError
from pipeline.storage import locations
from pipeline.storage.base import ListedPage, Storage, StorageError

# A page of a listing holds 1,000 objects and costs about as much as 12 requests for single ones.
_PAGE_OBJECTS = 1000
_MIN_PER_PAGE = 20

# Entries that become objects at a time: 40 MB.
_MAX_OBJECTS = 100_000
# Rows of a batch with what was found.
_BATCH_ROWS = 1 << 16
_FOLDER = "^(?P<folder>s3://.*/)"

# ETag and size by location.
_Found = dict[str, tuple[str, int]]


def identify_batches(
    files: Storage, waiting: list[pa.RecordBatch], threads: concurrent.futures.Executor
) -> Iterator[pa.RecordBatch]:
    """Adds ETag and size to batches of the catalog where they are not known yet.

    What the listings of folders have never becomes an entry by itself.

    Args:
        files: where the images lie.
        waiting: of `batches.SCHEMA`.
        threads: for requests at the same time.

    Yields:
        The same entries in other batches; see `identify_all`.
    """
    unknown: list[pa.RecordBatch] = []
    for batch in waiting:
        is_unknown = needs_lookup(batch)
        unknown.append(batch.filter(is_unknown))
        yield batch.filter(pc.invert(is_unknown))
    asked = concat(unknown, batches.SCHEMA)
    is_alone = pc.is_null(asked["reference_location"])
    paired = asked.filter(pc.invert(is_alone))
    left: list[pa.RecordBatch] = []
    for found in _look_up_in_listings(files, asked.filter(is_alone), threads):
        is_left = needs_lookup(found)
        left.append(found.filter(is_left))
        yield found.filter(pc.invert(is_left))
    for some in _slices(concat(left, batches.SCHEMA), _MAX_OBJECTS):
        entries = batches.to_entries(some)
        yield from batches.from_entries(
            threads.map(lambda entry: _identify(files, {}, entry), entries)
        )
    for some in _slices(paired, _MAX_OBJECTS):
        yield from batches.from_entries(identify_all(files, batches.to_entries(some), threads))


def _slices(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _look_up_in_listings(
    files: Storage, entries: pa.RecordBatch, threads: concurrent.futures.Executor
) -> Iterator[pa.RecordBatch]:
    """The entries, with ETag and size where the listing of a folder with many of them has both."""
    places = pc.coalesce(entries["location"], entries["uri"])
    folders = pc.struct_field(pc.extract_regex(places, _FOLDER), "folder").dictionary_encode()
    codes = folders.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-2))
    stops = np.append(starts[1:], len(order))
    entries, places = entries.take(pa.array(order)), places.take(pa.array(order))

    def look_up(start: int, stop: int) -> tuple[pa.Array, pa.Array]:
        """ETags and sizes of the entries of one folder, null where they are not listed."""
        code, found = codes[order[start]], _Found()
        if code >= 0 and stop - start >= _MIN_PER_PAGE:
            wanted = places.slice(start, stop - start).to_pylist()
            found = _list_folder(files, folders.dictionary[int(code)].as_py(), set(wanted))
        if not found:
            return pa.nulls(stop - start, pa.string()), pa.nulls(stop - start, pa.int64())
        values = [found.get(place, (None, None)) for place in wanted]
        etags, sizes_bytes = zip(*values, strict=True)
        return pa.array(etags, pa.string()), pa.array(sizes_bytes, pa.int64())

    if not len(order):
        return
    etags, sizes_bytes = zip(*threads.map(look_up, starts.tolist(), stops.tolist()), strict=True)
    for name, values in (("etag", etags), ("size_bytes", sizes_bytes)):
        at = entries.schema.get_field_index(name)
        entries = entries.set_column(at, batches.SCHEMA.field(at), pa.concat_arrays(values))
    yield from _slices(entries, _BATCH_ROWS)


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
        etag, size_bytes = _look_up(files, listed, entry.location)
    except StorageError as error:
        return entry.rejected(error.reason, error.detail)
    reference_etag = None
    if entry.reference_location is not None:
        with contextlib.suppress(StorageError):  # its row will say why it was not compared
            reference_etag, _ = _look_up(files, listed, entry.reference_location)
    return entry._replace(etag=etag, size_bytes=size_bytes, reference_etag=reference_etag)


def _look_up(files: Storage, listed: _Found, location: str) -> tuple[str, int]:
    """ETag and size of an object."""
    if location in listed:
        return listed[location]
    found = files.identify(location)
    assert found.etag is not None  # as `Storage.identify` promises
    return found.etag, found.size_bytes


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
    """Walks a folder's names from the first wanted one on, while that is worth its pages."""
    found: _Found = {}
    seen, last = 0, max(wanted)
    # No permission to list is no reason to stop: the objects may be readable.
    with contextlib.suppress(RunError):
        # Behind all but the last character of it: the name itself is listed.
        for page in files.list_pages(folder, after=min(wanted)[:-1]):
            here = wanted.intersection(page.uris)
            if not found and here and not _is_true(files, page, here):
                return {}
            columns = zip(page.uris, page.etags, page.sizes_bytes, strict=True)
            found.update(
                (uri, (etag, size)) for uri, etag, size in columns if uri in here and etag
            )
            is_sparse = len(found) * _PAGE_OBJECTS < (seen + len(page)) * _MIN_PER_PAGE
            is_full = (seen + len(page)) // _PAGE_OBJECTS > seen // _PAGE_OBJECTS
            seen += len(page)
            if page.uris[-1] >= last or len(found) == len(wanted) or (is_full and is_sparse):
                break  # the rest one by one
    return found


def _is_true(files: Storage, page: ListedPage, wanted: set[str]) -> bool:
    """Whether a page's ETags are those of HEAD requests, by the first object that is wanted."""
    items = (item for item in page.objects() if item.uri in wanted and item.etag is not None)
    first = next(items, None)
    return first is None or lists_true_etags(files, first)
