"""Serves a run's gallery on loopback: `python -m pipeline.report OUT --serve`.

Answers only this machine, and only requests that name it as their host: a website in the same
browser cannot read images through a name of its own (DNS rebinding). No part of a request becomes
a path: images are named by numbers.
"""

import functools
import http.server
import queue
import re
import sys
import urllib.parse
from http import HTTPStatus
from typing import Any

from pipeline import text
from pipeline.read.images import ImageReader
from pipeline.records import RunError
from pipeline.report.gallery import UNREADABLE, RunGallery
from pipeline.report.pages import PAGE_ROWS, Card, WebImage, page_count, render_page
from pipeline.report.selection import WITH_RESULT, Query, Selection

HOST = "127.0.0.1"
PORT = 8765
_HOST_NAMES = ("127.0.0.1", "localhost", "[::1]")
_IMAGE_PATH = re.compile(r"/(result|source)/(\d{1,6})/(\d{1,12})")
# Each keeps one row group of at most 16 MB.
_READERS = 4
_MAX_SEARCH_CHARS = 300
_CACHED_QUERIES = 8


class GalleryServer(http.server.ThreadingHTTPServer):
    """HTTP server of one run's gallery, on loopback only.

    Args:
        gallery: the run.
        port: 0 for any free one.

    Raises:
        OSError: if the port is taken.

    Attributes:
        gallery: the run.
        host_names: values of the `Host` header that it accepts.

    Example:
        with GalleryServer(gallery, PORT) as server:
            print(server.address)
            server.serve_forever()
    """

    daemon_threads = True

    def __init__(self, gallery: RunGallery, port: int = PORT) -> None:
        super().__init__((HOST, port), _Handler)
        self.gallery = gallery
        self.host_names = {f"{name}:{self.server_port}" for name in _HOST_NAMES}
        # A finished run never changes.
        self.select = functools.lru_cache(_CACHED_QUERIES)(gallery.select)
        self._readers: queue.LifoQueue[ImageReader] = queue.LifoQueue()
        for _ in range(_READERS):
            self._readers.put(gallery.new_reader())

    @property
    def address(self) -> str:
        """URL of the first page."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints a traceback, but not where a browser that moved on has hung up."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def image(self, kind: str, part: int, number: int) -> WebImage:
        """Reads the `result` or `source` of a row by its place; raises as `RunGallery` does."""
        row = self.gallery.row(part, number)
        if kind == "source":
            return self.gallery.source(row)
        images = self._readers.get()
        try:
            return self.gallery.result(row, images)
        finally:
            self._readers.put(images)


def query_address(query: Query, page: int = 1) -> str:
    """Returns the path of a page of a query.

    Example:
        >>> query_address(Query(search="a&b", status="all"), 2)
        '/?q=a%26b&status=all&page=2'
    """
    given = {
        "q": query.search,
        "status": query.status if query.status != WITH_RESULT else "",
        "reason": query.reason,
        "sort": query.sort,
        "order": "ascending" if query.ascending else "",
        "page": str(page) if page > 1 else "",
    }
    return "/?" + urllib.parse.urlencode({name: value for name, value in given.items() if value})


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection; GET and HEAD only."""

    server: GalleryServer
    protocol_version = "HTTP/1.1"
    server_version = "catalog-magnifier"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        """Answers a page or an image."""
        host = self.headers.get_all("Host") or []
        if len(host) != 1 or host[0].lower() not in self.server.host_names:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this server answers only to loopback")
            return
        path, _, given = self.path.partition("?")
        image = _IMAGE_PATH.fullmatch(path)
        try:
            if path == "/":
                self._answer(self._page(given).encode(), "text/html; charset=utf-8")
            elif image:
                found = self.server.image(image[1], int(image[2]), int(image[3]))
                self._answer(found.data, found.media_type)
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        except UNREADABLE as error:
            is_page = isinstance(error, ValueError) and path == "/"
            status = HTTPStatus.BAD_REQUEST if is_page else HTTPStatus.NOT_FOUND
            self._refuse(status, str(error))
        except RunError as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error))

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: a search may be private."""

    def _page(self, given: str) -> str:
        """The page of a query string; raises ValueError for one that no form sends."""
        fields = dict(urllib.parse.parse_qsl(given, max_num_fields=10))
        query = Query(
            search=fields.get("q", "")[:_MAX_SEARCH_CHARS].strip(),
            status=fields.get("status", "") or WITH_RESULT,
            reason=fields.get("reason", ""),
            sort=fields.get("sort", ""),
            ascending=fields.get("order") == "ascending",
        )
        found = self.server.select(query)
        asked = fields.get("page", "1")
        if not re.fullmatch(r"[0-9]{1,9}", asked):
            raise ValueError("page is a number")
        page = min(max(int(asked), 1), page_count(len(found)))
        return render_page(
            *(self.server.gallery.summary, self._cards(found, page), query),
            page=page,
            rows=len(found),
            address=functools.partial(query_address, query),
            has_form=True,
        )

    def _cards(self, found: Selection, page: int) -> list[Card]:
        rows = self.server.gallery.rows(found, page)
        cards = []
        for i, row in enumerate(rows, start=(page - 1) * PAGE_ROWS):
            place = f"{found.parts[i]}/{found.numbers[i]}"
            has_result = row.image_uri is not None
            cards.append(
                Card(
                    row,
                    result=f"/result/{place}" if has_result else None,
                    source=f"/source/{place}" if has_result else None,
                )
            )
        return cards

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(text.clean(why).encode(), "text/plain; charset=utf-8", status)

    def _answer(self, data: bytes, media_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", _policy(media_type))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _policy(media_type: str) -> str:
    """The page's own policy is in its head; images and texts may load and run nothing."""
    if media_type.startswith("text/html"):
        return "frame-ancestors 'none'"
    return "default-src 'none'; sandbox; frame-ancestors 'none'"
