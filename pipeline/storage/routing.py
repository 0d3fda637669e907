"""The storage of one run: each URI goes to the storage of its scheme."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.base import Storage, StorageConfig, StoredObject
from pipeline.storage.local import LocalStorage
from pipeline.storage.locations import local_path, scheme_of
from pipeline.storage.s3 import S3Storage


def open_storage(config: StorageConfig) -> Storage:
    """Returns the storage that serves s3:// and local URIs of one run."""
    return _AnyStorage({"s3": S3Storage(config), "file": LocalStorage(), "": LocalStorage()})


def list_if_any(storage: Storage, folder: str) -> list[str]:
    """URIs of all objects below a folder; none where a local folder does not exist yet."""
    if scheme_of(folder) != "s3" and not local_path(folder).is_dir():
        return []
    return [item.uri for item in storage.list(f"{folder.rstrip('/')}/")]


class _AnyStorage:
    """Sends each call to the storage of its URI's scheme."""

    def __init__(self, by_scheme: dict[str, Storage]) -> None:
        self._by_scheme = by_scheme

    def _of(self, uri: str) -> Storage:
        return self._by_scheme[scheme_of(uri)]

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        return self._of(prefix).list(prefix, after)

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

    def move(self, source: str, target: str) -> None:
        self._of(source).move(source, target)

    def delete(self, uri: str) -> None:
        self._of(uri).delete(uri)
