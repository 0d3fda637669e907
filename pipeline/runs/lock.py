"""One run at a time under one id."""

import _thread
import dataclasses
import datetime
import json
import logging
import os
import secrets
import socket
import threading
from pathlib import Path
from types import TracebackType

from pipeline.records import Reason, RunError
from pipeline.storage.base import Storage, StorageError

_BEAT_S = 20.0
# A holder that gave no heartbeat for so long is taken for dead.
DEAD_AFTER_S = 120.0

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        token: of one holding, random.
        host, boot, pid_space, pid, started: identify its process where /proc is there to tell;
            `boot`, `pid_space` and `started` are empty elsewhere.
        beat_at: its last heartbeat, ISO 8601, UTC.
    """

    token: str
    host: str
    boot: str
    pid_space: str
    pid: int
    started: str
    beat_at: str

    def is_dead(self, now: datetime.datetime) -> bool:
        """Whether its process is gone for sure, or has been silent for too long."""
        me = describe_this_process("", now)
        if self.boot and self.host == me.host:
            if self.boot != me.boot:
                return True
            if self.pid_space == me.pid_space:
                return _started(self.pid) != self.started
        return self.silent_s(now) > DEAD_AFTER_S

    def silent_s(self, now: datetime.datetime) -> float:
        """Seconds since its last heartbeat."""
        return (now - datetime.datetime.fromisoformat(self.beat_at)).total_seconds()


def describe_this_process(token: str, now: datetime.datetime) -> Holder:
    """This process as a holder."""
    return Holder(
        token=token,
        host=socket.gethostname(),
        boot=_proc("sys/kernel/random/boot_id"),
        pid_space=str(Path("/proc/self/ns/pid").readlink()) if Path("/proc/self").exists() else "",
        pid=os.getpid(),
        started=_started(os.getpid()),
        beat_at=now.isoformat(),
    )


class RunLock:
    """A file that says that a run is going on, renewed while it does. A context manager.

    The second of two runs with one id refuses to start. A run that was killed leaves its lock
    behind: on the same machine the next one sees at once that the process is gone, elsewhere
    after two minutes of silence.

    Args:
        files: where the run writes.
        uri: of the lock.
        run_id: for the error's text.

    Raises:
        RunError: on entering, if another run holds it.
    """

    def __init__(self, files: Storage, uri: str, run_id: str) -> None:
        self._files = files
        self._uri = uri
        self._run_id = run_id
        self._token = secrets.token_hex(8)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.is_lost = False

    def __enter__(self) -> "RunLock":
        for _ in range(3):
            if self._files.create(self._uri, self._sign()) or self._is_ours():
                self._thread.start()
                return self
            self._remove_if_dead()
        raise RunError(f"run {self._run_id} is being started by another process")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        try:
            if self._is_ours():
                self._files.delete(self._uri)
        except StorageError as failed:
            _log.warning("cannot remove the lock %s: %s", self._uri, failed.detail)

    def _remove_if_dead(self) -> None:
        holder = self._read()
        if holder is None:
            return
        now = _now()
        if not holder.is_dead(now):
            raise RunError(
                f"run {self._run_id} is already going on: process {holder.pid} on {holder.host}, "
                f"last heartbeat {holder.silent_s(now):.0f} s ago; wait for it, or take "
                f"another --run_id. If it is dead, start again {DEAD_AFTER_S:.0f} s after that"
            )
        _log.warning("taking over run %s from a dead process on %s", self._run_id, holder.host)
        self._files.delete(self._uri)

    def _read(self) -> Holder | None:
        """Who holds the lock; None if nobody does, or its file is being written just now."""
        try:
            return Holder(**json.loads(self._files.read(self._uri)))
        except StorageError as error:
            if error.reason != Reason.NOT_FOUND:
                raise
            return None
        except (ValueError, TypeError):
            return None

    def _is_ours(self) -> bool:
        holder = self._read()
        return holder is not None and holder.token == self._token

    def _sign(self) -> bytes:
        return json.dumps(dataclasses.asdict(describe_this_process(self._token, _now()))).encode()

    def _beat(self) -> None:
        while not self._done.wait(_BEAT_S):
            try:
                if not self._is_ours():
                    self.is_lost = True
                    _thread.interrupt_main()
                    return
                self._files.write(self._uri, self._sign())
            except StorageError as error:
                _log.warning("cannot renew the lock %s: %s", self._uri, error.detail)


def _started(pid: int) -> str:
    """When a process began, in ticks since boot; empty if there is none."""
    # The name in parentheses may hold spaces; the start is the 20th field after it.
    fields = _proc(f"{pid}/stat").rpartition(")")[2].split()
    is_running = len(fields) > 19 and fields[0] not in ("Z", "X")
    return fields[19] if is_running else ""


def _proc(name: str) -> str:
    try:
        return Path("/proc", name).read_text().strip()
    except OSError:
        return ""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
