"""Geometry of the report's charts; `templates/macros.html.j2` draws them as SVG."""

import math
from dataclasses import dataclass

import numpy as np

_BINS = 40
# Share of the values within the axis; its end bins count the rest.
_SHARE = 0.99
_TICKS = 5


@dataclass(frozen=True)
class Histogram:
    """Counts of values, of one or two series on the same bins.

    Attributes:
        edges: of the bins, N + 1.
        series: counts, [N] each.
        medians: of each series.
        ticks: round numbers along the axis.
        values: number of values of the first series.

    Example:
        chart = histogram(gains)
        x = chart.position(0.0) * width
    """

    edges: list[float]
    series: list[list[int]]
    medians: list[float]
    ticks: list[float]
    values: int

    @property
    def max_count(self) -> int:
        """The largest count of all bins, at least 1."""
        return max(1, *(max(counts) for counts in self.series))

    def position(self, value: float) -> float:
        """Returns a value's position on the axis, 0..1; values outside move to its ends."""
        first, last = self.edges[0], self.edges[-1]
        return min(1.0, max(0.0, (value - first) / (last - first)))


def histogram(*series: np.ndarray) -> Histogram | None:
    """Counts one or two series of values.

    Args:
        series: float [N] each, without nan; those outside the axis count in its end bins.

    Returns:
        The histogram; None if the first series has no values.
    """
    if not len(series[0]):
        return None
    values = np.concatenate(series)
    low, high = np.quantile(values, [(1 - _SHARE) / 2, (1 + _SHARE) / 2])
    step = nice_step(float(high - low) / _TICKS or 1.0)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    if high == low:
        high = low + step
    edges = np.linspace(low, high, _BINS + 1)
    inside = [np.clip(one, low, high) for one in series]
    return Histogram(
        edges=edges.tolist(),
        series=[np.histogram(one, edges)[0].tolist() for one in inside],
        medians=[float(np.median(one)) for one in series if len(one)],
        ticks=[float(tick) for tick in np.arange(low, high + step / 2, step)],
        values=len(series[0]),
    )


def nice_step(step: float) -> float:
    """Returns the smallest of …, 0.5, 1, 2, 5, 10, 20, … that is not below `step`, above 0."""
    power = 10 ** math.floor(math.log10(step))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= step * (1 - 1e-9))
