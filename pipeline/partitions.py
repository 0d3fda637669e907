"""Chooses into how many partitions the catalog is divided: one of them fits a worker's memory."""

import os

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog.manifests.files import find_files, is_prefix, manifest_format
from pipeline.records import RunError
from pipeline.runs.finished import PreviousRuns, read_summary
from pipeline.runs.layout import Layout
from pipeline.settings import Settings
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_ranged

# Entries and results of so many URIs take some ten megabytes.
_URIS = 20_000
_MAX_PARTITIONS = 10_000
# Of a catalog whose size nobody knows: a prefix, the first time.
_UNKNOWN = 64
_LINE_BYTES = 80
# Times the size of a packed manifest.
_UNPACKED = 10


def choose_partitions(files: Storage, settings: Settings, previous: PreviousRuns | None) -> int:
    """Returns the number of partitions; a wrong number makes a run slow, never wrong.

    Args:
        files: where the run reads.
        settings: of the run.
        previous: the run whose results are reused; it tells the catalog's size, unless it saw
            less of it than this run.
    """
    if settings.partitions is not None:
        return settings.partitions
    uris = _previous_uris(files, settings, previous) or _uris_of_manifest(files, settings)
    if uris is None:
        return _UNKNOWN
    return min(1 + uris // _URIS, _MAX_PARTITIONS)


def _previous_uris(
    files: Storage, settings: Settings, previous: PreviousRuns | None
) -> int | None:
    """URIs of the previous run; None without one that saw as much."""
    if previous is None or not previous.selection.covers(settings.selection):
        return None
    summary = read_summary(files, Layout(settings.output, previous.run_id)) or {}
    return summary.get("uris")


def _uris_of_manifest(files: Storage, settings: Settings) -> int | None:
    """About how many URIs the manifest names; None of a prefix."""
    if is_prefix(settings.input):
        return None
    try:
        return sum(_uris_of_file(files, part) for part in find_files(files, settings.input))
    except (StorageError, RunError, pa.ArrowException, OSError):
        return None  # reading it will say what is wrong


def _uris_of_file(files: Storage, part: str) -> int:
    """About how many URIs one file of a manifest names."""
    with open_ranged(files, part) as file:
        if manifest_format(part) == "parquet":
            return pq.ParquetFile(file).metadata.num_rows
        unpacked = _UNPACKED if part.lower().endswith(".gz") else 1
        return file.seek(0, os.SEEK_END) * unpacked // _LINE_BYTES
