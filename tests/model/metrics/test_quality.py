import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from model.data import degradation
from model.imaging import profiles, resampling
from model.imaging.colour import from_h273, icc_profile
from model.imaging.image import RasterImage
from model.metrics import detail, full_reference, quality
from model.scenes.drawing import draw_cutout, draw_scene


@pytest.fixture(scope="module")
def hr():
    return draw_scene(12, 160, 140)


@pytest.fixture(scope="module")
def source(hr):
    return RasterImage(resampling.to_uint8(resampling.shrink(hr, 2)))


def measure(source, result, upscale):
    self_test = quality.self_test(source, 2)
    self_sr = None if self_test is None else upscale(self_test.lr)
    return quality.measure(source, result, scale=2, self_test=self_test, self_sr=self_sr)


def bicubic_x2(lr):
    return resampling.to_uint8(resampling.bicubic(lr, 2 * lr.shape[0], 2 * lr.shape[1]))


def test_a_good_result(source, upscaler):
    result = upscaler.upscale_image(source)
    measures = measure(source, result, upscaler.upscale_rgb)
    assert measures.roundtrip_psnr_db > 40
    assert measures.self_gain_db > 1
    assert measures.self_gain_db == measures.self_psnr_db - measures.self_bicubic_psnr_db


def test_bicubic_gains_nothing_over_bicubic(source):
    measures = measure(source, RasterImage(bicubic_x2(source.rgb)), bicubic_x2)
    assert measures.self_gain_db == 0


def test_the_round_trip_by_hand(source):
    result = RasterImage(bicubic_x2(source.rgb))
    again = resampling.bicubic(result.rgb, source.height, source.width)
    expected = peak_signal_noise_ratio(
        source.rgb[2:-2, 2:-2].astype(float), again[2:-2, 2:-2].astype(float), data_range=255
    )
    found = measure(source, result, bicubic_x2).roundtrip_psnr_db
    assert found == pytest.approx(expected, abs=1e-6)


def test_removed_noise_is_no_error_of_the_detail_but_removed_detail_is():
    hr = 128 + 0.6 * (draw_scene(1, 320, 320) - 128.0)  # so that no noise clips
    clean = resampling.to_uint8(resampling.shrink(resampling.to_uint8(hr), 2))
    noisy = resampling.to_uint8(clean + np.random.default_rng(1).normal(0, 3, clean.shape))
    error = {
        name: measure(RasterImage(noisy), RasterImage(bicubic_x2(lr)), bicubic_x2).detail_error
        for name, lr in {"denoised": clean, "softened": degradation.blur(clean, 1.0)}.items()
    }
    assert error["denoised"] < 0.15 and error["softened"] > 1


def test_the_self_test_tells_the_usual_error_of_the_detail(source):
    """By hand: of its own result, shrunk again, against what it was made from."""
    test = quality.self_test(source, 2)
    result = RasterImage(bicubic_x2(source.rgb))
    measures = measure(source, result, bicubic_x2)
    inside = np.s_[2:-2, 2:-2]
    lr = full_reference.luma(test.lr[inside])
    again = full_reference.luma(resampling.shrink(bicubic_x2(test.lr), 2)[inside])
    expected = detail.detail_error(lr, again - lr, removed_noise=0.0)
    assert measures.self_detail_error == pytest.approx(expected, rel=1e-4)
    assert 0.05 < expected < 1  # bicubic softens
    without = quality.measure(source, result, scale=2, self_test=None, self_sr=None)
    assert without.self_detail_error is None and without.detail_error is not None


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_small_images_have_the_measures_that_fit_in(scale):
    noise = np.random.default_rng(1).integers(0, 256, (50, 51, 3), np.uint8)
    found = {}
    for side in range(1, 50):
        source = RasterImage(noise[:side, : side + 1])
        size = scale * side, scale * (side + 1)
        result = RasterImage(resampling.to_uint8(resampling.bicubic(source.rgb, *size)))
        test = quality.self_test(source, scale)
        if test is not None:
            self_sr = resampling.to_uint8(resampling.bicubic(test.lr, *test.reference.shape[:2]))
        found[side] = quality.measure(
            *(source, result),
            scale=scale,
            self_test=test,
            self_sr=None if test is None else self_sr,
        )
    least = {
        name: min(side for side, one in found.items() if getattr(one, name) is not None)
        for name in ("roundtrip_psnr_db", "self_psnr_db", "self_detail_error")
    }
    assert least["roundtrip_psnr_db"] == 8 + 2 * scale
    assert least["self_psnr_db"] <= 10 + 3 * scale
    assert least["self_detail_error"] == (2 * scale + 3) * scale


@pytest.mark.parametrize(
    "ruin",
    [
        lambda sr: np.clip(sr.astype(int) + 6, 0, 255).astype(np.uint8),
        lambda sr: sr[..., ::-1],
        lambda sr: np.roll(sr, 2, axis=1),
        lambda sr: np.dstack([sr[..., 0], sr[..., 1], np.clip(sr[..., 2] * 0.93, 0, 255)]).astype(
            np.uint8
        ),
    ],
    ids=["brighter", "swapped channels", "shifted", "yellowish"],
)
def test_ruined_results_fall_below_40_db(source, upscaler, ruin):
    good = upscaler.upscale_image(source)
    ruined = RasterImage(np.ascontiguousarray(ruin(good.rgb)))
    assert measure(source, ruined, upscaler.upscale_rgb).roundtrip_psnr_db < 40


def test_equal_images_are_capped():
    flat = RasterImage(np.full((40, 40, 3), 200, np.uint8))
    measures = measure(flat, RasterImage(np.full((80, 80, 3), 200, np.uint8)), bicubic_x2)
    assert measures.roundtrip_psnr_db == measures.self_psnr_db == quality.MAX_PSNR_DB
    assert measures.self_gain_db == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (11, 11)])
def test_too_small_to_measure(size):
    tiny = RasterImage(np.zeros((*size, 3), np.uint8))
    result = RasterImage(np.zeros((2 * size[0], 2 * size[1], 3), np.uint8))
    assert measure(tiny, result, bicubic_x2) == quality.Measures(None, None, None, None)


@pytest.mark.parametrize(("size", "measured"), [((12, 12), True), ((12, 11), False)])
def test_the_smallest_size_that_is_measured(size, measured):
    source = RasterImage(draw_scene(2, 40, 40)[: size[0], : size[1]])
    found = measure(source, RasterImage(bicubic_x2(source.rgb)), bicubic_x2)
    assert (found.roundtrip_psnr_db is not None) == measured
    assert (found.self_gain_db is not None) == measured


@pytest.mark.parametrize("axis", [0, 1])
def test_a_shift_by_one_pixel_costs_several_db(source, upscaler, axis):
    good = upscaler.upscale_image(source)
    shifted = RasterImage(np.roll(good.rgb, 1, axis=axis))
    best = measure(source, good, upscaler.upscale_rgb).roundtrip_psnr_db
    assert measure(source, shifted, upscaler.upscale_rgb).roundtrip_psnr_db < best - 6


def test_odd_sizes(upscaler):
    odd = RasterImage(draw_scene(4, 61, 53))
    measures = measure(odd, upscaler.upscale_image(odd), upscaler.upscale_rgb)
    assert measures.roundtrip_psnr_db > 35 and measures.self_psnr_db is not None


def test_transparent_images_are_measured_over_white(upscaler):
    rgba = draw_cutout(3, 80, 80)
    source = RasterImage(rgba[..., :3].copy(), rgba[..., 3].copy())
    measures = measure(source, upscaler.upscale_image(source), upscaler.upscale_rgb)
    assert measures.roundtrip_psnr_db > 35


def test_reference_measures(hr, source, upscaler):
    result = upscaler.upscale_image(source)
    found = quality.measure_against_reference(source, result, RasterImage(hr), scale=2)
    assert found.reference_psnr_db == pytest.approx(
        full_reference.psnr_y(hr, result.rgb, border=2)
    )
    assert found.reference_psnr_db > found.reference_bicubic_psnr_db + 1
    assert 0.9 < found.reference_ssim < 1


def test_what_has_different_profiles_is_compared_in_srgb(hr, upscaler):
    """The same photograph: its reference in wide colours, its thumbnail and result in sRGB."""
    wide = icc_profile(from_h273(9, 13, is_png=True), is_grey=False)
    reference = RasterImage(hr, icc_profile=wide)
    shown = profiles.to_srgb(reference)
    source = RasterImage(resampling.to_uint8(resampling.shrink(shown.rgb, 2)))
    result = upscaler.upscale_image(source)
    expected = quality.measure_against_reference(source, result, shown, scale=2)
    found = quality.measure_against_reference(source, result, reference, scale=2)
    assert found == expected
    unconverted = quality.measure_against_reference(source, result, RasterImage(hr), scale=2)
    assert unconverted.reference_psnr_db < expected.reference_psnr_db - 3
    # A source in wide colours gives a result in them.
    source, result = RasterImage(source.rgb, icc_profile=wide), RasterImage(hr, icc_profile=wide)
    found = quality.measure_against_reference(source, result, shown, scale=2)
    assert found.reference_psnr_db == quality.MAX_PSNR_DB


def test_a_reference_may_be_one_row_larger(hr, source, upscaler):
    result = upscaler.upscale_image(source)
    larger = RasterImage(np.pad(hr, ((0, 1), (0, 1), (0, 0))))
    plain = quality.measure_against_reference(source, result, RasterImage(hr), scale=2)
    assert quality.measure_against_reference(source, result, larger, scale=2) == plain


def test_a_reference_of_another_size_is_refused(hr, source, upscaler):
    result = upscaler.upscale_image(source)
    other = RasterImage(np.asarray(Image.fromarray(hr).resize((100, 100))))
    with pytest.raises(ValueError, match="100 x 100, the result 140 x 160"):
        quality.measure_against_reference(source, result, other, scale=2)


@pytest.mark.parametrize("size", [(162, 140), (160, 142), (159, 140), (160, 139)])
def test_a_reference_may_not_be_smaller_or_a_scale_larger(hr, source, size):
    reference = RasterImage(np.resize(hr, (*size, 3)))
    with pytest.raises(ValueError, match=f"reference is {size[1]} x {size[0]}"):
        quality.measure_against_reference(source, RasterImage(hr), reference, scale=2)


@pytest.mark.parametrize(("side", "has_ssim"), [(14, False), (16, True)])
def test_a_small_reference_has_no_ssim(side, has_ssim):
    hr = draw_scene(2, 40, 40)[:side, :side]
    source = RasterImage(resampling.to_uint8(resampling.shrink(hr, 2)))
    found = quality.measure_against_reference(source, RasterImage(hr), RasterImage(hr), scale=2)
    assert found.reference_psnr_db == quality.MAX_PSNR_DB
    assert found.reference_ssim == (pytest.approx(1) if has_ssim else None)


def test_the_self_test_takes_the_place_with_most_detail():
    rgb = np.full((300, 400, 3), 200, np.uint8)
    rgb[150:246, 230:326] = np.random.default_rng(1).integers(0, 256, (96, 96, 3))
    window = quality.self_test(RasterImage(rgb), 2)
    np.testing.assert_array_equal(window.reference, rgb[150:246, 230:326])
    assert window.lr.shape == (48, 48, 3)
    full = quality.self_test(RasterImage(rgb), 2, "full")
    assert full.reference.shape == rgb.shape and full.lr.shape == (150, 200, 3)
    assert quality.self_test(RasterImage(rgb), 2, "off") is None


@pytest.mark.parametrize(("scale", "shape"), [(2, (96, 40)), (3, (96, 39)), (4, (96, 40))])
def test_the_self_test_of_a_narrow_image(scale, shape):
    rgb = np.random.default_rng(1).integers(0, 256, (400, 41, 3), dtype=np.uint8)
    window = quality.self_test(RasterImage(rgb), scale)
    assert window.reference.shape[:2] == shape
    assert window.lr.shape[:2] == (shape[0] // scale, shape[1] // scale)
