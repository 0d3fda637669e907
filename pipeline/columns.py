"""Arrow batches that cross shuffles: packed into few bytes, split by a stable hash of a column.

A million URIs cross as some thousand packed batches, not as a million Python objects.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

# Hexadecimal digits, of which ETags and keys consist, need an entropy coder: LZ4 has none.
_CODEC = pa.Codec("zstd", compression_level=1)
_SIZE = struct.Struct("<q")
# Rows that are split together: pieces of a few rows would be mostly headers.
_MIN_ROWS_TOGETHER = 1 << 16
_MAX_ROWS_TOGETHER = 1 << 20
_ROWS_A_PIECE = 256


def pack(batch: pa.RecordBatch) -> bytes:
    """Packs a batch without its schema.

    Example:
        >>> batch = pa.record_batch({"uri": ["s3://shop/a.jpg"]})
        >>> unpack([pack(batch)], batch.schema).equals(batch)
        True
    """
    message = batch.serialize()
    return _SIZE.pack(message.size) + _CODEC.compress(message, asbytes=True)


def unpack(packed: Iterable[bytes], schema: pa.Schema) -> pa.RecordBatch:
    """Joins packed batches to one.

    Args:
        packed: results of `pack`; any number.
        schema: of all of them.
    """
    batches = [pa.ipc.read_record_batch(_message(one), schema) for one in packed]
    return concat(batches, schema)


def concat(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """Joins batches of one schema; none give an empty batch."""
    if not batches:
        return pa.RecordBatch.from_pylist([], schema)
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _message(packed: bytes) -> pa.Buffer:
    (size,) = _SIZE.unpack_from(packed)
    return _CODEC.decompress(memoryview(packed)[_SIZE.size :], size)


def split(
    batches: Iterable[pa.RecordBatch],
    key_of: Callable[[pa.RecordBatch], pa.Array],
    partitions: int,
) -> Iterator[tuple[int, bytes]]:
    """Splits rows by a hash of their keys: equal keys come into the same partition.

    Args:
        batches: of one schema.
        key_of: gives the strings whose hash decides, none of them null.
        partitions: their number.

    Yields:
        (partition, packed batch), several for a partition of many rows.
    """
    together = min(max(_ROWS_A_PIECE * partitions, _MIN_ROWS_TOGETHER), _MAX_ROWS_TOGETHER)
    waiting: list[pa.RecordBatch] = []
    for batch in filter(len, batches):
        waiting.append(batch)
        if sum(one.num_rows for one in waiting) >= together:
            yield from _split(concat(waiting, batch.schema), key_of, partitions)
            waiting = []
    if waiting:
        yield from _split(concat(waiting, waiting[0].schema), key_of, partitions)


def _split(
    batch: pa.RecordBatch, key_of: Callable[[pa.RecordBatch], pa.Array], partitions: int
) -> Iterator[tuple[int, bytes]]:
    where = partition_of(key_of(batch), partitions)
    order = np.argsort(where, kind="stable")
    batch = batch.take(pa.array(order))
    starts = np.flatnonzero(np.diff(where[order], prepend=-1))
    stops = np.append(starts[1:], len(order))
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        yield int(where[order[start]]), pack(batch.slice(start, stop - start))


def partition_of(keys: pa.Array, partitions: int) -> np.ndarray:
    """Partition of each key, int64 [rows]: the same on every machine and in every run.

    Args:
        keys: strings, none of them null.
        partitions: their number.
    """
    texts = keys.cast(pa.binary()).to_pylist()
    hashes = np.fromiter(map(zlib.crc32, texts), np.int64, len(texts))
    return hashes % partitions


def uri_of(batch: pa.RecordBatch) -> pa.Array:
    """The URIs of a batch: keys for `split`."""
    return batch["uri"]
