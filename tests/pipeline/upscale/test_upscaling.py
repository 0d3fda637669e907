import concurrent.futures
import dataclasses
import threading

import numpy as np
import pytest

from model.imaging.decode import decode
from model.imaging.image import RasterImage
from model.network import presets
from model.scenes.drawing import draw_scene
from pipeline.row.parts import NOT_TIMED
from pipeline.upscale import quality_gate, upscaling
from pipeline.upscale.steps import Decoded
from pipeline.upscale.upscaling import LocalUpscaler
from tests.fake_networks import FakeNetwork
from tests.pipeline.conftest import image_bytes, make_plan


def decoded(image=None, **file):
    header, pixels = decode(image_bytes(60, 80, **file), max_pixels=10**6)
    return Decoded(pixels if image is None else image, header, NOT_TIMED)


def another_network():
    """One that no other test loads: a process keeps the last network that it has loaded."""
    return dataclasses.replace(presets.resolve(presets.DEFAULT), name="another")


def test_the_network_computes_as_the_run_says(monkeypatch):
    told = []
    monkeypatch.setattr(upscaling, "Upscaler", lambda rdn, **options: told.append(options))
    monkeypatch.setattr(upscaling, "LocalUpscaler", lambda network, plan: None)
    saved = another_network()
    for dtype in ("float32", "bfloat16"):
        upscaling.load(saved, make_plan(compute_dtype=dtype))
    assert [one["compute_dtype"] for one in told] == ["float32", "bfloat16"]


def test_the_next_run_finds_the_network_loaded(monkeypatch):
    loads = []
    monkeypatch.setattr(upscaling, "Upscaler", lambda rdn, **options: loads.append(options))
    monkeypatch.setattr(upscaling, "LocalUpscaler", lambda network, plan: plan.settings.run_id)
    saved = dataclasses.replace(another_network(), name="of two runs")
    assert [upscaling.load(saved, make_plan(run_id=one)) for one in "ab"] == ["a", "b"]
    assert len(loads) == 1
    upscaling.load(saved, make_plan(compute_dtype="bfloat16"))
    assert len(loads) == 2


def test_with_a_gpu_images_do_not_wait_for_each_other():
    """Two images meet within the device: with turns, the first would wait for ever."""
    meeting = threading.Barrier(2, timeout=60)

    class Gpu(FakeNetwork):
        one_at_a_time = False

        def upscale_image(self, image, *, jpeg_quality, **_):
            meeting.wait()
            return quality_gate.bicubic_image(image, 2)

    upscaler = LocalUpscaler(Gpu(), make_plan(self_psnr="off"))
    source = decoded(file_format="PNG")
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        both = [threads.submit(upscaler.upscale, source, keep_result=False) for _ in range(2)]
        assert all(one.result().width == 2 * source.image.width for one in both)


def test_an_image_upscaled_in_another_precision_is_no_other_content():
    low, high = make_plan(compute_dtype="bfloat16"), make_plan(compute_dtype="float32")
    assert low.fingerprint == high.fingerprint


@pytest.mark.parametrize("self_psnr", ["window", "full", "off"])
def test_the_self_psnr_is_measured_as_asked(upscaler, self_psnr):
    source = decoded(RasterImage(draw_scene(5, 200, 240)), file_format="PNG")
    local = LocalUpscaler(upscaler, make_plan(self_psnr=self_psnr))
    measures = local.upscale(source, keep_result=False).measures
    assert (measures.self_psnr_db is None) == (self_psnr == "off")


def test_exactly_white_background_is_skipped_unless_the_user_asks(monkeypatch):
    """Skipped, it stays white to the last level; a network may change it a little."""
    told = []
    monkeypatch.setattr(upscaling, "Upscaler", lambda rdn, **options: told.append(options))
    monkeypatch.setattr(upscaling, "LocalUpscaler", lambda network, plan: None)
    for blank in ("skip", "magnify"):
        upscaling.load(another_network(), make_plan(blank=blank, compute_dtype="float16"))
    assert [one["skip_background"] for one in told] == [True, False]
    assert make_plan(blank="skip").fingerprint != make_plan(blank="magnify").fingerprint


def test_a_result_is_kept_where_it_is_asked_for(upscaler):
    local = LocalUpscaler(upscaler, make_plan())
    source = decoded(file_format="PNG")
    upscaled = local.upscale(source, keep_result=True)
    _, read_back = decode(upscaled.encoded.data, max_pixels=10**6)
    np.testing.assert_array_equal(upscaled.result.rgb, read_back.rgb)
    assert (upscaled.height, upscaled.width, upscaled.scale) == (120, 160, 2)
    assert upscaled.timings.inference_ms > 0 and upscaled.timings.encode_ms > 0
