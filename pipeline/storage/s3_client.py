"""The boto3 client of a process: endpoint, addressing style, checksums, signing."""

import functools
import os
import re
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore
import botocore.config
import botocore.session

from pipeline.records import RunError
from pipeline.storage import s3_listing
from pipeline.storage.base import StorageConfig
from pipeline.storage.retries import Retrier
from pipeline.storage.s3_errors import BOTO_ERRORS, sort_error

_one_connects = threading.Lock()
_CHECKSUMS = ("request_checksum_calculation", "response_checksum_validation")


@dataclass(frozen=True)
class Connection:
    """A client with the retrier of its endpoint; threads may share it.

    Attributes:
        client: of boto3; makes one attempt for each request.
        retrier: sends requests again.
        is_aws: whether the endpoint is Amazon's: it keeps all promises of the protocol.

    Example:
        open_connection(StorageConfig()).client.list_buckets()
    """

    client: Any
    retrier: Retrier
    is_aws: bool


def open_connection(config: StorageConfig, purpose: str = "use S3") -> Connection:
    """Returns the process's connection for a configuration; making one takes 0.2 s.

    Args:
        config: of the run.
        purpose: of the first request, see `s3_errors.purpose_of`; for messages.

    Raises:
        RunError: if the AWS configuration or the endpoint's address is unusable.
    """
    try:
        with _one_connects:  # a cache alone would let threads that start together make many
            return _connect(config)
    except BOTO_ERRORS as error:
        raise RunError(f"cannot use S3: {sort_error(error, purpose)}") from error
    except ValueError as error:  # its text may quote an address with a password
        raise RunError(
            "cannot use S3: the endpoint of --s3_endpoint_url, AWS_ENDPOINT_URL_S3 or the AWS "
            "profile is no address like https://host:port"
        ) from error


def forget_connections() -> None:
    """Makes the next `open_connection` read the AWS configuration again."""
    _connect.cache_clear()


@functools.lru_cache(maxsize=4)
def _connect(config: StorageConfig) -> Connection:
    core = botocore.session.Session()
    session = boto3.session.Session(botocore_session=core)
    client = _client(session, config, {})
    is_aws = _is_aws(client.meta.endpoint_url)
    if not is_aws:
        client = _client(session, config, _for_other_servers(core.get_scoped_config()))
    retrier = Retrier(
        f"the S3 endpoint {_without_user(client.meta.endpoint_url)}",
        attempts=config.attempts,
        outage_s=config.outage_s,
        can_continue=config.can_continue,
    )
    return Connection(client, retrier, is_aws)


def _client(session: Any, config: StorageConfig, more: dict[str, Any]) -> Any:
    settings = botocore.config.Config(
        # Retries are ours: botocore's count neither broken bodies nor outages.
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=config.connections,
        connect_timeout=5,
        read_timeout=30,
        **({"signature_version": botocore.UNSIGNED} if config.unsigned else {}),
        **more,
    )
    client = session.client("s3", endpoint_url=config.s3_endpoint_url, config=settings)
    s3_listing.install(client)
    return client


def _for_other_servers(profile: dict[str, Any]) -> dict[str, Any]:
    """Settings that all servers understand, where the user's AWS profile does not choose."""
    settings: dict[str, Any] = {}
    if not _section(profile.get("s3")).get("addressing_style"):
        settings["s3"] = {"addressing_style": "path"}
    for name in _CHECKSUMS:
        if not (os.environ.get(f"AWS_{name.upper()}") or profile.get(name)):
            settings[name] = "when_required"
    return settings


def _section(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_aws(endpoint_url: str) -> bool:
    host = urlsplit(endpoint_url).hostname or ""
    return re.search(r"(^|\.)amazonaws\.com(\.cn)?$", host) is not None


def _without_user(endpoint_url: str) -> str:
    return re.sub(r"//.*@", "//", endpoint_url)
