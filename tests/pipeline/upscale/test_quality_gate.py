import dataclasses
import math
import re

import numpy as np
import pytest

from model.imaging import resampling
from model.imaging.decode import assumed_quality, decode
from model.imaging.image import RasterImage
from model.inference.measured import upscale_with_self_test
from model.metrics import quality
from model.metrics.quality import Measures
from model.scenes.drawing import draw_scene
from pipeline.upscale import quality_gate
from pipeline.upscale.quality_gate import GateLimits, failed_rule
from tests.image_data import CATALOG, needs_catalog

GOOD = Measures(
    roundtrip_psnr_db=38.0,
    self_psnr_db=36.0,
    self_bicubic_psnr_db=33.0,
    self_gain_db=3.0,
    sharpness_ratio=2.5,
    blockiness_source=1.1,
    blockiness=1.0,
    background_noise_source=0.6,
    background_noise=0.4,
    background_grain=0.1,
    clipped_share=0.0,
    channel_drift=0.1,
    block_drift=0.8,
    block_shift_px=0.05,
)


def rejection_of(**changes):
    return failed_rule(dataclasses.replace(GOOD, **changes), GateLimits())


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"roundtrip_psnr_db": 20.0}, "roundtrip"),
        ({"channel_drift": 2.0}, "colour"),
        ({"block_drift": 5.0}, "place"),
        ({"block_shift_px": 0.5}, "shift"),
        ({"background_grain": 2.0}, "noise"),
        ({"sharpness_ratio": 30.0}, "sharpness"),
        ({"sharpness_ratio": 0.5}, "sharpness"),
        ({"self_gain_db": -3.0}, "worse_than_bicubic"),
    ],
)
def test_each_rule_names_itself_its_value_and_its_limit(changes, rule):
    rejection = rejection_of(**changes)
    ((_, value),) = changes.items()
    assert rejection.rule == rule
    assert f"{value:.3g}" in rejection.detail
    assert "below" in rejection.detail or "above" in rejection.detail


@needs_catalog
def test_cartons_whose_print_was_sharpened_and_compressed_are_published(upscaler):
    """Cleaning the print of these two moves the mean of a block by 4.1 and 3.5 grey levels."""
    for name in ("Arla-Sour-Cream_Iconic.jpg", "Arla-Natural-Yoghurt_Iconic.jpg"):
        header, source = decode((CATALOG / name).read_bytes(), max_pixels=100_000)
        good = upscale_with_self_test(upscaler, source, jpeg_quality=assumed_quality(header))
        assert failed_rule(good.measure(), GateLimits()) is None
        rgb = good.result.rgb.astype(np.int16)
        rgb[150:214, 180:244] += 5  # a tile of print
        ruined = good.result.with_pixels(resampling.to_uint8(rgb), good.result.alpha)
        found = failed_rule(dataclasses.replace(good, result=ruined).measure(), GateLimits())
        assert found is not None and found.rule == "place"


def test_a_value_close_beyond_its_limit_looks_so():
    rejection = rejection_of(self_gain_db=GateLimits().min_self_gain_db - 0.0001)
    measured, limit = re.search(r"is (\S+), below (\S+)$", rejection.detail).groups()
    assert float(measured) < float(limit) == GateLimits().min_self_gain_db


def test_a_good_result_and_one_that_cannot_be_measured_pass():
    assert rejection_of() is None
    assert failed_rule(Measures(), GateLimits()) is None


@pytest.mark.parametrize("name", ["roundtrip_psnr_db", "channel_drift", "self_gain_db"])
def test_what_is_no_number_is_rejection_of(name):
    assert rejection_of(**{name: math.nan}) is not None


def test_grain_is_judged_by_the_noise_of_the_source():
    assert rejection_of(background_noise_source=2.0, background_grain=1.2) is None
    assert rejection_of(background_noise_source=0.5, background_grain=1.2).rule == "noise"


def test_a_sharpening_that_was_undone_is_no_other_image():
    assert rejection_of(roundtrip_psnr_db=21.0, detail_error=0.4) is None
    assert rejection_of(roundtrip_psnr_db=21.0, detail_error=0.0) is None  # all of it was noise
    assert rejection_of(roundtrip_psnr_db=21.0, detail_error=9.0).rule == "roundtrip"


def test_much_noise_that_was_removed_is_no_other_image():
    """Of a small photograph of satsumas, JPEG 50: its result is 1.8 dB better than bicubic."""
    assert rejection_of(roundtrip_psnr_db=25.7, detail_error=1.17) is None


def test_a_drift_is_judged_by_the_noise_that_was_removed():
    """Of JPEG's noise in saturated colours, whose dark channel it lifts."""
    removed_noise_db = 34.2  # 5 grey levels
    assert rejection_of(roundtrip_psnr_db=removed_noise_db, channel_drift=2.0) is None
    assert rejection_of(roundtrip_psnr_db=removed_noise_db, channel_drift=2.2).rule == "colour"
    assert rejection_of(roundtrip_psnr_db=42.0, channel_drift=1.6).rule == "colour"


def test_larger_results_may_be_sharper_over_bicubic():
    sharp = dataclasses.replace(GOOD, sharpness_ratio=20.0)
    assert failed_rule(sharp, GateLimits().at_scale(2)).rule == "sharpness"
    assert failed_rule(sharp, GateLimits().at_scale(4)) is None


def redder(sr):
    return np.clip(np.add(sr, (8, 0, 0), dtype=int), 0, 255).astype(np.uint8)


def noisy(sr):
    noise = np.random.default_rng(1).normal(0, 4, sr.shape)
    return resampling.to_uint8(sr + noise)


def black_tile(sr):
    ruined = sr.copy()
    ruined[64:128, 64:128] = 0
    return ruined


def moved(sr):
    return np.roll(sr, 4, axis=1)


@pytest.mark.parametrize(
    ("sharpening", "min_ratio", "max_shift_px"),
    [(None, 0.65, 0.3), (0.0, 0.65, 0.3), (-0.4, 0.65, 0.3), (1.0, 0.325, 0.55)],
)
def test_undoing_a_sharpening_takes_detail_and_moves_edges(sharpening, min_ratio, max_shift_px):
    limits = GateLimits().for_sharpening(sharpening)
    assert limits.min_sharpness_ratio == pytest.approx(min_ratio)
    assert limits.max_block_shift_px == pytest.approx(max_shift_px)
    others = {"min_sharpness_ratio": 0.65, "max_block_shift_px": 0.3}
    assert dataclasses.replace(limits, **others) == GateLimits()


def swapped(sr):
    return np.ascontiguousarray(sr[..., ::-1])


RUINS = {redder: "colour", noisy: None, black_tile: None, moved: None, swapped: None}


@pytest.fixture(scope="module")
def upscaled(upscaler):
    """A drawn product, its result, and what the self PSNR needs."""
    hr = draw_scene(2_000_004, 440, 440)
    source = resampling.to_uint8(resampling.shrink(hr, 2))
    self_test = quality.self_test(RasterImage(source), 2)
    return source, upscaler.upscale_rgb(source), self_test, upscaler.upscale_rgb(self_test.lr)


def judge(upscaled, sr):
    source, _, self_test, self_sr = upscaled
    measures = quality.measure(
        RasterImage(source), RasterImage(sr), scale=2, self_test=self_test, self_sr=self_sr
    )
    return failed_rule(measures, GateLimits())


def test_the_network_s_result_passes(upscaled):
    assert judge(upscaled, upscaled[1]) is None


@pytest.mark.parametrize("ruin", RUINS, ids=lambda ruin: ruin.__name__)
def test_a_ruined_result_does_not(upscaled, ruin):
    rejection = judge(upscaled, ruin(upscaled[1]))
    assert rejection is not None
    assert RUINS[ruin] in (None, rejection.rule)


def test_bicubic_itself_passes(upscaled):
    """What is published in place of a rejected result is never rejected itself."""
    bicubic = quality_gate.bicubic_image(RasterImage(upscaled[0]), 2)
    rejection = judge(upscaled, bicubic.rgb)
    assert rejection is None, rejection


@pytest.mark.parametrize("kind", ["rgb", "grey", "alpha", "opaque alpha"])
def test_bicubic_keeps_the_kind_of_image(kind):
    rgb = draw_scene(3, 30, 44)
    if kind == "grey":
        rgb = np.repeat(rgb[..., :1], 3, axis=-1)
    alpha = np.full((30, 44), 255, np.uint8) if "alpha" in kind else None
    if kind == "alpha":
        alpha[:, :20] = 0
    source = RasterImage(rgb, alpha, is_grey=kind == "grey", icc_profile=b"profile")
    result = quality_gate.bicubic_image(source, 2)
    assert result.rgb.shape == (60, 88, 3) and result.icc_profile == b"profile"
    assert result.is_grey == source.is_grey
    assert (result.alpha is None) == (alpha is None)
    expected = resampling.to_uint8(resampling.bicubic(source.over_white(), 60, 88))
    inside = np.s_[:, 44:] if kind == "alpha" else np.s_[:, :]
    assert np.abs(result.over_white()[inside].astype(int) - expected[inside]).max() <= 1
