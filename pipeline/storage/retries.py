"""Retries of requests, and one wait for all threads while an endpoint as a whole is away."""

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.records import RunError

_T = TypeVar("_T")
FIRST_BACKOFF_S = 0.2
# A server that asks to slow down gets more time.
FIRST_THROTTLED_BACKOFF_S = 1.0
# No further attempt for one request after this long.
_MAX_REQUEST_S = 120.0
_MAX_PAUSE_S = 15.0
# Questions to an endpoint before it counts as away: one may meet a random fault.
_QUESTIONS = 3
# An endpoint that goes away again and again costs each request only so many waits.
_MAX_OUTAGES = 3

_log = logging.getLogger(__name__)


class TransientError(Exception):
    """An attempt failed in a way that the next one may not.

    Attributes:
        message: one line about it, for the row; `, N attempts` is appended.
        throttled: whether the server asked to slow down.
        attempts: how many were made; set by `Retrier`.

    Example:
        >>> TransientError("S3 answered 503", throttled=True).attempts
        1
    """

    def __init__(self, message: str, *, throttled: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.throttled = throttled
        self.attempts = 1


class Retrier:
    """Sends requests again, and lets all of a process wait while their endpoint is away.

    A request that failed for good raises the question whether the endpoint answers at all. If it
    does, the object has a problem, which costs its row. If not, this request and all others that
    fail wait together until it answers again, and are sent anew.

    Args:
        endpoint: name for the log.
        attempts: of each request, the first included.
        outage_s: longest wait for the endpoint; 0 waits never.
        can_continue: whether the error of an endpoint that stays away ends a run that its
            `--run_id` continues.

    Example:
        retrier = Retrier("https://s3.example.com", attempts=5, outage_s=900)
        retrier.call(lambda: fetch("a.jpg"), is_alive=ping)
    """

    def __init__(
        self, endpoint: str, *, attempts: int, outage_s: float, can_continue: bool = False
    ) -> None:
        self._endpoint = endpoint
        self._attempts = attempts
        self._outage_s = outage_s
        self._can_continue = can_continue
        self._one_asks = threading.Lock()
        self._ended_at = float("-inf")
        self._gave_up = False

    def call(self, send: Callable[[], _T], is_alive: Callable[[], bool]) -> _T:
        """Returns the request's result.

        Args:
            send: one attempt; raises `TransientError` where another may succeed.
            is_alive: asks the endpoint something simple; returns whether it answers.

        Raises:
            TransientError: if all attempts failed although the endpoint answers.
            RunError: if the endpoint stayed away for too long.
        """
        attempts = 0
        for outages in itertools.count(1):
            started = time.monotonic()
            try:
                return self._send_again(send, started)
            except TransientError as error:
                attempts += error.attempts
                error.attempts = attempts  # those before a wait count, too
                if not self._outage_s or outages > _MAX_OUTAGES:
                    raise
                if not self._was_away(started, is_alive, error.message):
                    raise
        raise AssertionError("an endless count has no end")

    def _send_again(self, send: Callable[[], _T], started: float) -> _T:
        for attempt in itertools.count(1):
            try:
                return send()
            except TransientError as error:
                error.attempts = attempt
                if attempt >= self._attempts or time.monotonic() - started > _MAX_REQUEST_S:
                    raise
                first = FIRST_THROTTLED_BACKOFF_S if error.throttled else FIRST_BACKOFF_S
            # Full jitter: threads that failed together do not come back together.
            time.sleep(min(_MAX_PAUSE_S, first * 2 ** (attempt - 1)) * random.random())
        raise AssertionError("an endless count has no end")

    def _was_away(self, started: float, is_alive: Callable[[], bool], message: str) -> bool:
        """Whether the endpoint was away since `started`; returns once it is back."""
        with self._one_asks:  # the others wait here for what the first one finds
            if self._ended_at > started:
                return True
            if _answers(is_alive):
                self._gave_up = False
                return False
            if not self._gave_up:
                self._wait(is_alive, message)
            if self._gave_up:
                raise RunError(
                    f"{self._endpoint} did not answer for {self._outage_s:.0f} s ({message}): is "
                    "--s3_endpoint_url right, and can it be reached?"
                    f"{' The run goes on with its --run_id' if self._can_continue else ''}"
                )
            self._ended_at = time.monotonic()
            return True

    def _wait(self, is_alive: Callable[[], bool], message: str) -> None:
        _log.warning(
            "%s does not answer (%s); waiting for it, %.0f s at most",
            self._endpoint,
            message,
            self._outage_s,
        )
        since, pause_s = time.monotonic(), FIRST_BACKOFF_S
        while not is_alive():
            left_s = self._outage_s - (time.monotonic() - since)
            if left_s <= 0:
                self._gave_up = True
                return
            time.sleep(min(pause_s, left_s))
            pause_s = min(_MAX_PAUSE_S, 2 * pause_s)
        _log.warning("%s answers again after %.0f s", self._endpoint, time.monotonic() - since)


def _answers(is_alive: Callable[[], bool]) -> bool:
    """Whether the endpoint answers one of a few questions."""
    for question in range(_QUESTIONS):
        if question:
            time.sleep(FIRST_BACKOFF_S)
        if is_alive():
            return True
    return False
