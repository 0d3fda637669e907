import math
import subprocess
import sys

import numpy as np
import pytest

from model.imaging import resampling
from model.imaging.image import RasterImage
from model.inference.measured import UpscaledImage, upscale_with_self_test
from model.inference.seen_sharpening import see_sharpening
from model.metrics import full_reference, quality
from model.scenes.drawing import draw_scene
from tests.fake_networks import FakeNetwork


@pytest.mark.parametrize("extent", ["window", "full", "off"])
def test_the_self_test_is_the_network_s_on_a_part_of_the_image(upscaler, extent):
    source = RasterImage(draw_scene(1, 120, 140))
    upscaled = upscale_with_self_test(upscaler, source, jpeg_quality=70, extent=extent)
    seen = see_sharpening(upscaler, source, 70)
    expected = upscaler.upscale_rgb(source.rgb, jpeg_quality=70, sharpening=seen)
    np.testing.assert_array_equal(upscaled.result.rgb, expected)
    assert upscaled.source is source and upscaled.scale == 2 and upscaled.inference_ms > 0
    measures = upscaled.measure()
    assert measures.roundtrip_psnr_db > 30
    if extent == "off":
        assert upscaled.self_test is None and measures.self_psnr_db is None
        return
    part = quality.self_test(source, 2, extent)
    np.testing.assert_array_equal(upscaled.self_test.reference, part.reference)
    sr = upscaler.upscale_rgb(part.lr, sharpening=0.0)
    assert measures.self_psnr_db == full_reference.psnr_y(part.reference, sr, border=2)


def test_an_image_too_small_for_a_self_test_has_none(upscaler):
    source = RasterImage(draw_scene(1, 60, 60)[:8])
    upscaled = upscale_with_self_test(upscaler, source, jpeg_quality=100)
    assert upscaled.self_test is None and upscaled.self_sr is None
    assert upscaled.measure().self_psnr_db is None


def test_a_result_of_bicubic_can_be_measured_alike():
    rgb = draw_scene(1, 60, 60)
    bicubic = resampling.to_uint8(resampling.bicubic(rgb, 120, 120))
    measures = UpscaledImage(RasterImage(rgb), RasterImage(bicubic), scale=2).measure()
    assert measures.sharpness_ratio == pytest.approx(1, abs=0.05)
    assert measures.self_psnr_db is None


@pytest.mark.parametrize(
    ("sharpening", "of_passes", "of_self_test"),
    [(None, [math.nan, math.nan], [math.nan, math.nan]), (0.7, [0.7, math.nan], [0.0, math.nan])],
)
def test_two_passes_are_measured_at_their_scale_and_the_second_counts_as_fresh(
    sharpening, of_passes, of_self_test
):
    """Neither compressed nor known to be sharpened; plain bicubic makes LR of the self-test."""
    told, sharpenings, in_self_test = [], [], []

    class Network(FakeNetwork):
        def upscale_image(self, image, *, jpeg_quality, sharpening=math.nan):
            told.append(jpeg_quality)
            sharpenings.append(sharpening)
            return image.with_pixels(self._bicubic(image.rgb), None)

        def upscale_rgb(self, rgb, *, sharpening=math.nan):
            in_self_test.append(sharpening)
            return self._bicubic(rgb)

        def _bicubic(self, rgb):
            size = 2 * rgb.shape[0], 2 * rgb.shape[1]
            return resampling.to_uint8(resampling.bicubic(rgb, *size))

    source = RasterImage(draw_scene(1, 120, 140))
    upscaled = upscale_with_self_test(
        Network(), source, jpeg_quality=60, sharpening=sharpening, passes=2
    )
    assert told == [60, 100] and upscaled.scale == 4
    np.testing.assert_array_equal(sharpenings, of_passes)
    np.testing.assert_array_equal(in_self_test, of_self_test)
    assert upscaled.result.rgb.shape == (480, 560, 3)
    assert upscaled.self_sr.shape == upscaled.self_test.reference.shape == (96, 96, 3)
    assert upscaled.measure().roundtrip_psnr_db > 30


LIGHT = [
    "model.inference.dtypes",
    "model.inference.target",
    "model.network.presets",
    "model.network.dihedral",
]
LIGHT += ["model.imaging.sandbox", "model.imaging.encode", "model.metrics.quality"]


def test_light_modules_import_no_framework():
    """Command lines list networks and dtypes, and decoder processes decode, without one."""
    code = f"import {', '.join(LIGHT)}, sys; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "apache_beam", "boto3", "pyarrow"} & {*done.stdout.split()}
