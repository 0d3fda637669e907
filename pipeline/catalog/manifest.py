"""Reads the catalog: a manifest of one or several files, or all objects below a prefix."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from pipeline import text
from pipeline.catalog import batches, folders
from pipeline.catalog.listing import list_prefix
from pipeline.catalog.manifests.columns import USUAL_COLUMNS, ManifestColumns
from pipeline.catalog.manifests.files import find_files, is_prefix, manifest_format
from pipeline.catalog.manifests.formats import read_records
from pipeline.catalog.manifests.record import Record
from pipeline.catalog.manifests.text_files import keep_quiet
from pipeline.catalog.places import BadUriError, Place
from pipeline.catalog.selection import WHOLE_CATALOG, Selection, select
from pipeline.records import CatalogEntry, Reason, RunError
from pipeline.redaction import redact, redact_uri
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_file

# A manifest of nothing but broken lines is the wrong file, and millions of rows say no more.
_MAX_BROKEN = 100_000
# Of a line of JSON, for an error.
_MAX_KEYS = 100


def input_folder(source: str) -> str:
    """Returns the folder of a prefix input, absolute where it is local, ending in `/`."""
    if locations.scheme_of(source) == "s3":
        return source
    return f"{locations.local_path(source).resolve()}/"


def read_catalog(
    files: Storage,
    source: str,
    extra_schemes: Iterable[str] = (),
    *,
    may_leave: bool = False,
    columns: ManifestColumns = USUAL_COLUMNS,
    selection: Selection = WHOLE_CATALOG,
    tell: Callable[[str], None] = keep_quiet,
) -> Iterator[CatalogEntry]:
    """Yields the mentions of the selected images, in order; a broken line as a rejected entry.

    Args:
        files: where `source` lies.
        source: `--input`: a manifest or a prefix ending in `/`.
        extra_schemes: schemes that the manifest may name besides those of its own place.
        may_leave: whether links in a local folder may lead out of it.
        columns: of a manifest.
        selection: the part of the catalog to read.
        tell: gets a line for people about what was found out about a manifest's files.

    Raises:
        RunError: if the manifest is missing, damaged, or lacks a column.
    """
    if not is_prefix(source):
        entries = _read_manifest(files, source, Place(source, extra_schemes), columns, tell)
    elif locations.scheme_of(source) == "s3":
        listed = list_prefix(files, source)
        entries = itertools.chain.from_iterable(map(batches.to_entries, listed))
    else:
        entries = folders.list_folder(source, may_leave=may_leave)
    yield from select(entries, selection, source if is_prefix(source) else None)


def read_batches(
    files: Storage,
    source: str,
    extra_schemes: Iterable[str] = (),
    *,
    may_leave: bool = False,
    columns: ManifestColumns = USUAL_COLUMNS,
    selection: Selection = WHOLE_CATALOG,
) -> Iterator[pa.RecordBatch]:
    """Yields the same mentions as `read_catalog`, in batches of `batches.SCHEMA`.

    Where nothing selects among the objects of a prefix, they never become an entry each.
    """
    is_listing = is_prefix(source) and locations.scheme_of(source) == "s3"
    if is_listing and selection == WHOLE_CATALOG:
        return list_prefix(files, source)
    return batches.from_entries(
        read_catalog(
            files,
            source,
            extra_schemes,
            may_leave=may_leave,
            columns=columns,
            selection=selection,
        )
    )


def _read_manifest(
    files: Storage,
    source: str,
    place: Place,
    columns: ManifestColumns,
    tell: Callable[[str], None],
) -> Iterator[CatalogEntry]:
    parts = find_files(files, source)
    if parts != [source]:
        tell(f"{redact(source)} has {text.count(len(parts), 'file')}")
    broken = 0
    lacking, found = set(columns.kept), dict[str, None]()
    records = (record for part in parts for record in _read_part(files, part, columns, tell))
    for position, (name, record) in enumerate(records):
        broken += record.problem is not None
        if broken > _MAX_BROKEN and broken > 0.9 * position:
            raise RunError(
                f"the manifest {name} holds {broken} broken lines, the last one: "
                f"line {record.line}: {record.problem}"
            )
        if lacking and record.problem is None:
            lacking = lacking.difference(record.keys) if record.keys else set()
            found |= dict.fromkeys(record.keys[:_MAX_KEYS])
        yield _entry(place, name, position, record)
    if found:
        columns.check_kept(lacking, found, redact(source))


def _read_part(
    files: Storage, part: str, columns: ManifestColumns, tell: Callable[[str], None]
) -> Iterator[tuple[str, Record]]:
    """The records of one file of a manifest, each with the file's name."""
    name = redact(part)
    try:
        file = open_file(files, part)
    except StorageError as error:
        raise RunError(f"cannot read the manifest {name}: {error.detail}") from error
    with file:
        for record in read_records(manifest_format(part), file, name, columns, tell):
            yield name, record


def _entry(place: Place, name: str, position: int, record: Record) -> CatalogEntry:
    """One record of a manifest as an entry; rejected if it names nothing fetchable."""
    if record.uri is None or record.problem is not None:
        stand_in = CatalogEntry(f"{name}#line={record.line}", "", position)
        detail = f"line {record.line}: {record.problem}"
        return stand_in._replace(mentions=record.mentions).rejected(Reason.BAD_LINE, detail)
    uri = redact_uri(record.uri)
    entry = CatalogEntry(
        uri,
        "",
        position,
        product_ids=(redact(record.product_id),) if record.product_id else (),
        catalog=record.catalog,
        reference_uri=redact_uri(record.reference_uri) if record.reference_uri else None,
        mentions=record.mentions,
    )
    try:
        if uri != record.uri and locations.scheme_of(uri) in ("s3", "file", ""):
            raise BadUriError(
                Reason.BAD_URI,
                "a presigned URI, or one with credentials: give s3://bucket/key, credentials "
                "come from the environment",
            )
        return place.locate_entry(entry)
    except BadUriError as error:
        return entry.rejected(error.reason, f"line {record.line}: {error.detail}")
