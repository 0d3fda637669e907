"""Reads the catalog: a manifest of one or several files, or all objects below a prefix."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import text
from pipeline.catalog import batches, folders, plain_lines
from pipeline.catalog.listing import list_prefix
from pipeline.catalog.manifests.columns import USUAL_COLUMNS, ManifestColumns
from pipeline.catalog.manifests.files import find_files, is_prefix, manifest_format
from pipeline.catalog.manifests.formats import read_records
from pipeline.catalog.manifests.parquet_files import Lines, read_lines
from pipeline.catalog.manifests.record import Record
from pipeline.catalog.manifests.text_files import keep_quiet
from pipeline.catalog.places import BadUriError, Place
from pipeline.catalog.selection import WHOLE_CATALOG, Selection, select
from pipeline.columns import concat
from pipeline.records import NOT_COMPARED, CatalogEntry, Reason, RunError
from pipeline.redaction import redact, redact_uri
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_file

# A manifest of nothing but broken lines is the wrong file, and millions of rows say no more.
_MAX_BROKEN = 100_000
# Of a line of JSON, for an error.
_MAX_KEYS = 100
_PRESIGNED = (
    "a presigned URI, or one with credentials: give s3://bucket/key, credentials come from the "
    "environment"
)


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
        entries = _Manifest(files, source, Place(source, extra_schemes), columns).entries(tell)
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

    Where nothing selects among them, neither the objects of a prefix nor the plain lines of a
    Parquet manifest ever become an entry each.
    """
    if selection == WHOLE_CATALOG:
        if not is_prefix(source):
            return _Manifest(files, source, Place(source, extra_schemes), columns).batches()
        if locations.scheme_of(source) == "s3":
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


class _Manifest:
    """A manifest that is read once, its positions counted through all its files."""

    def __init__(
        self, files: Storage, source: str, place: Place, columns: ManifestColumns
    ) -> None:
        self._files = files
        self._source = source
        self._place = place
        self._columns = columns
        self._position = 0
        self._broken = 0
        self._lacking = set(columns.asked)
        self._found = dict[str, None]()

    def entries(self, tell: Callable[[str], None]) -> Iterator[CatalogEntry]:
        """Its lines as entries, in order."""
        parts = find_files(self._files, self._source)
        if parts != [self._source]:
            tell(f"{redact(self._source)} has {text.count(len(parts), 'file')}")
        for part in parts:
            yield from self._entries_of(part, tell)
        self._check_keys()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its lines as batches of `batches.SCHEMA`, in order; Parquet's stay columns."""
        for part in find_files(self._files, self._source):
            if manifest_format(part) != "parquet":
                yield from batches.from_entries(self._entries_of(part, keep_quiet))
                continue
            with _opened(self._files, part) as (file, name):
                for lines in read_lines(file, name, self._columns):
                    yield self._batch_of(lines, name)
        self._check_keys()

    def _entries_of(self, part: str, tell: Callable[[str], None]) -> Iterator[CatalogEntry]:
        with _opened(self._files, part) as (file, name):
            for record in read_records(manifest_format(part), file, name, self._columns, tell):
                yield self._entry(name, self._position, record)
                self._position += 1

    def _batch_of(self, lines: Lines, name: str) -> pa.RecordBatch:
        """Lines as a batch: the plain ones as columns, the others as entries first."""
        is_plain = plain_lines.plain(lines, self._columns)
        positions = self._position + np.arange(len(lines))
        plain, others = np.flatnonzero(is_plain), np.flatnonzero(~is_plain)
        rest = zip(
            positions[others].tolist(), lines.take(others).records(self._columns), strict=True
        )
        found = list(batches.from_entries(self._entry(name, at, record) for at, record in rest))
        if len(plain):
            chosen = lines.take(plain)
            found.append(plain_lines.entries(chosen, self._columns, positions[plain]))
        self._position += len(lines)
        batch = concat(found, batches.SCHEMA)
        return batch.take(pc.sort_indices(batch["position"])) if len(found) > 1 else batch

    def _entry(self, name: str, position: int, record: Record) -> CatalogEntry:
        self._broken += record.problem is not None
        if self._broken > _MAX_BROKEN and self._broken > 0.9 * position:
            raise RunError(
                f"the manifest {name} holds {self._broken} broken lines, the last one: "
                f"line {record.line}: {record.problem}"
            )
        if self._lacking and record.problem is None:
            self._lacking = self._lacking.difference(record.keys) if record.keys else set()
            self._found |= dict.fromkeys(record.keys[:_MAX_KEYS])
        return _entry(self._place, name, position, record)

    def _check_keys(self) -> None:
        """Checks that a line had each column that options name; for manifests without a header."""
        if self._found:
            self._columns.check_keys(self._lacking, self._found, redact(self._source))


@contextlib.contextmanager
def _opened(files: Storage, part: str) -> Iterator[tuple[BinaryIO, str]]:
    """One file of a manifest, and its name for people."""
    name = redact(part)
    try:
        file = open_file(files, part)
    except StorageError as error:
        raise RunError(f"cannot read the manifest {name}: {error.detail}") from error
    with file:
        yield file, name


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
        source_sharpening=record.source_sharpening,
        mentions=record.mentions,
    )
    try:
        if _is_presigned(record.uri):
            raise BadUriError(Reason.BAD_URI, _PRESIGNED)
        entry = place.locate_entry(entry)
    except BadUriError as error:
        return entry.rejected(error.reason, f"line {record.line}: {error.detail}")
    if record.reference_uri and _is_presigned(record.reference_uri):
        return entry._replace(reference_location=None, detail=NOT_COMPARED + _PRESIGNED)
    return entry


def _is_presigned(uri: str) -> bool:
    """Whether a URI that could be fetched holds credentials, which its row does not."""
    return redact_uri(uri) != uri and locations.scheme_of(uri) in ("s3", "file", "")
