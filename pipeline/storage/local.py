"""Files of this machine."""

import contextlib
import datetime
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from pipeline.records import Reason, RunError
from pipeline.storage.base import StorageError, StoredObject
from pipeline.storage.locations import local_path

_MAX_DIGEST_BYTES = 1 << 30


class LocalStorage:
    """Files of this machine, named by absolute paths or file:// URIs."""

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Every file below a folder, in order of paths; their etags are left for `identify`."""
        folder = local_path(prefix)
        if not folder.is_dir():
            raise RunError(f"no such folder: {folder}")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            found = path.stat()
            yield StoredObject(path.absolute().as_uri(), None, found.st_size, _utc(found.st_mtime))

    def identify(self, uri: str) -> StoredObject:
        """The etag is a BLAKE2 digest of the content: times and names may lie.

        Beyond a gibibyte, which no image of this job has, of size and time all the same.
        """
        with local_errors():
            path = local_path(uri)
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # a pipe would block, a device never end
                raise StorageError(Reason.NOT_FOUND, "not a regular file")
            digest = hashlib.blake2b(digest_size=16)
            if found.st_size > _MAX_DIGEST_BYTES:
                digest.update(f"{found.st_size} {found.st_mtime_ns}".encode())
            else:
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
        return StoredObject(uri, digest.hexdigest(), found.st_size, _utc(found.st_mtime))

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """See `Storage.read`; a local file's etag is not checked again."""
        with local_errors(), local_path(uri).open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)

    def write(self, uri: str, data: bytes) -> None:
        """See `Storage.write`."""
        with _appearing(local_path(uri)) as partial:
            partial.write_bytes(data)

    def write_file(self, uri: str, path: Path) -> None:
        """See `Storage.write_file`."""
        with _appearing(local_path(uri)) as partial:
            shutil.copyfile(path, partial)

    def create(self, uri: str, data: bytes) -> bool:
        """See `Storage.create`."""
        path = local_path(uri)
        complete = _partial(path)
        with local_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                complete.write_bytes(data)
                path.hardlink_to(complete)  # unlike a renaming it replaces nothing
            except FileExistsError:
                return False
            finally:
                complete.unlink(missing_ok=True)
        return True

    def move(self, source: str, target: str) -> None:
        """See `Storage.move`."""
        old, new = local_path(source), local_path(target)
        if old.exists() or not new.exists():
            with local_errors():
                new.parent.mkdir(parents=True, exist_ok=True)
                old.replace(new)

    def delete(self, uri: str) -> None:
        """See `Storage.delete`."""
        with local_errors():
            local_path(uri).unlink(missing_ok=True)


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file that is written beside its place, hidden, and renamed when it is complete."""
    partial = _partial(path)
    with local_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """A hidden name beside a file's, one for each writer, so that two at once do not mix."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}-{threading.get_ident()}")


@contextlib.contextmanager
def local_errors() -> Iterator[None]:
    """Turns OSError of a block into StorageError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise StorageError(Reason.NOT_FOUND, "no such file") from error
    except PermissionError as error:
        raise StorageError(Reason.ACCESS_DENIED, "no permission for the file") from error
    except OSError as error:
        raise StorageError(Reason.STORAGE_ERROR, error.strerror or "I/O error") from error


def _utc(timestamp_s: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(timestamp_s, datetime.UTC)
