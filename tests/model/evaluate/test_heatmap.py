import numpy as np
import pytest

from model.evaluate import heatmap
from model.metrics.full_reference import luma


def test_a_larger_error_is_never_darker():
    errors = np.linspace(0, 30, 200)[None]
    colours = heatmap.coloured(errors, 20)
    assert colours.dtype == np.uint8 and colours.shape == (1, 200, 3)
    levels = luma(colours)[0]
    assert (np.diff(levels) > -1).all() and levels[-1] > levels[0] + 150
    np.testing.assert_array_equal(colours[0, errors[0] >= 20], colours[:, -1].repeat(67, 0))


def test_the_colours_are_matplotlibs_inferno():
    matplotlib = pytest.importorskip("matplotlib")
    inferno = matplotlib.colormaps["inferno"](range(256), bytes=True)[:, :3]
    assert np.abs(heatmap.COLOURS.astype(int) - inferno.astype(int)).max() <= 6
