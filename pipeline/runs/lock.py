"""One process at a time works on a run: a lock file with a heartbeat and a fencing token.

No two clocks are compared. A holder is dead if the system says so (same machine), or if its
heartbeat does not change while another process watches. A holder that was only stopped finds out
by its token that it lost the run: before each step that others can see, `check` compares it.
"""

import contextlib
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable
from types import TracebackType

from pipeline.records import Reason, RunError
from pipeline.runs import finished
from pipeline.runs.layout import Layout
from pipeline.runtime.holder import Holder
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.local import remove_unfinished

_ATTEMPTS = 3  # to leave a lock

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long a lock waits, in seconds.

    Attributes:
        beat_s: between two heartbeats.
        dead_after_s: a heartbeat that does not change while it is watched for so long belongs to
            a dead process; several times `beat_s`.
        settle_s: after it took a lock whose creation the storage does not make exclusive, a
            process waits so long for others that write at the same instant.

    Example:
        >>> Timing(beat_s=1.0, dead_after_s=6.0).settle_s
        3.0
    """

    beat_s: float = 20.0
    dead_after_s: float = 120.0
    settle_s: float = 3.0


class HeldError(RunError):
    """Another process works on the run.

    Example:
        try:
            RunLock(files, layout, on_lost=sys.exit).refuse_if_held()
        except HeldError as error:
            print(error)  # names the process
    """


def remove_if_dead(files: Storage, layout: Layout) -> None:
    """Removes a finished run's lock, and what is half written, of a process known to be dead.

    Args:
        files: where the run wrote.
        layout: of a run with `_SUCCESS`.
    """
    with contextlib.suppress(StorageError, RunError):
        holder = Holder.from_bytes(_read(files, layout.lock) or b"")
        if holder and holder.is_alive() is False:
            remove_unfinished(layout.folder)
            files.delete(layout.lock)


class RunLock:
    """Holds a run's lock file while the block runs. A context manager.

    The second of two processes refuses. A killed process leaves its lock behind: on the same
    machine the next one sees at once that it is gone, elsewhere after it watched the lock.

    Args:
        files: where the run writes.
        layout: of the run.
        on_lost: called in a thread of its own when another process has taken the run over.
        timing: see `Timing`.

    Raises:
        HeldError: on entering, if another process works on the run.
        RunError: on entering, if the folder cannot be written.

    Example:
        with RunLock(files, layout, on_lost=sys.exit) as lock:
            check(files, layout, lock.token)
    """

    def __init__(
        self,
        files: Storage,
        layout: Layout,
        on_lost: Callable[[], None],
        timing: Timing | None = None,
    ) -> None:
        self.token = secrets.token_hex(8)
        self._files = files
        self._layout = layout
        self._on_lost = on_lost
        self._timing = timing or Timing()
        self._beats = 0
        self._is_left = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "RunLock":
        try:
            self._acquire()
        except StorageError as error:
            is_missing = error.reason == Reason.NOT_FOUND
            why = "the folder cannot be created" if is_missing else error.detail
            raise RunError(f"--output {self._layout.output} cannot be written: {why}") from error
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_left:
            self.release()

    def leave(self) -> None:
        """Ends the heartbeat and leaves the file to a job that goes on without this process.

        Nobody takes such a lock over; `finish_run` of the job removes it.
        """
        self._is_left = True
        self._stop()
        left = Holder.here(self.token, is_left=True).to_bytes()
        for _ in range(_ATTEMPTS):  # a lock that stays as it is looks like one of a dead process
            try:
                if _token(self._files, self._layout) == self.token:  # else the job has ended
                    self._files.write(self._layout.lock, left)
                return
            except (StorageError, RunError) as error:
                _log.warning("cannot leave the lock %s to the job: %s", self._layout.lock, error)
                time.sleep(self._timing.beat_s)

    def release(self) -> None:
        """Ends the heartbeat and removes the file, if it is still this process's."""
        self._stop()
        remove(self._files, self._layout, self.token)

    def refuse_if_held(self) -> None:
        """Returns if no process works on the run; may watch a lock of another machine for minutes.

        Raises:
            HeldError: if a process works on it.
            RunError: if the lock cannot be read.
        """
        try:
            found = _read(self._files, self._layout.lock)
            if found is not None:
                self._refuse_unless_dead(found)
        except StorageError as error:
            raise RunError(f"cannot read the lock {self._layout.lock}: {error.detail}") from error

    def _stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _acquire(self) -> None:
        is_exclusive = self._files.honours_conditions(self._layout.folder)
        if not is_exclusive:
            _log.warning(
                "the storage of %s ignores conditional writes: start one process at a time for "
                "each --run_id",
                self._layout.output,
            )
        for _ in range(3):
            found = _read(self._files, self._layout.lock)
            if found is not None:
                self._refuse_unless_dead(found)
                if _read(self._files, self._layout.lock) == found:
                    self._files.delete(self._layout.lock)
                is_exclusive = False  # another process may delete the file that follows
            if self._create(is_exclusive=is_exclusive):
                return
        raise HeldError(f"run {self._layout.run_id} is being started by another process")

    def _create(self, *, is_exclusive: bool) -> bool:
        """Writes the lock file; whether it is this process's in the end."""
        is_new = self._files.create(self._layout.lock, self._sign())
        if is_new and not is_exclusive:
            time.sleep(self._timing.settle_s)
        return _token(self._files, self._layout) == self.token

    def _refuse_unless_dead(self, found: bytes) -> None:
        """Returns if the lock's holder is dead; raises HeldError if it works on the run."""
        holder = Holder.from_bytes(found)
        if holder and holder.is_left:
            raise HeldError(
                f"run {self._layout.run_id} was submitted to a runner by {holder} and has not "
                f"ended: wait for _SUCCESS; if that job has failed, delete {self._layout.lock}"
            )
        name = str(holder or "an unknown process")
        is_alive = holder.is_alive() if holder else None
        if is_alive is None:
            is_alive = self._changes(found, name)
        if is_alive:
            raise HeldError(
                f"run {self._layout.run_id} is already going on: {name}; wait for it, or take "
                "another --run_id"
            )
        _log.warning("the lock of run %s is of a dead process: %s", self._layout.run_id, name)

    def _changes(self, found: bytes, name: str) -> bool:
        """Watches the lock file; whether its holder gives a heartbeat."""
        wait_s = self._timing.dead_after_s
        _log.warning(
            "run %s is locked by %s; looking for its heartbeat for %.0f s",
            *(self._layout.run_id, name, wait_s),
        )
        watched_s = 0.0
        while watched_s < wait_s:
            # Only watched time counts: this process may be stopped, too.
            time.sleep(self._timing.beat_s / 4)
            watched_s += self._timing.beat_s / 4
            now = _read(self._files, self._layout.lock)
            if now != found:
                return now is not None
        return False

    def _sign(self) -> bytes:
        self._beats += 1
        return Holder.here(self.token, self._beats).to_bytes()

    def _beat(self) -> None:
        while not self._ended.wait(self._timing.beat_s):
            try:
                before = time.monotonic()
                found = _token(self._files, self._layout)
                if found is None and finished.is_finished(self._files, self._layout):
                    return
                if found != self.token:
                    threading.Thread(target=self._on_lost, daemon=True).start()
                    return
                # Whoever was stopped in between must look again before it writes.
                if time.monotonic() - before < self._timing.beat_s:
                    self._files.write(self._layout.lock, self._sign())
            except (StorageError, RunError) as error:
                _log.warning("cannot renew the lock %s: %s", self._layout.lock, error)


def check(files: Storage, layout: Layout, token: str) -> None:
    """Makes sure that a run is still this process's; call it before each visible step.

    Args:
        files: where the run writes.
        layout: of the run.
        token: of the lock that the run holds.

    Raises:
        RunError: if another process has taken the run over.
        StorageError: if the lock cannot be read.
    """
    if _token(files, layout) != token:
        raise RunError(
            f"another process took over run {layout.run_id} while this one was silent; this one "
            "ends and publishes nothing"
        )


def remove(files: Storage, layout: Layout, token: str) -> None:
    """Deletes a lock file if it has this token; one that cannot be deleted fails no run."""
    try:
        if _token(files, layout) == token:
            files.delete(layout.lock)
    except (StorageError, RunError) as error:
        _log.warning("cannot remove the lock %s: %s", layout.lock, error)


def _token(files: Storage, layout: Layout) -> str | None:
    """Token in the lock file; None if there is no file, or a damaged one."""
    holder = Holder.from_bytes(_read(files, layout.lock) or b"")
    return holder.token if holder else None


def _read(files: Storage, uri: str) -> bytes | None:
    """Content of a file; None if there is none."""
    try:
        return files.read(uri)
    except StorageError as error:
        if error.reason != Reason.NOT_FOUND:
            raise
        return None
