"""Objects as files for readers that seek."""

import functools
import io
import tempfile
from typing import Any, BinaryIO

from pipeline.storage.base import Storage
from pipeline.storage.local import local_errors
from pipeline.storage.locations import local_path, scheme_of


def open_file(storage: Storage, uri: str) -> BinaryIO:
    """Copies an object to a temporary local file, for readers that seek."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    size, at, block = storage.identify(uri).size_bytes, 0, 16 << 20
    while at < size:
        data = storage.read(uri, at, min(at + block, size))
        file.write(data)
        at += len(data)
    file.seek(0)
    return file


def open_ranged(storage: Storage, uri: str) -> BinaryIO:
    """Opens an object for readers that seek to the few parts which they need."""
    if scheme_of(uri) != "s3":
        with local_errors():
            return local_path(uri).open("rb")
    found = storage.identify(uri)
    return io.BufferedReader(RangedFile(storage, uri, found.size_bytes, found.etag))


class RangedFile(io.RawIOBase):
    """A stored object as a seekable file that fetches only the blocks which are read.

    Pillow reads an image's header through it: one block of 64 KB for nearly all files, and most
    small images are whole by then.

    Args:
        storage, uri, etag: what to read; see `Storage.read`.
        size_bytes: of the object.
    """

    BLOCK_BYTES = 64 << 10

    def __init__(self, storage: Storage, uri: str, size_bytes: int, etag: str | None) -> None:
        super().__init__()
        self._read_range = functools.partial(storage.read, uri, etag=etag)
        self._size = size_bytes
        self._at = 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `io.IOBase.seek`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """As `io.IOBase.tell`."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, or as much of it as the object has left."""
        filled = 0
        while filled < len(buffer) and self._at < self._size:
            number, offset = divmod(self._at, self.BLOCK_BYTES)
            part = self._block(number)[offset : offset + len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            self._at += len(part)
        return filled

    def whole(self) -> bytes:
        """Returns the whole object; what was read before is not fetched again."""
        head = b""
        while (number := len(head) // self.BLOCK_BYTES) in self._blocks:
            head += self._blocks[number]
            if len(head) % self.BLOCK_BYTES:
                break
        if len(head) >= self._size:
            return head
        return head + self._read_range(start=len(head), stop=self._size)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * self.BLOCK_BYTES
            stop = min(start + self.BLOCK_BYTES, self._size)
            self._blocks[number] = self._read_range(start=start, stop=stop)
        return self._blocks[number]
