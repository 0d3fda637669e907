"""Finds the files of a manifest: one file, those that a pattern names, or a folder of Parquet."""

import re

from pipeline.catalog.manifests.formats import FORMATS
from pipeline.catalog.selection import matches
from pipeline.records import Reason, RunError
from pipeline.redaction import redact
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.routing import list_if_any, list_names

_PACKED = ".gz"
_FOLDER = ".parquet"


def is_prefix(source: str) -> bool:
    """Returns whether `--input` names a prefix or folder of images rather than a manifest."""
    if is_parquet_folder(source):
        return False
    if source.endswith("/"):
        return True
    return locations.scheme_of(source) in ("file", "") and locations.local_path(source).is_dir()


def is_parquet_folder(source: str) -> bool:
    """Returns whether `--input` is a folder of Parquet files, such as `export.parquet/`."""
    if not source.rstrip("/").lower().endswith(_FOLDER):
        return False
    is_local = locations.scheme_of(source) in ("file", "")
    return source.endswith("/") or (is_local and locations.local_path(source).is_dir())


def manifest_format(source: str) -> str:
    """Returns a manifest's format by its suffix; `.gz` after that says that it is packed.

    Raises:
        RunError: if the suffix is none of `FORMATS`.

    Example:
        >>> manifest_format("s3://shop/export/part-*.csv.gz")
        'csv'
    """
    name = source.rstrip("/").lower()
    suffix = name.removesuffix(_PACKED).rpartition(".")[2]
    if suffix not in FORMATS or (suffix == "parquet" and name.endswith(_PACKED)):
        raise RunError(
            f"--input {redact(source)} is neither a manifest "
            f"({', '.join('.' + name for name in FORMATS)}; all but .parquet also with .gz) nor a "
            "prefix ending in / nor a local folder"
        )
    return suffix


def find_files(files: Storage, source: str) -> list[str]:
    """Finds the files of a manifest, in order of their names.

    Args:
        files: where they lie.
        source: a file; a folder of Parquet files; or a pattern with `*` or `?` in the last part,
            unless a file has this very name.

    Raises:
        RunError: if there is none.
    """
    if is_parquet_folder(source):
        return _in_folder(files, source.rstrip("/"), source)
    name = source.rpartition("/")[2]
    wildcard = re.search(r"[*?]", name)
    if wildcard and not _exists(files, source):
        folder = source.removesuffix(name)
        found = sorted(
            item.uri
            for item in list_names(files, folder or ".", name[: wildcard.start()])
            if _is_in(item.uri, folder, name)
        )
        if not found:
            raise RunError(f"--input {redact(source)}: no file's name is like this")
        return found
    is_s3_folder = locations.scheme_of(source) == "s3" and source.lower().endswith(_FOLDER)
    if is_s3_folder and not _exists(files, source):
        return _in_folder(files, source, source)
    return [source]


def _in_folder(files: Storage, folder: str, source: str) -> list[str]:
    """All Parquet files below a folder, without those that Spark or Hive hide."""
    found = [
        item.uri
        for item in list_if_any(files, folder)
        if item.uri.lower().endswith(_FOLDER) and item.uri.rpartition("/")[2][0] not in "._"
    ]
    if not found:
        raise RunError(f"--input {redact(source)}: there is no such file, and no folder of them")
    return sorted(found)


def _is_in(uri: str, folder: str, pattern: str) -> bool:
    """Whether a listed file lies in the folder itself and its name is like the pattern."""
    if locations.scheme_of(uri) == "s3":
        return matches(uri.removeprefix(folder), f"/{pattern}")
    path = locations.local_path(uri)
    parent = locations.local_path(folder or ".").absolute()
    return path.parent == parent and matches(path.name, f"/{pattern}")


def _exists(files: Storage, source: str) -> bool:
    try:
        files.identify(source)
    except StorageError as error:
        return error.reason != Reason.NOT_FOUND
    return True
