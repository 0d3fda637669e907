"""An HTTP proxy before the loopback S3 server that counts requests and injects faults."""

import contextlib
import http.client
import http.server
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# `lost_answer`: the server does what it was asked for, and its answer gets lost.
FAULTS = ("500", "503", "SlowDown", "reset", "short_body", "lost_answer")
# What a fault that is a code of S3 is answered with.
STATUS = {
    **{"500": 500, "503": 503, "SlowDown": 503, "ServiceUnavailable": 503},
    **{"NotImplemented": 501, "ExpiredToken": 400, "RequestTimeTooSkewed": 403},
    **{"SignatureDoesNotMatch": 403, "AccessDenied": 403, "PermanentRedirect": 301},
    # Codes that AWS has not: the status says what they mean.
    **{"RequestLimitExceeded": 429, "Timeout": 408, "NoSuchKey": 404, "NoSuchBucket": 404},
}


@dataclass
class Proxy:
    """What goes through.

    `fault(method, path)` decides for each request: None, one of `FAULTS`, a code of `STATUS`, or
    `trickle`, a body of one byte each `pause_s`; it may be replaced while requests come in.
    `before(method, path)` runs before a request is passed on, `strip` names its headers that the
    server shall not know, `address(path)` returns the path that it sees, and
    `change(method, path, data)` the body that is passed back. `headers` replaces headers of
    answers to HEAD; None leaves one out. `refusal` adds headers to answers of a code of S3.
    """

    endpoint: str = ""
    fault: Callable[[str, str], str | None] = lambda method, path: None
    before: Callable[[str, str], None] = lambda method, path: None
    change: Callable[[str, str, bytes], bytes] = lambda method, path, data: data
    address: Callable[[str], str] = lambda path: path
    strip: frozenset[str] = frozenset()
    headers: dict[str, str | None] = field(default_factory=dict)
    refusal: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.05
    requests: list[tuple[str, str]] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    injected: int = 0

    def of(self, method: str, part: str) -> list[str]:
        """Paths of the requests with this method whose path holds `part`."""
        return [path for verb, path in self.requests if verb == method and part in path]


def random_faults(share: float, seed: int, kinds=FAULTS) -> Callable[[str, str], str | None]:
    """A fault at this share of the calls."""
    generator, lock = random.Random(seed), threading.Lock()

    def fault(method: str, path: str) -> str | None:
        with lock:
            return generator.choice(kinds) if generator.random() < share else None

    return fault


@contextlib.contextmanager
def fault_proxy(upstream: str) -> Iterator[Proxy]:
    """Runs the proxy on a free port."""
    proxy = Proxy()

    class Handler(_Handler):
        pass

    Handler.proxy, Handler.upstream = proxy, urlsplit(upstream).netloc
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    upstream: str

    def log_message(self, *_):
        pass

    def _pass_on(self) -> None:
        body = self._read_body()
        self.proxy.requests.append((self.command, self.path))
        if source := self.headers.get("x-amz-copy-source"):
            self.proxy.copied.append(source)
        fault = self.proxy.fault(self.command, self.path)
        if fault is not None:
            self.proxy.injected += 1
        if fault == "reset":
            self._reset()
            return
        if fault in STATUS:
            self._refuse(fault)
            return
        self.proxy.before(self.command, self.path)
        upstream = http.client.HTTPConnection(self.upstream, timeout=60)
        dropped = _HOP_BY_HOP | self.proxy.strip
        headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        upstream.request(self.command, self.proxy.address(self.path), body=body, headers=headers)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if fault == "lost_answer":
            self._reset()
            return
        data = self.proxy.change(self.command, self.path, data)
        self.send_response_only(answer.status, answer.reason)
        is_head = self.command == "HEAD"
        length = answer.getheader("Content-Length", "0") if is_head else str(len(data))
        passed = {k.title(): v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
        passed |= {"Content-Length": length} | (self.proxy.headers if is_head else {})
        for name, value in passed.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if is_head:
            return
        if fault == "short_body" and len(data) > 1:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        if fault == "trickle":
            self._trickle(data)
            return
        self.wfile.write(data)

    def _trickle(self, data: bytes) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client has had enough
            for i in range(len(data)):
                self.wfile.write(data[i : i + 1])
                time.sleep(self.proxy.pause_s)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _refuse(self, fault: str) -> None:
        code = {"500": "InternalError", "503": "ServiceUnavailable"}.get(fault, fault)
        text = b"" if self.command == "HEAD" else _ERROR.format(code).encode()
        self.send_response_only(STATUS[fault])
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        for name, value in self.proxy.refusal.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # closes with RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()
        self.rfile = self.wfile = open("/dev/null", "r+b", buffering=0)  # noqa: PTH123, SIM115


_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "host", "expect"}
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code></Error>'
