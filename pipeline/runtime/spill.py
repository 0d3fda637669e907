"""Keeps what crosses shuffles of Beam's local runner on disk; references cross instead.

The local runner holds all shuffled data in memory, several times while it hands it on. A file of
this machine holds them once, and no memory.
"""

import functools
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from pipeline import columns
from pipeline.settings import RunPlan
from pipeline.storage.temporary import temporary_file_errors

# No packed batch begins like this: they begin with a size.
_MARK = b"\xff" * 8
_PLACE = struct.Struct("<qq")


def split(
    batches: Iterable[pa.RecordBatch], key_of: Callable[[pa.RecordBatch], pa.Array], plan: RunPlan
) -> Iterator[tuple[int, bytes]]:
    """Splits rows for a shuffle of a run: see `columns.split`, then `write`."""
    return write(columns.split(batches, key_of, plan.partitions), plan.spill_folder)


def unpack(pieces: Iterable[bytes], schema: pa.Schema) -> pa.RecordBatch:
    """Joins what a shuffle brought together: see `read`, then `columns.unpack`."""
    return columns.unpack(read(pieces), schema)


def write(pieces: Iterable[tuple[int, bytes]], folder: str | None) -> Iterator[tuple[int, bytes]]:
    """Writes packed batches to a file of this process.

    Args:
        pieces: results of `columns.split`.
        folder: on this machine; None keeps the pieces as they are, for runners whose workers
            have no folder in common.

    Yields:
        The same partitions, each with a reference for `read`.

    Raises:
        RunError: if the file cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [(partition, reference)] = write([(3, b"packed")], folder)
        ...     partition, list(read([reference, b"packed too"]))
        (3, [b'packed', b'packed too'])
    """
    for partition, packed in pieces:
        yield partition, packed if folder is None else _file(folder, os.getpid()).append(packed)


def read(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yields packed batches, those of references from their files."""
    for piece in pieces:
        yield _fetch(piece) if piece.startswith(_MARK) else piece


def _fetch(reference: bytes) -> bytes:
    start, size_bytes = _PLACE.unpack_from(reference, len(_MARK))
    with Path(os.fsdecode(reference[len(_MARK) + _PLACE.size :])).open("rb") as file:
        file.seek(start)
        return file.read(size_bytes)


class _SpillFile:
    """A file to which the threads of a process append."""

    def __init__(self, folder: str) -> None:
        with temporary_file_errors():
            # Not closed here: it is open as long as the process may append.
            self._file = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115
        self._end = 0
        self._lock = threading.Lock()

    def append(self, data: bytes) -> bytes:
        """Returns the reference."""
        with self._lock, temporary_file_errors():
            self._file.write(data)
            self._file.flush()
            start, self._end = self._end, self._end + len(data)
        return _MARK + _PLACE.pack(start, len(data)) + os.fsencode(self._file.name)


@functools.lru_cache(maxsize=4)
def _file(folder: str, _process: int) -> _SpillFile:
    """One for each run and process, also for one that was forked."""
    return _SpillFile(folder)
