import numpy as np
import pytest

from model.transparency import bleed_colours


def random_rgb(height, width, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 5), (32, 32), (33, 47)])
def test_opaque_pixels_keep_their_colours(size):
    rgb = random_rgb(*size)
    alpha = np.random.default_rng(2).choice([0, 90, 255], size).astype(np.uint8)
    alpha.flat[0] = 255
    filled = bleed_colours(rgb, alpha)
    np.testing.assert_array_equal(filled[alpha == 255], rgb[alpha == 255])


def test_hidden_colours_do_not_matter():
    alpha = np.zeros((40, 41), np.uint8)
    alpha[10:20, 12:30] = 255
    rgb, other = random_rgb(40, 41, 1), random_rgb(40, 41, 2)
    other[alpha > 0] = rgb[alpha > 0]
    np.testing.assert_array_equal(bleed_colours(rgb, alpha), bleed_colours(other, alpha))


@pytest.mark.parametrize("colour", [(200, 40, 40), (0, 0, 0), (255, 255, 255)])
def test_one_colour_goes_on_everywhere(colour):
    rgb = np.full((50, 70, 3), 99, np.uint8)
    alpha = np.zeros((50, 70), np.uint8)
    rgb[20:30, 20:35] = colour
    alpha[20:30, 20:35] = 255
    alpha[20, 20:35] = 100
    filled = bleed_colours(rgb, alpha)
    assert np.abs(filled.astype(int) - colour).max() <= 1


def test_near_the_edge_the_nearest_colour_wins():
    rgb = np.zeros((32, 64, 3), np.uint8)
    alpha = np.zeros((32, 64), np.uint8)
    rgb[:, :16], rgb[:, 48:] = (250, 0, 0), (0, 0, 250)
    alpha[:, :16] = alpha[:, 48:] = 255
    filled = bleed_colours(rgb, alpha).astype(int)
    assert (filled[:, 16:20, 0] > 200).all() and (filled[:, 44:48, 2] > 200).all()


def test_nothing_visible():
    rgb = random_rgb(4, 4)
    assert bleed_colours(rgb, np.zeros((4, 4), np.uint8)) is rgb
