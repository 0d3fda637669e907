"""Sandboxed decoders: processes that read files and may crash, hang or run out of memory.

`model.imaging.decoder_child` is their program, `model.imaging.decoder_process` the parent's side
of one of them.
"""

import contextlib
import io
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import numpy as np

from model.imaging.decoder_process import (
    INVALID_ANSWER,
    DecoderProcess,
    DecoderUnavailableError,
)
from model.imaging.errors import (
    AnimatedImageError,
    DecoderKilledError,
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from model.imaging.header import FORMATS, MAX_SIDE_PX, Header
from model.imaging.image import RasterImage
from model.imaging.metadata.rights import Rights

__all__ = ["DecoderPool", "DecoderUnavailableError"]

# Most small images whole, and nearly every header: fetched before a process is taken.
_HEAD_BYTES = 64 << 10
_MAX_HEADER_BYTES = 16 << 20
_KINDS: dict[str, type[ImageError]] = {
    kind.__name__: kind
    for kind in (
        UnreadableImageError,
        UnsupportedFormatError,
        TooManyPixelsError,
        AnimatedImageError,
    )
}
_Result = TypeVar("_Result")

_log = logging.getLogger(__name__)


class DecoderPool:
    """Runs `model.imaging.header.read_header` and `model.imaging.decode.decode` in processes.

    Threads may share a pool. Processes start when they are first needed and serve many images; a
    process that has died is replaced. A call whose process is killed from outside (by the system,
    in most cases for want of memory) is repeated once, in a fresh process, while no other process
    of the pool works. A pool without references needs no `close`.

    Args:
        children: most processes at a time; further callers wait for a free one.
        timeout_s: most time that a decoder may take for one call. Fetching the ranges of a file,
            starting a process and waiting for a free one do not count.
        max_pixels: the largest limit that `decode` accepts. A process may take 512 MiB and 32
            bytes for each of these pixels; Pillow and the conversions were measured to need
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
        # Held by the one thread that takes all processes.
        self._takes_all = threading.Lock()
        # None stands for a process not yet started; last in, first out prefers running ones.
        self._free: queue.LifoQueue[DecoderProcess | None] = queue.LifoQueue()
        for _ in range(children):
            self._free.put(None)
        weakref.finalize(self, _end_idle, self._free)

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all processes after their current calls; later calls raise ValueError."""
        self._is_closed = True
        with self._all_ended():
            pass

    def read_header(self, file: BinaryIO | io.RawIOBase) -> Header:
        """Reads format and size without decoding, as `model.imaging.header.read_header`.

        Args:
            file: seekable. It is read here, in the ranges that the decoder asks for; its
                exceptions reach the caller unchanged.

        Returns:
            See `Header`.

        Raises:
            ImageError: one of its kinds; `UnreadableImageError` also if the decoder crashed or
                wants more than 16 MiB for the header, `DecodeTimeoutError` if it took too long,
                `DecoderKilledError` if it was killed from outside twice.
            DecoderUnavailableError: if no process can be started.
            ValueError: if the pool is closed.
        """
        size_bytes = file.seek(0, io.SEEK_END)
        head = _read_range(file, 0, _HEAD_BYTES)
        if not head:
            raise UnreadableImageError("the file is empty")

        def ask(process: DecoderProcess) -> Header | ImageError:
            serve = _limited(file)
            answer, _ = process.ask({"size_bytes": size_bytes}, head, serve)
            return _checked_header(answer)

        result = self._run(ask)
        if isinstance(result, ImageError):
            raise result
        return result

    def decode(
        self,
        data: bytes,
        *,
        max_pixels: int,
        first_frame: bool = False,
        finds_jpeg: bool = True,
    ) -> tuple[Header, RasterImage]:
        """Decodes a whole file, as `model.imaging.decode.decode`.

        Args:
            data: the file.
            max_pixels: refuse to decode more than this; at most the pool's.
            first_frame: decode the first frame of an animated image.
            finds_jpeg: look for the JPEG compression that the pixels show.

        Returns:
            The header and the image; its arrays are read-only.

        Raises:
            ImageError: one of its kinds; `UnreadableImageError` also if the decoder crashed or
                reached its memory limit, `DecodeTimeoutError` if it took too long,
                `DecoderKilledError` if it was killed from outside twice.
            DecoderUnavailableError: if no process can be started.
            ValueError: if `max_pixels` is more than the pool's, or the pool is closed.
        """
        if max_pixels > self._max_pixels:
            raise ValueError(
                f"a pool for {self._max_pixels} pixels cannot decode more. Received: {max_pixels}"
            )
        # Uncompressed pixels of 16 bits with transparency, and room for metadata.
        max_bytes = (128 << 20) + 8 * self._max_pixels
        if len(data) > max_bytes:
            raise UnreadableImageError(f"a file of {len(data)} bytes, the limit is {max_bytes}")
        request = {
            "max_pixels": max_pixels,
            "first_frame": first_frame,
            "finds_jpeg": finds_jpeg,
        }

        def ask(process: DecoderProcess) -> tuple[Header, RasterImage] | ImageError:
            answer, parts = process.ask(request, data)
            result = _checked_header(answer)
            if isinstance(result, ImageError):
                return result
            return result, _checked_image(answer, result, parts)

        result = self._run(ask)
        if isinstance(result, ImageError):
            raise result
        return result

    def _run(self, ask: Callable[[DecoderProcess], _Result]) -> _Result:
        """Asks a process; if it is killed from outside, asks a fresh one that works alone."""
        try:
            with self._process() as process:
                return ask(process)
        except DecoderKilledError as error:
            _log.warning("Decoding once more, one image at a time: %s", error)
        try:
            with self._all_ended(), self._process() as process:
                return ask(process)
        except DecoderKilledError as error:
            raise DecoderKilledError(f"{error}, also when no other image was decoded") from error

    @contextlib.contextmanager
    def _process(self) -> Iterator[DecoderProcess]:
        """Lends a process; an exception inside ends it."""
        process = self._free.get()
        try:
            if process is not None and not process.is_fit():
                process.end()
                process = None
            if self._is_closed:
                raise ValueError("the decoder pool is closed")
            if process is None:
                process = DecoderProcess(self._timeout_s, self._max_pixels)
            yield process
        except BaseException:
            if process is not None:
                process.end()
                process = None
            raise
        finally:
            self._free.put(process)

    @contextlib.contextmanager
    def _all_ended(self) -> Iterator[None]:
        """Waits until all processes are free and ends them; one may be lent inside the block."""
        with self._takes_all:
            for _ in range(self._children):
                process = self._free.get()
                if process is not None:
                    process.end()
            self._free.put(None)
            try:
                yield
            finally:
                for _ in range(self._children - 1):
                    self._free.put(None)


def _end_idle(free: queue.LifoQueue[DecoderProcess | None]) -> None:
    """Ends the processes that wait in a pool's queue."""
    with contextlib.suppress(queue.Empty):
        while True:
            process = free.get_nowait()
            if process is not None:
                process.end()


def _limited(file: BinaryIO | io.RawIOBase) -> Callable[[int, int], bytes]:
    """A function that reads ranges of a file, up to a limit in all."""
    left_bytes = _MAX_HEADER_BYTES

    def serve(start: int, stop: int) -> bytes:
        nonlocal left_bytes
        left_bytes -= stop - start
        if left_bytes < 0:
            raise UnreadableImageError(f"its header takes more than {_MAX_HEADER_BYTES >> 20} MiB")
        return _read_range(file, start, stop)

    return serve


def _read_range(file: BinaryIO | io.RawIOBase, start: int, stop: int) -> bytes:
    """Bytes start..stop, or as many as there are."""
    file.seek(start)
    return file.read(stop - start) or b""


# The answers of a decoder that a hostile file has taken over may hold anything.


def _checked_header(answer: dict[str, Any]) -> Header | ImageError:
    """The header in an answer, or the error."""
    try:
        if "error" in answer:
            return _KINDS[answer["error"]](str(answer["detail"])[:500])
        fields = answer["header"]
        quality, found, note = (
            fields[name] for name in ("jpeg_quality", "found_jpeg_quality", "note")
        )
        return Header(
            format=FORMATS[FORMATS.index(fields["format"])],
            mode=None if fields["mode"] is None else str(fields["mode"])[:16],
            height=_within(fields["height"], MAX_SIDE_PX),
            width=_within(fields["width"], MAX_SIDE_PX),
            is_lossless=bool(fields["is_lossless"]),
            jpeg_quality=None if quality is None else _within(quality, 100),
            found_jpeg_quality=None if found is None else max(1, _within(found, 100)),
            note=None if note is None else " ".join(str(note)[:200].split()),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnreadableImageError(INVALID_ANSWER) from error


def _within(number: Any, maximum: int) -> int:
    """A number from 0 to `maximum`; ValueError for anything else."""
    if type(number) is not int or not 0 <= number <= maximum:
        raise ValueError(f"{number!r} is no number up to {maximum}")
    return number


def _checked_image(answer: dict[str, Any], header: Header, parts: list[bytes]) -> RasterImage:
    """The image in the parts of an answer, without a copy."""
    try:
        rgb, alpha, profile, rights = parts
        shape = header.height, header.width
        return RasterImage(
            rgb=np.frombuffer(rgb, np.uint8).reshape(*shape, 3),
            alpha=np.frombuffer(alpha, np.uint8).reshape(shape) if alpha else None,
            is_grey=answer.get("is_grey") is True,
            icc_profile=profile or None,
            rights=Rights.from_json(rights) if rights else None,
        )
    except ValueError as error:
        raise UnreadableImageError(INVALID_ANSWER) from error
