"""Aggregates a run's rows in one pass with bounded memory: counts, sums and samples.

Rows are read in batches and without their images. `SmallestKeyRows` takes every sample: a random
one by random keys, the best images by the negative gain, the worst by the gain.
"""

import collections
import heapq
import itertools
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output import schema
from pipeline.records import Status
from pipeline.row.parts import TIMED_STAGES
from pipeline.runs.reader import absolute_pointer, image_pointer, read_batches
from pipeline.storage.base import Storage

COLUMNS = tuple(name for name in schema.SCHEMA.names if name != "image")
MEASURES = (
    "self_gain_db",
    "roundtrip_psnr_db",
    "sharpness_ratio",
    "background_noise_source",
    "background_noise",
)
# Statuses of rows whose image this run published.
PUBLISHED = (Status.UPSCALED, Status.FALLBACK)

MAX_VALUES = 20_000
_EXAMPLES_PER_REASON = 5
_IMAGES_PER_SECTION = 6
# There are few codes; the report stays small whatever a row holds.
_MAX_REASONS = 100
TIMELINE_BINS = 60


@dataclass(frozen=True)
class LocatedRow:
    """A row without its image, and where the image is.

    Attributes:
        columns: values by column, without `image`.
        image_uri: absolute, for `ImageReader`; None for a row without an image.

    Example:
        row = LocatedRow({"uri": "s3://shop/a.jpg"}, "s3://shop/out/rows/part-0.parquet#row=7")
        data = ImageReader(files).read(row.image_uri)
    """

    columns: dict[str, Any]
    image_uri: str | None


class SmallestKeyRows:
    """Keeps the rows with the smallest keys of all that are offered.

    Args:
        size: number of rows to keep.

    Example:
        worst = SmallestKeyRows(6)
        for batch in batches:
            worst.offer(gains(batch), lambda index: located_row(batch, index, part, first))
        worst.rows()
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # A heap with the largest key first; the count keeps rows from being compared.
        self._heap: list[tuple[float, int, LocatedRow]] = []
        self._count = itertools.count()

    def offer(self, keys: np.ndarray, row_at: Callable[[int], LocatedRow]) -> None:
        """Offers a batch of rows.

        Args:
            keys: float [N]; nan for a row that does not qualify.
            row_at: returns the row at an index; called only for rows that are kept for now.
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

    def rows(self) -> list[LocatedRow]:
        """Returns the kept rows, the smallest key first."""
        return [row for _, _, row in sorted(self._heap, key=lambda kept: -kept[0])]


class ValueSample:
    """Keeps a random sample of one column's values.

    Args:
        size: maximum number of values; of fewer, all are kept.

    Example:
        gains = ValueSample()
        gains.add(values, random_keys)
        numpy.median(gains.values())
    """

    def __init__(self, size: int = MAX_VALUES) -> None:
        self._size = size
        self._keys = np.empty(0)
        self._values = np.empty(0, np.float32)
        self.seen = 0

    def add(self, values: np.ndarray, keys: np.ndarray) -> None:
        """Adds values, float [N], with random keys in 0..1, float [N]; nan values are ignored."""
        valid = ~np.isnan(values)
        self.seen += int(valid.sum())
        keys = np.concatenate([self._keys, keys[valid]])
        values = np.concatenate([self._values, values[valid]])
        if len(keys) > self._size:
            kept = np.argpartition(keys, self._size)[: self._size]
            keys, values = keys[kept], values[kept]
        self._keys, self._values = keys, values

    def values(self) -> np.ndarray:
        """Returns the sample, float [n], in no particular order."""
        return self._values


def _section() -> SmallestKeyRows:
    """Keeps the rows of one section of the gallery."""
    return SmallestKeyRows(_IMAGES_PER_SECTION)


@dataclass
class RunAggregate:
    """Counts, sums and samples of a run's rows after one pass.

    Attributes:
        statuses: statuses whose rows count for measures and images.
        window: start and end of the run, seconds since 1970, for the timeline.
        rows: number of rows.
        counts: rows by (status, reason).
        examples: a few rows of each (status, reason).
        measures: sampled values of each of `MEASURES`.
        times_ms: sums of `TIMED_STAGES` over the rows that this run published.
        published_at: published rows by time, in `TIMELINE_BINS` equal parts of the window.
        source_bytes, image_bytes: sums over the published rows.
        result_pixels: sum of height times width over the published rows.
        best, worst, fallbacks, random: rows for the gallery; best and worst by `self_gain_db`.

    Example:
        found = aggregate(files, parts, statuses=PUBLISHED, window=(start_s, end_s), seed="night1")
        found.counts[Status.FAILED, "not_found"]
    """

    statuses: tuple[Status, ...]
    window: tuple[float, float]
    rows: int = 0
    counts: collections.Counter = field(default_factory=collections.Counter)
    examples: dict[tuple[str, str | None], SmallestKeyRows] = field(default_factory=dict)
    measures: dict[str, ValueSample] = field(
        default_factory=lambda: {name: ValueSample() for name in MEASURES}
    )
    times_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMED_STAGES, 0.0))
    published_at: np.ndarray = field(default_factory=lambda: np.zeros(TIMELINE_BINS, np.int64))
    source_bytes: int = 0
    image_bytes: int = 0
    result_pixels: int = 0
    best: SmallestKeyRows = field(default_factory=_section)
    worst: SmallestKeyRows = field(default_factory=_section)
    fallbacks: SmallestKeyRows = field(default_factory=_section)
    random: SmallestKeyRows = field(default_factory=_section)


def aggregate(
    files: Storage,
    parts: Iterable[str],
    *,
    statuses: Iterable[Status],
    window: tuple[float, float],
    seed: str,
) -> RunAggregate:
    """Reads a run's rows once and aggregates them.

    Args:
        files: storage of the run.
        parts: URIs of its Parquet files.
        statuses: statuses whose rows count for measures and images.
        window: start and end of the run, seconds since 1970.
        seed: the same seed and rows give the same samples.

    Returns:
        The aggregate. Memory does not depend on the number of rows.

    Raises:
        RunError: if a file cannot be read.
    """
    found = RunAggregate(tuple(statuses), window)
    generator = np.random.default_rng(zlib.crc32(seed.encode()))
    for part, first, batch in read_batches(files, parts, COLUMNS):
        _add(found, batch, part, first, generator.random(batch.num_rows))
    return found


def _add(
    found: RunAggregate, batch: pa.RecordBatch, part: str, first: int, random: np.ndarray
) -> None:
    """Adds a batch; `random` holds a number in 0..1 for each of its rows."""
    status = np.asarray(batch["status"].to_pylist(), dtype=object)
    reason = np.asarray(batch["reason"].to_pylist(), dtype=object)
    counted = np.isin(status, [str(one) for one in found.statuses])

    def row_at(index: int) -> LocatedRow:
        return located_row(batch, index, part, first)

    found.rows += batch.num_rows
    _count(found, status, reason, random, row_at)
    for name, sample in found.measures.items():
        values = to_floats(batch[name])
        sample.add(values[counted], random[counted])
    _add_sums(found, batch, np.isin(status, [str(one) for one in PUBLISHED]))
    gain = to_floats(batch["self_gain_db"])
    is_fallback = counted & np.asarray([str(one).startswith("gate:") for one in reason])
    upscaled = counted & ~is_fallback
    found.best.offer(np.where(upscaled, -gain, np.nan), row_at)
    found.worst.offer(np.where(upscaled, gain, np.nan), row_at)
    found.random.offer(np.where(upscaled, random, np.nan), row_at)
    found.fallbacks.offer(np.where(is_fallback, random, np.nan), row_at)


def _count(
    found: RunAggregate,
    status: np.ndarray,
    reason: np.ndarray,
    random: np.ndarray,
    row_at: Callable[[int], LocatedRow],
) -> None:
    """Counts a batch's rows by status and reason, and samples examples of each."""
    kinds = collections.Counter(zip(status, reason, strict=True))
    found.counts += kinds
    for kind in kinds:
        if kind not in found.examples and len(found.examples) >= _MAX_REASONS:
            continue
        chosen = (status == kind[0]) & (reason == kind[1])
        examples = found.examples.setdefault(kind, SmallestKeyRows(_EXAMPLES_PER_REASON))
        examples.offer(np.where(chosen, random, np.nan), row_at)


def _add_sums(found: RunAggregate, batch: pa.RecordBatch, published: np.ndarray) -> None:
    """Adds times, sizes and the timeline of a batch's published rows, bool [N]."""

    def total(values: np.ndarray) -> float:
        return float(np.nansum(values[published]))

    for name in TIMED_STAGES:
        found.times_ms[name] += total(to_floats(batch[name]))
    found.source_bytes += int(total(to_floats(batch["source_bytes"])))
    found.image_bytes += int(total(to_floats(batch["image_bytes"])))
    found.result_pixels += int(total(to_floats(batch["height"]) * to_floats(batch["width"])))
    at_s = pc.cast(batch["processed_at"], pa.int64()).to_numpy(zero_copy_only=False) / 1e6
    found.published_at += np.histogram(at_s[published], TIMELINE_BINS, found.window)[0]


def located_row(batch: pa.RecordBatch, index: int, part: str, first: int) -> LocatedRow:
    """Returns a row of a batch that `read_batches` read over `COLUMNS`.

    Args:
        batch: of `read_batches`.
        index: of the row in the batch.
        part: URI of the batch's Parquet file.
        first: number of the batch's first row in the file.
    """
    columns = batch.slice(index, 1).to_pylist()[0]
    image_uri = columns["image_uri"]
    if image_uri is not None:
        image_uri = absolute_pointer(part, image_uri)
    elif columns["image_bytes"] is not None:
        image_uri = image_pointer(part, first + index)
    return LocatedRow(columns, image_uri)


def to_floats(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Converts a column of numbers to float64 [N], nan for null."""
    floats = column.cast(pa.float64())
    if isinstance(floats, pa.ChunkedArray):
        return floats.to_numpy()
    return floats.to_numpy(zero_copy_only=False)
