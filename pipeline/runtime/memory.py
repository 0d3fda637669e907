"""Gives memory that nobody uses any more back to the system."""

import ctypes
import functools
import sys
from collections.abc import Callable

import pyarrow as pa


def give_back() -> None:
    """Gives back what Arrow's allocator and, on Linux, the C library keep for their next use.

    Both keep most of what a large step took, beside the memory of whatever comes next. Takes
    some milliseconds.
    """
    pa.default_memory_pool().release_unused()
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    """The C library's `malloc_trim`; nothing where it has none."""
    if sys.platform == "linux":
        return getattr(ctypes.CDLL(None), "malloc_trim", int)
    return int
