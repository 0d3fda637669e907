"""Counts a run's rows in the files that were written, part by part, in bounded memory."""

import collections
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import columns
from pipeline.output import schema
from pipeline.output.percentiles import Sketch
from pipeline.row.parts import TIMED_STAGES
from pipeline.runs import reader
from pipeline.storage.base import Storage

# In the order of the summary.
MEASURED = (
    "roundtrip_psnr_db",
    "self_psnr_db",
    "self_bicubic_psnr_db",
    "self_gain_db",
    "reference_psnr_db",
    "reference_bicubic_psnr_db",
    *TIMED_STAGES,
)
_BATCH_ROWS = 1 << 16
URIS = pa.schema([schema.SCHEMA.field("uri")])


class RowCounts:
    """Counts of rows.

    Attributes:
        rows: all of them.
        by_status, by_reason: how many rows have each.
        with_sharpening: how many rows have a number of their own for it.
        measured: values of each column of `MEASURED`.

    Example:
        counts = RowCounts()
        uris = list(count_part(files, part, counts))
        counts.by_status["upscaled"]
    """

    def __init__(self) -> None:
        self.rows = 0
        self.by_status: collections.Counter[str] = collections.Counter()
        self.by_reason: collections.Counter[str] = collections.Counter()
        self.with_sharpening = 0
        self.measured = {name: Sketch() for name in MEASURED}

    def add(self, batch: pa.RecordBatch) -> None:
        """Counts a batch with the columns status, reason, source_sharpening and `MEASURED`."""
        self.rows += batch.num_rows
        self.with_sharpening += batch.num_rows - batch["source_sharpening"].null_count
        self.by_status.update(tally(batch["status"]))
        self.by_reason.update(tally(batch["reason"]))
        for name, sketch in self.measured.items():
            values = batch[name].drop_null()
            if len(values):
                sketch.add(values.to_numpy())


def tally(values: pa.Array) -> dict[str, int]:
    """How often each string occurs; nulls do not count."""
    return {
        one["values"]: one["counts"] for one in pc.value_counts(values.drop_null()).to_pylist()
    }


def add_counts(parts: Iterable[RowCounts]) -> RowCounts:
    """Adds up counts."""
    parts, total = list(parts), RowCounts()
    for part in parts:
        total.rows += part.rows
        total.with_sharpening += part.with_sharpening
        total.by_status.update(part.by_status)
        total.by_reason.update(part.by_reason)
    for name, sketch in total.measured.items():
        sketch.add_all(part.measured[name] for part in parts)
    return total


def count_part(files: Storage, part: str, counts: RowCounts) -> Iterator[pa.RecordBatch]:
    """Counts the rows of a file.

    Args:
        files: storage of the file.
        part: its URI.
        counts: get the rows.

    Yields:
        Their URIs, batches of `URIS`.
    """
    names = ["uri", "status", "reason", "source_sharpening", *MEASURED]
    for *_, batch in reader.read_batches(files, [part], names, batch_rows=_BATCH_ROWS):
        counts.add(batch)
        yield batch.select(["uri"])


def read_uris(files: Storage, part: str) -> Iterator[pa.RecordBatch]:
    """Reads the URIs of a file, batches of `URIS`.

    Raises:
        UnreadableRowsError: if it is no complete file of rows.
    """
    for *_, batch in reader.read_batches(files, [part], ["uri"], batch_rows=_BATCH_ROWS):
        yield batch


class UriCounts(NamedTuple):
    """Counts of URIs.

    Attributes:
        distinct: different ones in this run's rows.
        disappeared: rows of the previous run whose URI this run does not have.

    Example:
        >>> UriCounts(distinct=4, disappeared=0).distinct
        4
    """

    distinct: int
    disappeared: int


def compare_uris(now: Iterable[bytes], before: Iterable[bytes]) -> UriCounts:
    """Compares the URIs of this run with those of the previous one, of one partition.

    Args:
        now, before: packed batches of `URIS`.
    """
    uris = columns.unpack(now, URIS)["uri"].unique()
    previous = columns.unpack(before, URIS)["uri"]
    still_there = pc.sum(pc.is_in(previous, uris)).as_py() or 0
    return UriCounts(len(uris), len(previous) - still_there)


def add_uri_counts(parts: Iterable[UriCounts]) -> UriCounts:
    """Adds up counts of partitions."""
    return UriCounts(*(sum(one) for one in zip(UriCounts(0, 0), *parts, strict=True)))
