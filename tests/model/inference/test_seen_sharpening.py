"""What the shipped network sees of the sharpening, and that it is told so."""

import math

import numpy as np
import pytest

from model.data.recipes import RECIPES
from model.imaging.image import RasterImage
from model.inference.measured import upscale_with_self_test
from model.inference.seen_sharpening import see_sharpening
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.network import loading
from model.scenes.drawing import draw_scene

SCENES = [draw_scene(3_000_000 + i, 240, 280) for i in range(4)]


def lr_of(recipe, hr=SCENES[0]):
    return RasterImage(RECIPES[recipe].make_lr(hr, 2, np.random.default_rng(1)))


def seen_in(upscaler, recipe):
    quality = RECIPES[recipe].lowest_quality
    return [see_sharpening(upscaler, lr_of(recipe, hr), quality) for hr in SCENES]


def test_the_network_sees_what_was_sharpened_and_what_was_not(upscaler):
    for recipe in ("bicubic", "bilinear"):  # uncompressed: no sign is no statement
        assert seen_in(upscaler, recipe) == [None] * len(SCENES), recipe
    for recipe in ("jpeg75", "jpeg50"):
        assert min(seen_in(upscaler, recipe)) >= 0 and max(seen_in(upscaler, recipe)) < 0.2
    for recipe in ("sharpened80", "sharpened80-jpeg80"):
        truth = [RECIPES[recipe].sharpening(hr, 2) for hr in SCENES]
        assert np.mean(seen_in(upscaler, recipe)) == pytest.approx(np.mean(truth), abs=0.25)
    assert np.mean(seen_in(upscaler, "sharpened150")) > np.mean(seen_in(upscaler, "sharpened80"))


def test_what_it_sees_is_no_more_than_networks_can_be_told_with_some_certainty(upscaler):
    checkerboard = RasterImage(np.indices((40, 40)).sum(axis=0).astype(np.uint8)[..., None] % 2)
    checkerboard = RasterImage(np.repeat(255 * checkerboard.rgb, 3, axis=-1))
    assert see_sharpening(upscaler, checkerboard, 100) == 0.9
    assert see_sharpening(upscaler, checkerboard, 75) == 0.9
    assert see_sharpening(upscaler, checkerboard, 50) == pytest.approx(0.6)


def test_it_is_told_what_it_has_seen(upscaler):
    source = lr_of("sharpened80")
    seen = see_sharpening(upscaler, source, 100)
    upscaled = upscale_with_self_test(upscaler, source, jpeg_quality=100)
    told = upscale_with_self_test(upscaler, source, jpeg_quality=100, sharpening=seen)
    np.testing.assert_array_equal(upscaled.result.rgb, told.result.rgb)
    np.testing.assert_array_equal(upscaled.self_sr, told.self_sr)
    assert upscaled.measure() == told.measure()
    assert upscaled.measure().told_sharpening == upscaled.sharpening == seen


@pytest.mark.parametrize(
    ("recipe", "gain_db"), [("sharpened80", 0.3), ("sharpened80-jpeg80", 0.2), ("jpeg75", 0.03)]
)
def test_results_are_better_than_those_of_a_network_that_guesses(upscaler, recipe, gain_db):
    quality, gains_db = RECIPES[recipe].lowest_quality, []
    for hr in SCENES:
        seen, guessed = (
            upscale_with_self_test(
                upscaler, lr_of(recipe, hr), jpeg_quality=quality, sharpening=told, extent="off"
            )
            for told in (None, math.nan)
        )
        assert guessed.measure().told_sharpening is None
        psnr_db = [full_reference.psnr_y(hr, one.result.rgb, border=2) for one in (seen, guessed)]
        gains_db.append(psnr_db[0] - psnr_db[1])
    assert np.mean(gains_db) > gain_db


def test_colours_that_transparency_hides_say_nothing(upscaler):
    """Below them may lie anything; a cut-out's edge is not one of the photograph."""
    source = lr_of("sharpened80")
    alpha = np.zeros((source.height, source.width), np.uint8)
    alpha[20:100, 30:110] = 255
    noise = source.rgb.copy()
    noise[alpha == 0] = np.random.default_rng(0).integers(0, 256, (alpha == 0).sum())[:, None]
    seen = {see_sharpening(upscaler, RasterImage(one, alpha), 100) for one in (source.rgb, noise)}
    assert len(seen) == 1
    opaque = np.full_like(alpha, 255)
    with_alpha = see_sharpening(upscaler, RasterImage(source.rgb, opaque), 100)
    assert with_alpha == see_sharpening(upscaler, source, 100) > 0.3


def test_who_cannot_see_says_so(upscaler):
    small = Upscaler(loading.load_by_name("rdn-small"))
    assert see_sharpening(small, lr_of("sharpened80"), 100) is None
    tiny = RasterImage(SCENES[0][:15, :40])
    assert see_sharpening(upscaler, tiny, 100) is None
    upscaled = upscale_with_self_test(upscaler, tiny, jpeg_quality=100)
    np.testing.assert_array_equal(upscaled.result.rgb, upscaler.upscale_rgb(tiny.rgb))
    assert upscaled.sharpening is None


def test_a_plain_colour_was_not_sharpened(upscaler):
    for level in (0, 128, 255):
        flat = RasterImage(np.full((40, 40, 3), level, np.uint8))
        assert see_sharpening(upscaler, flat, 100) is None
        assert see_sharpening(upscaler, flat, 60) == 0
