"""Processes that read images and make patches beside the one that trains."""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any

from model import startup


@contextlib.contextmanager
def forked(
    count: int, prepare: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Runs functions in forks of this process, which share what it has in memory.

    Call it before a framework starts threads or opens a GPU: forks must not use them.

    Args:
        count: of processes.
        prepare: runs in each of them first, with `arguments`, which are not copied.

    Yields:
        The pool; its processes are there already.

    Raises:
        ValueError: if there are less than one.
        OSError: within the block, if one of them is killed.
    """
    if count < 1:
        raise ValueError(f"feed_processes is at least 0. Received: {count}")
    fork = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(count, fork, _begin, (prepare, arguments))
    try:
        pool.submit(signal.getsignal, signal.SIGINT).result()  # the first call forks all of them
        yield pool
    except BrokenExecutor as error:
        raise OSError(
            "a process that makes patches was killed, perhaps for want of memory: continue with "
            "fewer --feed_processes"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Makes a fork ready.

    Signals to stop a run may reach all its processes; the first heeds them and ends the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    startup.end_with_parent()
    if prepare is not None:
        prepare(*arguments)
