"""Processes that read images and make patches beside the one that trains."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from model import startup

# How often to look whether the pool has ended, and how long it may take to notice a death itself.
_LOOK_S, _NOTICE_S = 1.0, 5.0


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
    before, ended = multiprocessing.active_children(), threading.Event()
    try:
        pool.submit(signal.getsignal, signal.SIGINT).result()  # the first call forks all of them
        processes = [one for one in multiprocessing.active_children() if one not in before]
        threading.Thread(target=_watch, args=(pool, processes, ended), daemon=True).start()
        yield pool
    except BrokenExecutor as error:
        raise OSError(
            "a process that makes patches was killed, perhaps for want of memory: continue with "
            "fewer --feed_processes"
        ) from error
    finally:
        ended.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _watch(
    pool: ProcessPoolExecutor, processes: list[BaseProcess], ended: threading.Event
) -> None:
    """Breaks a pool whose process was killed while it wrote a result.

    The pool would wait for the rest of it for ever, and the other processes for their turn to
    write. Without any writer its reader comes to the end of the file, and every future fails.
    """
    while not connection.wait([one.sentinel for one in processes], timeout=_LOOK_S):
        if ended.is_set():
            return
    if ended.wait(_NOTICE_S):
        return
    for one in processes:
        one.kill()
    results = getattr(pool, "_result_queue", None)
    if results is not None:
        results._writer.close()  # noqa: SLF001 - nothing public reaches it


def _begin(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Makes a fork ready.

    Signals to stop a run may reach all its processes; the first heeds them and ends the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    startup.end_with_parent()
    if prepare is not None:
        prepare(*arguments)
