import dataclasses
import math

import numpy as np
import pytest
from PIL import Image

from model.data import degradation
from model.data.drawn_recipes import Degradation
from model.data.recipes import (
    KERNELS,
    RECIPES,
    WEBP_STATED_QUALITY,
    Compression,
    Recipe,
)
from model.imaging import decode, resampling
from model.metrics import detail
from model.scenes.drawing import draw_scene

SCENE = draw_scene(1, 96, 96)
FLAT = np.full((96, 96, 3), 128, np.uint8)


def lr_of(recipe, hr=SCENE, seed=1):
    return recipe.make_lr(hr, 2, np.random.default_rng(seed))


def drawn(degradation, count=600):
    return [degradation.draw(np.random.default_rng(seed)) for seed in range(count)]


def made(degradation, seed=1):
    return degradation.make_lr(SCENE, 2, np.random.default_rng(seed))


def blockiness(rgb, start=0):
    """Mean step across the boundaries of 8 x 8 blocks over the mean of the other steps."""
    steps = np.abs(np.diff(rgb[..., 1].astype(float), axis=1)).mean(axis=0)
    is_boundary = np.arange(1, len(steps) + 1) % 8 == start % 8
    return steps[is_boundary].mean() / steps[~is_boundary].mean()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [(48, 48), (37, 48)])
def test_kernels_keep_plain_colours_and_the_mean(name, size):
    np.testing.assert_allclose(KERNELS[name](FLAT, *size), 128, atol=1e-3)
    smooth = degradation.blur(SCENE, 4)
    resized = KERNELS[name](smooth, *size)
    assert resized.shape == (*size, 3) and resized.dtype == np.float32
    assert np.abs(resized.mean(axis=(0, 1)) - smooth.mean(axis=(0, 1))).max() < 2


@pytest.mark.parametrize(
    ("name", "resampling"),
    [
        ("bilinear", Image.Resampling.BILINEAR),
        ("box", Image.Resampling.BOX),
        ("nearest", Image.Resampling.NEAREST),
    ],
)
@pytest.mark.parametrize("size", [(48, 48), (32, 64)])
def test_kernels_that_pillow_has_are_pillow_s(name, resampling, size):
    plane = Image.fromarray(SCENE[..., 0].astype(np.float32))
    expected = np.asarray(plane.resize(size[::-1], resampling))
    np.testing.assert_allclose(KERNELS[name](SCENE, *size)[..., 0], expected, atol=1e-3)


def test_kernels_without_a_counterpart_in_pillow():
    np.testing.assert_array_equal(KERNELS["corner"](SCENE, 48, 48), SCENE[::2, ::2])
    np.testing.assert_array_equal(KERNELS["nearest"](SCENE, 48, 48), SCENE[1::2, 1::2])
    # By hand from Keys' kernel with a = -0.75 at the distances 1.5, 0.5, 0.5, 1.5.
    stripes = np.repeat(SCENE[40:41], 96, axis=0)
    expected = SCENE[40, 19:23, 0].astype(float) @ [-0.09375, 0.59375, 0.59375, -0.09375]
    assert KERNELS["aliased"](stripes, 48, 48)[20, 10, 0] == pytest.approx(expected, abs=1e-3)
    # Two uneven steps: wider than one box, narrower than two boxes would allow.
    point = np.zeros((96, 96, 3), np.uint8)
    point[:, 40] = 255
    assert 2 <= np.count_nonzero(KERNELS["area"](point, 48, 48)[10, :, 0] > 1) <= 3
    assert np.count_nonzero(KERNELS["box"](point, 48, 48)[10, :, 0]) == 1


def test_the_plain_recipe_only_shrinks():
    np.testing.assert_array_equal(
        lr_of(Recipe()), resampling.to_uint8(resampling.shrink(SCENE, 2))
    )
    with pytest.raises(ValueError, match=r"multiples of the scale 2\. Received: 96 x 95"):
        lr_of(Recipe(), SCENE[1:])


@pytest.mark.parametrize("name", RECIPES)
def test_named_recipes_make_aligned_images(name):
    lr = lr_of(RECIPES[name])
    assert lr.shape == (48, 48, 3) and lr.dtype == np.uint8
    clean = resampling.to_uint8(resampling.shrink(SCENE, 2)).astype(float)
    errors = {
        shift: np.abs(np.roll(lr, shift, axis=1)[4:-4, 4:-4] - clean[4:-4, 4:-4]).mean()
        for shift in (-1, 0, 1)
    }
    assert min(errors, key=errors.get) == 0


def test_sharpening_overshoots_and_blur_softens():
    edge = FLAT.copy()
    edge[:, 48:] = 180
    assert lr_of(Recipe(kernel="box"), edge).max() == 180
    highest = [
        lr_of(Recipe(kernel="box", sharpen_radius_px=0.8, sharpen_percent=percent), edge).max()
        for percent in (20, 80, 150)
    ]
    assert 180 < highest[0] < highest[1] < highest[2]
    variation = [lr_of(Recipe(blur_px=sigma)).astype(float).std() for sigma in (0.0, 1.5, 4.0)]
    assert variation == sorted(variation, reverse=True)


def test_an_enlarged_image_lost_its_finest_detail():
    def finest(lr):
        spectrum = np.abs(np.fft.fft2(lr[..., 1] - lr[..., 1].mean()))
        return spectrum[20:28, 20:28].mean()

    assert finest(lr_of(Recipe(enlarged_by=1.5))) < 0.3 * finest(lr_of(Recipe()))


def test_noise_comes_before_compression():
    # Noise that was added after JPEG would survive the strongest compression.
    lr = lr_of(Recipe(noise_levels=12, compressions=(Compression(5),)), FLAT)
    assert lr.astype(float).std() < 6 < lr_of(Recipe(noise_levels=12), FLAT).astype(float).std()


def test_blocks_begin_where_the_grid_says():
    noise = resampling.to_uint8(
        degradation.add_noise(np.full((96, 96, 3), 128.0), 40, np.random.default_rng(1))
    )
    aligned = Compression(10).apply(noise)
    shifted = Compression(10, grid=(3, 5)).apply(noise)
    assert shifted.shape == noise.shape
    assert blockiness(aligned) > 1.2 > blockiness(aligned, start=3)
    assert blockiness(shifted, start=3) > 1.2 > blockiness(shifted)


def test_what_files_state():
    jpegs = (Compression(50), Compression(95))
    for recipe, stated, lowest in (
        (Recipe(), 100, 100),
        (Recipe(compressions=jpegs), 95, 50),
        (Recipe(compressions=jpegs[::-1]), 50, 50),
        (Recipe(compressions=jpegs[:1], hidden=True), 100, 50),
        (Recipe(compressions=(Compression(60, "webp"),)), 85, 85),
        (Recipe(compressions=(jpegs[0], Compression(60, "webp"))), 85, 50),
    ):
        assert (recipe.stated_quality, recipe.lowest_quality) == (stated, lowest)


def test_webp_is_told_as_the_job_tells_it():
    header = decode.Header  # a lossy WebP has no JPEG quality
    fields = {field.name: None for field in dataclasses.fields(header)}
    assert decode.assumed_quality(header(**fields)) == WEBP_STATED_QUALITY


def test_without_degradation_lr_is_only_shrunk():
    lr, quality, sharpening = made(Degradation())
    assert quality == 100 and math.isnan(sharpening)
    np.testing.assert_array_equal(lr, resampling.to_uint8(resampling.shrink(SCENE, 2)))


EVERYTHING = Degradation(
    degraded_share=1.0,
    kernels=(("bicubic", 3.0), ("nearest", 1.0)),
    blur_share=0.3,
    sharpened_share=0.4,
    noise_share=0.2,
    enlarged_share=0.1,
    jpeg_share=0.6,
    webp_share=0.3,
    twice_share=0.25,
    cropped_share=0.5,
    hidden_share=0.2,
)


def test_recipes_are_drawn_by_their_shares():
    recipes = drawn(EVERYTHING, 3000)
    jpegs = [r for r in recipes if r.compressions and r.compressions[-1].codec == "jpeg"]
    saved = [r for r in recipes if r.compressions]
    twice = [r for r in saved if len(r.compressions) == 2]
    for count, whole, share in (
        (sum(r.kernel == "nearest" for r in recipes), recipes, 0.25),
        (sum(r.blur_px > 0 for r in recipes), recipes, 0.3),
        (sum(r.sharpen_percent > 0 for r in recipes), recipes, 0.4),
        (sum(r.noise_levels > 0 for r in recipes), recipes, 0.2),
        (sum(r.enlarged_by > 1 for r in recipes), recipes, 0.1),
        (len(jpegs), recipes, 0.6),
        (len(saved), recipes, 0.9),
        (len(twice), saved, 0.25),
        (sum(r.compressions[0].grid != (0, 0) for r in twice), twice, 0.5 * 63 / 64),
        (sum(r.hidden for r in recipes), jpegs, 0.2),
    ):
        assert count / len(whole) == pytest.approx(share, abs=4 * (0.25 / len(whole)) ** 0.5)


def test_strengths_fill_their_ranges():
    recipes = drawn(EVERYTHING, 2000)
    for field, (low, high) in (
        ("blur_px", EVERYTHING.blur_px),
        ("sharpen_radius_px", EVERYTHING.sharpen_radius_px),
        ("sharpen_percent", EVERYTHING.sharpen_percent),
        ("noise_levels", EVERYTHING.noise_levels),
    ):
        values = [getattr(r, field) for r in recipes if getattr(r, field)]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high >= max(values) > high - 0.1 * (high - low)
    qualities = {r.compressions[-1].quality for r in recipes if len(r.compressions) == 1}
    assert qualities == set(range(30, 96))
    subsamplings = {c.subsampling for r in recipes for c in r.compressions}
    assert subsamplings == {"4:2:0", "4:2:2", "4:4:4"}


def test_a_share_of_the_hidden_qualities_is_told():
    hidden = Degradation(1.0, hidden_share=1.0, measured_share=0.7)
    qualities = np.array([made(hidden, seed)[1] for seed in range(400)])
    assert 0.2 < (qualities == 100).mean() < 0.4
    assert set(qualities) - {100} <= set(range(30, 96))
    again = Degradation(1.0, jpeg_quality=(95, 95), twice_share=1.0, earlier_quality=(40, 40))
    assert made(again)[1] == 40
    assert made(dataclasses.replace(again, measured_share=0.0))[1] == 95


def test_sharpening_is_the_detail_beyond_plain_bicubic():
    found = {
        name: RECIPES[name].sharpening(SCENE, 2)
        for name in ("bicubic", "jpeg50", "noisy", "soft", "bilinear", "lanczos", "sharpened80")
    }
    assert found["bicubic"] == found["jpeg50"] == found["noisy"] == 0
    assert found["soft"] < found["bilinear"] < 0 < found["lanczos"] < found["sharpened80"]
    assert RECIPES["sharpened80-jpeg80"].sharpening(SCENE, 2) == found["sharpened80"]
    doubled = np.repeat([[100.0, 104.0] * 8], 16, axis=0)
    assert detail.finest_detail_ratio(2 * doubled, doubled) == pytest.approx(1, abs=0.01)


def test_the_sharpening_is_told_of_a_share_with_an_error():
    told = Degradation(1.0, jpeg_share=0.0, kernels=(("box", 1.0),), sharpening_told_share=0.6)
    exact = Recipe(kernel="box").sharpening(SCENE, 2)
    levels = np.array([made(told, seed)[2] for seed in range(400)])
    known = levels[~np.isnan(levels)]
    assert 0.5 < len(known) / 400 < 0.7
    assert known.mean() == pytest.approx(exact, abs=0.03)
    assert known.std() == pytest.approx(0.1, abs=0.03)
    always = dataclasses.replace(told, sharpening_told_share=1.0, sharpening_told_error=0.0)
    assert made(always)[2] == exact


def test_the_same_generator_makes_the_same_image():
    for seed in range(30):
        (one, *told), (other, *other_told) = made(EVERYTHING, seed), made(EVERYTHING, seed)
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(told, other_told)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"degraded_share": 1.1}, "degraded_share is 0..1. Received: 1.1"),
        ({"blur_px": (1, 0.5)}, "blur_px is a range within 0..10. Received: 1 0.5"),
        ({"noise_levels": (-1, 2)}, "noise_levels"),
        ({"sharpening_told_error": 1.5}, "sharpening_told_error is 0..1. Received: 1.5"),
        ({"jpeg_quality": (0, 50)}, "jpeg_quality is a range within 1..100"),
        ({"jpeg_share": 0.8, "webp_share": 0.4}, "parts of one whole. Received: 0.8 [+] 0.4"),
        ({"kernels": (("mitchell", 1.0),)}, "kernels are of bicubic, .*mitchell"),
        ({"kernels": (("box", 0.0),)}, "kernels are of"),
    ],
)
def test_ranges_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        Degradation(**changes)
