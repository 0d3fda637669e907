"""Overshoot and edge sharpness on edges whose values are known."""

import numpy as np
import pytest

from model.imaging import resampling
from model.metrics.edges import edge_sharpness, overshoot
from model.scenes.drawing import draw_scene


def step(low=60.0, high=160.0, side=24):
    """A source with one vertical edge."""
    return np.repeat([[low] * (side // 2) + [high] * (side // 2)], side, axis=0)


def doubled(plane):
    return plane.repeat(2, axis=0).repeat(2, axis=1)


def test_the_overshoot_of_a_halo_of_known_height():
    source = step()
    halo = doubled(source)
    halo[:, 24:26] += 10  # the first bright source pixel beside the edge
    # 4 columns of the source lie within 2 pixels of the edge; one of them exceeds by 10.
    assert overshoot(source, halo) == pytest.approx(10 / 4)
    undershoot = doubled(source)
    undershoot[:, 22:24] -= 10
    assert overshoot(source, undershoot) == pytest.approx(10 / 4)


def test_the_overshoot_of_a_halo_at_two_and_a_half():
    source = step()
    halo = resampling.bicubic(source, 60, 60).clip(60, 160)
    assert overshoot(source, halo) == pytest.approx(0)
    halo[:, 30:32] += 10  # within the first bright source pixel beside the edge
    assert overshoot(source, halo) == pytest.approx(10 / 4, abs=0.1)


def test_what_stays_within_the_source_does_not_overshoot():
    assert overshoot(step(), doubled(step())) == 0
    inside = np.clip(doubled(step()) + 20, 60, 160)
    assert overshoot(step(), inside) == 0


@pytest.mark.parametrize("side", [24, 37, 48, 60, 72, 96])
def test_a_steeper_edge_is_sharper_by_its_factor(side):
    source = step()
    bicubic = resampling.bicubic(source, side, side)
    assert edge_sharpness(source, bicubic, bicubic) == pytest.approx(1)
    steeper = (bicubic - 110) * 1.5 + 110
    assert edge_sharpness(source, bicubic, steeper) == pytest.approx(1.5)


def test_noise_changes_the_sharpness_of_edges_little_and_a_blur_much():
    source = draw_scene(3, 120, 140).mean(axis=2)
    bicubic = resampling.bicubic(source, 240, 280)
    noisy = bicubic + np.random.default_rng(0).normal(0, 2, bicubic.shape)
    assert edge_sharpness(source, bicubic, noisy) == pytest.approx(1, abs=0.08)
    blurred = (
        sum(np.roll(bicubic, shift, axis) for shift in (-2, -1, 0, 1, 2) for axis in (0, 1)) / 10
    )
    assert edge_sharpness(source, bicubic, blurred) < 0.8


@pytest.mark.parametrize("source", [np.full((20, 20), 90.0), step(100, 120), np.eye(5) * 200])
def test_no_edges_no_measure(source):
    height, width = source.shape
    large = doubled(source)
    assert (overshoot(source, large) is None) == (height * width < 64 or np.ptp(source) < 32)
    assert edge_sharpness(source, large, large) is None
