"""The interface of a storage, its records and its errors.

Errors are sorted once, in this room: `StorageError` belongs to one object and becomes its row's
reason; `RunError` belongs to the whole run (credentials, clock, endpoint) and stops it.
"""

import dataclasses
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.records import Reason
from pipeline.redaction import redact

# At the start of a run nobody waits long for an endpoint that may simply be misspelt.
_START_OUTAGE_S = 20.0

# A transfer that is slower is of no use.
MIN_BYTES_PER_S = 50_000


class StorageError(Exception):
    """One object could not be read or written.

    Args:
        reason: for its row.
        detail: one line for people.
        code: of S3's answer, or its HTTP status; empty without one.

    Example:
        try:
            files.read("s3://shop/a.jpg")
        except StorageError as error:
            print(error.reason, error.detail)
    """

    def __init__(self, reason: Reason, detail: str, code: str = "") -> None:
        self.detail = redact(detail)
        super().__init__(self.detail)
        self.reason = reason
        self.code = code


@dataclass(frozen=True)
class StoredObject:
    """The facts about an object that a storage knows without reading it.

    Attributes:
        uri: its full URI or absolute path.
        etag: identity of the content; None where only `Storage.identify` knows it.
        size_bytes: of the content.
        modified_at: when it was written, UTC.

    Example:
        [item.size_bytes for item in files.list("s3://shop/images/")]
    """

    uri: str
    etag: str | None
    size_bytes: int
    modified_at: datetime.datetime


# An object whose time is unknown may have been written just now.
UNKNOWN_TIME = datetime.datetime.max.replace(tzinfo=datetime.UTC)


@dataclass(frozen=True)
class ListedPage:
    """Some objects of a listing as columns: no Python object for each of millions.

    Attributes:
        uris: full URIs.
        etags: identities of the contents; None where only `Storage.identify` knows them.
        sizes_bytes: of the contents.
        modified: when they were written, ISO 8601; empty if unknown.

    Example:
        >>> page = ListedPage(["s3://shop/a"], ["e1"], [3], ["2026-01-01T00:00:00.000Z"])
        >>> [item.size_bytes for item in page.objects()]
        [3]
    """

    uris: list[str]
    etags: list[str | None]
    sizes_bytes: list[int]
    modified: list[str]

    def __len__(self) -> int:
        return len(self.uris)

    def objects(self) -> Iterator[StoredObject]:
        """Yields the same as records, in the same order."""
        columns = zip(self.uris, self.etags, self.sizes_bytes, self.modified, strict=True)
        for uri, etag, size_bytes, modified in columns:
            yield StoredObject(uri, etag, size_bytes, _utc_time(modified))


def _utc_time(text: str) -> datetime.datetime:
    """Reads a time in ISO 8601, as S3 spells it; one that cannot be read is unknown."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return UNKNOWN_TIME
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


@dataclass(frozen=True)
class StorageConfig:
    """How to reach the storages; picklable, travels to the workers.

    Attributes:
        s3_endpoint_url: another S3 server than AWS.
        connections: open at a time; as many as there are look-ahead threads.
        attempts: of each request, the first included.
        outage_s: how long requests wait while the endpoint as a whole does not answer; after
            that the run stops. With 0 nothing waits, and each object fails by itself.
        requester_pays: whether this account pays for requests to buckets that ask for it.
        unsigned: whether requests carry no credentials, as public buckets allow.
        can_continue: whether requests are of a run that its `--run_id` continues, for messages.

    Example:
        files = open_storage(StorageConfig("http://127.0.0.1:9000", attempts=2))
    """

    s3_endpoint_url: str | None = None
    connections: int = 32
    attempts: int = 5
    outage_s: float = 900.0
    requester_pays: bool = False
    unsigned: bool = False
    can_continue: bool = False

    def at_start(self) -> "StorageConfig":
        """Returns the configuration for the checks before a run: they wait for seconds only."""
        outage_s = min(self.outage_s, _START_OUTAGE_S)
        return dataclasses.replace(self, outage_s=outage_s, can_continue=False)


class Readable(Protocol):
    """What readers of single objects need of a storage.

    Example:
        def head_of(files: Readable, uri: str) -> bytes:
            return files.read(uri, 0, 100)
    """

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """See `Storage.read`."""


class Storage(Protocol):
    """The operations that the pipeline needs. All may be called from many threads.

    They raise `StorageError` for one object's trouble and `RunError` for the run's.

    Example:
        files = open_storage(StorageConfig())
        files.write("/tmp/out/a.txt", b"content")
        files.read("/tmp/out/a.txt", 0, 3)
        # b'con'
    """

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yields every object below a prefix of S3, or below a folder, which ends in `/`.

        A listing is a hint: objects may come and go meanwhile, and some servers list out of
        order. `after`, a URI of S3, asks for the objects behind it in byte order.
        """

    def list_pages(self, prefix: str, after: str = "") -> Iterator[ListedPage]:
        """Yields the objects of `list` in the same order, many at a time, as columns.

        Pages hold up to 1,000 objects, and are never empty.
        """

    def identify(self, uri: str) -> StoredObject:
        """Returns ETag and size; the ETag is never None."""

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """Returns bytes start..stop (to the end if None); `etag` refuses a changed object."""

    def write(self, uri: str, data: bytes) -> None:
        """Writes an object that appears whole or not at all."""

    def write_file(self, uri: str, path: Path) -> None:
        """Writes an object from a local file, whole or not at all."""

    def create(self, uri: str, data: bytes) -> bool:
        """Writes an object unless it exists; of several writers at once one gets True.

        A server without conditional writes can give True to two writers that start at the same
        instant: see `honours_conditions`.
        """

    def honours_conditions(self, folder: str) -> bool:
        """Returns whether `create` is safe below a folder or prefix; writes a file to find out."""

    def move(self, source: str, target: str) -> None:
        """Renames; a source that is gone while its target exists was moved before."""

    def delete(self, uri: str) -> None:
        """Deletes; a missing object is fine."""
