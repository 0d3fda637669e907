"""Files of this machine."""

import contextlib
import datetime
import errno
import functools
import hashlib
import itertools
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from model import files as whole_files
from pipeline.records import Reason, RunError
from pipeline.storage.base import ListedPage, StorageError, StoredObject
from pipeline.storage.locations import local_path, scheme_of

_MAX_DIGEST_BYTES = 1 << 30
_PAGE_FILES = 1000
# Of files that `model.files.appearing` has not finished, or never will.
_PARTIAL = re.compile(r"\..*\.partial-\d+-\d+(\.\w+)?")
# File systems without hard links (FAT, some network shares) answer with one of these.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# What a disk answers that takes no further file, whichever it is.
_TAKES_NOTHING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def unfinished_files(folder: str) -> list[StoredObject]:
    """Returns the hidden files below a folder that somebody is writing, or was killed over.

    Args:
        folder: its URI or path; it may not exist. None are found on S3, whose buckets drop
            unfinished uploads themselves: `docs/operating.md`, Permissions.

    Raises:
        StorageError: if a file cannot be looked at.
    """
    found = []
    if scheme_of(folder) != "s3":
        with local_errors():
            for path in sorted(local_path(folder).absolute().rglob(".*")):
                with contextlib.suppress(FileNotFoundError):
                    state = path.lstat()
                    if _PARTIAL.fullmatch(path.name) and stat.S_ISREG(state.st_mode):
                        modified_at = _utc(state.st_mtime)
                        found.append(StoredObject(path.as_uri(), None, state.st_size, modified_at))
    return found


def remove_unfinished(folder: str) -> None:
    """Removes the `unfinished_files` below a folder.

    Args:
        folder: its URI or path; nobody writes into it now, other than with `Storage.create`.

    Raises:
        StorageError: if a file cannot be removed.
    """
    for item in unfinished_files(folder):
        LocalStorage().delete(item.uri)


class LocalStorage:
    """Files of this machine, named by absolute paths or file:// URIs; a `Storage`.

    Example:
        LocalStorage().read("file:///data/a%20b.jpg", 0, 3)
    """

    def list(self, prefix: str, after: str = "", *, deep: bool = True) -> Iterator[StoredObject]:
        """Yields every file below a folder, in order of paths; ETags are left to `identify`.

        Files that vanish meanwhile are left out; links to folders are not followed.

        Args:
            prefix: the folder.
            after: only files behind this one.
            deep: whether to look into its subfolders.

        Raises:
            RunError: if the folder does not exist or may not be read.
        """
        folder = local_path(prefix)
        if not folder.is_dir():
            raise RunError(f"no such folder: {folder}")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise RunError(f"no permission to list the folder {folder}")
        start = local_path(after) if after else None
        for path in walk(folder.absolute(), deep=deep):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found = path.stat()
                if stat.S_ISREG(found.st_mode) and (start is None or path > start):
                    yield StoredObject(path.as_uri(), None, found.st_size, _utc(found.st_mtime))

    def list_pages(self, prefix: str, after: str = "") -> Iterator[ListedPage]:
        """Yields the same as columns; see `Storage.list_pages`."""
        items = self.list(prefix, after)
        while some := list(itertools.islice(items, _PAGE_FILES)):
            yield ListedPage(
                [item.uri for item in some],
                [item.etag for item in some],
                [item.size_bytes for item in some],
                [item.modified_at.isoformat() for item in some],
            )

    def identify(self, uri: str) -> StoredObject:
        """Returns a BLAKE2 digest of the content as the ETag: times and names may lie.

        Beyond a gibibyte, which no image of this job has, of size and time all the same.
        """
        with local_errors(), _open_regular(uri) as handle:
            found = os.fstat(handle)
            return StoredObject(uri, _digest(handle), found.st_size, _utc(found.st_mtime))

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """Reads a range; see `Storage.read`.

        Raises:
            StorageError: with `changed` if the content's digest is not `etag` any more.
        """
        with local_errors(), _open_regular(uri) as handle:
            before = _signature(handle)
            if etag is not None and _known_digest(str(local_path(uri)), before) != etag:
                raise _changed()
            with os.fdopen(os.dup(handle), "rb") as file:
                file.seek(start)
                data = file.read(-1 if stop is None else max(0, stop - start))
            if etag is not None and _signature(handle) != before:
                raise _changed()
            return data

    def write(self, uri: str, data: bytes) -> None:
        """Writes a file; see `Storage.write`."""
        with _appearing(uri) as partial:
            partial.write_bytes(data)

    def write_file(self, uri: str, path: Path) -> None:
        """Copies a file; see `Storage.write_file`."""
        with _appearing(uri) as partial:
            shutil.copyfile(path, partial)

    def create(self, uri: str, data: bytes) -> bool:
        """Writes a file unless it exists; see `Storage.create`."""
        with _write_errors(uri) as path:
            try:
                return _create(path, data)
            except FileNotFoundError:  # another process has tidied up: `remove_unfinished`
                return _create(path, data)

    def honours_conditions(self, folder: str) -> bool:
        """Returns True: a link or an exclusive creation never replaces a file."""
        return bool(folder)

    def move(self, source: str, target: str) -> None:
        """Renames a file; see `Storage.move`."""
        with _write_errors(target) as new:
            old = local_path(source)
            if old.exists() or not new.exists():
                new.parent.mkdir(parents=True, exist_ok=True)
                old.replace(new)

    def delete(self, uri: str) -> None:
        """Deletes a file; see `Storage.delete`."""
        with local_errors():
            local_path(uri).unlink(missing_ok=True)


def walk(folder: Path, *, deep: bool = True) -> Iterator[Path]:
    """Yields what lies below a folder and is no folder, in order of paths.

    Names that vanish meanwhile are left out, unfinished files of ours too. Links are yielded,
    those to folders as well, and not followed. A folder that may not be read is yielded itself.

    Args:
        folder: where to begin.
        deep: whether to look into its subfolders.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if deep:
                yield from walk(Path(entry.path))
        elif not _PARTIAL.fullmatch(entry.name):
            yield Path(entry.path)


@contextlib.contextmanager
def local_errors() -> Iterator[None]:
    """Turns OSError of a block, and ValueError of an impossible path, into StorageError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise StorageError(Reason.NOT_FOUND, "no such file") from error
    except PermissionError as error:
        raise StorageError(Reason.ACCESS_DENIED, "no permission for the file") from error
    except OSError as error:
        raise StorageError(Reason.STORAGE_ERROR, error.strerror or "I/O error") from error
    except ValueError as error:
        raise StorageError(Reason.BAD_URI, str(error)) from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns OSError of a block that writes a file, or creates a folder, into a RunError.

    Args:
        path: of the file or folder, which the error names.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> RunError:
    problem = os.strerror(error.errno) if error.errno else str(error)
    remedy = "free space there, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return RunError(f"cannot write {path}: {problem}; {remedy}name another folder")


@contextlib.contextmanager
def _write_errors(uri: str) -> Iterator[Path]:
    """Does the same for a block that writes to the path it yields; a full disk stops the run."""
    with local_errors():
        path = local_path(uri)
        try:
            yield path
        except OSError as error:
            if error.errno not in _TAKES_NOTHING:
                raise
            raise _cannot_write(path, error) from error


@contextlib.contextmanager
def _open_regular(uri: str) -> Iterator[int]:
    """A handle of a regular file: a pipe would block, a device never end."""
    path = local_path(uri)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise StorageError(Reason.NOT_FOUND, "not a regular file")
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def _appearing(uri: str) -> Iterator[Path]:
    """A path to write to, renamed to the URI's when it is complete."""
    with _write_errors(uri) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_files.appearing(path) as partial:
            yield partial


def _create(path: Path, data: bytes) -> bool:
    """Writes a file whole, unless its name is taken."""
    complete = whole_files.hidden_beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        complete.write_bytes(data)
        whole_files.flush_to_disk(complete)
        return _link_or_create(complete, path, data)
    finally:
        complete.unlink(missing_ok=True)


def _link_or_create(complete: Path, path: Path, data: bytes) -> bool:
    """Gives a complete file its name, unless the name is taken."""
    try:
        path.hardlink_to(complete)  # unlike a renaming it replaces nothing
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
    return True


_Signature = tuple[int, int, int, int]


def _signature(handle: int) -> _Signature:
    """Facts that differ once a file was written to: device, inode, size and time."""
    found = os.fstat(handle)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=1024)
def _known_digest(path: str, signature: _Signature) -> str:
    """A file's digest; of the ranges of one file only the first pays for it."""
    with _open_regular(path) as handle:
        return _digest(handle) if _signature(handle) == signature else ""


def _digest(handle: int) -> str:
    """32 hexadecimal digits of an open file's content."""
    digest, found = hashlib.blake2b(digest_size=16), os.fstat(handle)
    if found.st_size > _MAX_DIGEST_BYTES:
        digest.update(f"{found.st_size} {found.st_mtime_ns}".encode())
        return digest.hexdigest()
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _changed() -> StorageError:
    return StorageError(Reason.CHANGED, "the file changed since it was identified")


def _utc(timestamp_s: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(timestamp_s, datetime.UTC)
