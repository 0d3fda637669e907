from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import sharpening
from model.data.recipes import RECIPES, Recipe
from model.imaging import resampling
from model.scenes.drawing import draw_scene

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


def test_an_original_may_have_any_larger_size():
    original = draw_scene(20, 300, 420)
    small = resampling.to_uint8(resampling.bicubic(original, 97, 136))
    assert sharpening.measure(small, original, 100) == pytest.approx(0, abs=0.01)


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
        sharpening.measure(thumbnail, original, 100)


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
    assert f"no such folder: {tmp_path / missing}" in capsys.readouterr().err


def test_two_images_of_one_name_are_refused(tmp_path, capsys):
    places = save_pairs(tmp_path, Recipe())
    Image.fromarray(ORIGINALS[1]).save(tmp_path / "originals/0.jpg")
    with pytest.raises(SystemExit):
        sharpening.main(places)
    message = capsys.readouterr().err
    assert "one name for two images" in message and "0.jpg" in message and "0.png" in message
