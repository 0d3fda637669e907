"""Keeps runs and `pipeline.prune` apart: each looks for the other's lock after it took its own."""

import contextlib
from collections.abc import Callable, Iterator

from pipeline.records import RunError
from pipeline.runs import lock
from pipeline.runs.layout import Layout
from pipeline.runs.lock import HeldError, RunLock, Timing
from pipeline.storage import locations
from pipeline.storage.base import Storage
from pipeline.storage.routing import list_if_any

# No run can have this id: ids begin with a letter or a digit.
_ID = ".prune"


@contextlib.contextmanager
def pruning(
    files: Storage, output: str, timing: Timing | None = None
) -> Iterator[Callable[[], None]]:
    """Keeps runs from starting under an output while the block deletes others.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
        timing: see `Timing`.

    Yields:
        A function to call before each deletion: it raises `RunError` if another process has taken
        this one for dead.

    Raises:
        RunError: if a run is going on, another process prunes, or a lock cannot be read; nothing
            was changed.
    """
    layout = Layout(output, _ID)
    own = RunLock(files, layout, lambda: None, timing)
    try:
        own.__enter__()
    except HeldError as error:
        raise RunError(f"cannot prune {output}: another process prunes it; wait for it") from error
    except RunError as error:
        raise RunError(f"cannot prune {output}: {error}") from error
    try:
        for run_id in _locked_runs(files, layout):
            try:
                _lock_of(files, output, run_id, timing).refuse_if_held()
            except HeldError as error:
                raise RunError(f"nothing is deleted while a run is going on: {error}") from error
        yield lambda: lock.check(files, layout, own.token)
    finally:
        own.release()
        if locations.scheme_of(layout.folder) != "s3":
            with contextlib.suppress(OSError):  # the next one has begun
                locations.local_path(layout.folder).rmdir()


def _locked_runs(files: Storage, layout: Layout) -> list[str]:
    """The ids of runs with a lock file, listed only now: a run that starts later sees ours."""
    below = [
        locations.path_below(layout.runs, item.uri) for item in list_if_any(files, layout.runs)
    ]
    names = [name.removesuffix("/lock.json") for name in below if name.endswith("/lock.json")]
    return [name for name in names if name != layout.run_id]


def refuse_while_pruning(files: Storage, output: str, timing: Timing | None = None) -> None:
    """Returns unless `pipeline.prune` works on an output; call it with the run's lock held.

    Raises:
        RunError: if it does, or its lock cannot be read.
    """
    try:
        _lock_of(files, output, _ID, timing).refuse_if_held()
    except HeldError as error:
        raise RunError(
            f"pipeline.prune is deleting runs under {output}: start again when it has ended"
        ) from error


def _lock_of(files: Storage, output: str, run_id: str, timing: Timing | None) -> RunLock:
    return RunLock(files, Layout(output, run_id), lambda: None, timing)
