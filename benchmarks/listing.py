"""Measures what a listing of S3 costs: boto3's paginator against the job's own.

    python -m benchmarks.listing [--keys 100000] [--latency_ms 50] [--rounds 3] [--json FILE]

A server in a process of its own lists generated objects, 1,000 in a folder, and waits before each
answer. CPU seconds are those of the listing process alone. Both ways read the same things of each
object: key, ETag, size and time.
"""

import argparse
import functools
import multiprocessing
import statistics
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import boto3

from benchmarks import figures
from pipeline.demo.loopback import made_up_credentials
from pipeline.storage.base import StorageConfig
from pipeline.storage.routing import open_storage
from pipeline.storage.s3_client import forget_connections, open_connection

_PAGE_KEYS = 1000
_PER_FOLDER = 1000
_PREFIX = "images/"


class Way(NamedTuple):
    """How one way of listing did.

    Attributes:
        cpu_s: of this process, for 100,000 keys.
        wall_s: for all keys.

    Example:
        >>> Way(cpu_s=0.8, wall_s=1.2).cpu_s
        0.8
    """

    cpu_s: float
    wall_s: float


class _Handler(BaseHTTPRequestHandler):
    """ListObjectsV2 with prefix, delimiter and continuation token."""

    protocol_version = "HTTP/1.1"
    keys = 0
    latency_s = 0.0

    def do_GET(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        data = _answer(self.keys, query)
        time.sleep(self.latency_s)
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: one line per request would be too much."""


def _answer(keys: int, query: dict[str, str]) -> bytes:
    """A page: of folders if the query has a delimiter, else of the objects below its prefix."""
    folder = query.get("prefix", "").removeprefix(_PREFIX).rstrip("/")
    first, last = 0, keys
    if query.get("delimiter"):
        last = -(-keys // _PER_FOLDER)
    elif folder:
        first = int(folder) * _PER_FOLDER
        last = min(keys, first + _PER_FOLDER)
    start = int(query.get("continuation-token", first))
    stop = min(last, start + _PAGE_KEYS)
    write = _folder if query.get("delimiter") else _object
    is_cut = stop < last
    more = f"<NextContinuationToken>{stop}</NextContinuationToken>" if is_cut else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>shop</Name>'
        f"<EncodingType>url</EncodingType><IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}"
        f"{''.join(map(write, range(start, stop)))}</ListBucketResult>"
    ).encode()


def _folder(number: int) -> str:
    return f"<CommonPrefixes><Prefix>{_PREFIX}{number:06d}/</Prefix></CommonPrefixes>"


def _object(number: int) -> str:
    return (
        f"<Contents><Key>{_PREFIX}{number // _PER_FOLDER:06d}/{number:09d}.jpg</Key>"
        f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{number:032x}&quot;"
        "</ETag><Size>30000</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _serve(port: Connection, keys: int, latency_s: float) -> None:
    _Handler.keys, _Handler.latency_s = keys, latency_s
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    port.send(server.server_port)
    server.serve_forever()


@functools.cache
def _boto3_client(endpoint: str) -> Any:
    """Without this project's hook, which `open_connection` installs."""
    return boto3.session.Session().client("s3", endpoint_url=endpoint)


def _by_boto3(endpoint: str) -> Iterator[int]:
    """Numbers of objects, page by page, as boto3's paginator gives them."""
    pages = (
        _boto3_client(endpoint)
        .get_paginator("list_objects_v2")
        .paginate(Bucket="shop", Prefix=_PREFIX)
    )
    for page in pages:
        yield len([(i["Key"], i["ETag"], i["Size"], i["LastModified"]) for i in page["Contents"]])


def _by_pages(endpoint: str) -> Iterator[int]:
    files = open_storage(StorageConfig(endpoint))
    yield from map(len, files.list_pages(f"s3://shop/{_PREFIX}"))


def _by_records(endpoint: str) -> Iterator[int]:
    files = open_storage(StorageConfig(endpoint))
    yield sum(1 for _ in files.list(f"s3://shop/{_PREFIX}"))


WAYS: dict[str, Callable[[str], Iterator[int]]] = {
    "boto3's paginator": _by_boto3,
    "Storage.list": _by_records,
    "Storage.list_pages": _by_pages,
}


def measure(keys: int, latency_ms: float, rounds: int) -> dict[str, Way]:
    """Lists all keys in each way.

    Args:
        keys: number of objects.
        latency_ms: wait before each answer of the server.
        rounds: the median counts.

    Returns:
        The figures by way.

    Raises:
        RuntimeError: if a way lists another number of objects.
    """
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, keys, latency_ms / 1000), daemon=True
    )
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{ours.recv()}"
        # Their 0.2 s are no part of a listing.
        _boto3_client(endpoint)
        open_connection(StorageConfig(endpoint))
        runs = [
            {name: _time(way, endpoint, keys) for name, way in WAYS.items()} for _ in range(rounds)
        ]
    finally:
        server.terminate()
        forget_connections()
    return {
        name: Way(
            statistics.median(one[name].cpu_s for one in runs),
            statistics.median(one[name].wall_s for one in runs),
        )
        for name in WAYS
    }


def _time(way: Callable[[str], Iterator[int]], endpoint: str, keys: int) -> Way:
    cpu, wall = time.process_time(), time.perf_counter()
    found = sum(way(endpoint))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if found != keys:
        raise RuntimeError(f"{found} of {keys} objects were listed")
    return Way(cpu / keys * 100_000, wall)


def main(argv: list[str]) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.listing")
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--latency_ms", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=3)
    figures.add_json_option(parser)
    arguments = parser.parse_args(argv)
    with made_up_credentials():
        found = measure(arguments.keys, arguments.latency_ms, arguments.rounds)
    (baseline, *_) = found.values()
    print(f"{arguments.keys:,} keys, {arguments.latency_ms:g} ms before each answer")
    for name, way in found.items():
        print(
            f"{name:<20} {way.cpu_s:6.2f} CPU seconds for 100,000 keys "
            f"({baseline.cpu_s / way.cpu_s:.1f} times less), {way.wall_s:6.1f} s in all"
        )
    figures.write_json(arguments.json, {name: way._asdict() for name, way in found.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
