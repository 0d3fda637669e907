"""Percentiles of any number of values in bounded memory, combined from parts."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

# Different values that are kept as they are. Beyond, values are rounded, each time by a bit more.
_MAX_DIFFERENT = 1 << 16
_FLOAT32_MANTISSA_BITS = 23


class Sketch:
    """Counts values. Exact up to 65,536 different ones, then rounded towards zero by as many bits
    as that takes; least and greatest stay exact. Half of a float32's 23 bits are 1 in 2,000.

    Example:
        >>> Sketch().add(np.array([1.0, 3.0], np.float32)).percentiles([0, 50])
        [1.0, 2.0]
    """

    def __init__(self) -> None:
        nothing = np.array([], np.float32)
        self._held = _Held(nothing, np.array([], np.int64), nothing, dropped_bits=0)

    def add(self, values: np.ndarray) -> "Sketch":
        """Counts float32 values [N], none of them NaN."""
        ones = np.ones(len(values), np.int64)
        self._held = _together([self._held, _Held(values, ones, values, dropped_bits=0)])
        return self

    def add_all(self, others: Iterable["Sketch"]) -> "Sketch":
        """Counts the values of other sketches."""
        self._held = _together([self._held, *(one._held for one in others)])  # noqa: SLF001
        return self

    def percentiles(self, shares: Iterable[float]) -> list[float] | None:
        """Percentiles as of `numpy.percentile`; None without values.

        Args:
            shares: 0 to 100.
        """
        held = self._held
        if not len(held.values):
            return None
        until = np.cumsum(held.counts)
        return [_at(held, share / 100 * (until[-1] - 1), until) for share in shares]


def _at(held: "_Held", rank: float, until: np.ndarray) -> float:
    """The value at a rank from 0, between two values in proportion."""
    if rank == 0:
        return float(held.ends[0])
    if rank == until[-1] - 1:
        return float(held.ends[1])
    ranks = np.array([np.floor(rank), np.ceil(rank)])
    low, high = held.values[np.searchsorted(until, ranks, side="right")].astype(np.float64)
    return float(low + (high - low) * (rank - ranks[0]))


class _Held(NamedTuple):
    """Different values in order and how often each occurs, [N]; least and greatest, [2]."""

    values: np.ndarray
    counts: np.ndarray
    ends: np.ndarray
    dropped_bits: int


def _together(parts: list[_Held]) -> _Held:
    values, counts, ends = (np.concatenate([one[i] for one in parts]) for i in range(3))
    if len(values):
        ends = np.array([ends.min(), ends.max()], np.float32)
    dropped_bits = max(one.dropped_bits for one in parts)
    values, counts = _rounded(values, counts, dropped_bits)
    while len(values) > _MAX_DIFFERENT and dropped_bits < _FLOAT32_MANTISSA_BITS:
        dropped_bits += 1
        values, counts = _rounded(values, counts, dropped_bits)
    return _Held(values, counts, ends, dropped_bits)


def _rounded(
    values: np.ndarray, counts: np.ndarray, dropped_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Different values in order, after rounding, and how often each occurs."""
    bits = values.astype(np.float32).view(np.uint32) >> dropped_bits << dropped_bits
    different, which = np.unique(bits.view(np.float32), return_inverse=True)
    return different, np.bincount(which, counts, len(different)).astype(np.int64)
