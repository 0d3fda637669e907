import math

import numpy as np
import pytest

from model.data.pairs import Pair
from model.evaluate import scoring
from model.evaluate.scoring import Comparison, Figures, Score
from model.imaging import resampling
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.network.rdn import RDN
from model.scenes.drawing import draw_scene
from tests.results import result_of


def scene_pair(seed=1, height=60, width=72):
    hr = draw_scene(seed, height, width)
    return Pair("scene", resampling.to_uint8(resampling.shrink(hr, 2)), hr)


def untrained(scale=2):
    """A network whose last convolution is still zero: it upscales bicubically."""
    return Upscaler(RDN(convs_per_block=1, num_blocks=1, growth_rate=4, features=4, scale=scale))


def made_score(name, ours, bicubic, noise=1.0):
    return Score(
        name,
        {
            "bicubic": Figures(bicubic, 0.8, 2 * noise, 35.0),
            "ours": Figures(ours, 0.9, noise, 36.0),
        },
    )


def test_every_method_upscales_the_same_image(upscaler):
    pair = scene_pair()
    comparison = scoring.compare(pair, upscaler, untrained())
    assert list(comparison.upscaled) == ["bicubic", "lanczos", "against", "ours"]
    expected = {
        "bicubic": resampling.to_uint8(resampling.bicubic(pair.lr, 60, 72)),
        "lanczos": resampling.to_uint8(resampling.lanczos(pair.lr, 60, 72)),
        "ours": result_of(upscaler, pair.lr),
    }
    for method, pixels in expected.items():
        np.testing.assert_array_equal(comparison.upscaled[method], pixels)
    difference = comparison.upscaled["against"].astype(int) - expected["bicubic"]
    assert np.abs(difference).max() <= 1
    np.testing.assert_array_equal(comparison.lr[1::2, ::2], pair.lr)
    assert list(scoring.compare(pair, upscaler).upscaled) == ["bicubic", "lanczos", "ours"]


def test_grey_images_have_exact_chroma_by_every_method():
    rdn = RDN(convs_per_block=1, num_blocks=1, growth_rate=4, features=4)
    generator = np.random.default_rng(1)
    rdn.set_weights([generator.normal(0, 0.3, w.shape) for w in rdn.get_weights()])
    colored = scene_pair()
    lr, hr = (np.repeat(one[..., :1], 3, axis=-1) for one in (colored.lr, colored.hr))
    figures = scoring.score(scoring.compare(Pair("grey", lr, hr), Upscaler(rdn))).figures
    assert {method: one.psnr_c_db for method, one in figures.items()} == dict.fromkeys(
        ("bicubic", "lanczos", "ours"), math.inf
    )
    assert all(math.isfinite(one.psnr_y_db) for one in figures.values())


def test_both_networks_get_the_quality():
    rdn = RDN(convs_per_block=1, num_blocks=1, growth_rate=4, features=4, knows_quality=True)
    generator = np.random.default_rng(1)
    rdn.set_weights([generator.normal(0, 0.3, w.shape) for w in rdn.get_weights()])
    conditioned, pair = Upscaler(rdn), scene_pair()
    both = scoring.compare(pair, conditioned, conditioned, jpeg_quality=30)
    expected = conditioned.upscale_rgb(pair.lr, jpeg_quality=30)
    assert (expected != conditioned.upscale_rgb(pair.lr)).any()
    for method in ("ours", "against"):
        np.testing.assert_array_equal(both.upscaled[method], expected)


@pytest.mark.parametrize("size", [(58, 72), (60, 70), (62, 72), (60, 144)])
def test_hr_of_another_scale_is_refused(size, upscaler):
    """Too small, and too large: the upper left part of it would be another image."""
    pair = Pair("odd", scene_pair().lr, draw_scene(1, *size))
    with pytest.raises(ValueError, match=rf"odd: HR must be 2 times LR.*\({size[0]}, {size[1]}\)"):
        scoring.compare(pair, upscaler)


def test_an_odd_row_or_column_of_hr_is_cut_off(upscaler):
    pair = scene_pair()
    larger = np.pad(pair.hr, ((0, 1), (0, 1), (0, 0)))
    comparison = scoring.compare(Pair("odd", pair.lr, larger), upscaler)
    np.testing.assert_array_equal(comparison.hr, pair.hr)


def test_networks_of_two_scales_do_not_compare(upscaler):
    with pytest.raises(ValueError, match="Received: x2 and x3"):
        scoring.compare(scene_pair(), upscaler, untrained(scale=3))


def test_the_figures_are_the_metrics(upscaler):
    comparison = scoring.compare(scene_pair(), upscaler)
    score = scoring.score(comparison)
    assert score.name == "scene"
    for method, result in comparison.upscaled.items():
        assert score.figures[method] == Figures(
            full_reference.psnr_y(comparison.hr, result, border=2),
            full_reference.ssim_y(comparison.hr, result, border=2),
            full_reference.background_noise(comparison.hr, result, border=2),
            full_reference.psnr_c(comparison.hr, result, border=2),
        )


def test_too_small_an_image_is_named():
    tiny = np.zeros((14, 40, 3), np.uint8)
    with pytest.raises(ValueError, match=r"speck is too small.*15 x 15. Received: 40 x 14"):
        scoring.score(Comparison("speck", 2, tiny, {"ours": tiny}, tiny))


def test_a_crop_is_cut_from_every_version_and_stands_alone():
    versions = [np.random.default_rng(i).integers(0, 256, (20, 30, 3)) for i in range(4)]
    lr, bicubic, ours, hr = (version.astype(np.uint8) for version in versions)
    crop = Comparison("a", 2, lr, {"bicubic": bicubic, "ours": ours}, hr).crop(3, 5, 8, 40)
    for cut, whole in (
        (crop.lr, lr),
        (crop.upscaled["bicubic"], bicubic),
        (crop.upscaled["ours"], ours),
        (crop.hr, hr),
    ):
        np.testing.assert_array_equal(cut, whole[3:11, 5:])
        assert cut.base is None  # else a crop would keep the whole image in memory


def test_the_gain():
    assert made_score("a", 38.0, 35.5).gain_db() == 2.5
    assert made_score("a", math.inf, math.inf).gain_db() == 0
    assert made_score("a", math.inf, 30.0).gain_db() == math.inf
    score = Score("b", {"against": Figures(37.0, 1, 1, 1), "ours": Figures(36.0, 1, 1, 1)})
    assert score.gain_db("against") == -1


def test_the_mean_of_figures():
    mean = scoring.mean([made_score("a", 38.0, 30.0, 1.0), made_score("b", 40.0, 35.0, 2.0)])
    assert mean == Score(
        "mean",
        {"bicubic": Figures(32.5, 0.8, 3.0, 35.0), "ours": Figures(39.0, 0.9, 1.5, 36.0)},
    )


def test_the_mean_is_over_the_same_images_for_each_method():
    """An image that only we get exactly must not count against bicubic alone."""
    scores = [made_score("a", 38.0, 30.0), made_score("exact", math.inf, 60.0)]
    figures = scoring.mean(scores).figures
    assert (figures["ours"].psnr_y_db, figures["bicubic"].psnr_y_db) == (38.0, 30.0)
    assert figures["ours"].ssim_y == pytest.approx(0.9)
    nothing = scoring.mean(scores[1:]).figures["ours"]
    assert math.isnan(nothing.psnr_y_db) and nothing.ssim_y == pytest.approx(0.9)


def test_images_without_background_are_no_part_of_its_mean():
    scores = [made_score("a", 38.0, 30.0, math.nan), made_score("b", 39.0, 30.0, 0.5)]
    assert scoring.mean(scores).figures["ours"].background_noise == 0.5
    assert math.isnan(scoring.mean(scores[:1]).figures["ours"].background_noise)
