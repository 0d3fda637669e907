"""Objects of S3, or of a server that speaks its protocol."""

import functools
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import boto3
import boto3.s3.transfer
import botocore.config
import botocore.exceptions as boto_errors

from pipeline.records import Reason, RunError
from pipeline.storage.base import StorageConfig, StorageError, StoredObject
from pipeline.storage.locations import split_s3

_T = TypeVar("_T")
_FIRST_BACKOFF_S = 0.2
# No further attempt for one object after this long.
_MAX_REQUEST_S = 120
_log = logging.getLogger(__name__)


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
                late = time.monotonic() - started > _MAX_REQUEST_S
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
