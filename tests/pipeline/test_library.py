"""`UpscaleImages` in pipelines of other people."""

import io
import subprocess
import sys
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import window
from PIL import Image

from catalog_magnifier import UpscaleError, UpscaleImages, upscale
from model.network import loading, presets
from pipeline import library
from pipeline.upscale import quality_gate
from tests.pipeline.conftest import image_bytes, make_settings

MODEL = "rdn-small"


def new_pipeline():
    return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))


KEPT = {}


def keep(key_and_value, output):
    """Beam's local runner works in this process, which sees what is kept here."""
    key, value = key_and_value
    KEPT[output][key] = value


def outcomes(files, **options):
    """Both outputs of a pipeline as dictionaries by key."""
    KEPT.update(upscaled={}, errors={})
    with new_pipeline() as pipeline:
        upscaled, errors = pipeline | beam.Create(list(files.items())) | UpscaleImages(**options)
        _ = upscaled | "KeepUpscaled" >> beam.Map(keep, "upscaled")
        _ = errors | "KeepErrors" >> beam.Map(keep, "errors")
    return KEPT["upscaled"], KEPT["errors"]


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_files_become_larger_and_errors_have_their_own_output():
    png = image_bytes(40, 60, file_format="PNG")
    files = {
        "png": png,
        "jpeg": image_bytes(30, 40),
        "alpha": image_bytes(24, 32, mode="RGBA", file_format="PNG"),
        "broken": png[:100],
        "text": b"no image",
        "large": image_bytes(90, 90, file_format="PNG"),
    }
    upscaled, errors = outcomes(files, model=MODEL, max_pixels=5000)
    assert {key: error.reason for key, error in errors.items()} == {
        "broken": "unreadable",
        "text": "unsupported_format",
        "large": "too_many_pixels",
    }
    assert all(error.detail for error in errors.values())
    assert errors["large"].detail == "90 x 90 is 8100 pixels, the limit is 5000 (max_pixels)"
    assert {key: (one.image_format, one.height, one.width) for key, one in upscaled.items()} == {
        "png": ("png", 80, 120),
        "jpeg": ("jpeg", 60, 80),
        "alpha": ("png", 48, 64),
    }
    assert upscaled["png"].measures.roundtrip_psnr_db > 26
    assert Image.open(io.BytesIO(upscaled["alpha"].data)).mode == "RGBA"


def test_a_result_is_that_of_the_network():
    jpeg = image_bytes(30, 40)
    upscaled, _ = outcomes({1: jpeg}, model=MODEL, image_format="png")
    expected = upscale(Image.open(io.BytesIO(jpeg)), model=MODEL, precision="float32")
    np.testing.assert_array_equal(pixels(upscaled[1].data), np.asarray(expected))
    assert (upscaled[1].model, upscaled[1].reason) == (MODEL, None)


def test_scale_and_target_side():
    files = {"small": image_bytes(30, 40), "large": image_bytes(90, 100)}
    upscaled, errors = outcomes(files, model=MODEL, scale=3, image_format="png")
    assert not errors
    assert (upscaled["small"].height, upscaled["small"].width) == (90, 120)
    assert upscaled["small"].model == "rdn-small x2 twice"
    upscaled, errors = outcomes(files, model=MODEL, target_side=100, image_format="png")
    assert (upscaled["small"].height, upscaled["small"].width) == (75, 100)
    assert errors == {
        "large": UpscaleError("large_enough", "100 x 90, the target side is 100"),
    }
    source = Image.open(io.BytesIO(files["small"]))
    expected = upscale(source, model=MODEL, precision="float32", target_side=100)
    np.testing.assert_array_equal(pixels(upscaled["small"].data), np.asarray(expected))


def test_the_gate_publishes_bicubic_and_says_why(tmp_path, monkeypatch):
    strict = quality_gate.GateLimits(min_roundtrip_psnr_db=101.0, max_detail_error=-1.0)
    monkeypatch.setattr(quality_gate, "GateLimits", lambda: strict)
    files = {1: image_bytes(30, 40)}
    upscaled, _ = outcomes(files, model=MODEL, image_format="webp")
    assert (upscaled[1].model, upscaled[1].reason) == ("bicubic", "gate:roundtrip")
    assert upscaled[1].image_format == "webp"


def test_the_first_frame_of_an_animation():
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    files = {"gif": buffer.getvalue()}
    _, errors = outcomes(files, model=MODEL)
    assert errors["gif"].reason == "animated"
    assert "give" in errors["gif"].detail and "first_frame=True" in errors["gif"].detail
    upscaled, errors = outcomes(files, model=MODEL, first_frame=True)
    assert not errors and pixels(upscaled["gif"].data).shape[:2] == (60, 80)


def test_all_steps_of_a_process_share_one_network(tmp_path, monkeypatch):
    loads = []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda saved: loads.append(saved.name) or load(saved))
    own = tmp_path / "own.keras"  # which no other test has loaded
    own.write_bytes(presets.resolve(MODEL).data)
    outcomes({i: image_bytes(20, 20, seed=i) for i in range(20)}, model=str(own))
    assert loads == [str(own)]


def test_windows_and_timestamps_stay():
    data = image_bytes(20, 20)
    with new_pipeline() as pipeline:
        sizes = (
            pipeline
            | beam.Create([(at, data) for at in (1, 2, 11)])
            | beam.Map(lambda pair: window.TimestampedValue(pair, pair[0]))
            | beam.WindowInto(window.FixedWindows(10))
            | UpscaleImages(model=MODEL)
        ).upscaled | beam.MapTuple(lambda key, result: (result.height, key))
        assert_that(sizes | beam.GroupByKey(), equal_to([(40, [1, 2]), (40, [11])]))


def test_a_model_of_the_user_s_own(tmp_path):
    path = tmp_path / "ours.keras"
    path.write_bytes(presets.resolve(MODEL).data)
    upscaled, _ = outcomes({1: image_bytes(20, 20)}, model=str(path))
    assert upscaled[1].model.removesuffix(" blended") == str(path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "no-such"}, "model no-such: .*shipped models: rdn-small"),
        ({"model": "https://host/x.keras"}, "use a shipped name, a path or an s3:// URI"),
        ({"image_format": "gif"}, "image_format is one of auto, png.* Received: 'gif'"),
        ({"scale": 5}, "scale is a whole number, 2 to 4. Received: 5"),
        ({"target_side": 0}, "target_side is a whole number, at least 1 pixel. Received: 0"),
        ({"source_sharpening": 9}, "a number from -0.75 to 1.5. Received: 9"),
        ({"model": MODEL, "source_sharpening": 0.5}, "rdn-small was not trained to be told how"),
        ({"precision": "half"}, "precision is one of float32.* Received: 'half'"),
        ({"model": None}, "model is a shipped name, a path or an S3 URI. Received: None"),
        ({"model": ["rdn-small"]}, r"model is a shipped .* Received: \['rdn-small'\]"),
        ({"model": ""}, "model is a shipped name, a path or an S3 URI. Received: ''"),
        ({"image_format": None}, "image_format is one of auto, png.* Received: None"),
        ({"scale": "2"}, "scale is a whole number, 2 to 4. Received: '2'"),
        ({"target_side": "800"}, "target_side is a whole number.* Received: '800'"),
        ({"source_sharpening": "0.5"}, "a number from -0.75 to 1.5. Received: '0.5'"),
        ({"max_pixels": "a"}, "max_pixels is a whole number, at least 1. Received: 'a'"),
        ({"max_pixels": 0}, "max_pixels is a whole number, at least 1. Received: 0"),
        ({"max_pixels": None}, "max_pixels is a whole number, at least 1. Received: None"),
        ({"max_pixels": 1e6}, "max_pixels is a whole number, at least 1. Received: 1000000.0"),
        ({"max_pixels": True}, "max_pixels is a whole number, at least 1. Received: True"),
        ({"first_frame": "no"}, "first_frame is True or False. Received: 'no'"),
        ({"first_frame": None}, "first_frame is True or False. Received: None"),
    ],
)
def test_wrong_options_are_found_before_the_pipeline_runs(options, says):
    with pytest.raises(ValueError, match=says):
        beam.Pipeline() | beam.Create([(1, b"")]) | UpscaleImages(**options)


def test_a_format_that_this_machine_cannot_write_is_found_then_too(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    with pytest.raises(ValueError, match="built without AVIF"):
        beam.Pipeline() | beam.Create([(1, b"")]) | UpscaleImages(image_format="avif")


def test_what_is_no_file_stops_the_pipeline():
    with pytest.raises(beam.typehints.TypeCheckError, match="expected Tuple"):
        beam.Pipeline() | beam.Create([(1, "a.jpg")]) | UpscaleImages(model=MODEL)
    untyped = beam.Create([(1, "a.jpg")]).with_output_types(Any)
    with (
        pytest.raises(Exception, match=r"takes \(key, bytes of a file\). Received: str"),
        new_pipeline() as pipeline,
    ):
        _ = pipeline | untyped | UpscaleImages(model=MODEL)


def test_no_memory_for_an_image_is_an_error_of_the_image(decoders):
    from model.inference.upscaler import OutOfMemoryError  # noqa: PLC0415

    class Full:
        scale = 2

        def upscale(self, decoded, *, keep_result):
            raise OutOfMemoryError("the device has no memory for a call of 4096 pixels")

    outcome = library.upscale_file(image_bytes(20, 20), decoders, Full(), make_settings())
    assert outcome == UpscaleError(
        "out_of_memory", "the device has no memory for a call of 4096 pixels"
    )


def test_building_a_pipeline_loads_no_tensorflow():
    code = (
        "import sys, apache_beam as beam; from catalog_magnifier import UpscaleImages;"
        "_ = beam.Pipeline() | beam.Create([(1, b'')]) | UpscaleImages();"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", done.stdout
