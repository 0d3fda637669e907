"""Tests of the round trip's shrinking: bit by bit Pillow's values."""

import numpy as np
import pytest

from model.imaging import resampling
from model.metrics import round_trip


@pytest.mark.parametrize("size", [(10, 10), (12, 38), (80, 44), (131 * 2, 67 * 2)])
@pytest.mark.parametrize("levels", [np.arange(256), np.array([0, 255])])
def test_halves_to_the_values_of_pillow(size: tuple[int, int], levels: np.ndarray) -> None:
    rgb = np.random.default_rng(0).choice(levels, (*size, 3)).astype(np.uint8)
    shrunk, expected = round_trip.shrink(rgb, 2), resampling.shrink(rgb, 2)
    assert shrunk.dtype == expected.dtype
    assert shrunk.shape == expected.shape
    np.testing.assert_array_equal(shrunk[2:-2, 2:-2], expected[2:-2, 2:-2])


@pytest.mark.parametrize("scale", [3, 4])
def test_other_scales(scale: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (60, 48, 3)).astype(np.uint8)
    np.testing.assert_array_equal(round_trip.shrink(rgb, scale), resampling.shrink(rgb, scale))


def test_refuses_sides_that_are_no_multiples() -> None:
    with pytest.raises(ValueError, match="multiples of the scale 2"):
        round_trip.shrink(np.zeros((21, 30, 3), np.uint8), 2)
