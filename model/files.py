"""Local files that appear whole, and remote files that are read in ranges."""

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def appearing(path: Path, *, keep_suffix: bool = False) -> Iterator[Path]:
    """Yields a hidden path to write to; renames it to `path` when the block is complete.

    Readers see the old file or the new one, never half of it, even after a power cut: the data
    is on the disk before the name is. Two writers of one path do not mix.

    Args:
        path: the final path; its folder exists.
        keep_suffix: whether the hidden name ends in the suffix of `path`, for writers that take
            the format from it.

    Raises:
        OSError: if the file cannot be written; nothing is left behind.

    Example:
        with appearing(Path("log.csv")) as partial:
            partial.write_text("step,loss")
    """
    partial = hidden_beside(path, suffix=path.suffix if keep_suffix else "")
    try:
        yield partial
        flush_to_disk(partial)
        partial.replace(path)
        flush_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def hidden_beside(path: Path, *, suffix: str = "") -> Path:
    """Returns a hidden name in the folder of `path`, one for each thread."""
    writer = f"{os.getpid()}-{threading.get_ident()}"
    return path.with_name(f".{path.name}.partial-{writer}{suffix}")


def flush_to_disk(path: Path) -> None:
    """Waits until a file's data, or a folder's names, survive a power cut.

    Raises:
        OSError: if the disk fails. A file system that cannot flush folders is no error.
    """
    is_folder = path.is_dir()
    if is_folder and not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no handles of folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not is_folder:
            raise
    finally:
        os.close(handle)


class RangedFile(io.RawIOBase):
    """A seekable file over a function that fetches ranges; fetches each block once.

    Pillow reads an image's header through it: one block for nearly all files, and most small
    images are whole by then. Arrow reads column chunks of many MiB: the missing blocks of one read
    that lie side by side are one request.

    Args:
        fetch: returns the bytes start..stop; it raises where it cannot.
        size_bytes: of the file.
        head: the first block, if the caller has it already.

    Example:
        file = RangedFile(lambda start, stop: data[start:stop], len(data))
        file.seek(10)
        file.read(4)
    """

    BLOCK_BYTES = 64 << 10
    # A failed request is repeated whole, and its answer is in memory beside the blocks.
    MAX_REQUEST_BYTES = 16 << 20

    def __init__(
        self, fetch: Callable[[int, int], bytes], size_bytes: int, head: bytes = b""
    ) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size_bytes
        self._at = 0
        self._blocks: dict[int, bytes] = {}
        if head and len(head) == min(self.BLOCK_BYTES, size_bytes):
            self._blocks[0] = head

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves as `io.IOBase.seek`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Returns the position as `io.IOBase.tell`."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, or as much of it as the file has left.

        Raises:
            OSError: if the file is shorter than its announced size.
        """
        filled = 0
        stop = min(self._at + len(buffer), self._size)
        while self._at < stop:
            number, offset = divmod(self._at, self.BLOCK_BYTES)
            if number not in self._blocks:
                self._fetch_blocks(number, stop)
            part = self._blocks[number][offset : offset + stop - self._at]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            self._at += len(part)
        return filled

    def whole(self) -> bytes:
        """Returns the whole file; blocks that were read before are not fetched again.

        Raises:
            OSError: if the file is shorter than its announced size.
        """
        blocks: list[bytes] = []
        while (block := self._blocks.get(len(blocks))) is not None:
            blocks.append(block)
        head = b"".join(blocks)
        return head if len(head) >= self._size else head + self._range(len(head), self._size)

    def _fetch_blocks(self, first: int, stop: int) -> None:
        """Fetches a missing block, and those after it up to a byte, by one request."""
        start = first * self.BLOCK_BYTES
        last = (min(stop, start + self.MAX_REQUEST_BYTES) - 1) // self.BLOCK_BYTES
        count = 1
        while first + count <= last and first + count not in self._blocks:
            count += 1
        data = self._range(start, min(start + count * self.BLOCK_BYTES, self._size))
        for i in range(count):
            block = data[i * self.BLOCK_BYTES : (i + 1) * self.BLOCK_BYTES]
            self._blocks[first + i] = block

    def _range(self, start: int, stop: int) -> bytes:
        """Fetches bytes; a short answer would make readers ask for the rest for ever."""
        data = self._fetch(start, stop)
        if len(data) != stop - start:
            raise OSError(f"{len(data)} bytes at {start} instead of {stop - start}")
        return data
