import numpy as np
import pytest
from PIL import Image, ImageFilter

from model.data.kernels import KERNELS
from model.imaging import resampling
from model.metrics import detail, full_reference
from model.scenes.drawing import draw_scene

HR = draw_scene(2_000_011, 320, 320)


def luma(rgb):
    return full_reference.luma(resampling.to_uint8(rgb), dtype=np.float32)


def soft():
    return resampling.shrink(HR, 2)


def unfiltered():
    return KERNELS["nearest"](HR, 160, 160)


def sharpened():
    mask = ImageFilter.UnsharpMask(0.8, 150, 0)
    return np.asarray(Image.fromarray(resampling.to_uint8(soft())).filter(mask))


@pytest.mark.parametrize("lr", [unfiltered, sharpened])
def test_sharpened_and_aliased_sources_have_more_detail_near_nyquist(lr):
    assert detail.nyquist_ratio(luma(lr())) > 1.3 * detail.nyquist_ratio(luma(soft()))


def test_stripes_have_the_ratio_that_their_frequency_says():
    """One pixel wide: all at Nyquist; two wide: equal responses of 1/2 and 1 to each axis."""
    fine = np.tile(np.array([0.0, 100.0]), (32, 16))
    assert detail.nyquist_ratio(fine) is None  # central differences do not see them at all
    wide = np.tile(np.array([0.0, 0.0, 100.0, 100.0]), (32, 8))
    assert detail.nyquist_ratio(wide) == pytest.approx(0.25)


def test_edges_are_as_steep_as_they_were_drawn_however_little_of_the_image_they_take():
    """A ramp of 3 pixels from 40 to 160: 40 a pixel in it, half of that beside its ends."""
    row = np.full(400, 40.0)
    row[200:203], row[203:] = [40, 80, 120], 160
    steps = np.array([20.0, 40.0, 40.0, 20.0])
    expected = np.sqrt((steps**4).sum() / (steps**2).sum())
    for plane in (row[None].repeat(50, 0), row[150:250, None].repeat(50, 1)):
        assert detail.edge_steepness(plane) == pytest.approx(expected)
    diagonal = 30.0 * (np.arange(40)[:, None] + np.arange(40))
    assert detail.edge_steepness(diagonal) == pytest.approx(30 * np.sqrt(2))


def test_an_error_is_relative_to_the_finest_detail():
    source = np.tile(np.array([0.0, 0.0, 100.0, 100.0]), (32, 8))
    finest = 25.0**2  # |-1, 2, -1| / 4 of a step of 100
    error = np.full_like(source, 5.0)
    assert detail.detail_error(source, error, 0.0) == pytest.approx(25 / finest)
    assert detail.detail_error(source, 0 * error, 0.0) == 0


def test_noise_that_a_result_lacks_is_no_error_of_the_detail():
    source = np.tile(np.array([0.0, 0.0, 100.0, 100.0]), (32, 8))
    error = np.full_like(source, 5.0)
    assert detail.detail_error(source, error, 3.0) == pytest.approx((25 - 9) / 25.0**2)
    assert detail.detail_error(source, error, 6.0) == 0


@pytest.mark.parametrize("plane", [np.full((40, 40), 200.0), np.zeros((2, 40))])
def test_flat_and_tiny_images_have_no_detail_to_measure(plane):
    assert detail.nyquist_ratio(plane) is None and detail.edge_steepness(plane) is None
    assert detail.detail_error(plane, np.ones_like(plane), 0.0) is None


def test_common_detail_is_compared_whatever_noise_one_of_them_has():
    """Twice the amplitude is 1; independent noise changes the energy, not the regression."""
    plain = luma(soft()).astype(np.float64)
    noise = np.random.default_rng(1).normal(0, 20, plain.shape)
    twice = plain.mean() + 2 * (plain - plain.mean())
    assert detail.common_detail_ratio(twice, plain) == pytest.approx(1, abs=0.02)
    assert detail.common_detail_ratio(twice + noise, plain) == pytest.approx(1, abs=0.1)
    assert detail.finest_detail_ratio(twice + noise, plain) > 1.4
    flat = np.full((40, 40), 200.0)
    assert detail.common_detail_ratio(flat, flat) == 0
    assert detail.common_detail_ratio(-plain, plain) < -5
