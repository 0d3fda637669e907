"""The storage of one run: each URI goes to the storage of its scheme."""

import functools
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.base import ListedPage, Storage, StorageConfig, StoredObject
from pipeline.storage.local import LocalStorage
from pipeline.storage.locations import local_path, scheme_of


def open_storage(config: StorageConfig) -> Storage:
    """Returns the storage that serves s3:// and local URIs of one run.

    Example:
        open_storage(StorageConfig()).read("/data/manifest.csv")
    """
    return _AnyStorage(config)


def list_if_any(storage: Storage, folder: str) -> Iterator[StoredObject]:
    """Lists all objects below a folder; none where a local one does not exist."""
    if scheme_of(folder) == "s3" or local_path(folder).is_dir():
        yield from storage.list(f"{folder.rstrip('/')}/")


def list_names(storage: Storage, folder: str, start: str) -> Iterator[StoredObject]:
    """Lists a folder's objects whose names begin with a text, and some others.

    S3 lists the keys of subfolders that begin so, too; a local folder lists all its files, and
    none of its subfolders. None where a local folder does not exist.

    Args:
        storage: where it lies.
        folder: its URI or path; on S3 it ends in `/`.
        start: of the names; empty for all.
    """
    if scheme_of(folder) == "s3":
        yield from storage.list(f"{folder}{start}")
    elif local_path(folder).is_dir():
        yield from LocalStorage().list(folder, deep=False)


class _AnyStorage:
    """Sends each call to the storage of its URI's scheme; loads boto3 for S3 only."""

    def __init__(self, config: StorageConfig) -> None:
        self._config = config
        self._local = LocalStorage()

    @functools.cached_property
    def _s3(self) -> Storage:
        from pipeline.storage.s3 import S3Storage  # noqa: PLC0415 - boto3 takes 0.3 s

        return S3Storage(self._config)

    def _of(self, uri: str) -> Storage:
        return self._s3 if scheme_of(uri) == "s3" else self._local

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        return self._of(prefix).list(prefix, after)

    def list_pages(self, prefix: str, after: str = "") -> Iterator[ListedPage]:
        return self._of(prefix).list_pages(prefix, after)

    def identify(self, uri: str) -> StoredObject:
        return self._of(uri).identify(uri)

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        return self._of(uri).read(uri, start, stop, etag)

    def write(self, uri: str, data: bytes) -> None:
        self._of(uri).write(uri, data)

    def write_file(self, uri: str, path: Path) -> None:
        self._of(uri).write_file(uri, path)

    def create(self, uri: str, data: bytes) -> bool:
        return self._of(uri).create(uri, data)

    def honours_conditions(self, folder: str) -> bool:
        return self._of(folder).honours_conditions(folder)

    def move(self, source: str, target: str) -> None:
        self._of(source).move(source, target)

    def delete(self, uri: str) -> None:
        self._of(uri).delete(uri)
