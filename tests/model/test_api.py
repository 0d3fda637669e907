"""The Python API: what goes in comes out larger, of the same kind."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageFile

import catalog_magnifier
from model import upscale as command
from model.api import upscale
from model.imaging.errors import ImageError
from model.network import loading, presets
from model.network.presets import ModelError
from model.scenes.drawing import draw_cutout, draw_scene

MODEL = "rdn-small"


def saved(pixels, file_format="PNG", **options):
    """An image as Pillow opens it from a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return Image.open(buffer)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 2), (20, 30, 3), (20, 30, 4)])
def test_an_array_keeps_its_dimensions_and_channels(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    result = upscale(pixels, model=MODEL)
    assert result.shape == (40, 60, *shape[2:]) and result.dtype == np.uint8


def test_a_grey_array_is_the_grey_of_the_same_rgb():
    grey = draw_scene(1, 24, 32)[..., 0]
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    plane = upscale(grey, model=MODEL)
    colours = upscale(rgb, model=MODEL).astype(float)
    assert np.abs(plane - colours.mean(axis=-1)).max() <= 0.5


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        *(("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("1", "L"), ("I;16", "L")),
        *(("P", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("RGBa", "RGBA")),
    ],
)
def test_a_pillow_image_keeps_its_mode_or_gets_the_plain_one(mode, expected):
    image = Image.fromarray(draw_cutout(1, 24, 30)).convert("RGBA")
    through = {"P": "RGB", "I;16": "I", "1": "L", "CMYK": "RGB", "YCbCr": "RGB"}.get(mode, "RGBA")
    result = upscale(image.convert(through).convert(mode), model=MODEL)
    assert (result.mode, result.size) == (expected, (60, 48))


def test_a_file_gives_what_the_command_writes(tmp_path):
    """With a JPEG's quality and orientation, and the transparency of a PNG."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # on its side
    Image.fromarray(draw_scene(3, 40, 56)).save(tmp_path / "a.jpg", quality=60, exif=exif)
    Image.fromarray(draw_cutout(2, 40, 56)).save(tmp_path / "b.png")
    for name in ("a.jpg", "b.png"):
        target = tmp_path / f"{name}.out.png"
        assert command.main([str(tmp_path / name), str(target)]) == 0
        with Image.open(tmp_path / name) as source, Image.open(target) as written:
            result = upscale(source)
            assert result.size == written.size
            np.testing.assert_array_equal(np.asarray(result), np.asarray(written))


def test_a_profile_stays():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = saved(draw_scene(1, 20, 20), icc_profile=srgb)
    assert upscale(image, model=MODEL).info["icc_profile"] == srgb
    assert "icc_profile" not in upscale(saved(draw_scene(1, 20, 20)), model=MODEL).info


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_rights_stay(file_format):
    notice = Image.Exif()
    notice[ExifTags.Base.Copyright], notice[ExifTags.Base.Model] = "(c) 2026 Shop", "Camera"
    result = upscale(saved(draw_scene(1, 20, 20), exif=notice), model=MODEL)
    buffer = io.BytesIO()
    result.save(buffer, file_format, exif=result.info["exif"])
    found = Image.open(buffer).getexif()
    assert found[ExifTags.Base.Copyright] == "(c) 2026 Shop" and ExifTags.Base.Model not in found
    assert b"(c) 2026 Shop" in result.info["xmp"]
    assert "exif" not in upscale(saved(draw_scene(1, 20, 20)), model=MODEL).info


def test_a_list_gives_a_list_of_the_same_results():
    scenes = [draw_scene(1, 20, 30), draw_scene(2, 31, 20)]
    results = upscale(scenes, model=MODEL)
    assert [one.shape for one in results] == [(40, 60, 3), (62, 40, 3)]
    for one, result in zip(scenes, results, strict=True):
        np.testing.assert_array_equal(upscale(one, model=MODEL), result)
    assert isinstance(upscale(tuple(scenes), model=MODEL), tuple)
    assert upscale([], model="no such model") == []  # nothing to load it for


def test_the_network_is_loaded_once_and_again_when_its_file_changes(tmp_path, monkeypatch):
    loads = []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda saved: loads.append(saved.name) or load(saved))
    path = tmp_path / "ours.keras"
    path.write_bytes(presets.resolve(MODEL).data)
    image = draw_scene(1, 20, 20)
    first = upscale(image, model=str(path))
    upscale([image, image], model=str(path))
    assert loads == ["ours"]
    path.write_bytes(presets.resolve("rdn-product").data)
    assert (upscale(image, model=str(path), jpeg_quality=30) != first).any()
    assert loads == ["ours", "ours"]


def test_the_quality_conditions_the_network():
    image = draw_scene(1, 24, 24)
    low, high = (upscale(image, jpeg_quality=quality) for quality in (20, 100))
    assert (low != high).any()


def test_numbers_of_numpy_are_numbers():
    image = draw_scene(1, 20, 30)
    plain = {"jpeg_quality": 80, "source_sharpening": 0.5, "scale": 4, "target_side": 100}
    kinds = {"source_sharpening": np.float32}
    of_numpy = {name: kinds.get(name, np.uint8)(value) for name, value in plain.items()}
    np.testing.assert_array_equal(upscale(image, **of_numpy), upscale(image, **plain))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"scale": 4}, (80, 120, 3)),
        ({"scale": 3}, (60, 90, 3)),
        ({"target_side": 50}, (33, 50, 3)),
        ({"target_side": 100}, (67, 100, 3)),
        ({"target_side": 1000}, (80, 120, 3)),
        ({"target_side": 1000, "scale": 2}, (40, 60, 3)),
    ],
)
def test_a_result_has_its_target_size(options, shape):
    assert upscale(draw_scene(1, 20, 30), model=MODEL, **options).shape == shape


def test_an_image_that_has_the_target_side_is_returned_as_it_is():
    image = draw_scene(1, 20, 30)
    np.testing.assert_array_equal(upscale(image, model=MODEL, target_side=30), image)


@pytest.mark.parametrize(
    ("image", "options", "error", "says"),
    [
        ("shoe.jpg", {}, TypeError, "Received: str; open a file by PIL.Image.open"),
        (np.zeros((4, 4)), {}, TypeError, r"uint8, 0 to 255. Received: float64 \[4, 4\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), {}, ValueError, "several images as a list"),
        (np.zeros((4, 4, 5), np.uint8), {}, ValueError, r"Received: \[4, 4, 5\]"),
        (np.zeros((0, 4, 3), np.uint8), {}, ValueError, r"Received: \[0, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), {"precision": "half"}, ValueError, "precision is one of"),
        (np.zeros((4, 4), np.uint8), {"jpeg_quality": 0}, ValueError, "1 to 100. Received: 0"),
        (np.zeros((4, 4), np.uint8), {"jpeg_quality": "90"}, ValueError, "Received: '90'"),
        (np.zeros((4, 4), np.uint8), {"jpeg_quality": True}, ValueError, "Received: True"),
        (np.zeros((4, 4), np.uint8), {"jpeg_quality": 80.0}, ValueError, "whole number, 1 to 100"),
        (np.zeros((4, 4), np.uint8), {"source_sharpening": 4}, ValueError, "Received: 4"),
        (np.zeros((4, 4), np.uint8), {"source_sharpening": "0.5"}, ValueError, "Received: '0.5'"),
        (np.zeros((4, 4), np.uint8), {"source_sharpening": True}, ValueError, "Received: True"),
        (
            *(np.zeros((4, 4), np.uint8), {"model": "rdn-small", "source_sharpening": 0.5}),
            *(ModelError, "rdn-small was not trained to be told how its input was sharpened"),
        ),
        (np.zeros((4, 4), np.uint8), {"scale": 5}, ValueError, "2 to 4. Received: 5"),
        (np.zeros((4, 4), np.uint8), {"target_side": 0}, ValueError, "1 pixel. Received: 0"),
        (np.zeros((4, 4), np.uint8), {"target_side": "100"}, ValueError, "Received: '100'"),
        (np.zeros((4, 4), np.uint8), {"model": "rdn"}, ValueError, "no model 'rdn'"),
        (Image.new("F", (4, 4)), {}, ImageError, "no defined white"),
        (Image.new("RGB", (0, 5)), {}, ImageError, "an image of 0 x 5 pixels"),
    ],
)
def test_errors_say_what_was_received(image, options, error, says):
    with pytest.raises(error, match=says):
        upscale(image, **options)


def test_a_truncated_file_is_an_image_error():
    whole = io.BytesIO()
    Image.fromarray(draw_scene(1, 64, 64)).save(whole, "PNG")
    image = Image.open(io.BytesIO(whole.getvalue()[:900]))
    with pytest.raises(ImageError, match="Pillow cannot read the image"):
        upscale(image)


def test_the_package_loads_no_framework_before_it_is_used():
    code = (
        "import sys, catalog_magnifier;"
        "print(sorted({'apache_beam', 'tensorflow', 'numpy', 'PIL'} & sys.modules.keys()));"
        "catalog_magnifier.upscale;"
        "print(sorted({'apache_beam', 'tensorflow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_a_program_that_uses_the_library_keeps_pillow_s_limits():
    code = (
        "from PIL import Image, PngImagePlugin;"
        "limits = lambda: (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK);"
        "before = limits();"
        "from catalog_magnifier import upscale, UpscaleImages;"
        "upscale([]), upscale(Image.new('RGB', (16, 16)), model='rdn-small');"
        "assert limits() == before, limits()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_has_its_names_and_no_others():
    for name in catalog_magnifier.__all__:
        assert getattr(catalog_magnifier, name) is not None
    assert catalog_magnifier.upscale is upscale
    with pytest.raises(AttributeError, match="no attribute 'enlarge'"):
        _ = catalog_magnifier.enlarge


def test_a_file_without_its_end_needs_pillow_s_consent(monkeypatch):
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(1, 24, 30)).save(buffer, "JPEG")
    whole, cut = buffer.getvalue(), buffer.getvalue()[:-2]
    with pytest.raises(ImageError, match="truncated"):
        upscale(Image.open(io.BytesIO(cut)), model=MODEL)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    result = upscale(Image.open(io.BytesIO(cut)), model=MODEL)
    expected = upscale(Image.open(io.BytesIO(whole)), model=MODEL)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))


def test_of_an_animation_the_current_frame_is_upscaled():
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (24, 20), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    image = Image.open(buffer)
    assert upscale(image, model=MODEL).convert("RGB").getpixel((9, 9))[0] > 200
    image.seek(1)
    assert upscale(image, model=MODEL).convert("RGB").getpixel((9, 9))[2] > 200
