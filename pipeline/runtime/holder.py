"""The process that holds a lock, as a lock file describes it."""

import dataclasses
import json
import os
import socket
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        token: random, of one holding.
        host: name of its machine.
        boot, pid_space, pid, started: identify the process on Linux; `boot`, `pid_space` and
            `started` are empty elsewhere.
        beats: heartbeats so far.
        is_left: whether it left the run to a job that goes on without it, and without heartbeat.

    Example:
        >>> Holder.from_bytes(Holder.here("token").to_bytes()).token
        'token'
    """

    token: str
    host: str
    boot: str
    pid_space: str
    pid: int
    started: str
    beats: int = 0
    is_left: bool = False

    @classmethod
    def here(cls, token: str, beats: int = 0, *, is_left: bool = False) -> "Holder":
        """This process."""
        has_proc = Path("/proc/self").exists()
        return cls(
            token=token,
            host=socket.gethostname(),
            boot=_proc("sys/kernel/random/boot_id"),
            pid_space=str(Path("/proc/self/ns/pid").readlink()) if has_proc else "",
            pid=os.getpid(),
            started=_started(os.getpid()),
            beats=beats,
            is_left=is_left,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Holder | None":
        """Reads a lock file; None if it is damaged, or another version wrote it."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return None

    def to_bytes(self) -> bytes:
        """Content of the lock file."""
        return json.dumps(dataclasses.asdict(self)).encode()

    def is_alive(self) -> bool | None:
        """Whether its process runs; None if this machine cannot know."""
        me = Holder.here("")
        if not self.boot or (self.boot, self.pid_space) != (me.boot, me.pid_space):
            return None
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _started(pid: int) -> str:
    """When a process began, in ticks since boot; empty if it does not run."""
    # The name in parentheses may hold spaces; the start is the 20th field after it.
    fields = _proc(f"{pid}/stat").rpartition(")")[2].split()
    is_running = len(fields) > 19 and fields[0] not in ("Z", "X")
    return fields[19] if is_running else ""


def _proc(name: str) -> str:
    """Content of a file under /proc; empty where there is none."""
    try:
        return Path("/proc", name).read_text().strip()
    except OSError:
        return ""
