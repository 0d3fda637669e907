import functools
import os
from pathlib import Path

import boto3
import numpy as np
import pytest
from PIL import Image

from model.data.object_store import open_s3
from model.data.recipes import RECIPES, Recipe
from model.imaging import resampling
from model.inference.upscaler import Upscaler
from model.network import loading
from model.scenes.drawing import draw_scene
from model.sharpening import __main__ as sharpening
from model.sharpening import estimates, measuring, table
from pipeline.demo.loopback import loopback_s3, made_up_credentials

scene = functools.cache(draw_scene)
ORIGINALS = [draw_scene(seed, 192, 224) for seed in range(10, 14)]


def save_pairs(folder, recipe, quality=None):
    """Thumbnails by a recipe, and their originals."""
    suffix = "png" if quality is None else "jpg"
    options = {} if quality is None else {"quality": quality}
    for name in ("thumbnails", "originals"):
        (folder / name).mkdir()
    for i, original in enumerate(ORIGINALS):
        Image.fromarray(original).save(folder / f"originals/{i}.png")
        small = recipe.make_lr(original, 2, np.random.default_rng(1))
        Image.fromarray(small).save(folder / f"thumbnails/{i}.{suffix}", **options)
    return [str(folder / name) for name in ("thumbnails", "originals")]


@pytest.mark.parametrize("quality", [None, 80])
@pytest.mark.parametrize("name", ["bicubic", "lanczos", "sharpened80", "sharpened150"])
def test_it_finds_what_the_recipe_did_through_jpeg_too(tmp_path, capsys, name, quality):
    recipe = RECIPES[name]
    expected = np.median([recipe.sharpening(one, 2) for one in ORIGINALS])
    assert sharpening.main(save_pairs(tmp_path, recipe, quality)) == 0
    printed = capsys.readouterr().out
    (line,) = [one for one in printed.splitlines() if one.startswith("4 pairs")]
    assert float(line.split("--source_sharpening ")[1].split()[0]) == pytest.approx(
        expected, abs=0.06
    )
    assert "several ways" not in printed


def test_the_hard_edge_of_a_cut_out_is_no_detail(tmp_path, capsys):
    """Alpha of 0 and 255 only, as GIF and palette PNG have it; scenes lie under it."""
    places = save_pairs(tmp_path, Recipe())
    for place in places:
        for path in Path(place).iterdir():
            image = Image.open(path)
            rows, columns = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
            inside = rows**2 + columns**2 < 0.6
            image.putalpha(Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)))
            image.save(path)
    assert sharpening.main(places) == 0
    printed = capsys.readouterr().out.split("--source_sharpening ")[1]
    assert float(printed.split()[0]) == pytest.approx(0, abs=0.06)
    cut_out = Image.open(tmp_path / "thumbnails/0.png")
    image, _ = estimates.read_image(str(tmp_path / "thumbnails/0.png"))
    assert np.array_equal(image.alpha, np.asarray(cut_out)[..., 3])
    upscaler = Upscaler(loading.load_by_name(measuring.ESTIMATED_BY))
    opaque = np.asarray(cut_out)[..., :3]
    expected = measuring.estimate(opaque, 100, upscaler)
    (found,) = [
        value for _, value in estimates.measure_all([str(tmp_path / "thumbnails/0.png")], upscaler)
    ]
    assert found == pytest.approx(expected, abs=0.1)


def test_an_original_may_have_any_larger_size():
    original = draw_scene(20, 300, 420)
    small = resampling.to_uint8(resampling.bicubic(original, 97, 136))
    assert measuring.measure(small, original, 100) == pytest.approx(0, abs=0.01)


def test_thumbnails_of_several_kinds_are_told(tmp_path, capsys):
    places = save_pairs(tmp_path, Recipe())
    for i in (0, 1):
        small = RECIPES["sharpened150"].make_lr(ORIGINALS[i], 2, np.random.default_rng(1))
        Image.fromarray(small).save(tmp_path / f"thumbnails/{i}.png")
    assert sharpening.main(places) == 1
    printed = capsys.readouterr().out
    assert "made in several ways" in printed and "--source_sharpening 0" not in printed


def test_a_number_that_no_network_learned_is_not_recommended(tmp_path, capsys):
    places = save_pairs(tmp_path, Recipe(sharpen_radius_px=1, sharpen_percent=500))
    for place in places:
        for i in (1, 2, 3):
            (Path(place) / f"{i}.png").write_bytes((Path(place) / "0.png").read_bytes())
    assert sharpening.main(places) == 1
    printed = capsys.readouterr().out
    assert "beyond what networks were trained on, -0.75 to 1.5" in printed


def test_what_is_no_pair_is_named_and_the_others_count(tmp_path, capsys):
    places = save_pairs(tmp_path, Recipe())
    (tmp_path / "originals/0.png").unlink()
    (tmp_path / "originals/1.png").write_bytes(b"no image")
    Image.fromarray(ORIGINALS[2][:, :150]).save(tmp_path / "originals/2.png")
    assert sharpening.main(places) == 0
    printed = capsys.readouterr()
    assert "1 pair: --source_sharpening 0.00" in printed.out and "few" in printed.out
    assert "-0.00" not in printed.out
    for words in (
        "thumbnails/0.png: no original",
        "originals/1.png: not an image",
        "thumbnails/2.png: its original is 150 x 192",
    ):
        assert words in printed.err


@pytest.mark.parametrize(
    ("thumbnail", "original", "message"),
    [
        (draw_scene(1, 40, 40)[:15], draw_scene(1, 30, 80), "40 x 15 pixels are too few"),
        (np.full((40, 40, 3), 9, np.uint8), draw_scene(1, 80, 80), "too flat"),
        (draw_scene(1, 40, 40), np.full((80, 80, 3), 9, np.uint8), "too flat"),
        (draw_scene(1, 40, 40), draw_scene(2, 80, 80), "something else"),
    ],
)
def test_what_has_nothing_to_compare_is_refused(thumbnail, original, message):
    with pytest.raises(ValueError, match=message):
        measuring.measure(thumbnail, original, 100)


def test_without_a_pair_it_fails(tmp_path, capsys):
    assert sharpening.main([str(tmp_path), str(tmp_path)]) == 1
    assert "no pair could be measured" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["thumbnails", "originals"])
def test_a_missing_folder_is_named(tmp_path, capsys, missing):
    places = save_pairs(tmp_path, Recipe())
    (tmp_path / missing).rename(tmp_path / "moved")
    with pytest.raises(SystemExit) as error:
        sharpening.main(places)
    assert error.value.code == 2
    assert f"not a folder on this machine: {tmp_path / missing} (" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["s3://shop/thumbs/", "list.txt"])
def test_pairs_need_two_folders_of_this_machine(tmp_path, capsys, place):
    for places in ([place, str(tmp_path)], [str(tmp_path), place]):
        with pytest.raises(SystemExit):
            sharpening.main(places)
        assert f"not a folder on this machine: {place} (" in capsys.readouterr().err


def test_two_images_of_one_name_are_refused(tmp_path, capsys):
    places = save_pairs(tmp_path, Recipe())
    Image.fromarray(ORIGINALS[1]).save(tmp_path / "originals/0.jpg")
    with pytest.raises(SystemExit):
        sharpening.main(places)
    message = capsys.readouterr().err
    assert "one name for two images" in message and "0.jpg" in message and "0.png" in message


def save_thumbnails(folder, recipe, quality=None, count=20):
    """Thumbnails whose originals are lost."""
    suffix, options = ("png", {}) if quality is None else ("jpg", {"quality": quality})
    for i in range(count):
        lr = recipe.make_lr(scene(100 + i, 96, 96), 2, np.random.default_rng(1))
        Image.fromarray(lr).save(folder / f"{i}.{suffix}", **options)


def recommended(capsys):
    """The number of the last line that was printed."""
    return float(capsys.readouterr().out.split("--source_sharpening ")[1].split()[0])


@pytest.mark.parametrize(
    ("name", "quality"),
    [("bicubic", None), ("sharpened80", None), ("sharpened80", 80)],
)
def test_without_originals_it_is_estimated(tmp_path, capsys, name, quality):
    recipe = RECIPES[name]
    save_thumbnails(tmp_path, recipe, quality)
    truth = np.mean([recipe.sharpening(scene(100 + i, 96, 96), 2) for i in range(20)])
    assert sharpening.main([str(tmp_path)]) == 0
    assert recommended(capsys) == pytest.approx(truth, abs=0.15)


def test_thumbnails_of_two_kinds_give_no_estimate(tmp_path, capsys):
    for name in ("plain", "sharp"):
        (tmp_path / name).mkdir()
    save_thumbnails(tmp_path / "plain", RECIPES["bicubic"], count=10)
    save_thumbnails(tmp_path / "sharp", RECIPES["sharpened150"], count=10)
    for image in (tmp_path / "sharp").iterdir():
        image.rename(tmp_path / f"plain/sharp-{image.name}")
    assert sharpening.main([str(tmp_path / "plain")]) == 1
    printed = capsys.readouterr()
    assert "these thumbnails were made in several ways" in printed.err
    assert "--source_sharpening" not in printed.out


def test_thumbnails_on_s3_are_spread_over_the_prefix(tmp_path, capsys, monkeypatch):
    save_thumbnails(tmp_path, RECIPES["sharpened80"], count=42)
    with loopback_s3() as endpoint, made_up_credentials():
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="shop")
        for i in range(42):
            client.upload_file(str(tmp_path / f"{i}.png"), "shop", f"images/{i:02}.png")
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        open_s3.cache_clear()
        assert sharpening.main(["s3://shop/images/", "--limit", "21"]) == 0
    printed = capsys.readouterr().out
    named = [line.split()[0] for line in printed.splitlines() if line.startswith(("0", "1", "4"))]
    assert named == [f"{i:02}.png" for i in range(0, 42, 2) if not 20 <= i < 40]
    assert "21 thumbnails: --source_sharpening 0." in printed


def test_few_or_broken_thumbnails_give_no_estimate(tmp_path, capsys):
    save_thumbnails(tmp_path, Recipe(), count=20)
    (tmp_path / "3.png").write_bytes(b"no image")
    assert sharpening.main([str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert f"{tmp_path}/3.png: not an image" in printed.err
    assert "19 thumbnails can be measured, an estimate needs 20" in printed.err
    assert "--source_sharpening" not in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["none/"], "no such folder: none"), (["none/", "--limit", "0"], "whole number from 20 on")],
)
def test_a_wrong_command_line_ends_with_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as error:
        sharpening.main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_large_thumbnail_is_estimated_by_its_middle(tmp_path, capsys):
    large = np.tile(draw_scene(7, 100, 100), (6, 6, 1))
    large[150:450, 150:450] = 255
    for i in range(20):
        Image.fromarray(large).save(tmp_path / f"{i}.png")
    assert sharpening.main([str(tmp_path)]) == 1
    assert "0.png: it is too flat to measure" in capsys.readouterr().err


def test_folders_of_any_name_get_a_line_without_points_in_it(tmp_path, capsys, monkeypatch):
    """From a path with `..`; a name that is not UTF-8 as a file URI; status 1 without a line."""
    for name in (b"few", b"q\xff", b"caf\xc3\xa9, b"):
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/" + name))
        folder.mkdir(parents=True)
        Image.fromarray(draw_scene(1, 20, 20)).save(folder / "1.png")
    monkeypatch.chdir(tmp_path / "in/few")
    assert sharpening.main(["../../in", "--table", str(tmp_path / "t.csv")]) == 1
    printed = capsys.readouterr().err
    for prefix in (
        f"{tmp_path}/in/café, b/",
        f"file://{tmp_path}/in/q%FF/",
        f"{tmp_path}/in/few/",
    ):
        assert f"{prefix}: 1 thumbnail can be measured, an estimate needs 20" in printed


def test_a_few_thumbnails_are_refused_at_once(tmp_path, capsys):
    save_thumbnails(tmp_path, Recipe(), count=3)
    with pytest.raises(SystemExit) as error:
        sharpening.main([str(tmp_path)])
    assert error.value.code == 2
    assert "3 thumbnails can be measured, an estimate needs 20" in capsys.readouterr().err


def test_a_table_gets_the_shops_that_it_lacks(tmp_path, capsys, monkeypatch):
    """Each folder by itself, images anywhere below it; another run estimates new ones alone."""
    path = tmp_path / "shops.csv"
    path.write_text("prefix,source_sharpening\ns3://shops/known/,0.9\n")
    for name in ("plain", "sharp", "few"):
        (tmp_path / name).mkdir()
    save_thumbnails(tmp_path / "plain", RECIPES["bicubic"])
    save_thumbnails(tmp_path / "sharp", RECIPES["sharpened80"])
    save_thumbnails(tmp_path / "few", RECIPES["bicubic"], count=3)
    with loopback_s3() as endpoint, made_up_credentials():
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="shops")
        for i, image in enumerate(sorted(tmp_path.glob("*/*.png"))):
            key = f"{image.parent.name}/{i % 3}/{image.name}"
            client.upload_file(str(image), "shops", key)
        client.put_object(Bucket="shops", Key="known/1.png", Body=b"")
        client.put_object(Bucket="shops", Key="in-no-folder.png", Body=b"")
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        open_s3.cache_clear()
        arguments = ["s3://shops/", "--limit", "20", "--table", str(path)]
        assert sharpening.main(arguments) == 0
        first = capsys.readouterr()
        numbers = table.read(path)
        assert sharpening.main(arguments) == 0
        again = capsys.readouterr()
    assert list(numbers) == ["s3://shops/known/", "s3://shops/plain/", "s3://shops/sharp/"]
    assert numbers["s3://shops/known/"] == 0.9
    assert numbers["s3://shops/plain/"] == pytest.approx(0, abs=0.15)
    assert numbers["s3://shops/sharp/"] == pytest.approx(0.74, abs=0.2)
    assert f"folders: 4, new to {path}: 3" in first.out
    assert "images in no folder, which get no number: 1" in first.out
    assert f"{numbers['s3://shops/sharp/']:+.2f} (" in first.out and "20 thumbnails)" in first.out
    assert "s3://shops/few/: 3 thumbnails can be measured" in first.err
    assert f"folders: 4, new to {path}: 1" in again.out
    assert "folders without a number: 1. The next run tries them again" in again.out
    assert table.read(path) == numbers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["s3://shops", "--table", "{}/t.csv"], "s3://shops: a prefix of shops ends in /"),
        ([__file__, "--table", "{}/t.csv"], "is a file: name the folder that holds"),
        (["{}/none", "--table", "{}/t.csv"], "no such folder: {}/none"),
        (["{}", "--table", "{}/t.csv"], "{}: no images in folders below it"),
        (["{}", "--table", "{}/none/t.csv"], "no such folder: {}/none"),
        (["{}", "--table", "{}/bad.csv"], "bad.csv: line 1 must be prefix,source_sharpening"),
        (["{}", "--table", "s3://shops/t.csv"], "the table is a file on this machine"),
        (["{}", "{}", "--table", "{}/t.csv"], "--table estimates without ORIGINALS"),
    ],
)
def test_a_table_that_cannot_be_filled_ends_with_2(tmp_path, capsys, arguments, message):
    save_thumbnails(tmp_path, Recipe(), count=1)
    (tmp_path / "bad.csv").write_text("uri\n")
    with pytest.raises(SystemExit) as error:
        sharpening.main([one.format(tmp_path) for one in arguments])
    assert error.value.code == 2
    assert message.format(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "t.csv").exists()
