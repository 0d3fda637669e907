"""What a report tells of a run's rows: tallies, and samples of a fixed size, however many rows.

Rows are read in batches and without their images. A random sample is the rows with the lowest
of random keys, the best images those with the lowest negative gain, and so on: one mechanism.
"""

import collections
import heapq
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.output import schema
from pipeline.records import Status
from pipeline.row import TIMED_STAGES
from pipeline.runs.reuse import ROW_MARK
from pipeline.storage.base import Storage
from pipeline.storage.ranged import open_ranged

COLUMNS = tuple(name for name in schema.SCHEMA.names if name != "image")
MEASURES = (
    "self_gain_db",
    "roundtrip_psnr_db",
    "sharpness_ratio",
    "background_noise_source",
    "background_noise",
)
MADE = (Status.UPSCALED, Status.FALLBACK)

_BATCH_ROWS = 4096
_VALUES = 20_000
_EXAMPLES = 5
_IMAGES_EACH = 6
# Codes are few; whatever a row says, the page stays small.
_MAX_REASONS = 100
TIMELINE_BINS = 60


@dataclass(frozen=True)
class FoundRow:
    """A row, and the place of its image.

    Attributes:
        columns: by name, without `image`.
        place: what `ImageReader` takes; None for a row without an image.
    """

    columns: dict[str, Any]
    place: str | None


class LowestRows:
    """Keeps the rows with the lowest keys of all that are offered.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # A heap with the highest key first; the count keeps rows from being compared.
        self._heap: list[tuple[float, int, FoundRow]] = []
        self._count = itertools.count()

    def offer(self, keys: np.ndarray, row_at: Callable[[int], FoundRow]) -> None:
        """Offers a batch of rows.

        Args:
            keys: float [N]; nan for a row that does not qualify.
            row_at: makes the row at an index; asked only for rows that are kept for now.
        """
        candidates = np.flatnonzero(~np.isnan(keys))
        candidates = candidates[np.argsort(keys[candidates], kind="stable")][: self._size]
        for index in candidates:
            key = -float(keys[index])
            if len(self._heap) < self._size:
                heapq.heappush(self._heap, (key, next(self._count), row_at(int(index))))
            elif key > self._heap[0][0]:
                heapq.heapreplace(self._heap, (key, next(self._count), row_at(int(index))))
            else:
                return

    def rows(self) -> list[FoundRow]:
        """The kept rows, the lowest key first."""
        return [row for _, _, row in sorted(self._heap, key=lambda kept: -kept[0])]


class SampledValues:
    """A random sample of one column's values.

    Args:
        size: most values to keep; of fewer, all are kept.
    """

    def __init__(self, size: int = _VALUES) -> None:
        self._size = size
        self._keys = np.empty(0)
        self._values = np.empty(0, np.float32)
        self.seen = 0

    def add(self, values: np.ndarray, keys: np.ndarray) -> None:
        """Takes values, float [N], with random keys in 0..1, [N]; nan is left out."""
        there = ~np.isnan(values)
        self.seen += int(there.sum())
        keys = np.concatenate([self._keys, keys[there]])
        values = np.concatenate([self._values, values[there]])
        if len(keys) > self._size:
            kept = np.argpartition(keys, self._size)[: self._size]
            keys, values = keys[kept], values[kept]
        self._keys, self._values = keys, values

    def values(self) -> np.ndarray:
        """The sample, float [n], in no order."""
        return self._values


@dataclass
class Survey:
    """What is known of a run's rows after one pass over them.

    Attributes:
        statuses: whose rows count for measures and images.
        window: start and end of the run, seconds since 1970, for the timeline.
        rows: how many there are.
        counts: of rows by (status, reason).
        examples: a few rows of each (status, reason).
        measures: sampled values of each of `MEASURES`.
        times_ms: sums of `TIMED_STAGES` over the rows made in this run.
        made_at: rows made in this run by time, `TIMELINE_BINS` equal parts of the window.
        source_bytes, image_bytes: sums over the rows made in this run.
        result_pixels: likewise, of what was made.
        best, worst, fallbacks, random: rows for the gallery; best and worst by `self_gain_db`.
    """

    statuses: tuple[Status, ...]
    window: tuple[float, float]
    rows: int = 0
    counts: collections.Counter = field(default_factory=collections.Counter)
    examples: dict[tuple[str, str | None], LowestRows] = field(default_factory=dict)
    measures: dict[str, SampledValues] = field(
        default_factory=lambda: {name: SampledValues() for name in MEASURES}
    )
    times_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMED_STAGES, 0.0))
    made_at: np.ndarray = field(default_factory=lambda: np.zeros(TIMELINE_BINS, np.int64))
    source_bytes: int = 0
    image_bytes: int = 0
    result_pixels: int = 0
    best: LowestRows = field(default_factory=lambda: LowestRows(_IMAGES_EACH))
    worst: LowestRows = field(default_factory=lambda: LowestRows(_IMAGES_EACH))
    fallbacks: LowestRows = field(default_factory=lambda: LowestRows(_IMAGES_EACH))
    random: LowestRows = field(default_factory=lambda: LowestRows(_IMAGES_EACH))


def read_batches(
    files: Storage, parts: Iterable[str], columns: Iterable[str]
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """Yields (part, number of the first row, batch) over Parquet files, by ranged requests.

    Columns that an older file does not have come as nulls.
    """
    wanted = list(columns)
    for part in parts:
        first = 0
        with open_ranged(files, part) as file:
            table = pq.ParquetFile(file)
            there = [name for name in wanted if name in table.schema_arrow.names]
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=there):
                yield part, first, _completed(batch, wanted)
                first += batch.num_rows


def _completed(batch: pa.RecordBatch, columns: list[str]) -> pa.RecordBatch:
    arrays = [
        batch[name]
        if name in batch.schema.names
        else pa.nulls(batch.num_rows, schema.SCHEMA.field(name).type)
        for name in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=columns)


def survey(
    files: Storage,
    parts: Iterable[str],
    *,
    statuses: Iterable[Status],
    window: tuple[float, float],
    seed: str,
) -> Survey:
    """Reads a run's rows once.

    Args:
        files: where they lie.
        parts: its Parquet files.
        statuses: whose rows count for measures and images.
        window: start and end of the run, seconds since 1970.
        seed: the same seed and rows, the same samples.

    Returns:
        See `Survey`. Memory does not depend on the number of rows.
    """
    found = Survey(tuple(statuses), window)
    generator = np.random.default_rng(zlib.crc32(seed.encode()))
    for part, first, batch in read_batches(files, parts, COLUMNS):
        _add(found, batch, part, first, generator.random(batch.num_rows))
    return found


def _add(found: Survey, batch: pa.RecordBatch, part: str, first: int, random: np.ndarray) -> None:
    """Adds a batch; `random` is a number in 0..1 for each of its rows."""
    status = np.asarray(batch["status"].to_pylist(), dtype=object)
    reason = np.asarray(batch["reason"].to_pylist(), dtype=object)
    counted = np.isin(status, [str(one) for one in found.statuses])
    made = np.isin(status, [str(one) for one in MADE])

    def row_at(index: int) -> FoundRow:
        return found_row(batch, index, part, first)

    found.rows += batch.num_rows
    kinds = collections.Counter(zip(status, reason, strict=True))
    found.counts += kinds
    for kind in kinds:
        if kind not in found.examples and len(found.examples) >= _MAX_REASONS:
            continue
        chosen = (status == kind[0]) & (reason == kind[1])
        keeper = found.examples.setdefault(kind, LowestRows(_EXAMPLES))
        keeper.offer(np.where(chosen, random, np.nan), row_at)
    for name, sample in found.measures.items():
        values = _floats(batch[name])
        sample.add(values[counted], random[counted])
    for name in TIMED_STAGES:
        found.times_ms[name] += float(np.nansum(_floats(batch[name])[made]))
    found.source_bytes += int(np.nansum(_floats(batch["source_bytes"])[made]))
    found.image_bytes += int(np.nansum(_floats(batch["image_bytes"])[made]))
    pixels = _floats(batch["height"]) * _floats(batch["width"])
    found.result_pixels += int(np.nansum(pixels[made]))
    at_s = pc.cast(batch["processed_at"], pa.int64()).to_numpy(zero_copy_only=False) / 1e6
    found.made_at += np.histogram(at_s[made], TIMELINE_BINS, found.window)[0]
    gain = _floats(batch["self_gain_db"])
    is_fallback = counted & np.asarray([str(one).startswith("gate:") for one in reason])
    upscaled = counted & ~is_fallback
    found.best.offer(np.where(upscaled, -gain, np.nan), row_at)
    found.worst.offer(np.where(upscaled, gain, np.nan), row_at)
    found.random.offer(np.where(upscaled, random, np.nan), row_at)
    found.fallbacks.offer(np.where(is_fallback, random, np.nan), row_at)


def found_row(batch: pa.RecordBatch, index: int, part: str, first: int) -> FoundRow:
    """A row of a batch of `read_batches` over `COLUMNS`, with its image's place."""
    columns = batch.slice(index, 1).to_pylist()[0]
    place = columns["image_uri"]
    if place is None and columns["image_bytes"] is not None:
        place = f"{part}{ROW_MARK}{first + index}"
    return FoundRow(columns, place)


def _floats(column: pa.Array) -> np.ndarray:
    """float64 [N], nan for null."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
