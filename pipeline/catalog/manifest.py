"""Reads the catalog: a manifest in one of four formats, or all objects below a prefix."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from pipeline.catalog import batches, folders
from pipeline.catalog.formats import FORMATS, Record, read_records
from pipeline.catalog.listing import list_prefix
from pipeline.catalog.places import BadUriError, Place
from pipeline.records import CatalogEntry, Reason, RunError
from pipeline.redaction import redact, redact_uri
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_file

__all__ = ["FORMATS", "BadUriError", "Place", "input_folder", "is_prefix", "read_catalog"]

# A manifest of nothing but broken lines is the wrong file, and millions of rows say no more.
_MAX_BROKEN = 100_000


def is_prefix(source: str) -> bool:
    """Returns whether `--input` names a prefix or folder rather than a manifest."""
    if source.endswith("/"):
        return True
    return locations.scheme_of(source) in ("file", "") and locations.local_path(source).is_dir()


def manifest_format(source: str) -> str:
    """Returns a manifest's format by its suffix.

    Raises:
        RunError: if the suffix is none of `FORMATS`.
    """
    suffix = source.rpartition(".")[2].lower()
    if suffix not in FORMATS:
        raise RunError(
            f"--input {source} is neither a manifest ({', '.join('.' + f for f in FORMATS)}) "
            "nor a prefix ending in /"
        )
    return suffix


def input_folder(source: str) -> str:
    """Returns the folder of a prefix input, absolute where it is local, ending in `/`."""
    if locations.scheme_of(source) == "s3":
        return source
    return f"{locations.local_path(source).resolve()}/"


def read_catalog(
    files: Storage, source: str, extra_schemes: Iterable[str] = (), *, may_leave: bool = False
) -> Iterator[CatalogEntry]:
    """Yields the mentions of images, in order; a broken line as a rejected entry.

    Args:
        files: where `source` lies.
        source: `--input`: a manifest or a prefix ending in `/`.
        extra_schemes: schemes that the manifest may name besides those of its own place.
        may_leave: whether links in a local folder may lead out of it.

    Raises:
        RunError: if the manifest is missing, damaged, or has no column `uri`.
    """
    if not is_prefix(source):
        yield from _read_manifest(files, source, Place(source, extra_schemes))
    elif locations.scheme_of(source) == "s3":
        for batch in list_prefix(files, source):
            yield from batches.to_entries(batch)
    else:
        yield from folders.list_folder(source, may_leave=may_leave)


def read_batches(
    files: Storage, source: str, extra_schemes: Iterable[str] = (), *, may_leave: bool = False
) -> Iterator[pa.RecordBatch]:
    """Yields the same mentions as `read_catalog`, in batches of `batches.SCHEMA`.

    The objects of a prefix never become an entry each.
    """
    if is_prefix(source) and locations.scheme_of(source) == "s3":
        return list_prefix(files, source)
    return batches.from_entries(read_catalog(files, source, extra_schemes, may_leave=may_leave))


def _read_manifest(files: Storage, source: str, place: Place) -> Iterator[CatalogEntry]:
    try:
        file = open_file(files, source)
    except StorageError as error:
        raise RunError(f"cannot read the manifest {redact(source)}: {error.detail}") from error
    broken = 0
    with file:
        records = read_records(manifest_format(source), file, redact(source))
        for position, record in enumerate(records):
            broken += record.problem is not None
            if broken > _MAX_BROKEN and broken > 0.9 * position:
                raise RunError(
                    f"the manifest {redact(source)} holds {broken} broken lines, the last one: "
                    f"line {record.line}: {record.problem}"
                )
            yield _entry(place, position, record)


def _entry(place: Place, position: int, record: Record) -> CatalogEntry:
    """One record of a manifest as an entry; rejected if it names nothing fetchable."""
    if record.uri is None or record.problem is not None:
        stand_in = CatalogEntry(f"{redact(place.manifest)}#line={record.line}", "", position)
        detail = f"line {record.line}: {record.problem}"
        return stand_in._replace(mentions=record.mentions).rejected(Reason.BAD_LINE, detail)
    uri = redact_uri(record.uri)
    entry = CatalogEntry(
        uri,
        "",
        position,
        product_ids=(redact(record.product_id),) if record.product_id else (),
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
