import dataclasses

import numpy as np
import pytest

from model.data.recipes import RECIPES, Recipe
from model.metrics import full_reference
from model.metrics.source_measures import edge_overshoot, nyquist_ratio
from model.scenes.drawing import draw_scene

SCENES = [draw_scene(seed, 240, 300) for seed in (1, 2, 3, 5, 8, 13)]


def lumas(recipe):
    return [full_reference.luma(recipe.make_lr(hr, 2, np.random.default_rng(1))) for hr in SCENES]


def edge(height=40, width=60, low=60.0, high=180.0, overshoot=0.0):
    """An edge between two plain sides; the pixel on each side of it goes beyond."""
    plane = np.full((height, width), low)
    plane[:, width // 2 :] = high
    plane[:, width // 2] += overshoot * (high - low)
    plane[:, width // 2 - 1] -= overshoot * (high - low)
    return plane


@pytest.mark.parametrize("overshoot", [0.0, 0.05, 0.2])
def test_overshoot_is_a_share_of_the_edge(overshoot):
    plane = edge(overshoot=overshoot)
    for turned in (plane, plane[:, ::-1], plane.T, plane[::-1].T, 255 - plane):
        assert edge_overshoot(turned) == pytest.approx(overshoot, abs=1e-6)


def test_overshoot_needs_edges_between_flat_sides():
    assert edge_overshoot(edge(height=15)) is None and edge_overshoot(edge(height=16)) == 0
    assert edge_overshoot(edge(low=100.0, high=125.0)) is None
    assert edge_overshoot(np.full((40, 40), 7.0)) is None
    assert edge_overshoot(np.zeros((3, 3))) is None
    texture = np.random.default_rng(1).random((40, 40)) * 255
    assert edge_overshoot(texture) is None


def test_the_ratio_of_single_frequencies():
    at = np.arange(64)
    for cycles, expected in ((0.25, 0.25), (0.125, None), (0.4, None)):
        wave = np.tile(100 * np.cos(2 * np.pi * cycles * at + 0.3), (64, 1))
        high, middle = np.sin(np.pi * cycles) ** 4, np.sin(2 * np.pi * cycles) ** 2
        ratio = nyquist_ratio(wave)
        assert ratio == pytest.approx(high / middle, rel=0.05)
        assert expected is None or ratio == pytest.approx(expected, rel=0.05)
    assert nyquist_ratio(np.full((40, 40), 7.0)) is None
    assert nyquist_ratio(np.zeros((2, 40))) is None


@pytest.mark.parametrize("name", ["nearest", "corner", "aliased", "sharpened80", "sharpened150"])
def test_sharpened_and_aliased_sources_have_more_near_nyquist(name):
    for soft, sharp in zip(lumas(RECIPES["bicubic"]), lumas(RECIPES[name]), strict=True):
        assert nyquist_ratio(sharp) > 1.2 * nyquist_ratio(soft)


def test_sharpening_overshoots():
    plain = Recipe(kernel="lanczos")
    strong = dataclasses.replace(plain, sharpen_radius_px=0.8, sharpen_percent=150)
    pairs = [
        (edge_overshoot(soft), edge_overshoot(sharp))
        for soft, sharp in zip(lumas(plain), lumas(strong), strict=True)
    ]
    known = [(soft, sharp) for soft, sharp in pairs if soft is not None and sharp is not None]
    assert len(known) >= 3
    assert sum(sharp > soft + 0.01 for soft, sharp in known) >= 0.75 * len(known)
