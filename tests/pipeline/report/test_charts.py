import numpy as np
import pytest

from pipeline.report import charts


@pytest.mark.parametrize(
    ("step", "nice"), [(1, 1), (1.01, 2), (3, 5), (7, 10), (0.03, 0.05), (0.1, 0.1), (240, 500)]
)
def test_steps_are_round(step, nice):
    assert charts.nice_step(step) == pytest.approx(nice)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e5])
def test_every_value_is_counted_once(spread):
    values = np.random.default_rng(1).normal(3, spread, 1000)
    values[:2] = 1e9, -1e9  # counted in the last bin and in the first, without stretching the axis
    chart = charts.histogram(values)
    assert sum(chart.series[0]) == chart.values == 1000
    assert chart.max_count == max(chart.series[0])
    assert chart.edges[-1] - chart.edges[0] < 12 * spread
    assert all(0 <= chart.position(tick) <= 1 for tick in chart.ticks) and len(chart.ticks) > 2
    assert chart.medians == [pytest.approx(np.median(values))]


def test_equal_values_have_an_axis():
    chart = charts.histogram(np.full(7, 3.0))
    assert sum(chart.series[0]) == 7 and chart.edges[0] < chart.edges[-1]


def test_two_series_share_an_axis():
    chart = charts.histogram(np.array([1.0, 2.0]), np.array([5.0, 6.0, 6.0]))
    assert [sum(counts) for counts in chart.series] == [2, 3]
    assert chart.position(1.5) < chart.position(6)
    assert chart.position(-100) == 0 and chart.position(100) == 1


def test_nothing_has_no_chart():
    assert charts.histogram(np.empty(0)) is None
