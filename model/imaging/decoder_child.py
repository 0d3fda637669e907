"""Program of the processes in which `model.imaging.sandbox` decodes.

    python -m model.imaging.decoder_child BYTES SECONDS

Answers requests on stdin with messages on stdout until stdin ends. A message is the length of its
JSON header (4 bytes, big endian), the header, and the parts, whose lengths the header holds. It is
plain data: a hostile file that takes over the decoder cannot run code in the parent.
"""

import contextlib
import io
import json
import logging
import os
import signal
import struct
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any

from PIL import features

from model.files import RangedFile
from model.imaging.decode import decode
from model.imaging.errors import ImageError
from model.imaging.header import lift_pillow_limits, read_header

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_LENGTH = struct.Struct(">I")
_MAX_HEADER_BYTES = 64 << 10


def send(stream: IO[bytes], header: dict[str, Any], *parts: bytes | memoryview) -> None:
    """Writes one message.

    Args:
        stream: buffered.
        header: JSON values by name.
        parts: bytes that follow the header.

    Raises:
        OSError: if the other process is gone.
    """
    lengths = [memoryview(part).nbytes for part in parts]
    text = json.dumps({**header, "parts": lengths}).encode()
    stream.write(_LENGTH.pack(len(text)) + text)
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes], max_bytes: int) -> tuple[dict[str, Any], list[bytes]]:
    """Reads one message; checks its structure before it allocates memory.

    Args:
        stream: buffered.
        max_bytes: most bytes of all parts together.

    Returns:
        The header and the parts.

    Raises:
        EOFError: if the stream ends.
        ValueError: if the bytes are not such a message.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    try:
        header = json.loads(_read(stream, length))
    except RecursionError as error:
        raise ValueError("a header nested too deep") from error
    lengths = header.pop("parts", None) if isinstance(header, dict) else None
    if not isinstance(lengths, list) or not all(type(n) is int and n >= 0 for n in lengths):
        raise ValueError("a message without the lengths of its parts")
    if sum(lengths) > max_bytes:
        raise ValueError(f"parts of {sum(lengths)} bytes where {max_bytes} are the most")
    return header, [_read(stream, n) for n in lengths]


def _read(stream: IO[bytes], size: int) -> bytes:
    """Reads exactly `size` bytes."""
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"{len(data)} bytes instead of {size}")
    return data


class _Child:
    """The child's end of the pipes: reads requests, decodes, answers."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], backstop_s: float) -> None:
        self._requests = requests
        self._answers = answers
        self._backstop_s = backstop_s

    def serve(self) -> None:
        """Answers requests until the parent is gone."""
        with contextlib.suppress(EOFError, BrokenPipeError):
            send(self._answers, {"ready": True})
            while True:
                request, parts = receive(self._requests, sys.maxsize)
                with self._backstop():
                    header, results = self._answer(request, parts[0])
                send(self._answers, header, *results)

    def fetch(self, start: int, stop: int) -> bytes:
        """Fetches bytes of the current file from the parent."""
        self._set_alarm(0)
        send(self._answers, {"read": [start, stop]})
        _, (data,) = receive(self._requests, stop - start)
        self._set_alarm(self._backstop_s)
        return data

    def _answer(
        self, request: dict[str, Any], data: bytes
    ) -> tuple[dict[str, Any], list[bytes | memoryview]]:
        """Answers a request: a header, with the parts of a decoded image, or a known error."""
        try:
            if "size_bytes" in request:
                file = RangedFile(self.fetch, request["size_bytes"], head=data)
                header = read_header(io.BufferedReader(file, RangedFile.BLOCK_BYTES))
                return {"header": asdict(header)}, []
            header, image = decode(data, **request)
        except ImageError as error:
            return {"error": type(error).__name__, "detail": str(error)}, []
        alpha = b"" if image.alpha is None else image.alpha.data
        rights = b"" if image.rights is None else image.rights.to_json()
        parts = [image.rgb.data, alpha, image.icc_profile or b"", rights]
        return {"header": asdict(header), "is_grey": image.is_grey}, parts

    @contextlib.contextmanager
    def _backstop(self) -> Iterator[None]:
        """Ends this process if a decoder hangs after the parent has died."""
        self._set_alarm(self._backstop_s)
        yield
        self._set_alarm(0)

    def _set_alarm(self, seconds: float) -> None:
        # No handler, which would wait for the decoder to return: the system ends the process.
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, seconds)


def main(argv: list[str]) -> None:
    """Redirects the standard streams, limits this process, and serves.

    Args:
        argv: limits of memory, in bytes, and of one call, in seconds.
    """
    memory_bytes, backstop_s = int(argv[0]), float(argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Libraries' output about a file must not get into the messages or flood the log; Python's own
    # tracebacks still reach it.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    warnings.simplefilter("ignore")
    logging.disable()
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    lift_pillow_limits()
    if features.check("avif"):
        from PIL import AvifImagePlugin  # noqa: PLC0415 - not every Pillow has it

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the pool decodes in parallel
    _Child(requests, answers, backstop_s).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
