import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import degradation_sheet, degradations, told_sharpening
from catalog_magnifier import upscale
from model.data import degradation
from model.data.hr_sources import HrArray
from model.data.recipes import RECIPES, Recipe
from model.evaluate import scoring
from model.imaging import resampling
from model.imaging.image import RasterImage
from model.inference.seen_sharpening import see_sharpening
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.network import loading, presets
from model.scenes.drawing import draw_scene
from tests.fake_networks import FakeNetwork

# Scenes that no network was trained on.
IMAGES = [
    HrArray(f"scene-{seed}", draw_scene(seed, 144, 160)) for seed in range(2_000_000, 2_000_006)
]
SOME = ("bicubic", "lanczos", "jpeg75", "jpeg50-jpeg95")


@pytest.fixture(scope="module")
def shipped():
    return {presets.DEFAULT: Upscaler(loading.load_by_name(presets.DEFAULT))}


def rows_of(networks, names, quality_of=degradations.true_quality):
    recipes = {name: RECIPES[name] for name in names}
    rows = degradations.measure(IMAGES, recipes, networks, quality_of)
    return {(row.recipe, row.method): row for row in rows}


def test_the_shipped_network_is_better_than_bicubic_after_many_recipes(shipped):
    rows = rows_of(shipped, SOME)
    for name in SOME:
        assert rows[name, presets.DEFAULT].gain_db > 0.5, name
        assert rows[name, presets.DEFAULT].mean.ssim_y > rows[name, "bicubic"].mean.ssim_y
    assert rows["bicubic", presets.DEFAULT].worse_share == 0


def test_the_shipped_network_does_not_sharpen_a_second_time(shipped):
    """Clean training alone made it 2 to 4 dB worse than bicubic after these."""
    names = ("sharpened80", "sharpened150", "sharpened80-jpeg80")
    rows = rows_of(shipped, names)
    for name, gain_db in zip(names, (0.3, 0.8, 1.3), strict=True):
        assert rows[name, presets.DEFAULT].gain_db > gain_db, name


def test_the_shipped_network_undoes_a_sharpening_better_where_it_need_not_guess(shipped):
    recipes = {name: RECIPES[name] for name in ("sharpened80", "sharpened80-jpeg80")}
    told = degradations.true_quality
    images = IMAGES[:3]
    estimate = told_sharpening.by_estimate(images, recipes, told, 2)
    truth = told_sharpening.by_truth(images, recipes, told, 2)
    gain_db = []
    nothing = told_sharpening.nothing(images, recipes, told, 2)
    for sharpening in (nothing, {}, estimate, truth):
        rows = degradations.measure(images, recipes, shipped, told, sharpening=sharpening)
        gain_db.append(
            {row.recipe: row.gain_db for row in rows if row.method == f"{presets.DEFAULT} gated"}
        )
    guessed = gain_db[0]
    for known, more_db in zip(gain_db[1:], (0.4, 0.6, 0.6), strict=True):
        assert known["sharpened80"] > guessed["sharpened80"] + more_db
        assert known["sharpened80-jpeg80"] > guessed["sharpened80-jpeg80"] + more_db / 2


def test_networks_are_told_only_what_users_can_give():
    """The truth of a strong blur lies beyond what `--source_sharpening` takes."""
    recipes = {"blurred": Recipe(blur_px=2.5), "sharpened80": RECIPES["sharpened80"]}
    scenes = IMAGES[:2]
    truth = told_sharpening.by_truth(scenes, recipes, degradations.true_quality, 2)
    blurred = [recipes["blurred"].sharpening(scene.pixels, 2) for scene in scenes]
    assert np.mean(blurred) < presets.MIN_SHARPENING
    assert truth["blurred"] == presets.MIN_SHARPENING
    each = [recipes["sharpened80"].sharpening(scene.pixels, 2) for scene in scenes]
    assert truth["sharpened80"] == pytest.approx(np.mean(each))


def test_a_network_that_cannot_be_told_is_judged_as_ever():
    networks = {"rdn-small": Upscaler(loading.load_by_name("rdn-small"))}
    recipes = {"sharpened80": RECIPES["sharpened80"]}
    rows = [
        degradations.measure(
            IMAGES[:1], recipes, networks, degradations.true_quality, sharpening=sharpening
        )
        for sharpening in ({}, {"sharpened80": 0.75})
    ]
    assert rows[0] == rows[1]


def test_a_hidden_jpeg_is_upscaled_nearly_as_an_honest_one(shipped):
    hidden = rows_of(shipped, ["jpeg75-png"], degradations.quality_in_pixels)
    honest = rows_of(shipped, ["jpeg75"])
    difference_db = hidden["jpeg75-png", presets.DEFAULT].mean.psnr_y_db
    difference_db -= honest["jpeg75", presets.DEFAULT].mean.psnr_y_db
    assert abs(difference_db) < 0.15


def test_figures_are_those_of_the_recipes_own_images(shipped):
    network = shipped[presets.DEFAULT]
    rows = rows_of(shipped, ["jpeg75"])
    assert [method for _, method in rows] == [
        *("bicubic", "lanczos", presets.DEFAULT, f"{presets.DEFAULT} gated")
    ]
    expected = []
    for image in IMAGES:
        lr = degradation.compress_jpeg(resampling.to_uint8(resampling.shrink(image.pixels, 2)), 75)
        seen = see_sharpening(network, RasterImage(lr), 75)
        sr = network.upscale_rgb(lr, jpeg_quality=75, sharpening=seen)
        expected.append(scoring.measure(image.pixels, sr, 2))
    row = rows["jpeg75", presets.DEFAULT]
    assert row.images == len(IMAGES)
    assert row.mean.psnr_y_db == pytest.approx(np.mean([one.psnr_y_db for one in expected]))
    bicubic = rows["jpeg75", "bicubic"]
    assert row.gain_db == pytest.approx(row.mean.psnr_y_db - bicubic.mean.psnr_y_db)
    assert (bicubic.gain_db, bicubic.worse_share, bicubic.rejected_share) == (0, 0, 0)


class Ruins(FakeNetwork):
    """A network whose results are noise."""

    def upscale_rgb(self, lr, *, jpeg_quality=100, **_):
        size = (2 * lr.shape[0], 2 * lr.shape[1], 3)
        return np.random.default_rng(jpeg_quality).integers(0, 256, size, dtype=np.uint8)

    def upscale_image(self, image, *, jpeg_quality=100, **_):
        return image.with_pixels(self.upscale_rgb(image.rgb, jpeg_quality=jpeg_quality), None)


def test_bad_results_count_as_worse_and_the_gate_replaces_them():
    rows = rows_of({"ruins": Ruins()}, ["bicubic"])
    bad, gated = rows["bicubic", "ruins"], rows["bicubic", "ruins gated"]
    assert (bad.worse_share, bad.rejected_share) == (1, 0) and bad.gain_db < -5
    assert (gated.worse_share, gated.rejected_share, gated.gain_db) == (0, 1, 0)


def test_networks_are_told_what_was_asked_for():
    told = []

    class Listens(Ruins):
        def upscale_rgb(self, lr, *, jpeg_quality=100, **_):
            if lr.shape[:2] == (72, 80):
                told.append(jpeg_quality)
            return super().upscale_rgb(lr, jpeg_quality=jpeg_quality)

    for source, expected in (("file", {95}), ("truth", {50}), ("pixels", {49, 50, 51})):
        told.clear()
        rows = rows_of({"listens": Listens()}, ["jpeg50-jpeg95"], degradations.QUALITIES[source])
        assert len(told) == len(IMAGES) and set(told) <= expected
        assert rows["jpeg50-jpeg95", "listens"].right_quality_share == (source != "file")


def test_at_another_scale_a_network_makes_two_passes_as_in_the_job():
    options = {
        "images": IMAGES[:1],
        "recipes": {"jpeg75": RECIPES["jpeg75"]},
        "networks": {"x2": Upscaler(loading.load_by_name(presets.DEFAULT))},
        "quality_of": degradations.true_quality,
    }
    hr = IMAGES[0].pixels
    for scale in (3, 4):
        cropped = resampling.crop_to_multiple(hr, scale)
        lr = RECIPES["jpeg75"].make_lr(cropped, scale, np.random.default_rng(1))
        expected = upscale(lr, scale=scale, jpeg_quality=75, precision="float32")
        (found,) = [
            row for row in degradations.measure(**options, scale=scale) if row.method == "x2"
        ]
        assert found.mean.psnr_y_db == full_reference.psnr_y(cropped, expected, border=scale)


def test_the_command_prints_tables_and_writes_json(tmp_path, capsys):
    for image in IMAGES[:3]:
        Image.fromarray(image.pixels).save(tmp_path / f"{image.name}.png")
    out = tmp_path / "out.json"
    options = ["--limit", "2", "--recipes", "box", "jpeg75", "--model", presets.DEFAULT]
    assert degradations.main([str(tmp_path), *options, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "PSNR-Y over bicubic",
        "worse than bicubic, %",
        "PSNR-C",
        f"{presets.DEFAULT} gated",
    ):
        assert words in printed
    content = json.loads(out.read_text())
    assert content["models"] == {presets.DEFAULT: presets.PRESETS[presets.DEFAULT].sha256}
    assert {(row["recipe"], row["images"]) for row in content["rows"]} == {
        ("box", 2),
        ("jpeg75", 2),
    }
    assert degradations.main([str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_the_sheet_shows_each_crop_in_five_versions(tmp_path, capsys):
    source, out = tmp_path / "scene.png", tmp_path / "sheet.png"
    Image.fromarray(IMAGES[0].pixels).save(source)
    crops = [
        ["--crop", str(source), "1", name, "20", "30"] for name in ("jpeg75-png", "sharpened80")
    ]
    command = [str(out), "--before", "rdn-small", "--side", "32"]
    assert degradation_sheet.main([*command, *crops[0], *crops[1]]) == 0
    with Image.open(out) as sheet:
        assert sheet.width >= 5 * 3 * 32 and sheet.height >= 2 * 3 * 32
        pixels = np.asarray(sheet)
    hr = IMAGES[0].pixels[20:52, 30:62].repeat(3, axis=0).repeat(3, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels[..., 1], (96, 96))
    assert (windows == hr[..., 1]).all(axis=(2, 3)).sum() == 2
    assert degradation_sheet.main([*command, *crops[0][:3], "mitchell", "0", "0"]) == 1
    assert "a recipe is one of" in capsys.readouterr().err
