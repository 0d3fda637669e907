"""Measures of two results whose sizes are any multiple of their source's."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from model.imaging import resampling
from model.scenes.drawing import draw_scene
from pipeline.compare.looking import measure_pixels

SOURCE = resampling.to_uint8(draw_scene(3, 120, 151))


def bicubic(height, width):
    return resampling.to_uint8(resampling.bicubic(SOURCE, height, width))


def filtered(pixels, kernel):
    return np.asarray(Image.fromarray(pixels).filter(kernel))


@pytest.mark.parametrize(
    "size", [(120, 151), (159, 200), (180, 227), (240, 302), (298, 375), (480, 604)]
)
def test_a_blur_and_a_sharpening_are_found_at_any_ratio(size):
    good = bicubic(*size)
    soft, sharp = (
        filtered(good, one)
        for one in (ImageFilter.GaussianBlur(2), ImageFilter.UnsharpMask(2, 99))
    )
    found = measure_pixels(SOURCE, soft, sharp)
    assert measure_pixels(SOURCE, good, good).edge_sharpness_a == pytest.approx(1, abs=0.02)
    assert found.edge_sharpness_a < 0.92 and found.edge_sharpness_b > 1.1
    assert found.overshoot_b > found.overshoot_a + 0.1


@pytest.mark.parametrize("size", [(119, 150), (240, 304), (302, 240)])
def test_sizes_that_do_not_belong_to_the_source_are_not_measured(size):
    assert measure_pixels(SOURCE, bicubic(*size), bicubic(*size)) is None


def test_results_of_different_sizes_are_not_measured():
    assert measure_pixels(SOURCE, bicubic(240, 302), bicubic(298, 375)) is None
