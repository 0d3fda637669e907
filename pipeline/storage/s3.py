"""Objects of S3, or of a server that speaks its protocol."""

import contextlib
import functools
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline.records import Reason, RunError
from pipeline.storage import s3_body, s3_errors, s3_folders, s3_listing
from pipeline.storage.base import (
    UNKNOWN_TIME,
    ListedPage,
    StorageConfig,
    StorageError,
    StoredObject,
)
from pipeline.storage.locations import join, split_s3
from pipeline.storage.retries import TransientError
from pipeline.storage.s3_client import Connection, open_connection
from pipeline.storage.s3_errors import REQUEST_ERRORS, RUN_CODES, code_of, sort_error
from pipeline.storage.s3_listing import ListingPage

_T = TypeVar("_T")
# Larger files are uploaded in parts of this size, which is what a retry repeats.
_PART_BYTES = 16 << 20
_log = logging.getLogger(__name__)


class S3Storage:
    """Objects of S3 or of a server that speaks its protocol; a `Storage`.

    Other servers than Amazon's are not believed: an object written there is looked at again.

    Example:
        files = S3Storage(StorageConfig("http://127.0.0.1:9000"))
        files.read("s3://shop/a.jpg", 0, 100)
    """

    def __init__(self, config: StorageConfig) -> None:
        self._config = config
        self._payer = {"RequestPayer": "requester"} if config.requester_pays else {}
        self._has_proved = False

    @property
    def _connection(self) -> Connection:
        # It cannot be pickled: one for each process and configuration.
        return open_connection(self._config)

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yields every object below a prefix but the empty ones that stand for folders.

        Raises:
            RunError: if the listing fails.
        """
        for page in self.list_pages(prefix, after):
            yield from page.objects()

    def list_pages(self, prefix: str, after: str = "") -> Iterator[ListedPage]:
        """Yields the same as columns; lists folders of a large prefix several at a time."""
        bucket, key = split_s3(prefix)
        try:
            for page in s3_folders.list_pages(
                functools.partial(self._ask_page, bucket), key, after=split_s3(after)[1]
            ):
                columns = s3_listing.without_folders(page, bucket)
                if columns:
                    yield columns
        except StorageError as error:
            remedy = s3_errors.remedy(error.reason)
            raise RunError(f"cannot list {prefix}: {error.detail}{remedy}") from error

    def _ask_page(self, bucket: str, arguments: dict[str, str]) -> ListingPage:
        page = self._ask("list_objects_v2", Bucket=bucket, **arguments).get(s3_listing.PAGE)
        if page is None:
            raise StorageError(Reason.STORAGE_ERROR, "the server's answer is no listing")
        return page

    def identify(self, uri: str) -> StoredObject:
        """Returns ETag and size by a HEAD request.

        A refused HEAD carries no code that would say why: then the answer to a GET does.
        """
        bucket, key = split_s3(uri)
        try:
            found = self._ask("head_object", Bucket=bucket, Key=key)
        except StorageError as error:
            if error.code not in s3_errors.MUTE_CODES:
                raise
            found = self._ask("get_object", Bucket=bucket, Key=key)
            found["Body"].close()
        etag, size_bytes = _etag(found), _field(found, "ContentLength")
        if not etag:
            raise StorageError(Reason.STORAGE_ERROR, "the server gives the object no ETag")
        return StoredObject(uri, etag, size_bytes, found.get("LastModified", UNKNOWN_TIME))

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """Reads by a GET request, ranged unless the whole object is asked for.

        Raises:
            StorageError: with `changed` if the object is another one than `etag` says, also where
                the server ignores the condition.
        """
        bucket, key = split_s3(uri)
        if stop is not None and stop <= start:
            return b""  # S3 has no range for nothing
        extra = dict(self._payer)
        if start or stop is not None:
            extra["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if etag is not None:
            extra["IfMatch"] = f'"{etag}"'

        def get() -> bytes:
            answer = self._connection.client.get_object(Bucket=bucket, Key=key, **extra)
            if etag is not None and _etag(answer) not in (etag, None):
                raise StorageError(Reason.CHANGED, "the object changed since it was identified")
            return s3_body.read(answer, start, stop)

        purpose = s3_errors.purpose_of("get_object", {"Bucket": bucket, "Key": key})
        return self._request(get, bucket, purpose)

    def write(self, uri: str, data: bytes) -> None:
        """Writes by a PUT request: S3 shows an object only when it is complete.

        A lesser server may finish the cut first attempt of a repeated request last, and keep that:
        what is not kept is written once more. (s3rver once kept nothing of an object.)
        """
        self._put(uri, data)
        try:
            self._check_written(uri, len(data), data)
        except StorageError:
            self._put(uri, data)
            self._check_written(uri, len(data), data)

    def write_file(self, uri: str, path: Path) -> None:
        """Writes by a PUT request, or in parts of 16 MiB."""
        size_bytes = path.stat().st_size
        if size_bytes <= _PART_BYTES:
            self.write(uri, path.read_bytes())
            return
        self._upload_parts(uri, path)
        self._check_written(uri, size_bytes, None)

    def create(self, uri: str, data: bytes) -> bool:
        """Writes by a PUT request on the condition that there is no such object.

        The object is looked for first, and read again afterwards: on servers that ignore or
        refuse the condition only writers at the same instant can both get True.
        """
        if self._exists(uri):
            return False
        try:
            self._put(uri, data, IfNoneMatch="*")
        except StorageError as error:
            if error.reason == Reason.CHANGED:
                return False
            if not s3_errors.is_refusal(error.code):
                raise
            self._put(uri, data)
        return self._connection.is_aws or self.read(uri) == data

    def honours_conditions(self, folder: str) -> bool:
        """Returns whether a second conditional PUT of one key is refused, as S3 does."""
        uri = join(folder, f".conditional-{secrets.token_hex(8)}")
        try:
            self._put(uri, b"", IfNoneMatch="*")
            self._put(uri, b"", IfNoneMatch="*")
        except StorageError as error:
            if error.reason == Reason.CHANGED:
                return True
            if not s3_errors.is_refusal(error.code):
                raise
        finally:
            self.delete(uri)
        return False

    def move(self, source: str, target: str) -> None:
        """Copies on the server, then deletes the source."""
        (old_bucket, old_key), (bucket, key) = split_s3(source), split_s3(target)
        try:
            old = self.identify(source)
            self._ask(
                "copy_object",
                Bucket=bucket,
                Key=key,
                CopySource={"Bucket": old_bucket, "Key": old_key},
            )
        except StorageError as error:
            if error.reason != Reason.NOT_FOUND:
                raise
            self.identify(target)  # moved before, or really lost
            return
        self._check_written(target, old.size_bytes, None)
        self.delete(source)

    def delete(self, uri: str) -> None:
        """Deletes by a DELETE request; S3 answers 204 for a missing object, other servers 404."""
        bucket, key = split_s3(uri)
        try:
            self._ask("delete_object", Bucket=bucket, Key=key)
        except StorageError as error:
            if error.reason != Reason.NOT_FOUND or error.code == "NoSuchBucket":
                raise

    def _exists(self, uri: str) -> bool:
        try:
            self.identify(uri)
        except StorageError as error:
            if error.reason == Reason.NOT_FOUND:
                return False
            if error.reason == Reason.ACCESS_DENIED:
                return False  # who may write need not be allowed to read: the PUT decides
            raise
        return True

    def _put(self, uri: str, data: bytes, **condition: str) -> None:
        bucket, key = split_s3(uri)
        with _naming(bucket):
            self._ask("put_object", Bucket=bucket, Key=key, Body=data, **condition)

    def _upload_parts(self, uri: str, path: Path) -> None:
        bucket, key = split_s3(uri)
        with _naming(bucket):
            place = {"Bucket": bucket, "Key": key}
            begun = self._ask("create_multipart_upload", **place)
            place["UploadId"] = _field(begun, "UploadId")
            try:
                parts: list[dict[str, Any]] = []
                with path.open("rb") as file:
                    while data := file.read(_PART_BYTES):
                        number = len(parts) + 1
                        done = self._ask("upload_part", PartNumber=number, Body=data, **place)
                        parts.append({"PartNumber": number, "ETag": _field(done, "ETag")})
                self._complete(uri, path.stat().st_size, place, parts)
            except BaseException:
                self._abort(place)
                raise

    def _complete(
        self, uri: str, size_bytes: int, place: dict[str, Any], parts: Sequence[dict[str, Any]]
    ) -> None:
        """Joins the parts; an attempt whose answer got lost has ended the upload."""
        try:
            self._ask("complete_multipart_upload", MultipartUpload={"Parts": parts}, **place)
        except StorageError as error:
            if error.code != "NoSuchUpload" or self.identify(uri).size_bytes != size_bytes:
                raise

    def _abort(self, place: dict[str, Any]) -> None:
        """Parts of an upload that failed cost money until they are dropped."""
        try:
            self._ask("abort_multipart_upload", **place)
        except (StorageError, RunError) as error:
            _log.warning("cannot drop the parts of a failed upload: %s", error)

    def _check_written(self, uri: str, size_bytes: int, data: bytes | None) -> None:
        """Servers have stored an upload's checksum trailers as content, and cut objects short.

        The first write of a process is read back whole, of all others the size.
        """
        if self._connection.is_aws:
            return
        found = self.identify(uri)
        is_same = found.size_bytes == size_bytes
        if is_same and data is not None and not self._has_proved:
            is_same = self.read(uri) == data
            self._has_proved = is_same
        if not is_same:
            raise StorageError(
                Reason.STORAGE_ERROR,
                f"the S3 server does not keep what is written to {uri}: {size_bytes} bytes were "
                f"sent, {found.size_bytes} are there; see docs/storage.md",
            )

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One operation of the client by its name, retried and with its error sorted."""
        purpose = s3_errors.purpose_of(operation, arguments)
        call = getattr(open_connection(self._config, purpose).client, operation)
        return self._request(
            lambda: call(**arguments, **self._payer), arguments["Bucket"], purpose
        )

    def _request(self, call: Callable[[], _T], bucket: str, purpose: str) -> _T:
        """Sends a request until it succeeds, or its error is the object's or the run's."""

        def send() -> _T:
            try:
                return call()
            except REQUEST_ERRORS as error:
                self._stop_run_if_meant(error, bucket, purpose)
                raise sort_error(error, purpose) from error

        retrier = open_connection(self._config, purpose).retrier
        try:
            return retrier.call(send, lambda: self._is_alive(bucket))
        except TransientError as error:
            raise s3_errors.failed(error) from error

    def _stop_run_if_meant(self, error: Exception, bucket: str, purpose: str) -> None:
        """Raises RunError for refused credentials or a wrong clock, unless one key is to blame."""
        code = code_of(error)
        if code not in RUN_CODES:
            return
        # The answer to a GET has a body, and so a code; one to HEAD has none.
        if self._simple_answer(bucket, "list_objects_v2", MaxKeys=1) in RUN_CODES:
            raise RunError(f"cannot {purpose}: {RUN_CODES[code]} ({code})") from error

    def _is_alive(self, bucket: str) -> bool:
        """Whether the endpoint answers one of two simple questions, be it with a refusal."""
        return (
            self._simple_answer(bucket, "head_bucket") is not None
            or self._simple_answer(bucket, "list_objects_v2", MaxKeys=1) is not None
        )

    def _simple_answer(self, bucket: str, operation: str, **arguments: Any) -> str | None:
        """The code of an answer about a bucket, `""` for success, None if nothing useful came."""
        try:
            getattr(self._connection.client, operation)(Bucket=bucket, **arguments)
        except REQUEST_ERRORS as error:
            return None if isinstance(sort_error(error), TransientError) else code_of(error)
        except TransientError:  # a listing that cannot be read
            return None
        return ""


@contextlib.contextmanager
def _naming(bucket: str) -> Iterator[None]:
    """Puts the bucket's name before the error of a write."""
    try:
        yield
    except StorageError as error:
        detail = f"bucket {bucket}: {error.detail}"
        raise StorageError(error.reason, detail, error.code) from error


def _field(answer: dict[str, Any], name: str) -> Any:
    """What S3 gives in each such answer; other servers, and proxies before them, may not."""
    if name not in answer:
        raise StorageError(Reason.STORAGE_ERROR, f"the server's answer has no {name}")
    return answer[name]


def _etag(answer: dict[str, Any]) -> str | None:
    """The ETag of an answer without its quotes and the mark of a weak one."""
    return s3_listing.plain_etag(answer.get("ETag", ""))
