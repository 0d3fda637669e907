"""A bucket of any number of images for benchmarks: its server, its manifest, its previous run.

The server implements the part of S3's protocol that the job needs, with a generated listing: no
real server holds a million objects in little memory.
"""

import bisect
import contextlib
import datetime
import functools
import hashlib
import http.server
import io
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from model.network import presets
from model.scenes import drawing
from pipeline import cli
from pipeline.output import publishing, schema
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import Reason, Shard, Status, content_keys
from pipeline.settings import RunPlan
from pipeline.storage.routing import open_storage

BUCKET = "shop"
_DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_PAGE_KEYS = 1000
_FOLDER_KEYS = 1000
_KNOWN_BYTES = 30_000
_BATCH_ROWS = 10_000


class Catalog:
    """A bucket's objects by number; the last ones are new and have content.

    Args:
        uris: number of objects.
        new: number of new ones among them.

    Example:
        catalog = Catalog(1000, new=10)
        catalog.key(999), len(catalog.body(999))
    """

    def __init__(self, uris: int, new: int) -> None:
        self.uris, self.known = uris, uris - new

    def key(self, number: int) -> str:
        """Returns the object's key; keys sort as numbers do."""
        return f"images/{number // _FOLDER_KEYS:06d}/{number:09d}.jpg"

    def uri(self, number: int) -> str:
        """Returns the object's URI."""
        return f"s3://{BUCKET}/{self.key(number)}"

    def numbers(self, prefix: str, after: str) -> range:
        """Returns the objects below a prefix, of all or of one folder, behind a key.

        Args:
            prefix: `images/`, or that with a folder's name and `/`.
            after: any text; empty for all.
        """
        folder = prefix.removeprefix("images/").rstrip("/")
        first, stop = 0, self.uris
        if folder:
            first = int(folder) * _FOLDER_KEYS
            stop = min(first + _FOLDER_KEYS, self.uris)
        behind = range(first, stop)
        return behind[bisect.bisect_right(behind, after, key=self.key) :]

    def etag(self, number: int) -> str:
        """Returns the object's ETag, 32 hexadecimal digits."""
        return hashlib.md5(self.key(number).encode()).hexdigest()

    @functools.cache  # noqa: B019 - one catalog for the life of the program
    def body(self, number: int) -> bytes:
        """Returns a new object's content, a JPEG."""
        buffer = io.BytesIO()
        Image.fromarray(drawing.draw_scene(number, 120, 120)).save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    def size_bytes(self, number: int) -> int:
        """Returns the object's size; that of known objects is made up, since nobody reads them."""
        return _KNOWN_BYTES if number < self.known else len(self.body(number))


class _Handler(http.server.BaseHTTPRequestHandler):
    """ListObjectsV2, and HEAD and GET of new objects with ranges."""

    protocol_version = "HTTP/1.1"
    catalog: Catalog
    requests = 0

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        if "list-type" in query:
            first = int(query.get("continuation-token", ["0"])[0])
            after = query.get("start-after", [""])[0]
            found = self.catalog.numbers(query["prefix"][0], after)
            page = self._page(range(max(first, found.start), found.stop))
            self._answer(200, page, {"Content-Type": "application/xml"})
            return
        self._object(url.path)

    def do_HEAD(self) -> None:
        self._object(self.path)

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: one line per request would be too much."""

    def _page(self, found: range) -> bytes:
        catalog, page = self.catalog, found[:_PAGE_KEYS]
        items = "".join(
            f"<Contents><Key>{escape(catalog.key(i))}</Key><LastModified>2026-01-01T00:00:00.000Z"
            f'</LastModified><ETag>"{catalog.etag(i)}"</ETag><Size>{catalog.size_bytes(i)}</Size>'
            "</Contents>"
            for i in page
        )
        is_cut = page.stop < found.stop
        more = f"<NextContinuationToken>{page.stop}</NextContinuationToken>" if is_cut else ""
        return (
            '<?xml version="1.0"?><ListBucketResult><Name>shop</Name>'
            f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{more}{items}</ListBucketResult>"
        ).encode()

    def _object(self, path: str) -> None:
        number = int(path.rpartition("/")[2].partition(".")[0])
        if number < self.catalog.known:
            # The job compares the listing's first ETag with that of a HEAD.
            assert self.command == "HEAD", "an unchanged image was requested"
            data = bytes(_KNOWN_BYTES)
        else:
            data = self.catalog.body(number)
        headers = {"ETag": f'"{self.catalog.etag(number)}"', "Accept-Ranges": "bytes"}
        status = 200
        if wanted := self.headers.get("Range"):
            start, _, last = wanted.removeprefix("bytes=").partition("-")
            end = min(int(last or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[int(start) : end + 1], 206
        headers["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"
        self._answer(status, data, headers)

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        _Handler.requests += 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # whoever has seen enough of a listing
                self.wfile.write(data)


def previous_rows(catalog: Catalog, fingerprint: str) -> Iterator[pa.RecordBatch]:
    """Yields the rows of the previous run, one per image that is not new, as columns."""
    for first in range(0, catalog.known, _BATCH_ROWS):
        numbers = range(first, min(first + _BATCH_ROWS, catalog.known))
        yield schema.from_columns(len(numbers), _previous_columns(catalog, numbers, fingerprint))


def _previous_columns(catalog: Catalog, numbers: range, fingerprint: str) -> dict[str, pa.Array]:
    """Columns of some rows: every second image was too large, the others were upscaled."""
    etags = [catalog.etag(number) for number in numbers]
    sizes_bytes = [catalog.size_bytes(number) for number in numbers]
    digests = [hashlib.sha256(etag.encode()).hexdigest() for etag in etags]
    upscaled = {
        "status": str(Status.UPSCALED),
        "source_width": 300,
        "source_height": 300,
        "roundtrip_psnr_db": 40.0,
        "self_psnr_db": 33.3,
        "self_gain_db": 1.1,
        "image_bytes": 100,
        "image": {"bytes": b"\xff" * 100, "path": "image.jpg"},
    }
    skipped = {
        "status": str(Status.SKIPPED),
        "reason": str(Reason.LARGE_ENOUGH),
        "detail": "1500x1500, longer side above 1000",
        "source_width": 1500,
        "source_height": 1500,
    }
    is_upscaled = pa.array([number % 2 == 1 for number in numbers])
    found = {
        name: pc.if_else(is_upscaled, _scalar(name, upscaled), _scalar(name, skipped))
        for name in {**upscaled, **skipped}
    }
    same = {"processed_at": _DAY, "source_format": "JPEG", "source_mode": "RGB"}
    repeated = {name: pa.repeat(_scalar(name, same), len(numbers)) for name in same}
    return (
        found
        | repeated
        | {
            "uri": pa.array(map(catalog.uri, numbers)),
            "content_key": pa.array(
                content_keys(etags, sizes_bytes, [None] * len(etags), fingerprint)
            ),
            "source_etag": pa.array(etags),
            "source_bytes": pa.array(sizes_bytes, schema.SCHEMA.field("source_bytes").type),
            "image_sha256": pc.if_else(is_upscaled, pa.array(digests), None),
        }
    )


def _scalar(name: str, values: dict[str, Any]) -> pa.Scalar:
    """A column's value in its type; null where there is none."""
    return pa.scalar(values.get(name), schema.SCHEMA.field(name).type)


def write_previous_run(catalog: Catalog, output: Path) -> None:
    """Writes the previous run, finished, to an output folder."""
    sha256 = presets.resolve(presets.DEFAULT).sha256
    settings, _ = cli.parse(["--input", "x/", "--output", str(output)], _DAY)
    plan = RunPlan(settings, _DAY, sha256, workers=1, compute_dtype="float32")
    files = open_storage(settings.storage)
    folder = output / "runs/previous"
    writer = ShardWriter(files, str(folder / "staging"))
    shards: list[Shard] = []
    for rows in previous_rows(catalog, plan.fingerprint):
        shards += filter(None, [writer.add_batch(rows)])
    shards += filter(None, [writer.close()])
    publishing.publish(files, shards, str(output / "rows/run_id=previous"))
    publishing.clear(files, str(folder / "staging"))
    summary = {
        "run_id": "previous",
        "uris": catalog.known,
        "by_reason": {},
        "by_status": {},
        "percentiles": {},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "_SUCCESS").touch()


def write_manifest(catalog: Catalog, path: Path) -> None:
    """Writes a Parquet manifest of all URIs, each with a product."""
    rows = pa.schema([("uri", pa.string()), ("product_id", pa.int64())])
    with pq.ParquetWriter(path, rows) as writer:
        for first in range(0, catalog.uris, _BATCH_ROWS):
            numbers = range(first, min(first + _BATCH_ROWS, catalog.uris))
            uris = [catalog.uri(number) for number in numbers]
            writer.write(pa.table({"uri": uris, "product_id": list(numbers)}, schema=rows))


class Served:
    """A catalog behind a server on loopback, while `serve` is open.

    Attributes:
        endpoint: for `--s3_endpoint_url`.

    Example:
        with serve(Catalog(1000, new=10)) as served:
            ...  # run the job
        served.requests()
    """

    def __init__(self, server: http.server.ThreadingHTTPServer) -> None:
        self.endpoint = f"http://127.0.0.1:{server.server_port}"

    def requests(self) -> int:
        """Returns how many requests the server has answered."""
        return _Handler.requests


@contextlib.contextmanager
def serve(catalog: Catalog) -> Iterator[Served]:
    """Serves a catalog; one at a time."""
    _Handler.catalog, _Handler.requests = catalog, 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Served(server)
    finally:
        server.shutdown()
