"""A web server on loopback that takes notifications."""

import contextlib
import http.server
import json
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Receiver:
    """What came in; `answers` are the statuses of the next requests, 200 after them.

    A negative answer is a pause in seconds without any answer.
    """

    url: str = ""
    answers: list[int] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], dict]] = field(default_factory=list)

    @property
    def content(self):
        """The JSON of the only request."""
        ((_, _, content),) = self.requests
        return content


@contextlib.contextmanager
def receiver():
    """Runs the server on a free port."""
    received = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            received.requests.append((self.path, dict(self.headers), json.loads(data)))
            answer = received.answers.pop(0) if received.answers else 200
            if answer < 0:
                time.sleep(-answer)
                return
            self.send_response(answer)
            if answer in (301, 307):
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self):
            received.requests.append((self.path, dict(self.headers), {"method": "GET"}))
            self.send_response(200)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    received.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
