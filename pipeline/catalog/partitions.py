"""Chooses into how many partitions the catalog is divided: one of them fits a worker's memory."""

import os

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog.manifests.files import find_files, is_prefix, manifest_format
from pipeline.records import RunError
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


def choose_partitions(
    files: Storage, source: str, *, wanted: int | None, known_uris: int | None
) -> int:
    """Returns the number of partitions; a wrong number makes a run slow, never wrong.

    Args:
        files: where the run reads.
        source: `--input`.
        wanted: by the user; None chooses.
        known_uris: of the previous run, if there is one. A manifest may have grown since.
    """
    if wanted is not None:
        return wanted
    sizes = [known_uris, _uris_of_manifest(files, source)]
    known = [uris for uris in sizes if uris is not None]
    if not known:
        return _UNKNOWN
    return min(1 + max(known) // _URIS, _MAX_PARTITIONS)


def _uris_of_manifest(files: Storage, source: str) -> int | None:
    """About how many URIs a manifest names; None of a prefix."""
    if is_prefix(source):
        return None
    try:
        return sum(_uris_of_file(files, part) for part in find_files(files, source))
    except (StorageError, RunError, pa.ArrowException, OSError):
        return None  # reading it will say what is wrong


def _uris_of_file(files: Storage, part: str) -> int:
    """About how many URIs one file of a manifest names."""
    with open_ranged(files, part) as file:
        if manifest_format(part) == "parquet":
            return pq.ParquetFile(file).metadata.num_rows
        unpacked = _UNPACKED if part.lower().endswith(".gz") else 1
        return file.seek(0, os.SEEK_END) * unpacked // _LINE_BYTES
