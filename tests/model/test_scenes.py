import numpy as np
import pytest

from model import scenes

SEEDS = range(14)


@pytest.mark.parametrize("size", [(16, 16), (65, 120), (200, 133)])
def test_size_and_type(size):
    scene = scenes.draw_scene(3, *size)
    assert scene.shape == (*size, 3) and scene.dtype == np.uint8
    cutout = scenes.draw_cutout(3, *size)
    assert cutout.shape == (*size, 4) and cutout.dtype == np.uint8


def test_a_seed_decides_the_picture():
    first, second = scenes.draw_scene(5, 80, 80), scenes.draw_scene(6, 80, 80)
    assert (first == scenes.draw_scene(5, 80, 80)).all()
    assert (first != second).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_an_object_on_a_flat_background(seed):
    scene = scenes.draw_scene(seed, 120, 120).astype(int)
    assert np.ptp(scene[:2], axis=1).max() == 0  # each row of the upper border is one colour
    assert scene[:2].mean() > 200
    assert scene.std() > 20


def test_every_kind_is_drawn():
    chosen = {int(np.random.default_rng(seed).integers(len(scenes._KINDS))) for seed in range(60)}
    assert chosen == set(range(len(scenes._KINDS)))


def test_a_cutout_is_opaque_inside_and_clear_outside():
    alpha = scenes.draw_cutout(2, 100, 100)[..., 3]
    assert alpha[0].max() == 0 and alpha[50, 50] == 255


def test_too_small():
    with pytest.raises(ValueError, match="15 x 40"):
        scenes.draw_scene(1, 15, 40)
