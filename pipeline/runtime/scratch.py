"""Temporary files of a run: one folder, removed at the end, or by the next run after a kill."""

import atexit
import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

_PREFIX = "catalog-magnifier-"
# The saved model, what TensorFlow and Beam write, and the first shard.
_MIN_FREE_BYTES = 32 << 20
_LOCK = "lock"
# This process's folder and its lock, once it has them.
_own: list[tuple[Path, IO[str]]] = []


def use_own_folder() -> Path:
    """Creates this process's folder for temporary files and removes those of killed processes.

    Python's `tempfile` and the processes that this one starts use the folder from here on: shards,
    models, what TensorFlow and Beam write. It is removed when this process ends. A folder whose
    process was killed is no longer locked, and the next call of any process removes it.

    Returns:
        The folder, within the one that `tempfile` chose before.

    Raises:
        OSError: if no folder for temporary files can be written, or it has no room.
    """
    if _own and _own[0][0].is_dir():
        return _own[0][0]  # a second run of this process; one within the other would nest
    parent = Path(tempfile.gettempdir())
    if shutil.disk_usage(parent).free < _MIN_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(parent))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    # Locked before it has its name: a process that starts now must not take it for left behind.
    unnamed = folder / f"{_LOCK}.new"
    lock = unnamed.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(folder / _LOCK)
    _own.append((folder, lock))
    atexit.register(remove_own_folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_unless_locked(left)
    return folder


def remove_own_folder() -> None:
    """Removes the folder of `use_own_folder`, if any; `tempfile` uses its parent again.

    Python calls it at its exit; a process that ends by `os._exit` must call it.
    """
    while _own:
        folder, lock = _own.pop()
        tempfile.tempdir = None
        if os.environ.get("TMPDIR") == str(folder):
            os.environ["TMPDIR"] = str(folder.parent)
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _remove_unless_locked(folder: Path) -> None:
    """Removes a folder whose process is gone. One without a lock file was created right now."""
    with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its process lives
        shutil.rmtree(folder, ignore_errors=True)
