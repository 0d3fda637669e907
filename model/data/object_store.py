"""Object storages for training images: what is asked of one, and S3 by boto3."""

import functools
import os
from collections.abc import Iterable
from typing import Any, Protocol


class ObjectStore(Protocol):
    """A storage of training images; the caller may hand in its own.

    Example:
        images = list_images("s3://photographs/portraits/", store=MyStore())
    """

    def list_uris(self, prefix: str) -> Iterable[str]:
        """Yields the URIs of all objects below a prefix, in order of names."""

    def read(self, uri: str) -> bytes:
        """Returns an object's content."""


class S3Store:
    """S3 by boto3, with the credentials, region and endpoint of the AWS configuration.

    Example:
        S3Store().read("s3://photographs/portraits/1.jpg")
    """

    def __init__(self) -> None:
        import boto3  # noqa: PLC0415 - 0.2 s that training from folders does not need
        import botocore.config  # noqa: PLC0415

        retries: dict[str, Any] = {"mode": "standard", "total_max_attempts": 5}
        self._client = boto3.client("s3", config=botocore.config.Config(retries=retries))

    def list_uris(self, prefix: str) -> Iterable[str]:
        """Yields the URIs of all objects below a prefix; see `ObjectStore.list_uris`."""
        bucket, key = _split(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        for page in pages:
            yield from (f"s3://{bucket}/{item['Key']}" for item in page.get("Contents", ()))

    def read(self, uri: str) -> bytes:
        """Returns an object's content."""
        bucket, key = _split(uri)
        return self._client.get_object(Bucket=bucket, Key=key)["Body"].read()


@functools.cache
def open_s3() -> S3Store:
    """Returns the process's one `S3Store`."""
    return S3Store()


# Processes that shared a connection would read each other's answers.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=open_s3.cache_clear)


def _split(uri: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key; the key is taken literally."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key
