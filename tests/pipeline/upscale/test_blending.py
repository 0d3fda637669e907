import dataclasses
import math

import numpy as np
import pytest

from model.data import degradation
from model.data.recipes import RECIPES
from model.imaging import resampling
from model.imaging.image import RasterImage
from model.inference.measured import upscale_with_self_test
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.metrics.quality import Measures
from model.network import loading
from model.network.rdn import RDN
from model.scenes.drawing import draw_scene
from pipeline.upscale import blending
from pipeline.upscale.quality_gate import bicubic_image

HR = draw_scene(2_000_021, 300, 300)


def share_of(error, ratio=0.2, steepness=53.0, jpeg_quality=100, usual_error=None, believes=False):
    measures = Measures(
        detail_error=error,
        nyquist_ratio_source=ratio,
        edge_steepness_source=steepness,
        self_detail_error=usual_error,
    )
    return blending.network_share(measures, jpeg_quality, believes_source=believes)


@pytest.mark.parametrize(
    ("error", "ratio", "share"),
    [
        (0.007, 0.2, 1.0),  # the network believes the source
        (0.0458, 0.2, 0.55),  # doubt is 45.8, half way from 7 to 300
        (0.0138, 0.3, 0.45),  # doubt is 69.9
        (0.06, 0.3, 0.1),  # neither believed nor undone
        (0.2766, 0.3, 0.55),  # undone is 0.184, half way from 0.04 to 0.85
        (1.3, 0.3, 1.0),
        (None, 0.3, 1.0),
        (0.15, None, 1.0),
        (0.0, 0.3, 1.0),
    ],
)
def test_the_share_falls_with_doubt_and_grows_with_certainty(error, ratio, share):
    assert share_of(error, ratio) == pytest.approx(share, abs=0.01)


def test_more_detail_near_nyquist_is_more_doubtful():
    shares = [share_of(0.004, ratio) for ratio in (0.15, 0.22, 0.25, 0.3, 0.6)]
    assert shares == sorted(shares, reverse=True) and shares[1] == 1 and shares[-1] == 0.1


def test_an_error_is_measured_by_what_the_network_makes_of_such_content():
    """Within bounds: noise and blank images have next to none, graphics have much."""
    shares = [share_of(0.02, usual_error=usual) for usual in (0.0001, 0.0007, 0.001, 0.0025, 0.02)]
    assert shares == sorted(shares) and shares[1] < shares[2] < shares[3]
    assert shares[0] == shares[1] and shares[3] == shares[4]
    assert share_of(0.02) == shares[2]  # without a self-test


def test_steep_edges_have_a_high_nyquist_ratio_without_any_sharpening():
    """In proportion, down to 30 grey levels a pixel; of none the least is assumed."""
    shares = [share_of(0.05, 0.3, steepness) for steepness in (106.0, 79.5, 60.0, 30.0)]
    assert shares == sorted(shares, reverse=True) and shares[0] == share_of(0.05, 0.15)
    assert shares[1] == share_of(0.05, 0.2) and shares[3] == 0.1
    assert share_of(0.01, 0.16, 30.0) == share_of(0.01, 0.16, 3.0) == share_of(0.01, 0.16, None)


def test_removing_compression_noise_is_no_doubt():
    assert share_of(0.15, 0.3, jpeg_quality=90) == 1


def test_a_network_that_believes_its_source_is_measured_by_its_own_usual_error():
    """Undoing a sharpening is nothing that it does; and it keeps the noise of JPEG."""
    of_network = {"usual_error": 0.0009, "believes": True}
    assert share_of(0.00045, **of_network) == 1
    for share in (
        share_of(0.001375, **of_network),  # half way from 0.45 to 4.2
        share_of(0.001375, jpeg_quality=75, **of_network),
        share_of(0.001375 / 1.5**2, 0.3, **of_network),
    ):
        assert share == pytest.approx(0.575, abs=0.01)
    assert share_of(0.0042, **of_network) == share_of(0.9, **of_network) == 0.15
    assert share_of(0.9, believes=True) == 1  # nobody knows what is usual


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_blend_lies_between_both_and_keeps_the_kind_of_image(share):
    source = RasterImage(HR[:60, :80], np.full((60, 80), 9, np.uint8), icc_profile=b"profile")
    bicubic = bicubic_image(source, 2)
    result = bicubic.with_pixels(bicubic.rgb[::-1], 255 - bicubic.alpha)
    mixed = blending.blend(result, bicubic, share)
    expected = share * result.rgb.astype(float) + (1 - share) * bicubic.rgb
    assert np.abs(mixed.rgb - expected).max() <= 0.501
    assert mixed.alpha[0, 0] == round(share * 246 + (1 - share) * 9)
    assert mixed.icc_profile == b"profile"


def judged(upscaler, recipe, jpeg_quality=100, sharpening=None):
    lr = RECIPES[recipe].make_lr(HR, 2, np.random.default_rng(1))
    upscaled = upscale_with_self_test(
        upscaler, RasterImage(lr), jpeg_quality=jpeg_quality, sharpening=sharpening
    )
    return upscaled, blending.judge(upscaled, jpeg_quality, sharpening=sharpening)


@pytest.mark.parametrize(("recipe", "quality"), [("bilinear", 100), ("jpeg75", 75)])
def test_good_results_are_the_network_s_own(upscaler, recipe, quality):
    upscaled, verdict = judged(upscaler, recipe, quality)
    assert verdict.image is upscaled.result
    assert (verdict.network_share, verdict.rejection, verdict.detail) == (1, None, None)


def test_drawn_edges_are_hardly_doubtful(upscaler):
    """They are as hard as those of sharpened photographs."""
    _, verdict = judged(upscaler, "bicubic")
    assert verdict.network_share > 0.95 and verdict.rejection is None


@pytest.mark.parametrize("told", [math.nan, None], ids=["guessed", "seen"])
@pytest.mark.parametrize("recipe", ["nearest", "corner", "aliased"])
def test_a_source_without_filter_gets_a_milder_result(upscaler, recipe, told):
    """Which is not far below bicubic where the network's own result is, if it must guess."""
    upscaled, verdict = judged(upscaler, recipe, sharpening=told)
    assert 0.1 <= verdict.network_share < 1 and verdict.rejection is None
    assert "% of the network's result and bicubic: the source looks sharpened or" in verdict.detail
    assert f"{verdict.network_share:.0%} of the network's result" in verdict.detail
    bicubic = resampling.to_uint8(resampling.bicubic(upscaled.source.rgb, 300, 300))
    by_name = {"bicubic": bicubic, "network": upscaled.result.rgb, "blend": verdict.image.rgb}
    psnr = {name: full_reference.psnr_y(HR, rgb, border=2) for name, rgb in by_name.items()}
    assert psnr["blend"] > psnr["bicubic"] - 0.3
    if told is not None:
        assert psnr["blend"] > psnr["network"]


@pytest.mark.parametrize("recipe", ["sharpened80", "aliased", "sharpened80-jpeg80"])
def test_most_harm_of_a_network_that_believes_its_source_is_not_published(recipe):
    upscaled, verdict = judged(Upscaler(loading.load_by_name("rdn-small")), recipe)
    images = {"network": upscaled.result, "blend": verdict.image}
    images["bicubic"] = bicubic_image(upscaled.source, 2)
    psnr = {name: full_reference.psnr_y(HR, one.rgb, border=2) for name, one in images.items()}
    loss = {name: psnr["bicubic"] - psnr[name] for name in ("network", "blend")}
    assert loss["network"] > 3 and loss["blend"] < 0.3 * loss["network"]


def test_a_network_that_believes_its_source_is_trusted_where_that_is_right():
    _, verdict = judged(Upscaler(loading.load_by_name("rdn-small")), "bicubic")
    assert verdict.network_share > 0.7


@pytest.mark.parametrize(
    ("model", "recipe", "why"),
    [
        ("rdn-product", "nearest", "the source looks sharpened or aliased, Nyquist ratio "),
        ("rdn-small", "aliased", "the source looks sharpened or aliased, Nyquist ratio "),
        ("rdn-small", "enlarged", "the network contradicts the detail of the source, detail "),
    ],
)
def test_the_row_says_why_a_result_is_blended(model, recipe, why):
    """A source with less fine detail than usual does not look sharpened."""
    _, verdict = judged(Upscaler(loading.load_by_name(model)), recipe)
    share = f"published is {verdict.network_share:.0%} of the network's result and bicubic: "
    assert verdict.detail.startswith(share + why)
    assert verdict.detail.endswith("usual for this network")


def without_planes(rdn):
    """The network that takes every source for a JPEG of quality 75, and cannot be told another."""
    config = rdn.get_config() | {"knows_quality": False, "knows_sharpening": False}
    blind, told = RDN(**config), rdn.conditions(75, math.nan)[0]
    for layer in rdn.layers:
        weights = layer.get_weights()
        if layer.name == "sfe1":
            kernel, bias = weights
            weights = [
                kernel[:, :, :3],
                bias + np.tensordot(told, kernel[:, :, 3:].sum((0, 1)), 1),
            ]
        if weights:
            blind.get_layer(layer.name).set_weights(weights)
    return Upscaler(blind)


@pytest.mark.parametrize("recipe", ["jpeg75", "jpeg50"])
def test_a_network_that_removes_noise_without_being_told_of_it_is_trusted_to(recipe):
    """`model.train` makes such ones, unless it is given --knows_quality."""
    upscaled, verdict = judged(without_planes(loading.load_by_name("rdn-product")), recipe, 75)
    assert upscaled.measure().detail_error > 0.04 and verdict.image is upscaled.result


@pytest.mark.parametrize("model", ["rdn-product", "rdn-small"])
def test_the_hard_edge_of_a_cut_out_is_no_doubtful_detail(model):
    """As GIFs have it: it is the transparency's, not the colours'."""
    rows, columns = np.mgrid[-1:1:150j, -1:1:150j]
    rgb = RECIPES["bicubic"].make_lr(HR, 2, np.random.default_rng(1))
    alpha = np.where(np.hypot(rows, columns) < 0.8, 255, 0).astype(np.uint8)
    upscaler = Upscaler(loading.load_by_name(model))
    shares = [
        blending.judge(
            upscale_with_self_test(upscaler, source, jpeg_quality=100), 100
        ).network_share
        for source in (RasterImage(rgb), RasterImage(rgb, alpha))
    ]
    assert shares[1] > 0.85 * shares[0]


def test_measures_are_those_of_the_published_image_and_the_verdict_s_cause_stays(upscaler):
    upscaled, verdict = judged(upscaler, "nearest")
    of_network = upscaled.measure()
    again = dataclasses.replace(upscaled, result=verdict.image).measure()
    assert verdict.measures.detail_error == of_network.detail_error != again.detail_error
    assert verdict.measures.self_detail_error == of_network.self_detail_error > 0
    assert verdict.measures.self_psnr_db == of_network.self_psnr_db
    assert verdict.measures.roundtrip_psnr_db == again.roundtrip_psnr_db


def test_a_rejected_result_has_no_share(upscaler):
    upscaled, _ = judged(upscaler, "bicubic")
    ruined = upscaled.result.with_pixels(upscaled.result.rgb[..., ::-1].copy(), None)
    verdict = blending.judge(dataclasses.replace(upscaled, result=ruined), 100)
    assert verdict.network_share == 0 and verdict.rejection is not None
    assert verdict.detail.startswith("published is bicubic: ")
    np.testing.assert_array_equal(verdict.image.rgb, bicubic_image(upscaled.source, 2).rgb)


@pytest.mark.parametrize("recipe", ["sharpened80", "sharpened150"])
def test_a_sharpening_that_was_told_is_undone_without_doubt(upscaler, recipe):
    told = RECIPES[recipe].sharpening(HR, 2)
    upscaled, verdict = judged(upscaler, recipe, sharpening=told)
    assert verdict.image is upscaled.result and verdict.rejection is None
    _, guessed = judged(upscaler, recipe)
    psnr_db = [full_reference.psnr_y(HR, one.image.rgb, border=2) for one in (verdict, guessed)]
    assert psnr_db[0] > psnr_db[1] + 1.5


def test_where_hardly_a_sharpening_was_told_doubt_remains(upscaler):
    """A source that was made in another way than its user says gets the milder result still."""
    _, verdict = judged(upscaler, "nearest", sharpening=0.0)
    assert 0.1 <= verdict.network_share < 1


def moved(rgb):
    return np.roll(rgb, 2, axis=1)


def blurred(rgb):
    return degradation.blur(rgb, 2.0)


@pytest.mark.parametrize("ruin", [moved, blurred])
def test_a_ruined_result_is_found_where_the_sharpening_was_told(upscaler, ruin):
    told = RECIPES["sharpened150"].sharpening(HR, 2)
    upscaled, _ = judged(upscaler, "sharpened150", sharpening=told)
    ruined = upscaled.result.with_pixels(ruin(upscaled.result.rgb), None)
    verdict = blending.judge(dataclasses.replace(upscaled, result=ruined), 100, sharpening=told)
    assert verdict.rejection is not None
