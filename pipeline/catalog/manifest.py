"""Reading the catalog: manifests in four formats, or all objects below a prefix."""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import CatalogEntry, Reason, RunError
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_file

FORMATS = ("csv", "jsonl", "parquet", "txt")
# Of URIs that can be read.
SCHEMES = ("s3", "file")
_FIELDS = ("uri", "product_id", "reference_uri")
# Parameters of presigned URIs: AWS (version 4 and 2), Google Cloud, Azure.
_SIGNED = re.compile(r"(?i)\b(X-(Amz|Goog)-\w+|Signature|AWSAccessKeyId|sig|token)=")


def is_prefix(source: str) -> bool:
    """Whether `--input` names a prefix or folder rather than a manifest."""
    if source.endswith("/"):
        return True
    return locations.scheme_of(source) in ("file", "") and locations.local_path(source).is_dir()


def manifest_format(source: str) -> str:
    """Tells a manifest's format by its suffix.

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


def read_catalog(
    files: Storage, source: str, extra_schemes: Iterable[str] = ()
) -> Iterator[CatalogEntry]:
    """Yields every mention of an image, in order; a broken line as a rejected entry.

    Args:
        files: where `source` lies.
        source: `--input`: a manifest or a prefix ending in `/`.
        extra_schemes: schemes that the manifest may name besides those of its own place.

    Raises:
        RunError: if the manifest is missing, or has no column `uri`.
    """
    if is_prefix(source):
        for position, item in enumerate(files.list(source)):
            yield CatalogEntry(
                item.uri, item.uri, position, etag=item.etag, size_bytes=item.size_bytes
            )
        return
    place = Place(source, extra_schemes)
    try:
        file = open_file(files, source)
    except StorageError as error:
        raise RunError(f"cannot read the manifest {source}: {error.detail}") from error
    with file:
        reader = _READERS[manifest_format(source)]
        for position, (line, record) in enumerate(reader(file, source)):
            yield _entry(place, position, line, record)


class Place:
    """Where a manifest lies, which decides what its URIs mean and may name.

    Args:
        manifest: its URI; relative paths in a local manifest start at its folder.
        extra_schemes: schemes allowed besides: an S3 manifest may name s3 only, a local one
            s3, file and plain paths.
    """

    def __init__(self, manifest: str, extra_schemes: Iterable[str] = ()) -> None:
        self.manifest = manifest
        self._is_local = locations.scheme_of(manifest) in ("file", "")
        own = {"s3", "file", ""} if self._is_local else {"s3"}
        self._allowed = own | set(extra_schemes)

    def locate(self, uri: str) -> str:
        """Returns the absolute path or S3 URI that a URI of the manifest means.

        Raises:
            BadUri: if the URI is malformed or its scheme is not allowed here.
        """
        scheme = locations.scheme_of(uri)
        if scheme and scheme not in SCHEMES:
            raise BadUri(
                Reason.SCHEME_NOT_ALLOWED, f"{scheme}:// is not supported: use s3:// or file://"
            )
        if scheme not in self._allowed:
            raise BadUri(
                Reason.SCHEME_NOT_ALLOWED,
                f"a manifest on S3 may not name {scheme + '://' if scheme else 'a plain path'} "
                "unless --allow_schemes says so",
            )
        if scheme == "s3":
            bucket, key = locations.split_s3(uri)
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket) or not key:
                raise BadUri(Reason.BAD_URI, "an S3 URI is s3://bucket/key")
            return f"s3://{bucket}/{key}"
        if "\0" in uri:
            raise BadUri(Reason.BAD_URI, "a path may not hold a NUL byte")
        path = locations.local_path(uri)
        if self._is_local:
            path = locations.local_path(self.manifest).absolute().parent / path
        if not path.is_absolute():
            raise BadUri(Reason.BAD_URI, "a path in a manifest on S3 must be absolute")
        return str(path)

    def locate_entry(self, entry: CatalogEntry) -> CatalogEntry:
        """Fills in where an entry's image and its reference are fetched.

        Raises:
            BadUri: see `locate`.
        """
        reference = entry.reference_uri
        return entry._replace(
            location=self.locate(entry.uri),
            reference_location=self.locate(reference) if reference else None,
        )


class BadUri(ValueError):
    """A URI that cannot be fetched; becomes a rejected entry."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _BrokenLine(ValueError):
    """A line that holds no record."""


_Record = dict[str, str | None] | _BrokenLine


def _entry(place: Place, position: int, line: int, record: _Record) -> CatalogEntry:
    """One record of a manifest as an entry; rejected if it names nothing fetchable."""
    if isinstance(record, dict) and not record["uri"]:
        record = _BrokenLine("no uri")
    if isinstance(record, _BrokenLine):
        stand_in = CatalogEntry(f"{place.manifest}#line={line}", "", position)
        return stand_in.rejected(Reason.BAD_LINE, f"line {line}: {record}")
    uri = _without_secrets(str(record["uri"]))
    reference = record.get("reference_uri")
    entry = CatalogEntry(
        uri,
        "",
        position,
        product_id=record.get("product_id"),
        reference_uri=_without_secrets(reference) if reference else None,
    )
    try:
        if uri != record["uri"] and locations.scheme_of(uri) not in ("http", "https"):
            raise BadUri(
                Reason.BAD_URI,
                "a presigned URI: give s3://bucket/key, credentials come from the environment",
            )
        return place.locate_entry(entry)
    except BadUri as error:
        return entry.rejected(error.reason, f"line {line}: {error.detail}")


def _without_secrets(uri: str) -> str:
    """Cuts what a web address or a presigned URI carries as credentials: rows are kept.

    Different queries stay different URIs by their digest.
    """
    address, _, query = uri.partition("?")
    if locations.scheme_of(uri) not in ("http", "https"):
        return uri if not _SIGNED.search(query) else f"{address}{_digest(query)}"
    host_and_path = re.sub(r"//[^/@]*@", "//", address)
    return f"{host_and_path}{_digest(query)}" if query else host_and_path


def _digest(query: str) -> str:
    return f"?blake2b={hashlib.blake2b(query.encode(), digest_size=8).hexdigest()}"


class _Lines:
    """A file's lines, of which those since the last `mark` can be read again."""

    def __init__(self, text: Iterable[str]) -> None:
        self._fresh = iter(text)
        self._again: list[str] = []  # in reverse
        self._taken: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._fresh)
        self._taken.append(line)
        self.number += 1
        return line

    def mark(self) -> int:
        """Forgets what was taken; returns the next line's number."""
        self._taken.clear()
        return self.number + 1

    def keep_first_only(self) -> None:
        """Gives back all lines since the mark but the first."""
        self._again += reversed(self._taken[1:])
        self.number -= len(self._taken) - 1
        self._taken.clear()


def _read_csv(file: BinaryIO, name: str) -> Iterator[tuple[int, _Record]]:
    # surrogateescape keeps broken bytes visible, so that only their line is lost.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _Lines(text)
    header = [column.strip() for column in next(csv.reader(lines), [])]
    if not header:
        return
    _require_uri(header, name)
    reader = csv.reader(lines, strict=True)
    while True:
        line = lines.mark()
        try:
            values = next(reader)
            problem = None if len(values) in (0, len(header)) else f"{len(values)} fields"
        except StopIteration:
            return
        except csv.Error as error:
            values, problem = [], str(error)
        if problem is not None:
            # A quote that is never closed must not swallow the lines after it.
            lines.keep_first_only()
            reader = csv.reader(lines, strict=True)
            yield line, _BrokenLine(f"{problem}, the header has {len(header)} fields")
        elif values:
            yield line, _record(dict(zip(header, values, strict=True)))


def _read_jsonl(file: BinaryIO, name: str) -> Iterator[tuple[int, _Record]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8-sig"))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            yield number, _BrokenLine(f"no JSON: {error}")
            continue
        if isinstance(value, dict):
            yield number, _record(value)
        else:
            yield number, _BrokenLine("not a JSON object")


def _read_parquet(file: BinaryIO, name: str) -> Iterator[tuple[int, _Record]]:
    try:
        table = pq.ParquetFile(file)
        _require_uri(table.schema_arrow.names, name)
        columns = [field for field in _FIELDS if field in table.schema_arrow.names]
        number = 0
        for batch in table.iter_batches(batch_size=10_000, columns=columns):
            for value in batch.to_pylist():
                number += 1
                yield number, _record(value)
    except pa.ArrowInvalid as error:
        raise RunError(f"the manifest {name} is no Parquet file: {error}") from error


def _read_txt(file: BinaryIO, name: str) -> Iterator[tuple[int, _Record]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
            yield number, _record({"uri": text})


_READERS = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "txt": _read_txt,
}


def _require_uri(columns: list[str], name: str) -> None:
    """A manifest without the column is a wrong file, not a file of broken lines."""
    if "uri" not in columns:
        raise RunError(
            f"the manifest {name} has no column uri. Received: {', '.join(columns)[:200]}"
        )


def _record(value: dict) -> _Record:
    """The fields of the contract as clean strings."""
    record: dict[str, str | None] = {"uri": None}
    for field in _FIELDS:
        found = value.get(field)
        if field == "product_id" and isinstance(found, int | float):
            found = _number_as_text(found)
        if found is None:
            continue
        if not isinstance(found, str):
            return _BrokenLine(f"{field} is not a string")
        text = found.strip()
        if any("\ud800" <= character <= "\udfff" for character in text):
            return _BrokenLine(f"{field} is not valid UTF-8")
        record[field] = text or None
    return record


def _number_as_text(number: float) -> str | None:
    """Product numbers as people write them; pandas stores them as 7.0, and nan where missing."""
    if math.isnan(number):
        return None
    return str(int(number)) if float(number).is_integer() else str(number)


def input_folder(source: str) -> str:
    """The folder of a prefix input, absolute where it is local, ending in `/`."""
    if locations.scheme_of(source) == "s3":
        return source
    return f"{locations.local_path(source).resolve()}/"
