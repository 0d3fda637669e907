"""Manifests as text: unpacks gzip, turns UTF-16 into UTF-8, bounds the length of lines."""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO

from pipeline import text
from pipeline.records import RunError

# A line beyond this is a broken one, and is not held in memory.
MAX_LINE = 1 << 20
_BLOCK_BYTES = 1 << 16
_GZIP_MARK = b"\x1f\x8b"
_UTF16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# Text of URIs shrinks by 5 to 50. A file that unpacks to more than both is none.
_MAX_RATIO = 500
_ALWAYS_ALLOWED_BYTES = 128 << 20


def keep_quiet(_line: str) -> None:
    """Tells nobody what was found out about a manifest."""


def open_text(file: BinaryIO, name: str, tell: Callable[[str], None]) -> BinaryIO:
    """Opens a manifest as UTF-8, whatever its suffix says: servers pack and unpack on the way.

    Args:
        file: seekable, at its start; gzip or not, UTF-8, or UTF-16 with a byte order mark.
        name: for errors.
        tell: gets a line for people about a file that is not plain UTF-8.

    Returns:
        A file that is read forwards only, in bounded memory. Characters that UTF-16 does not
        allow become bytes that UTF-8 does not allow. Its reads raise RunError if the packed file
        is damaged, ends early, or unpacks to more than 500 times its size.
    """
    plain: BinaryIO = file
    is_packed = _starts_with(file, _GZIP_MARK)
    if is_packed:
        plain = _readable(_unpack(file, name))
    mark = plain.peek(2)[:2] if isinstance(plain, io.BufferedReader) else _peek(plain, 2)
    encoding = _UTF16_MARKS.get(mark)
    if is_packed or encoding:
        kinds = ("gzip" if is_packed else "", "UTF-16" if encoding else "")
        tell(f"{name} is {' with '.join(filter(None, kinds))}")
    return _readable(_recode(plain, encoding)) if encoding else plain


def short_lines(file: IO[Any]) -> Iterator[Any]:
    """Yields the lines of a file; of one beyond `MAX_LINE` only so much that its length shows."""
    while line := file.readline(MAX_LINE + 1):
        end = "\n" if isinstance(line, str) else b"\n"
        more = line
        while len(more) > MAX_LINE and not more.endswith(end):
            more = file.readline(MAX_LINE + 1)
        yield line


def _starts_with(file: BinaryIO, mark: bytes) -> bool:
    return _peek(file, len(mark)) == mark


def _peek(file: BinaryIO, size: int) -> bytes:
    start = file.read(size)
    file.seek(0)
    return start


def _unpack(file: BinaryIO, name: str) -> Iterator[bytes]:
    packed_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    allowed = max(_MAX_RATIO * packed_bytes, _ALWAYS_ALLOWED_BYTES)
    unpacked = gzip.GzipFile(fileobj=file)
    total = 0
    try:
        while block := unpacked.read(_BLOCK_BYTES):
            total += len(block)
            if total > allowed:
                raise RunError(
                    f"the manifest {name} of {text.size(packed_bytes)} unpacks to more than "
                    f"{text.size(total)}: no list of images does. Look into it, and unpack it"
                )
            yield block
    except EOFError as error:
        raise RunError(
            f"the manifest {name} ends early, after {text.size(total)} of unpacked text: it was "
            "not copied completely"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise RunError(f"the manifest {name} is damaged: {error}") from error


def _recode(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """UTF-16 as UTF-8, without the byte order mark."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    is_first = True
    while block := file.read(_BLOCK_BYTES):
        found = decoder.decode(block)
        yield found[is_first:].encode("utf-8", "surrogatepass")
        is_first = is_first and not found
    if decoder.getstate()[0]:  # half a character
        yield b"\xff"


class _Blocks(io.RawIOBase):
    """Blocks of bytes as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def _readable(blocks: Iterator[bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Blocks(blocks), _BLOCK_BYTES)
