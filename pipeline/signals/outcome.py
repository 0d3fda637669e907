"""How a run ended, as its signals tell it."""

import datetime
from dataclasses import dataclass
from typing import Any

from pipeline.settings import Settings

DONE, TOO_MANY_FAILURES, FAILED = "done", "too_many_failures", "failed"
STOPPED, SUBMITTED = "stopped", "submitted"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        settings: of the run.
        name: `done`, `too_many_failures`, `failed`, `stopped` by a signal or by another process,
            or `submitted` to a runner that works on without this process.
        exit_status: of the process.
        started_at, finished_at: UTC.
        error: one line; None unless the run failed.
        summary: content of summary.json; None unless the run has finished.

    Example:
        >>> now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        >>> settings = Settings(input="s3://shop/m.csv", output="s3://shop/out", run_id="night1")
        >>> Outcome(settings, FAILED, 1, now, now, error="no such bucket").wall_s
        0.0
    """

    settings: Settings
    name: str
    exit_status: int
    started_at: datetime.datetime
    finished_at: datetime.datetime
    error: str | None = None
    summary: dict[str, Any] | None = None

    @property
    def wall_s(self) -> float:
        """Seconds between start and end of this process's work."""
        return (self.finished_at - self.started_at).total_seconds()
