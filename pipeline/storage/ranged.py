"""Objects as files for readers that seek."""

import contextlib
import io
import tempfile
import time
from typing import BinaryIO

from model.files import RangedFile
from pipeline.records import Reason
from pipeline.storage.base import MIN_BYTES_PER_S, Storage, StorageError
from pipeline.storage.local import local_errors
from pipeline.storage.locations import local_path, scheme_of
from pipeline.storage.temporary import temporary_file_errors

_BLOCK_BYTES = 16 << 20
# An object whose blocks together take longer is given up, however many there are.
_DEADLINE_S = 240.0


def open_file(storage: Storage, uri: str) -> BinaryIO:
    """Copies an object to a temporary local file, for readers that seek.

    Raises:
        StorageError: if it cannot be read, or changes meanwhile.
        RunError: if the temporary file cannot be written.
    """
    with temporary_file_errors():
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        found, at = storage.identify(uri), 0
        while at < found.size_bytes:
            stop = min(at + _BLOCK_BYTES, found.size_bytes)
            data = _exactly(storage.read(uri, at, stop, found.etag), at, stop)
            with temporary_file_errors():
                file.write(data)
            at = stop
        with temporary_file_errors():
            file.seek(0)
    except BaseException:
        with contextlib.suppress(OSError):  # what is left to write has no room either
            file.close()
        raise
    return file


def open_ranged(storage: Storage, uri: str) -> BinaryIO:
    """Opens an object for readers that seek to the few parts which they need.

    Raises:
        StorageError: if it cannot be opened; later reads may raise it too.
    """
    if scheme_of(uri) != "s3":
        with local_errors():
            return local_path(uri).open("rb")
    found = storage.identify(uri)
    return io.BufferedReader(open_object(storage, uri, found.size_bytes, found.etag))


def open_object(storage: Storage, uri: str, size_bytes: int, etag: str | None) -> RangedFile:
    """Opens an object whose size is known as a file that fetches the blocks which are read.

    Its reads raise `StorageError`: `changed` for an object that is not the identified one any
    more or that ends early, `timeout` if it takes minutes.

    Args:
        storage: where it lies.
        uri, etag: of the object; see `Storage.read`.
        size_bytes: of the object.
    """
    spent_s, limit_s = 0.0, _DEADLINE_S + size_bytes / MIN_BYTES_PER_S

    def fetch(start: int, stop: int) -> bytes:
        nonlocal spent_s
        if spent_s > limit_s:
            raise StorageError(Reason.TIMEOUT, f"the object takes longer than {limit_s:.0f} s")
        began = time.monotonic()
        data = storage.read(uri, start, stop, etag)
        spent_s += time.monotonic() - began
        return _exactly(data, start, stop)

    return RangedFile(fetch, size_bytes)


def _exactly(data: bytes, start: int, stop: int) -> bytes:
    """The data of a range; an object that shrank would else be read for ever."""
    if len(data) != stop - start:
        raise StorageError(
            Reason.CHANGED, f"{len(data)} bytes at {start} instead of {stop - start}"
        )
    return data
