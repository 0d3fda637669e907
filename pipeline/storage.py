"""Reading and writing of objects: S3 and local files behind one small interface.

Errors are sorted here, once: `StorageError` belongs to one object and becomes its row's reason;
`RunError` belongs to the whole run (credentials, buckets) and stops it.
"""

import contextlib
import datetime
import functools
import hashlib
import io
import itertools
import logging
import os
import random
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import boto3
import boto3.s3.transfer
import botocore.config
import botocore.exceptions as boto_errors

from pipeline.records import Reason, RunError

_T = TypeVar("_T")

_FIRST_BACKOFF_S = 0.2
# No further attempt for one object after this long.
_LONGEST_REQUEST_S = 120
_LARGEST_DIGEST_BYTES = 1 << 30
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):/")

_log = logging.getLogger(__name__)


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


def scheme_of(uri: str) -> str:
    """The scheme in lower case; `""` for a plain path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def join(folder: str, name: str) -> str:
    """Appends a name to a folder's URI or path."""
    return f"{folder.rstrip('/')}/{name}"


def open_storage(config: StorageConfig) -> Storage:
    """Returns the storage that serves s3:// and local URIs of one run."""
    return _AnyStorage({"s3": S3Storage(config), "file": LocalStorage(), "": LocalStorage()})


def list_if_any(storage: Storage, folder: str) -> list[str]:
    """URIs of all objects below a folder; none where a local folder does not exist yet."""
    if scheme_of(folder) != "s3" and not local_path(folder).is_dir():
        return []
    return [item.uri for item in storage.list(f"{folder.rstrip('/')}/")]


def open_file(storage: Storage, uri: str) -> BinaryIO:
    """Copies an object to a temporary local file, for readers that seek."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    size, at, block = storage.identify(uri).size_bytes, 0, 16 << 20
    while at < size:
        data = storage.read(uri, at, min(at + block, size))
        file.write(data)
        at += len(data)
    file.seek(0)
    return file


def open_ranged(storage: Storage, uri: str) -> BinaryIO:
    """Opens an object for readers that seek to the few parts which they need."""
    if scheme_of(uri) != "s3":
        with _local_errors():
            return local_path(uri).open("rb")
    found = storage.identify(uri)
    return io.BufferedReader(RangedFile(storage, uri, found.size_bytes, found.etag))


class RangedFile(io.RawIOBase):
    """A stored object as a seekable file that fetches only the blocks which are read.

    Pillow reads a picture's header through it: one block of 64 KB for nearly all files, and most
    small pictures are whole by then.

    Args:
        storage, uri, etag: what to read; see `Storage.read`.
        size_bytes: of the object.
    """

    BLOCK_BYTES = 64 << 10

    def __init__(self, storage: Storage, uri: str, size_bytes: int, etag: str | None) -> None:
        super().__init__()
        self._read_range = functools.partial(storage.read, uri, etag=etag)
        self._size = size_bytes
        self._at = 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `io.IOBase.seek`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """As `io.IOBase.tell`."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, or as much of it as the object has left."""
        filled = 0
        while filled < len(buffer) and self._at < self._size:
            number, offset = divmod(self._at, self.BLOCK_BYTES)
            part = self._block(number)[offset : offset + len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            self._at += len(part)
        return filled

    def whole(self) -> bytes:
        """Returns the whole object; what was read before is not fetched again."""
        head = b""
        while (number := len(head) // self.BLOCK_BYTES) in self._blocks:
            head += self._blocks[number]
            if len(head) % self.BLOCK_BYTES:
                break
        if len(head) >= self._size:
            return head
        return head + self._read_range(start=len(head), stop=self._size)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * self.BLOCK_BYTES
            stop = min(start + self.BLOCK_BYTES, self._size)
            self._blocks[number] = self._read_range(start=start, stop=stop)
        return self._blocks[number]


class LocalStorage:
    """Files of this machine, named by absolute paths or file:// URIs."""

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Every file below a folder, in order of paths; their etags are left for `identify`."""
        folder = local_path(prefix)
        if not folder.is_dir():
            raise RunError(f"no such folder: {folder}")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            found = path.stat()
            yield StoredObject(path.absolute().as_uri(), None, found.st_size, _utc(found.st_mtime))

    def identify(self, uri: str) -> StoredObject:
        """The etag is a BLAKE2 digest of the content: times and names may lie.

        Beyond a gibibyte, which no picture of this job has, of size and time all the same.
        """
        with _local_errors():
            path = local_path(uri)
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # a pipe would block, a device never end
                raise StorageError(Reason.NOT_FOUND, "not a regular file")
            digest = hashlib.blake2b(digest_size=16)
            if found.st_size > _LARGEST_DIGEST_BYTES:
                digest.update(f"{found.st_size} {found.st_mtime_ns}".encode())
            else:
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
        return StoredObject(uri, digest.hexdigest(), found.st_size, _utc(found.st_mtime))

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """See `Storage.read`; a local file's etag is not checked again."""
        with _local_errors(), local_path(uri).open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)

    def write(self, uri: str, data: bytes) -> None:
        """See `Storage.write`."""
        with _appearing(local_path(uri)) as partial:
            partial.write_bytes(data)

    def write_file(self, uri: str, path: Path) -> None:
        """See `Storage.write_file`."""
        with _appearing(local_path(uri)) as partial:
            shutil.copyfile(path, partial)

    def create(self, uri: str, data: bytes) -> bool:
        """See `Storage.create`."""
        path = local_path(uri)
        complete = _partial(path)
        with _local_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                complete.write_bytes(data)
                path.hardlink_to(complete)  # unlike a renaming it replaces nothing
            except FileExistsError:
                return False
            finally:
                complete.unlink(missing_ok=True)
        return True

    def move(self, source: str, target: str) -> None:
        """See `Storage.move`."""
        old, new = local_path(source), local_path(target)
        if old.exists() or not new.exists():
            with _local_errors():
                new.parent.mkdir(parents=True, exist_ok=True)
                old.replace(new)

    def delete(self, uri: str) -> None:
        """See `Storage.delete`."""
        with _local_errors():
            local_path(uri).unlink(missing_ok=True)


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file that is written beside its place, hidden, and renamed when it is complete."""
    partial = _partial(path)
    with _local_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """A hidden name beside a file's, one for each writer, so that two at once do not mix."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}-{threading.get_ident()}")


@contextlib.contextmanager
def _local_errors() -> Iterator[None]:
    """Turns OSError of a block into StorageError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise StorageError(Reason.NOT_FOUND, "no such file") from error
    except PermissionError as error:
        raise StorageError(Reason.ACCESS_DENIED, "no permission for the file") from error
    except OSError as error:
        raise StorageError(Reason.STORAGE_ERROR, error.strerror or "I/O error") from error


def _utc(timestamp_s: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(timestamp_s, datetime.UTC)


def local_path(uri: str) -> Path:
    """The path that a plain path or a (percent-encoded) file:// URI names."""
    return Path(unquote(urlsplit(uri).path) if scheme_of(uri) == "file" else uri)


class S3Storage:
    """Objects of S3 or of a server that speaks its protocol, through one boto3 client."""

    def __init__(self, config: StorageConfig) -> None:
        self._config = config

    @property
    def _client(self) -> Any:
        # The client cannot be pickled and its making takes 0.2 s: one for each process.
        return _s3_client(self._config)

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Every object below a prefix, except the empty ones that stand for folders."""
        bucket, key = split_s3(prefix)
        start = {"StartAfter": split_s3(after)[1]} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=key, **start
        )
        try:
            for page in pages:
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):
                        yield StoredObject(
                            f"s3://{bucket}/{item['Key']}",
                            item["ETag"].strip('"'),
                            item["Size"],
                            item["LastModified"],
                        )
        except _BOTO_ERRORS as error:
            _raise_sorted(error, f"cannot list {prefix}", self._config, whole_run=True)

    def identify(self, uri: str) -> StoredObject:
        """A HEAD request."""
        bucket, key = split_s3(uri)
        found = self._request(lambda: self._client.head_object(Bucket=bucket, Key=key))
        return StoredObject(
            uri, found["ETag"].strip('"'), found["ContentLength"], found["LastModified"]
        )

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """A GET request, ranged unless the whole object is asked for."""
        bucket, key = split_s3(uri)
        if stop is not None and stop <= start:
            return b""  # S3 has no range for nothing
        extra = {}
        if start or stop is not None:
            extra["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if etag is not None:
            extra["IfMatch"] = f'"{etag}"'

        def get() -> bytes:
            return self._client.get_object(Bucket=bucket, Key=key, **extra)["Body"].read()

        return self._request(get)

    def write(self, uri: str, data: bytes) -> None:
        """A PUT request: S3 shows an object only when it is complete."""
        bucket, key = split_s3(uri)
        self._request(lambda: self._client.put_object(Bucket=bucket, Key=key, Body=data))

    def write_file(self, uri: str, path: Path) -> None:
        """A PUT or multipart upload, as boto3 sees fit."""
        bucket, key = split_s3(uri)
        self._request(lambda: self._client.upload_file(str(path), bucket, key))

    def create(self, uri: str, data: bytes) -> bool:
        """A PUT request on the condition that there is no such object."""
        bucket, key = split_s3(uri)
        try:
            self._request(
                lambda: self._client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
            )
        except StorageError as error:
            if error.reason != Reason.CHANGED:
                raise
            return False
        return True

    def move(self, source: str, target: str) -> None:
        """A server-side copy (in parts beyond 5 GB), then a deletion."""
        (old_bucket, old_key), (bucket, key) = split_s3(source), split_s3(target)
        try:
            self._request(
                lambda: self._client.copy({"Bucket": old_bucket, "Key": old_key}, bucket, key)
            )
        except StorageError as error:
            if error.reason != Reason.NOT_FOUND:
                raise
            self.identify(target)  # moved before, or really lost
            return
        self.delete(source)

    def delete(self, uri: str) -> None:
        """A DELETE request."""
        bucket, key = split_s3(uri)
        self._request(lambda: self._client.delete_object(Bucket=bucket, Key=key))

    def _request(self, call: Callable[[], _T]) -> _T:
        """Sends a request; boto3 retries what fails before the body, this what fails inside."""
        started = time.monotonic()
        for attempt in itertools.count(1):
            try:
                return call()
            except _BROKEN_BODY as error:
                late = time.monotonic() - started > _LONGEST_REQUEST_S
                if attempt == self._config.attempts or late:
                    raise StorageError(
                        Reason.TIMEOUT,
                        f"the answer broke off ({type(error).__name__}), {attempt} attempts",
                    ) from error
                time.sleep(_FIRST_BACKOFF_S * 2**attempt * random.random())
            except _BOTO_ERRORS as error:
                _raise_sorted(error, "request failed", self._config, whole_run=False)
        raise AssertionError("an endless count has no end")


_BROKEN_BODY = (
    boto_errors.IncompleteReadError,
    boto_errors.ResponseStreamingError,
    boto_errors.ReadTimeoutError,
)
_BOTO_ERRORS = (
    boto_errors.BotoCoreError,
    boto_errors.ClientError,
    boto3.exceptions.Boto3Error,
)
_NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.CredentialRetrievalError,
    boto_errors.TokenRetrievalError,
    boto_errors.SSOError,
    boto_errors.ProfileNotFound,
)
_BAD_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
}
_REASON_OF_CODE = {
    "404": Reason.NOT_FOUND,
    "NoSuchKey": Reason.NOT_FOUND,
    "NoSuchBucket": Reason.NOT_FOUND,
    "NotFound": Reason.NOT_FOUND,
    "403": Reason.ACCESS_DENIED,
    "AccessDenied": Reason.ACCESS_DENIED,
    "AllAccessDisabled": Reason.ACCESS_DENIED,
    "412": Reason.CHANGED,
    "PreconditionFailed": Reason.CHANGED,
    "ConditionalRequestConflict": Reason.CHANGED,
    "RequestTimeout": Reason.TIMEOUT,
}


def split_s3(uri: str) -> tuple[str, str]:
    """Splits s3://bucket/key into bucket and key; the key may be empty, and is taken literally."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


@functools.lru_cache(maxsize=4)
def _s3_client(config: StorageConfig) -> Any:
    """One client for each process and configuration; clients may be shared by threads."""
    settings = botocore.config.Config(
        retries={"mode": "adaptive", "total_max_attempts": config.attempts},
        max_pool_connections=config.connections,
        connect_timeout=5,
        read_timeout=30,
        s3={"addressing_style": "path"} if config.s3_endpoint_url else None,
    )
    try:
        return boto3.session.Session().client(
            "s3", endpoint_url=config.s3_endpoint_url, config=settings
        )
    except _NO_CREDENTIALS as error:
        _raise_sorted(error, "cannot use S3", config, whole_run=True)
    except (boto_errors.BotoCoreError, ValueError) as error:
        raise RunError(f"cannot use S3: {error}") from error


def _raise_sorted(
    error: Exception, doing: str, config: StorageConfig, *, whole_run: bool
) -> NoReturn:
    """Raises the run's or the object's error for one of boto's; texts carry codes, no headers."""
    if isinstance(error, _NO_CREDENTIALS):
        raise RunError(
            f"{doing}: no usable AWS credentials ({type(error).__name__}): set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
        ) from error
    if isinstance(error, boto_errors.ClientError):
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        if code in _BAD_CREDENTIALS:
            raise RunError(f"{doing}: the AWS credentials are refused ({code})") from error
        reason = _REASON_OF_CODE.get(code, Reason.STORAGE_ERROR)
        retries = int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0))
        attempts = f", {retries + 1} attempts" if retries else ""
        detail = f"S3 answered {code} to {error.operation_name}{attempts}"
    elif isinstance(
        error,
        boto_errors.EndpointConnectionError
        | boto_errors.ConnectTimeoutError
        | boto_errors.ConnectionClosedError
        | boto_errors.ReadTimeoutError,
    ):
        reason = Reason.TIMEOUT
        detail = (
            f"no answer from the S3 endpoint ({type(error).__name__}), {config.attempts} attempts"
        )
    else:
        reason = Reason.STORAGE_ERROR
        detail = type(error).__name__
        _log.warning("%s: %s", doing, detail)
    if whole_run:
        raise RunError(f"{doing}: {detail}{_remedy(reason)}") from error
    raise StorageError(reason, detail) from error


def _remedy(reason: Reason) -> str:
    """What to do when the run cannot start."""
    return {
        Reason.NOT_FOUND: ": is the bucket's name right?",
        Reason.ACCESS_DENIED: ": the credentials need s3:ListBucket and s3:GetObject there",
        Reason.TIMEOUT: ": is --s3_endpoint_url right, and can it be reached?",
    }.get(reason, "")


class _AnyStorage:
    """Sends each call to the storage of its URI's scheme."""

    def __init__(self, by_scheme: dict[str, Storage]) -> None:
        self._by_scheme = by_scheme

    def _of(self, uri: str) -> Storage:
        return self._by_scheme[scheme_of(uri)]

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        return self._of(prefix).list(prefix, after)

    def identify(self, uri: str) -> StoredObject:
        return self._of(uri).identify(uri)

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        return self._of(uri).read(uri, start, stop, etag)

    def write(self, uri: str, data: bytes) -> None:
        self._of(uri).write(uri, data)

    def write_file(self, uri: str, path: Path) -> None:
        self._of(uri).write_file(uri, path)

    def create(self, uri: str, data: bytes) -> bool:
        return self._of(uri).create(uri, data)

    def move(self, source: str, target: str) -> None:
        self._of(source).move(source, target)

    def delete(self, uri: str) -> None:
        self._of(uri).delete(uri)
