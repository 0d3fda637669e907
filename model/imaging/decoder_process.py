"""The parent's side of one decoder process: starts it, asks it, limits its time, explains its end.

`model.imaging.decoder_child` is the program that runs there.
"""

import contextlib
import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from model.imaging.decoder_child import receive, send
from model.imaging.errors import DecoderKilledError, DecodeTimeoutError, UnreadableImageError
from model.imaging.metadata.rights import MAX_JSON_BYTES
from model.imaging.profiles import MAX_PROFILE_BYTES

# Leaks of the native decoders do not grow beyond this.
_MAX_CALLS = 1000
# The last bytes that a process prints are logged: a traceback.
_MAX_LOGGED_BYTES = 8 << 10
_START_LIMIT_S = 120.0
# Environment variables of the interpreter and the loader; secrets do not get into the process.
INHERITED_VARIABLES = (
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PYTHONHOME",
    "SYSTEMROOT",
    "TEMP",
)
# Signals that no file causes: the system sends SIGKILL for want of memory, operators the others.
_FROM_OUTSIDE = {
    getattr(signal, name)
    for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
}
INVALID_ANSWER = "the decoder's answer on this file is invalid"

_log = logging.getLogger(__name__)


class DecoderUnavailableError(RuntimeError):
    """No decoder process can be started on this machine; not the fault of an image.

    Example:
        raise DecoderUnavailableError("cannot start a decoder process: no such file")
    """


class DecoderProcess:
    """One decoder process, started at once; used by one thread at a time.

    Args:
        timeout_s: most time that the decoder may take for one call.
        max_pixels: most pixels of an image; the memory limit follows from it.

    Raises:
        DecoderUnavailableError: if the process cannot be started.
        DecoderKilledError: if something outside kills it while it starts, or the system has no
            memory or no process to spare.

    Example:
        process = DecoderProcess(timeout_s=30, max_pixels=40_000_000)
        answer, parts = process.ask({"max_pixels": 40_000_000}, data)
        process.end()
    """

    def __init__(self, timeout_s: float, max_pixels: int) -> None:
        self._timeout_s = timeout_s
        self._max_answer_bytes = 4 * max_pixels + MAX_PROFILE_BYTES + MAX_JSON_BYTES
        self._calls = 0
        memory_bytes = (512 << 20) + 32 * max_pixels
        # -P: modules in the working directory are not imported.
        command = [sys.executable, "-P", "-m", "model.imaging.decoder_child"]
        self._process = _start([*command, str(memory_bytes), str(2 * timeout_s + 1)])
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        log = threading.Thread(target=_log_last_words, args=(self._process.stderr,), daemon=True)
        log.start()
        try:
            with self._time_limit(_START_LIMIT_S) as has_struck:
                receive(self._answers, 0)
        except (OSError, EOFError, ValueError) as error:
            status = self._exit_status()
            self.end()
            if status in _deaths_from_outside() and not has_struck():
                raise DecoderKilledError(
                    f"a decoder was killed at its start ({_how(status)})"
                ) from error
            raise DecoderUnavailableError(f"{' '.join(command)} does not start") from error

    def is_fit(self) -> bool:
        """Whether it runs and may serve another call."""
        return self._calls < _MAX_CALLS and self._process.poll() is None

    def end(self) -> None:
        """Kills the process if it still runs."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):  # of an unfinished request
                pipe.close()

    def ask(
        self,
        request: dict[str, Any],
        data: bytes,
        serve: Callable[[int, int], bytes] | None = None,
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Sends a request and returns the answer.

        Args:
            request: the header of the message, see `model.imaging.decoder_child`.
            data: the file, or its first bytes.
            serve: returns a range of the file, which the decoder may ask for.

        Returns:
            The answer's header and parts. Nothing in it is checked yet.

        Raises:
            UnreadableImageError: if the decoder crashes on the file or sends no message.
            DecodeTimeoutError: if it takes too long.
            DecoderKilledError: if something outside kills it.
        """
        self._calls += 1
        left_s = self._timeout_s
        while True:
            started = time.monotonic()
            failure = None
            try:
                with self._time_limit(left_s):
                    send(self._requests, request, data)
                    answer, parts = receive(self._answers, self._max_answer_bytes)
            except (OSError, EOFError, ValueError) as error:
                failure = error
            left_s -= time.monotonic() - started
            if left_s <= 0:  # otherwise the limit cannot have struck
                raise DecodeTimeoutError(f"decoding took longer than {self._timeout_s:g} s")
            if isinstance(failure, ValueError):
                raise UnreadableImageError(INVALID_ANSWER) from failure
            if failure is not None:
                raise self._death() from failure
            if serve is None or "read" not in answer:
                return answer, parts
            request, data = {}, serve(*_checked_range(answer["read"]))

    @contextlib.contextmanager
    def _time_limit(self, seconds: float) -> Iterator[Callable[[], bool]]:
        """Kills the process if the block takes longer; yields a function: whether it did."""
        struck = threading.Event()

        def strike() -> None:
            struck.set()
            self._process.kill()

        alarm = threading.Timer(seconds, strike)
        alarm.daemon = True
        alarm.start()
        try:
            yield struck.is_set
        finally:
            alarm.cancel()

    def _death(self) -> UnreadableImageError | DecoderKilledError:
        """The error of a process that has ended, or closed its pipes, during a call."""
        status = self._exit_status()
        if status is None:
            return UnreadableImageError(INVALID_ANSWER)
        if status in _deaths_from_outside():
            return DecoderKilledError(f"the decoder was killed on this file ({_how(status)})")
        return UnreadableImageError(f"the decoder crashed on this file ({_how(status)})")

    def _exit_status(self) -> int | None:
        """The status of a process that ends now; None if it still runs."""
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return None


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """Starts a process in a session and an environment of its own."""
    environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in sys.path)
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent
        )
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.EAGAIN):
            raise DecoderKilledError(f"no memory to start a decoder: {error}") from error
        raise DecoderUnavailableError(f"cannot start a decoder process: {error}") from error


def _deaths_from_outside() -> set[int]:
    """Exit statuses of processes that such a signal ended."""
    return {-number for number in _FROM_OUTSIDE}


def _how(status: int | None) -> str:
    """An exit status for people."""
    return f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"


def _log_last_words(stream: IO[bytes]) -> None:
    """Logs the last output of a process when it ends, as one event of the run."""
    last = b""
    with stream:
        while more := stream.read(_MAX_LOGGED_BYTES):
            last = (last + more)[-_MAX_LOGGED_BYTES:]
    if last:
        _log.warning("A decoder process ended: %s", last.decode(errors="replace").strip())


def _checked_range(asked: Any) -> tuple[int, int]:
    """Start and stop of a range that a decoder asks for."""
    match asked:
        case [int(start), int(stop)] if 0 <= start < stop:
            return start, stop
    raise UnreadableImageError(INVALID_ANSWER)
