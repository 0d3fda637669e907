import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import degrade, evaluate, presets, upscale
from model.inference import Magnifier, OutOfMemory
from model.scenes import draw_cutout, draw_scene

BENCHMARKS = Path(__file__).parents[3] / "shared/data/eval"


@pytest.fixture
def pairs(tmp_path):
    for i in range(2):
        hr = draw_scene(20 + i, 80, 64)
        Image.fromarray(hr).save(tmp_path / f"img_{i}_HR.png")
        lr = degrade.to_uint8(degrade.shrink(hr, 2))
        Image.fromarray(lr).save(tmp_path / f"img_{i}_LR.png")
    return tmp_path


def test_evaluate_prints_a_table_and_writes_json(pairs, capsys):
    assert evaluate.main(["--pairs", str(pairs), "--json", str(pairs / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "PSNR-Y" in printed and "img_0" in printed and "mean" in printed
    content = json.loads((pairs / "out.json").read_text())
    assert [one["name"] for one in content["pictures"]] == ["img_0", "img_1"]
    mean = content["mean"]
    assert mean["psnr_y_db"] > mean["bicubic_psnr_y_db"] + 1
    assert mean["psnr_y_db"] == pytest.approx(
        np.mean([one["psnr_y_db"] for one in content["pictures"]])
    )
    assert f"{mean['psnr_y_db']:.2f}" in printed


def test_evaluate_says_what_is_missing(pairs, capsys):
    (pairs / "img_1_HR.png").unlink()
    assert evaluate.main(["--pairs", str(pairs)]) == 1
    assert "img_1_LR.png has no img_1_HR.png" in capsys.readouterr().err
    assert evaluate.main(["--pairs", str(pairs / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err
    Image.fromarray(draw_scene(1, 40, 40)).save(pairs / "img_1_HR.png")
    assert evaluate.main(["--pairs", str(pairs)]) == 1
    assert "HR must be 2 times LR" in capsys.readouterr().err
    assert evaluate.main(["--pairs", str(pairs), "--model", "rdn-huge"]) == 1
    assert "rdn-small" in capsys.readouterr().err


def test_evaluate_makes_lr_from_hr_pictures(tmp_path, capsys):
    for i in range(3):
        Image.fromarray(draw_scene(20 + i, 120, 124)).save(tmp_path / f"{i}.png")
    arguments = ["--hr", str(tmp_path), "--json", str(tmp_path / "out.json"), "--limit", "2"]
    scores = {}
    for quality in ("100", "30"):
        sheet = tmp_path / "sheet.bmp"
        options = ["--jpeg_quality", quality, "--sheet", str(sheet)]
        assert evaluate.main([*arguments, *options]) == 0
        content = json.loads((tmp_path / "out.json").read_text())
        assert len(content["pictures"]) == 2
        scores[quality] = content["mean"]
        with Image.open(sheet) as shown:
            assert shown.size == (4 * 240, 2 * 240)
        sheet.unlink()
    assert scores["100"]["psnr_y_db"] > scores["30"]["psnr_y_db"] + 3
    assert scores["100"]["bicubic_psnr_y_db"] > scores["30"]["bicubic_psnr_y_db"] + 1
    with pytest.raises(SystemExit):
        evaluate.main(["--hr", str(tmp_path), "--pairs", str(tmp_path)])


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="Set5 and Set14 are not beside the project")
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_the_shipped_weights_reach_their_recorded_figures(name, tmp_path):
    out = tmp_path / "scores.json"
    assert evaluate.main(["--pairs", str(BENCHMARKS / name), "--json", str(out)]) == 0
    mean = json.loads(out.read_text())["mean"]
    preset = presets.PRESETS[presets.DEFAULT]
    recorded = {"Set5": preset.set5_psnr_y_db, "Set14": preset.set14_psnr_y_db}
    assert mean["psnr_y_db"] == pytest.approx(recorded[name], abs=0.006)
    if name == "Set5":
        assert 33.6 <= mean["bicubic_psnr_y_db"] <= 33.7  # as published: the protocol is right
        assert mean["psnr_y_db"] >= 37.3


def test_upscale_a_picture(tmp_path, capsys):
    source = tmp_path / "a.jpg"
    Image.fromarray(draw_scene(1, 40, 51)).save(source)
    assert upscale.main([str(source), str(tmp_path / "b.png")]) == 0
    assert "80 x 102" in capsys.readouterr().out
    with Image.open(tmp_path / "b.png") as result:
        assert (result.format, result.size) == ("PNG", (102, 80))
    assert upscale.main([str(source), str(tmp_path / "b.jpg")]) == 0
    with Image.open(tmp_path / "b.jpg") as result:
        assert result.format == "JPEG"


def test_upscale_a_folder_keeps_stems_and_goes_on_after_a_bad_picture(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(draw_cutout(1, 40, 40)).save(folder / "cut.png")
    Image.fromarray(draw_scene(1, 40, 40)).save(folder / "photo.jpg")
    (folder / "bad.jpg").write_bytes(b"no picture")
    assert upscale.main([str(folder), str(tmp_path / "out")]) == 1
    assert "bad.jpg" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cut.png", "photo.png"]
    with Image.open(tmp_path / "out/cut.png") as result:
        assert (result.mode, result.size) == ("RGBA", (80, 80))


def test_upscale_refuses_to_overwrite_one_result_with_another(tmp_path, capsys):
    for name in ("same.png", "same.jpg"):
        Image.fromarray(draw_scene(1, 40, 40)).save(tmp_path / name)
    assert upscale.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "several pictures named same" in capsys.readouterr().err


def test_upscale_never_writes_over_a_source(tmp_path, capsys):
    picture = tmp_path / "one.png"
    Image.fromarray(draw_scene(1, 40, 40)).save(picture)
    before = picture.read_bytes()
    for source, target in ((tmp_path, tmp_path), (picture, picture), (picture, tmp_path)):
        assert upscale.main([str(source), str(target)]) == 1
        assert "one.png would be written over its source" in capsys.readouterr().err
    assert picture.read_bytes() == before


def test_upscale_without_a_source(tmp_path, capsys):
    assert upscale.main([str(tmp_path / "none.png"), str(tmp_path / "b.png")]) == 1
    assert "none.png" in capsys.readouterr().err


def test_upscale_writes_what_the_network_makes(tmp_path, magnifier):
    rgb = draw_scene(1, 40, 51)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert upscale.main([str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 0
    with Image.open(tmp_path / "b.png") as result:
        np.testing.assert_array_equal(np.asarray(result), magnifier.magnify_rgb(rgb))


def test_upscale_turns_a_photograph_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(draw_scene(1, 40, 51)).save(tmp_path / "a.jpg", exif=exif)
    assert upscale.main([str(tmp_path / "a.jpg"), str(tmp_path / "b.png")]) == 0
    with Image.open(tmp_path / "b.png") as result:
        assert result.size == (80, 102) and not result.getexif()


@pytest.mark.parametrize(
    ("options", "name", "file_format"),
    [([], "a.png", "PNG"), (["--format", "jpeg"], "a.jpg", "JPEG")],
)
def test_upscale_a_picture_into_a_folder(tmp_path, options, name, file_format):
    (tmp_path / "out").mkdir()
    Image.fromarray(draw_scene(1, 20, 20)).save(tmp_path / "a.bmp")
    assert upscale.main([str(tmp_path / "a.bmp"), str(tmp_path / "out"), *options]) == 0
    with Image.open(tmp_path / "out" / name) as result:
        assert result.format == file_format


def test_upscale_refuses_too_large_a_picture(tmp_path, capsys):
    Image.fromarray(draw_scene(1, 20, 20)).save(tmp_path / "a.png")
    out = tmp_path / "b.png"
    assert upscale.main([str(tmp_path / "a.png"), str(out), "--max_pixels", "399"]) == 1
    assert "the limit is 399" in capsys.readouterr().err and not out.exists()


def test_upscale_goes_on_after_a_picture_that_does_not_fit(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, side in (("a", 40), ("b", 20)):
        Image.fromarray(draw_scene(1, side, side)).save(folder / f"{name}.png")
    magnify = Magnifier.magnify_picture

    def small_device(self, picture, **options):
        if picture.height > 20:
            raise OutOfMemory("injected")
        return magnify(self, picture, **options)

    monkeypatch.setattr(Magnifier, "magnify_picture", small_device)
    assert upscale.main([str(folder), str(tmp_path / "out")]) == 1
    assert "a.png: injected" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]
