"""Decoding in child processes: a file may crash, hang or bloat one of them, never the job.

What runs there is `model.imaging.decoder_child`; this is the parent's side.
"""

import contextlib
import io
import logging
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from model.imaging.decode import MAX_PROFILE_BYTES
from model.imaging.decoder_child import receive, send
from model.imaging.header import (
    FORMATS,
    MAX_SIDE_PX,
    AnimatedImageError,
    DecodeTimeoutError,
    Header,
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from model.imaging.image import RasterImage

# Most small images whole, and nearly every header: fetched before a child is taken.
_HEAD_BYTES = 64 << 10
_MAX_HEADER_BYTES = 16 << 20
# Leaks of the native decoders do not grow beyond this.
_CALLS_PER_CHILD = 1000
# Of what a child prints, the last: a traceback.
_MAX_DETAIL_BYTES = 8 << 10
_START_LIMIT_S = 120.0
# What interpreter and loader need of the environment; secrets stay here.
_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TEMP")
_NONSENSE = "the decoder answered nonsense on this file"
_KINDS: dict[str, type[ImageError]] = {
    kind.__name__: kind
    for kind in (
        UnreadableImageError,
        UnsupportedFormatError,
        TooManyPixelsError,
        AnimatedImageError,
    )
}

_log = logging.getLogger(__name__)


class DecoderUnavailableError(RuntimeError):
    """No decoder process can be started on this machine; no image's fault."""


class DecoderPool:
    """`model.imaging.header.read_header` and `model.decode.decode`, run in child processes.

    Threads may share a pool. Children start when they are first needed and serve many images;
    one that died is replaced. A pool that nobody holds any more needs no `close`.

    Args:
        children: most processes at a time; further callers wait for a free one.
        timeout_s: most time that decoders may take for one call. Fetching the ranges of a file,
            starting a process and waiting for a free one do not count.
        max_pixels: the most that `decode` will be asked for. A child may take 512 MiB and 32
            bytes for each of these pixels; what Pillow and the conversions need was measured as
            120 to 170 MB and 10 to 24 bytes a pixel, by format.

    Raises:
        ValueError: if `children` is below 1.

    Example:
        with DecoderPool(2, max_pixels=40_000_000) as decoders:
            header, image = decoders.decode(data, max_pixels=40_000_000)
    """

    def __init__(self, children: int, *, timeout_s: float = 30.0, max_pixels: int) -> None:
        if children < 1:
            raise ValueError(f"a pool has at least one child. Received: {children}")
        self._children = children
        self._timeout_s = timeout_s
        self._max_pixels = max_pixels
        self._is_closed = False
        # None stands for a child not yet started; last in, first out takes the warm ones first.
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(children):
            self._free.put(None)
        weakref.finalize(self, _end_idle, self._free)

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all children, after the calls that are under way; later calls raise ValueError."""
        if self._is_closed:
            return
        self._is_closed = True
        for _ in range(self._children):
            child = self._free.get()
            if child is not None:
                child.end()
        for _ in range(self._children):
            self._free.put(None)

    def read_header(self, file: BinaryIO | io.RawIOBase) -> Header:
        """Reads format and size without decoding, as `model.imaging.header.read_header`.

        Args:
            file: seekable. It is read here, in the ranges that the decoder asks for; what its
                methods raise reaches the caller unchanged.

        Returns:
            See `Header`.

        Raises:
            ImageError: one of its kinds; `UnreadableImageError` also if the decoder crashed or
                wants more than 16 MiB for the header, `DecodeTimeoutError` if it took too long.
            DecoderUnavailableError: if no process can be started.
        """
        size_bytes = file.seek(0, io.SEEK_END)
        head = _read_range(file, 0, _HEAD_BYTES)
        if not head:
            raise UnreadableImageError("the file is empty")
        served_bytes = 0

        def serve(start: int, stop: int) -> bytes:
            nonlocal served_bytes
            served_bytes += stop - start
            if served_bytes > _MAX_HEADER_BYTES:
                raise UnreadableImageError(
                    f"its header takes more than {_MAX_HEADER_BYTES >> 20} MiB"
                )
            return _read_range(file, start, stop)

        with self._child() as child:
            answer, _ = child.ask({"size_bytes": size_bytes}, head, serve)
            result = _checked_header(answer)
        if isinstance(result, ImageError):
            raise result
        return result

    def decode(
        self, data: bytes, *, max_pixels: int, first_frame: bool = False
    ) -> tuple[Header, RasterImage]:
        """Decodes a whole file, as `model.decode.decode`.

        Args:
            data: the file.
            max_pixels: refuse to decode more than this; at most the pool's.
            first_frame: decode the first frame of an animated image.

        Returns:
            The header and the image; its arrays are read-only.

        Raises:
            ImageError: one of its kinds; `UnreadableImageError` also if the decoder crashed or
                reached its memory limit, `DecodeTimeoutError` if it took too long.
            DecoderUnavailableError: if no process can be started.
            ValueError: if `max_pixels` is more than the pool's.
        """
        if max_pixels > self._max_pixels:
            raise ValueError(
                f"a pool for {self._max_pixels} pixels cannot decode more. Received: {max_pixels}"
            )
        # What 16 bits and transparency take uncompressed, and room for metadata.
        max_bytes = (128 << 20) + 8 * self._max_pixels
        if len(data) > max_bytes:
            raise UnreadableImageError(f"a file of {len(data)} bytes, the limit is {max_bytes}")
        request = {"max_pixels": max_pixels, "first_frame": first_frame}
        with self._child() as child:
            answer, parts = child.ask(request, data)
            result = _checked_header(answer)
            if isinstance(result, Header):
                image = _checked_image(answer, result, parts)
        if isinstance(result, ImageError):
            raise result
        return result, image

    @contextlib.contextmanager
    def _child(self) -> Iterator["_Child"]:
        """A child of one's own for a while; an exception inside ends it."""
        child = self._free.get()
        try:
            if child is not None and not child.is_fit():
                child.end()
                child = None
            if self._is_closed:
                raise ValueError("the decoder pool is closed")
            if child is None:
                child = _Child(self._timeout_s, self._max_pixels)
            yield child
        except BaseException:
            if child is not None:
                child.end()
                child = None
            raise
        finally:
            self._free.put(child)


class _Child:
    """One decoder process; used by one thread at a time."""

    def __init__(self, timeout_s: float, max_pixels: int) -> None:
        self._timeout_s = timeout_s
        self._max_answer_bytes = 4 * max_pixels + MAX_PROFILE_BYTES
        self._calls = 0
        memory_bytes = (512 << 20) + 32 * max_pixels
        # -P: what lies in the working directory is not imported.
        command = [sys.executable, "-P", "-m", "model.imaging.decoder_child"]
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in sys.path)
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                [*command, str(memory_bytes), str(2 * timeout_s + 1)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent
            )
        except OSError as error:
            raise DecoderUnavailableError(f"cannot start a decoder process: {error}") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        threading.Thread(target=_log_told, args=(self._process.stderr,), daemon=True).start()
        try:
            with self._time_limit(_START_LIMIT_S):
                receive(self._answers, 0)
        except (OSError, EOFError, ValueError) as error:
            self.end()
            raise DecoderUnavailableError(f"{' '.join(command)} does not start") from error

    def is_fit(self) -> bool:
        """Whether it may serve another call."""
        return self._calls < _CALLS_PER_CHILD and self._process.poll() is None

    def end(self) -> None:
        """Kills the process if it still runs."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):  # of a request that was under way
                pipe.close()

    def ask(
        self,
        request: dict[str, Any],
        data: bytes,
        serve: Callable[[int, int], bytes] | None = None,
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Sends a request, serves the ranges that it takes, returns the answer and its parts."""
        self._calls += 1
        left_s = self._timeout_s
        while True:
            started = time.monotonic()
            failure = None
            try:
                with self._time_limit(left_s):
                    send(self._requests, request, data)
                    answer, parts = receive(self._answers, self._max_answer_bytes)
            except (OSError, EOFError, ValueError) as error:
                failure = error
            left_s -= time.monotonic() - started
            if left_s <= 0:  # else the limit cannot have struck
                raise DecodeTimeoutError(f"decoding took longer than {self._timeout_s:g} s")
            if isinstance(failure, ValueError):
                raise UnreadableImageError(_NONSENSE) from failure
            if failure is not None:
                raise UnreadableImageError(self._cause_of_death()) from failure
            if serve is None or "read" not in answer:
                return answer, parts
            request, data = {}, serve(*_checked_range(answer["read"]))

    @contextlib.contextmanager
    def _time_limit(self, seconds: float) -> Iterator[None]:
        """Kills the process if the block takes longer."""
        alarm = threading.Timer(seconds, self._process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            yield
        finally:
            alarm.cancel()

    def _cause_of_death(self) -> str:
        """A line for people."""
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return _NONSENSE
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"the decoder crashed on this file ({how})"


def _log_told(told: IO[bytes]) -> None:
    """Logs what a child has printed when it ends, as one event of the job."""
    last = b""
    with told:
        while more := told.read(_MAX_DETAIL_BYTES):
            last = (last + more)[-_MAX_DETAIL_BYTES:]
    if last:
        _log.warning("a decoder process ended: %s", last.decode(errors="replace").strip())


def _end_idle(free: queue.LifoQueue[_Child | None]) -> None:
    """Ends the children that wait in a pool's queue."""
    with contextlib.suppress(queue.Empty):
        while True:
            child = free.get_nowait()
            if child is not None:
                child.end()


def _read_range(file: BinaryIO | io.RawIOBase, start: int, stop: int) -> bytes:
    """Bytes start..stop, or as many as there are."""
    file.seek(start)
    return file.read(stop - start) or b""


# A decoder that a hostile file took over may answer anything.


def _checked_range(asked: Any) -> tuple[int, int]:
    """Start and stop of what a child asks for."""
    match asked:
        case [int(start), int(stop)] if 0 <= start < stop:
            return start, stop
    raise UnreadableImageError(_NONSENSE)


def _checked_header(answer: dict[str, Any]) -> Header | ImageError:
    """What a child found, or its word why it found nothing."""
    try:
        if "error" in answer:
            return _KINDS[answer["error"]](str(answer["detail"])[:500])
        fields = answer["header"]
        quality = fields["jpeg_quality"]
        return Header(
            format=FORMATS[FORMATS.index(fields["format"])],
            mode=None if fields["mode"] is None else str(fields["mode"])[:16],
            height=_within(fields["height"], MAX_SIDE_PX),
            width=_within(fields["width"], MAX_SIDE_PX),
            is_lossless=bool(fields["is_lossless"]),
            jpeg_quality=None if quality is None else _within(quality, 100),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnreadableImageError(_NONSENSE) from error


def _within(number: Any, most: int) -> int:
    """A number from 0 to `most`; ValueError for anything else."""
    if type(number) is not int or not 0 <= number <= most:
        raise ValueError(f"{number!r} is no number up to {most}")
    return number


def _checked_image(answer: dict[str, Any], header: Header, parts: list[bytes]) -> RasterImage:
    """The image whose planes came with an answer; nothing is copied."""
    try:
        rgb, alpha, profile = parts
        shape = header.height, header.width
        return RasterImage(
            rgb=np.frombuffer(rgb, np.uint8).reshape(*shape, 3),
            alpha=np.frombuffer(alpha, np.uint8).reshape(shape) if alpha else None,
            is_grey=answer.get("is_grey") is True,
            icc_profile=profile or None,
        )
    except ValueError as error:
        raise UnreadableImageError(_NONSENSE) from error
