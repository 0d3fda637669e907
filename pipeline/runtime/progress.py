"""Progress of a run: a bar on a terminal, else a line a minute in the log.

Each step counts in its own process. With Beam's local runner this is the process that the user
started, and only there the progress is shown; other runners have their own dashboards.
"""

import contextlib
import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

from pipeline import text
from pipeline.runtime import logs

_LOOK_EVERY_S = 0.5
_LINE_EVERY_S = 60.0

_log = logging.getLogger(__name__)


class Progress:
    """Counters of one process; any thread may count.

    Example:
        HERE.found()
        HERE.done(failed=1)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Resets the counters for the next run of this process."""
        with self._lock:
            self.uris_found = self.uris_done = self.uris_failed = 0

    def found(self, uris: int = 1) -> None:
        """Counts more URIs of the catalog. All are found before the first is done."""
        with self._lock:
            self.uris_found += uris

    def done(self, uris: int = 1, *, failed: int = 0) -> None:
        """Counts URIs that have their rows.

        Args:
            uris: number of URIs.
            failed: how many of them failed.
        """
        with self._lock:
            self.uris_done += uris
            self.uris_failed += failed


HERE = Progress()


@contextlib.contextmanager
def shown(stream: TextIO | None = None, *, line_every_s: float = _LINE_EVERY_S) -> Iterator[None]:
    """Shows the progress of this process's run while the block runs.

    Args:
        stream: for the bar; standard error by default. If it is no terminal, lines are logged.
        line_every_s: seconds between lines.
    """
    HERE.reset()
    ended = threading.Event()
    is_bar = (stream or sys.stderr).isatty() and not logs.is_json()
    watch = _watch_bar if is_bar else _watch_lines
    arguments = (ended, stream or sys.stderr) if watch is _watch_bar else (ended, line_every_s)
    thread = threading.Thread(target=watch, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch_bar(ended: threading.Event, stream: TextIO) -> None:
    while not HERE.uris_found:  # the catalog is being listed
        if ended.wait(_LOOK_EVERY_S):
            return
    # tqdm's rate is that of the last minutes: unchanged images are fast, others are not.
    size = shutil.get_terminal_size()  # tqdm draws nothing on a terminal that has no size
    with tqdm(
        total=HERE.uris_found,
        unit=" images",
        file=stream,
        leave=False,
        ncols=size.columns,
        nrows=size.lines,
    ) as bar:
        while True:
            is_last = ended.wait(_LOOK_EVERY_S)
            bar.total = HERE.uris_found
            bar.set_postfix(failed=HERE.uris_failed, refresh=False)
            bar.update(HERE.uris_done - bar.n)
            bar.refresh()
            if is_last:
                return


def _watch_lines(ended: threading.Event, line_every_s: float) -> None:
    before, since = 0, time.monotonic()
    while not ended.wait(line_every_s):
        now, done, found = time.monotonic(), HERE.uris_done, HERE.uris_found
        rate = (done - before) / (now - since)
        left = f"{(found - done) / rate / 60:,.0f} min left" if rate else "time left unknown"
        if done:
            _log.info(
                "%d of %d images, %.1f a second, %s, %d failed",
                done,
                found,
                rate,
                left,
                HERE.uris_failed,
            )
        else:
            _log.info("%s found so far", text.count(found, "image"))
        before, since = done, now
