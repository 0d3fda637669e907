"""Chooses into how many partitions the catalog is divided: one of them fits a worker's memory."""

import os

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog import manifest
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_ranged

# Entries and results of so many URIs take some ten megabytes.
_URIS = 20_000
_MAX_PARTITIONS = 10_000
# Of a catalog whose size nobody knows: a prefix, the first time.
_UNKNOWN = 64
_LINE_BYTES = 80


def choose_partitions(
    files: Storage, source: str, *, wanted: int | None, known_uris: int | None
) -> int:
    """Returns the number of partitions; a wrong number makes a run slow, never wrong.

    Args:
        files: where the run reads.
        source: `--input`.
        wanted: by the user; None chooses.
        known_uris: of the previous run, if there is one.
    """
    if wanted is not None:
        return wanted
    uris = known_uris or _uris_of_manifest(files, source)
    if uris is None:
        return _UNKNOWN
    return min(1 + uris // _URIS, _MAX_PARTITIONS)


def _uris_of_manifest(files: Storage, source: str) -> int | None:
    """About how many URIs a manifest names; None of a prefix, or of several files."""
    if manifest.is_prefix(source):
        return None
    try:
        with open_ranged(files, source) as file:
            if manifest.manifest_format(source) == "parquet":
                return pq.ParquetFile(file).metadata.num_rows
            return file.seek(0, os.SEEK_END) // _LINE_BYTES
    except (StorageError, pa.ArrowException, OSError):  # reading it will say what is wrong
        return None
