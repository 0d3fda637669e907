import math

import numpy as np
import pytest

from model.inference.target import TargetSize


@pytest.mark.parametrize(
    ("network", "scale", "passes", "size"),
    [
        (2, None, 1, (200, 300)),
        (2, 2, 1, (200, 300)),
        (2, 3, 2, (300, 450)),
        (2, 4, 2, (400, 600)),
        (3, None, 1, (300, 450)),
        (3, 2, 1, (200, 300)),
        (4, None, 1, (400, 600)),
        (4, 3, 1, (300, 450)),
    ],
)
def test_a_scale_takes_the_fewest_passes(network, scale, passes, size):
    plan = TargetSize(scale).plan(100, 150, network)
    assert (plan.passes, plan.height, plan.width) == (passes, *size)
    assert plan.scale == (scale or network) <= plan.network_total


@pytest.mark.parametrize(
    ("side", "limit", "scale", "size"),
    [
        (300, None, 2, (200, 300)),  # reached exactly: nothing to shrink
        (250, None, 2, (167, 250)),
        (301, None, 4, (201, 301)),
        (600, None, 4, (400, 600)),
        (601, None, 4, (400, 600)),  # never beyond the largest scale
        (500, 2, 2, (200, 300)),
        (400, 3, 3, (267, 400)),
    ],
)
def test_a_target_side_takes_the_smallest_scale_that_reaches_it(side, limit, scale, size):
    plan = TargetSize(limit, side).plan(100, 150, 2)
    assert (plan.scale, plan.height, plan.width) == (scale, *size)


def test_a_network_of_another_scale_is_used_directly():
    plan = TargetSize(side_px=500).plan(100, 150, 4)
    assert (plan.passes, plan.scale, plan.width) == (1, 4, 500)
    assert plan.name_of("rdn-x4") == "rdn-x4"
    assert TargetSize(4).plan(100, 150, 2).name_of("rdn-product") == "rdn-product x2 twice"


def test_an_extreme_shape_keeps_a_pixel():
    assert TargetSize(side_px=500).plan(1, 3000, 2).height == 1


def test_a_scale_that_a_network_cannot_reach_is_refused():
    with pytest.raises(ValueError, match="x3 upscales by 3 or less"):
        TargetSize(4).check(3)
    with pytest.raises(ValueError, match="x3 upscales by 3 or less"):
        TargetSize(4, side_px=500).max_result_side(1000, 3)


@pytest.mark.parametrize("value", ["100", 100.5, 2.0, True, np.bool_(True), math.nan])
@pytest.mark.parametrize("name", ["scale", "side_px"])
def test_what_is_no_whole_number_is_refused(name, value):
    with pytest.raises(ValueError, match=r"a whole number, .* Received: "):
        TargetSize(**{name: value})


def test_small_integers_of_numpy_do_not_overflow():
    plan = TargetSize(np.uint8(4), np.int16(1000)).plan(400, 300, 2)
    assert plan == TargetSize(4, 1000).plan(400, 300, 2)


@pytest.mark.parametrize("side", [None, 300, 700, 5000])
@pytest.mark.parametrize("scale", [None, 2, 3, 4])
def test_the_largest_result_bounds_all(side, scale):
    target = TargetSize(scale, side)
    largest = target.max_result_side(400, 2)
    sides = [one for one in range(20, 401) if side is None or one < side]
    plans = [(one, target.plan(one, one // 2 + 1, 2)) for one in sides]
    assert max(one * plan.network_total for one, plan in plans) <= largest
    assert all(side is None or plan.height <= side for _, plan in plans)
