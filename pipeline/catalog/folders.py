"""Local folders as catalogs: every file, and links that lead no further than they may."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pipeline.catalog.names import why_no_image
from pipeline.records import CatalogEntry, Reason, RunError
from pipeline.storage.local import walk
from pipeline.storage.locations import local_path

# Links to folders within links to folders.
_MAX_LINKS = 8
LEADS_OUT = "a link that leads out of --input"


def list_folder(source: str, *, may_leave: bool = False) -> Iterator[CatalogEntry]:
    """Yields an entry for every file below a folder, in order of paths.

    Links are followed, those to folders too. One that leads nowhere, into a circle, or out of the
    folder is a rejected entry; so are a folder that may not be read, and a file that its name
    tells to be no image.

    Args:
        source: the folder.
        may_leave: whether links may lead out of the folder.

    Raises:
        RunError: if the folder does not exist or may not be read.
    """
    folder = local_path(source).absolute()
    if not folder.is_dir():
        raise RunError(f"no such folder: {folder}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise RunError(f"no permission to list the folder {folder}")
    tree = _Tree(Path(os.path.realpath(folder)), may_leave)
    for position, (path, size, problem) in enumerate(tree.files(folder, ())):
        entry = CatalogEntry(path.as_uri(), path.as_uri(), position, size_bytes=size)
        why = why_no_image(path.relative_to(folder).as_posix())
        if why is not None:
            yield entry.rejected(Reason.NOT_AN_IMAGE, why)
        else:
            yield entry if problem is None else entry.rejected(*problem)


def is_folder(uri: str) -> bool:
    """Whether a URI of this machine is that of a folder."""
    return local_path(uri).is_dir()


def leads_out(uri: str, source: str) -> bool:
    """Whether a file of a folder lies elsewhere, by a link.

    Args:
        uri: of the file.
        source: the folder.
    """
    root = os.path.realpath(local_path(source))
    return not Path(os.path.realpath(local_path(uri))).is_relative_to(root)


_Problem = tuple[Reason, str]


class _Tree:
    """Walks a folder and the folders that its links lead to."""

    def __init__(self, root: Path, may_leave: bool) -> None:
        self._root = root
        self._may_leave = may_leave

    def files(
        self, folder: Path, followed: tuple[Path, ...]
    ) -> Iterator[tuple[Path, int | None, _Problem | None]]:
        """Files with their sizes, or with what is wrong with them.

        Args:
            folder: to walk.
            followed: real paths of the folders whose links led here.
        """
        for path in walk(folder):
            try:
                found = path.stat()
            except FileNotFoundError:
                if path.is_symlink():  # else it vanished since it was listed
                    yield path, None, (Reason.NOT_FOUND, "a link that leads nowhere")
                continue
            except OSError as error:
                yield path, None, (Reason.ACCESS_DENIED, error.strerror or "cannot be read")
                continue
            real = Path(os.path.realpath(path))
            problem = self._problem(path, real, followed)
            if problem is not None:
                yield path, None, problem
            elif stat.S_ISREG(found.st_mode):
                yield path, found.st_size, None
            elif stat.S_ISDIR(found.st_mode):
                yield from self.files(path, (*followed, real))

    def _problem(self, path: Path, real: Path, followed: tuple[Path, ...]) -> _Problem | None:
        if not path.is_symlink():
            if path.is_dir():
                return Reason.ACCESS_DENIED, "no permission to list the folder"
            return None
        if not (self._may_leave or real.is_relative_to(self._root)):
            return Reason.ACCESS_DENIED, LEADS_OUT
        if real.is_dir():
            is_circle = real in followed or path.parent.resolve().is_relative_to(real)
            if is_circle or len(followed) >= _MAX_LINKS:
                return Reason.BAD_URI, "a link that leads back to its own folder, or too deep"
        return None
