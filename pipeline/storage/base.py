"""What the pipeline asks of a storage, and the errors of one.

Errors are sorted once, here in this room: `StorageError` belongs to one object and becomes its
row's reason; `RunError` belongs to the whole run (credentials, buckets) and stops it.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.records import Reason


class StorageError(Exception):
    """One object could not be read or written; `reason` goes to its row."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class StoredObject:
    """What a storage knows of an object without reading it.

    Attributes:
        uri: its full URI or absolute path.
        etag: identity of the content; None where only reading would tell.
        size_bytes: of the content.
        modified_at: when it was written, UTC.
    """

    uri: str
    etag: str | None
    size_bytes: int
    modified_at: datetime.datetime


@dataclass(frozen=True)
class StorageConfig:
    """How to reach the storages; picklable, travels to the workers.

    Attributes:
        s3_endpoint_url: another S3 server than AWS.
        connections: as many at a time as there are look-ahead threads.
        attempts: of each request, the first included.
    """

    s3_endpoint_url: str | None = None
    connections: int = 32
    attempts: int = 5


class Storage(Protocol):
    """What the pipeline asks of a storage. All methods may be called from many threads.

    They raise `StorageError` for one object's trouble and `RunError` for the run's.
    """

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yields every object below a prefix or folder that ends in `/`, in order of names.

        `after`, a URI of S3, leaves out what comes before it, and itself.
        """

    def identify(self, uri: str) -> StoredObject:
        """Returns etag and size; the etag is never None."""

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """Returns bytes start..stop (to the end if None); `etag` refuses a changed object."""

    def write(self, uri: str, data: bytes) -> None:
        """Writes an object that appears whole or not at all."""

    def write_file(self, uri: str, path: Path) -> None:
        """Writes an object from a local file, whole or not at all."""

    def create(self, uri: str, data: bytes) -> bool:
        """Writes an object unless there is one; of several writers at once one gets True."""

    def move(self, source: str, target: str) -> None:
        """Renames; a source that is gone while its target exists was moved before."""

    def delete(self, uri: str) -> None:
        """Deletes; a missing object is fine."""
