"""Announces a run's outcome, once, to whom the options name."""

import contextlib
import datetime
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.settings import Settings
from pipeline.signals import metrics_file, notification, outcome
from pipeline.signals.outcome import Outcome

# A run that ended by itself can wait; one that a scheduler stops has five seconds for everything.
_DEADLINE_S, _SHORT_DEADLINE_S = 30.0, 3.0

_log = logging.getLogger(__name__)


class Announcer:
    """Writes `--metrics_file` and sends `--notify` when a run ends; a dry run is not announced.

    What goes wrong is a warning in the log.

    Args:
        settings: of the run, with the address.
        started_at: UTC.

    Example:
        announcer = Announcer(settings, started_at)
        with announcer.failures():
            summary = do_the_work()
        announcer.tell("done", 0, summary=summary)
    """

    def __init__(self, settings: Settings, started_at: datetime.datetime) -> None:
        self._settings = settings.without_secrets()
        self._url = None if settings.dry_run else settings.notify
        self._metrics_file = None if settings.dry_run else settings.metrics_file
        self._started_at = started_at
        self._has_told = threading.Lock()

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Announces an exception of the block as a failed run, and raises it again."""
        try:
            yield
        except Exception as error:
            self.tell(outcome.FAILED, 1, error=f"{type(error).__name__}: {error}")
            raise

    def stopped(self, exit_status: int | None) -> None:
        """Announces that a signal, or another process, ends this one within seconds."""
        status = 1 if exit_status is None else exit_status
        self.tell(outcome.STOPPED, status, deadline_s=_SHORT_DEADLINE_S)

    def tell(
        self,
        name: str,
        exit_status: int,
        *,
        summary: dict[str, Any] | None = None,
        error: str | None = None,
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        """Announces an outcome; a second call does nothing.

        Args:
            name, exit_status, summary, error: see `Outcome`.
            deadline_s: most time for the notification.
        """
        if not self._has_told.acquire(blocking=False):
            return
        now = datetime.datetime.now(datetime.UTC)
        ended = Outcome(self._settings, name, exit_status, self._started_at, now, error, summary)
        if self._metrics_file is not None and name != outcome.SUBMITTED:
            try:
                metrics_file.write(Path(self._metrics_file), ended)
            except OSError as problem:
                _log.warning("--metrics_file %s: %s", self._metrics_file, problem.strerror)
        if self._url is not None:
            trouble = notification.post(self._url, ended, deadline_s=deadline_s)
            if trouble is not None:
                where = notification.shown(self._url)
                _log.warning("--notify %s: %s; nobody was notified", where, trouble)
