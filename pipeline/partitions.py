"""Chooses into how many partitions the catalog is divided: one of them fits a worker's memory."""

import os

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog import manifest
from pipeline.runs.finished import read_summary
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


def choose_partitions(files: Storage, settings: Settings, previous_run: str | None) -> int:
    """Returns the number of partitions; a wrong number makes a run slow, never wrong.

    Args:
        files: where the run reads.
        settings: of the run.
        previous_run: id of the run whose results are reused; it tells the catalog's size.
    """
    if settings.partitions is not None:
        return settings.partitions
    uris = _previous_uris(files, settings, previous_run) or _uris_of_manifest(files, settings)
    if uris is None:
        return _UNKNOWN
    return min(1 + uris // _URIS, _MAX_PARTITIONS)


def _previous_uris(files: Storage, settings: Settings, previous_run: str | None) -> int | None:
    """URIs of the previous run; None without one."""
    if previous_run is None:
        return None
    summary = read_summary(files, Layout(settings.output, previous_run)) or {}
    return summary.get("uris")


def _uris_of_manifest(files: Storage, settings: Settings) -> int | None:
    """About how many URIs the manifest names; None of a prefix."""
    if manifest.is_prefix(settings.input):
        return None
    try:
        with open_ranged(files, settings.input) as file:
            if manifest.manifest_format(settings.input) == "parquet":
                return pq.ParquetFile(file).metadata.num_rows
            return file.seek(0, os.SEEK_END) // _LINE_BYTES
    except (StorageError, pa.ArrowException, OSError):  # reading it will say what is wrong
        return None
