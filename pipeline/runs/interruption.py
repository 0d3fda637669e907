"""Ends the process within seconds after Ctrl-C or SIGTERM; a second signal ends it at once.

A run may be killed at any moment: finished shards stay, and the same `--run_id` goes on. So there
is nothing to wind down but a few cleanups, and threads that wait for a network or a storage need
not be waited for.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from model.startup import let_stderr_through
from pipeline.runtime import logs

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# Cleanups that take longer are left undone.
_CLEANUP_S = 5.0
_TRACKER_RULE = "ignore:resource_tracker:UserWarning"

_log = logging.getLogger(__name__)


class Ending:
    """Ends this process early, after cleanups.

    Args:
        run_id: names the run in the last line.
        can_continue: whether the same run id continues it; a dry run begins anew.

    Attributes:
        status: the exit status, for the cleanups; None unless the process ends early.

    Example:
        ending = Ending("night1")
        with ending.on_signals(), RunLock(files, layout, ending.lost) as lock:
            ending.before(lock.release)
    """

    def __init__(self, run_id: str, *, can_continue: bool = True) -> None:
        self.status: int | None = None
        self._run_id = run_id
        self._remedy = f"; --run_id {run_id} continues it" if can_continue else ""
        self._cleanups: list[Callable[[], None]] = []
        self._has_begun = threading.Lock()

    def before(self, cleanup: Callable[[], None]) -> None:
        """Adds a cleanup to do before the process ends early; the last one comes first."""
        self._cleanups.append(cleanup)

    def lost(self) -> None:
        """Ends the process because another one has taken the run over."""
        self._end(f"another process took over run {self._run_id}; this one ends", 1)

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Ends the process on SIGINT or SIGTERM while the block runs, in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        _silence_resource_tracker()
        # A thread reads the signals: the main thread may be inside TensorFlow for seconds.
        reading, writing = socket.socketpair()
        writing.setblocking(False)
        threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        handlers = {sign: signal.signal(sign, _leave_it_to_the_thread) for sign in STATUS}
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            for sign, handler in handlers.items():
                signal.signal(sign, handler)
            writing.close()

    def _watch(self, reading: socket.socket) -> None:
        """Waits for signals until the other end of the socket is closed."""
        with reading:
            while data := reading.recv(1):
                if data[0] in STATUS:
                    threading.Thread(target=self._on_signal, args=(data[0],), daemon=True).start()

    def _on_signal(self, number: int) -> None:
        let_stderr_through()
        status = STATUS[signal.Signals(number)]
        if number == signal.SIGINT:
            self._end(f"interrupted{self._remedy}", status)
        _log.warning("SIGTERM: the run ends%s", self._remedy)
        self._end(None, status)

    def _end(self, line: str | None, status: int) -> NoReturn:
        """Ends the process; at once if it is already ending."""
        if not self._has_begun.acquire(blocking=False):
            _kill_descendants(os.getpid())  # the other thread may have stopped some by now
            os._exit(status)
        self.status = status
        if line is not None:
            logs.complain(line)
        cleaning = threading.Thread(target=self._clean_up, daemon=True)
        cleaning.start()
        cleaning.join(_CLEANUP_S)
        _drop_stderr()
        _kill_descendants(os.getpid())
        for child in multiprocessing.active_children():  # where there is no /proc
            child.kill()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)

    def _clean_up(self) -> None:
        for cleanup in reversed(self._cleanups):
            try:
                cleanup()
            except Exception as error:  # the next cleanup must have its turn
                _log.warning("while ending: %s", error)


def _silence_resource_tracker() -> None:
    """Keeps Python's own cleaner of semaphores, which outlives this process, from warning."""
    rules = filter(None, (os.environ.get("PYTHONWARNINGS"), _TRACKER_RULE))
    if _TRACKER_RULE not in os.environ.get("PYTHONWARNINGS", ""):
        os.environ["PYTHONWARNINGS"] = ",".join(rules)


def _drop_stderr() -> None:
    """What threads still log, and processes that they still start, is heard no more."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _kill_descendants(parent: int) -> None:
    """Ends the processes that `parent` started, before they can complain that it is gone.

    Each stands still before its own are looked for: it starts no further ones and misses none.
    """
    for child in _children(parent):
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGSTOP)
            _wait_for_standstill(child)
            _kill_descendants(child)
            os.kill(child, signal.SIGKILL)


def _children(parent: int) -> list[int]:
    """The processes that `parent` started, but for Python's own cleaner of semaphores."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state_and_parent = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(state_and_parent[1]) == parent:
                command = (folder / "cmdline").read_bytes()
                if b"resource_tracker" not in command:
                    found.append(int(folder.name))
    return found


def _wait_for_standstill(pid: int) -> None:
    """Waits, one second at most, until a process that was sent SIGSTOP has stopped or is gone."""
    patience = time.monotonic() + 1
    while time.monotonic() < patience:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in "TZX":
            return
        time.sleep(0.005)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Replaces the default action; the signal's number goes to the socket."""
