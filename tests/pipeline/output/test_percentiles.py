"""Percentiles against numpy's."""

import numpy as np
import pytest

from pipeline.output.percentiles import Sketch

SHARES = (0, 5, 25, 50, 75, 95, 100)


def sketch_of(values, parts):
    """A sketch of values in parts, added and combined like those of several files."""
    pieces = np.array_split(np.float32(values), parts)
    return Sketch().add_all([Sketch().add(piece) for piece in pieces])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("values", [[2.0], [1.0, 3.0], [-1.5, 0.0, 7.25, 7.25], range(1000)])
def test_few_values_are_exact(values, parts):
    expected = np.percentile(np.float64(list(values)), SHARES)
    assert sketch_of(list(values), parts).percentiles(SHARES) == pytest.approx(expected)


@pytest.mark.parametrize("parts", [1, 7])
def test_many_values_are_close_in_bounded_memory(parts):
    values = np.random.default_rng(1).normal(30, 12, 400_000).astype(np.float32)
    found = sketch_of(values, parts).percentiles(SHARES)
    expected = np.percentile(values, SHARES)
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert (found[0], found[-1]) == (values.min(), values.max())


def test_the_least_and_the_greatest_of_one_value():
    assert Sketch().add(np.float32([5.0])).percentiles([0, 50, 100]) == [5.0, 5.0, 5.0]
    assert Sketch().percentiles(SHARES) is None
