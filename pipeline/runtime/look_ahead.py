"""Runs a function in threads, some items ahead of whoever takes the results."""

import concurrent.futures
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class LookAhead(Generic[Item, Result]):
    """Keeps threads busy, each with an item, and returns what is ready.

    Args:
        function: runs in the threads.
        items: most that may be under way while `submit` returns without waiting.
        threads: how many.

    Example:
        >>> ahead = LookAhead(lambda number: number**2, items=2, threads=2)
        >>> sorted([*ahead.submit(2), *ahead.submit(3), *ahead.drain()])
        [4, 9]
        >>> ahead.close()
    """

    def __init__(self, function: Callable[[Item], Result], *, items: int, threads: int) -> None:
        self._function = function
        self._items = items
        self._threads = concurrent.futures.ThreadPoolExecutor(threads)
        self._under_way: set[Future[Result]] = set()

    def submit(self, item: Item) -> Iterator[Result]:
        """Starts an item; yields the results that are ready, in any order.

        Waits for one if too many items are under way. Raises what the function raised.
        """
        self._under_way.add(self._threads.submit(self._function, item))
        is_full = len(self._under_way) > self._items
        yield from self._ready(timeout_s=None if is_full else 0)

    def drain(self) -> Iterator[Result]:
        """Yields the results of all items that are under way, as they come."""
        while self._under_way:
            yield from self._ready(timeout_s=None)

    def forget(self) -> None:
        """Drops the results of items that are under way."""
        self._under_way = set()

    def close(self) -> None:
        """Waits for the items that have begun, and ends the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _ready(self, timeout_s: float | None) -> Iterator[Result]:
        """Results of all items that are done; waits for the first one."""
        done, self._under_way = concurrent.futures.wait(
            self._under_way, timeout_s, concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            yield future.result()
