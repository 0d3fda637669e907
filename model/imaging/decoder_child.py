"""The process in which `model.imaging.sandbox` decodes.

    python -m model.imaging.decoder_child BYTES SECONDS

It answers requests on stdin with messages on stdout until stdin ends. A message is the length of
its JSON header (4 bytes, big endian), the header, and the parts whose lengths the header names:
plain data, so that a decoder that a hostile file took over cannot run code in the parent.
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
from model.imaging.header import read_header

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

_LENGTH = struct.Struct(">I")
_MAX_HEADER_BYTES = 64 << 10


def send(stream: IO[bytes], header: dict[str, Any], *parts: bytes | memoryview) -> None:
    """Writes one message.

    Args:
        stream: buffered.
        header: what JSON holds.
        parts: what follows it.

    Raises:
        OSError: if the other side is gone.
    """
    lengths = [memoryview(part).nbytes for part in parts]
    text = json.dumps({**header, "parts": lengths}).encode()
    stream.write(_LENGTH.pack(len(text)) + text)
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes], max_bytes: int) -> tuple[dict[str, Any], list[bytes]]:
    """Reads one message and trusts nothing in it.

    Args:
        stream: buffered.
        max_bytes: refuse parts that are larger together.

    Returns:
        The header and the parts.

    Raises:
        EOFError: if the stream ends.
        ValueError: if it is no such message.
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
    """Exactly `size` bytes."""
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"{len(data)} bytes instead of {size}")
    return data


class _Child:
    """This process, seen from its own end of the pipes."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], backstop_s: float) -> None:
        self._requests = requests
        self._answers = answers
        self._backstop_s = backstop_s

    def serve(self) -> None:
        """Answers one request after the other until the parent is gone."""
        with contextlib.suppress(EOFError, BrokenPipeError):
            send(self._answers, {"ready": True})
            while True:
                request, parts = receive(self._requests, sys.maxsize)
                with self._backstop():
                    header, results = self._answer(request, parts[0])
                send(self._answers, header, *results)

    def fetch(self, start: int, stop: int) -> bytes:
        """Asks the parent for bytes of the file whose header is being read."""
        self._set_alarm(0)
        send(self._answers, {"read": [start, stop]})
        _, (data,) = receive(self._requests, stop - start)
        self._set_alarm(self._backstop_s)
        return data

    def _answer(
        self, request: dict[str, Any], data: bytes
    ) -> tuple[dict[str, Any], list[bytes | memoryview]]:
        """A header, with an image's parts if it was asked for; or one of the known errors."""
        try:
            if "size_bytes" in request:
                file = RangedFile(self.fetch, request["size_bytes"], head=data)
                header = read_header(io.BufferedReader(file, RangedFile.BLOCK_BYTES))
                return {"header": asdict(header)}, []
            header, image = decode(
                data, max_pixels=request["max_pixels"], first_frame=request["first_frame"]
            )
        except ImageError as error:
            return {"error": type(error).__name__, "detail": str(error)}, []
        alpha = b"" if image.alpha is None else image.alpha.data
        parts = [image.rgb.data, alpha, image.icc_profile or b""]
        return {"header": asdict(header), "is_grey": image.is_grey}, parts

    @contextlib.contextmanager
    def _backstop(self) -> Iterator[None]:
        """Ends this process should it hang in a decoder after its parent died."""
        self._set_alarm(self._backstop_s)
        yield
        self._set_alarm(0)

    def _set_alarm(self, seconds: float) -> None:
        # No handler of Python's, which would wait for the decoder to return: the system ends us.
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, seconds)


def main(argv: list[str]) -> None:
    """Takes over the standard streams, limits this process, and serves."""
    memory_bytes, backstop_s = int(argv[0]), float(argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Nothing that a library prints about a file gets into the messages, or floods the log; a
    # traceback of ours still does.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    warnings.simplefilter("ignore")
    logging.disable()
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if features.check("avif"):
        from PIL import AvifImagePlugin  # noqa: PLC0415 - not every Pillow has it

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the children are the parallelism
    _Child(requests, answers, backstop_s).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
