import io
import os
import sys

import numpy as np
import pytest
from PIL import Image

from model import upscale
from model.imaging import resampling
from model.imaging.decode import decode
from model.inference import backends
from model.inference.errors import OutOfMemoryError
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.scenes.drawing import draw_cutout, draw_scene
from tests.model.imaging.metadata import files
from tests.results import result_of


def test_upscale_an_image(tmp_path, capsys):
    source = tmp_path / "a.jpg"
    Image.fromarray(draw_scene(1, 40, 51)).save(source)
    assert upscale.main([str(source), str(tmp_path / "b.png")]) == 0
    assert "102 x 80" in capsys.readouterr().out
    with Image.open(tmp_path / "b.png") as result:
        assert (result.format, result.size) == ("PNG", (102, 80))
    assert upscale.main([str(source), str(tmp_path / "b.jpg")]) == 0
    with Image.open(tmp_path / "b.jpg") as result:
        assert result.format == "JPEG"


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["--scale", "4"], (204, 160)),
        (["--scale", "3"], (153, 120)),
        (["--target_side", "90"], (90, 71)),
        (["--target_side", "150"], (150, 118)),
        (["--target_side", "150", "--scale", "2"], (102, 80)),
    ],
)
def test_upscale_to_a_size(tmp_path, capsys, options, size):
    Image.fromarray(draw_scene(1, 40, 51)).save(tmp_path / "a.png")
    assert upscale.main([str(tmp_path / "a.png"), str(tmp_path / "b.png"), *options]) == 0
    assert f"{size[0]} x {size[1]}" in capsys.readouterr().out
    with Image.open(tmp_path / "b.png") as result:
        assert result.size == size


def test_an_image_that_has_the_target_side_is_left_out(tmp_path, capsys):
    Image.fromarray(draw_scene(1, 40, 51)).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--target_side", "51"]
    assert upscale.main(arguments) == 0
    assert "has the target side already: skipped" in capsys.readouterr().out
    assert not (tmp_path / "b.png").exists()


def test_upscale_a_folder_keeps_stems_and_goes_on_after_a_bad_image(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(draw_cutout(1, 40, 40)).save(folder / "cut.png")
    Image.fromarray(draw_scene(1, 40, 40)).save(folder / "photo.jpg")
    (folder / "bad.jpg").write_bytes(b"no image")
    assert upscale.main([str(folder), str(tmp_path / "out")]) == 1
    assert "bad.jpg" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cut.png", "photo.png"]
    with Image.open(tmp_path / "out/cut.png") as result:
        assert (result.mode, result.size) == ("RGBA", (80, 80))


def test_names_that_are_not_utf8_do_not_end_it(tmp_path, monkeypatch):
    """A terminal's output is strict, but in the C locale."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"a.png", b"b-caf\xe9.png", b"c.png"):
        Image.fromarray(draw_scene(1, 20, 20)).save(folder / os.fsdecode(name))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict"))
    assert upscale.main([str(folder), str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_results_of_one_name_keep_the_suffixes_of_their_sources(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "new/out"
    folder.mkdir()
    widths = {
        "same.png": 20,
        "same.jpg": 24,
        "same.jpg.webp": 28,
        "other.gif": 32,
        "a.jpg.bmp": 36,
    }
    for name, width in widths.items():
        Image.fromarray(draw_scene(1, 20, width)).save(folder / name)
    assert upscale.main([str(folder), str(out), "--compare", "--model", "rdn-small"]) == 0
    results = {
        "same.png.png": 40,
        "same.jpg.png": 48,
        "same.jpg.webp.png": 56,
        "other.png": 64,
        "a.jpg.png": 72,
    }
    sheets = {f"{name.removesuffix('.png')}_compare.png" for name in results}
    assert {path.name for path in out.iterdir()} == results.keys() | sheets
    for name, width in results.items():
        with Image.open(out / name) as result:
            assert result.width == width


def test_a_folder_never_gets_its_own_results(tmp_path, capsys, monkeypatch):
    Image.fromarray(draw_scene(1, 20, 20)).save(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    for out in (str(tmp_path), ".", f"../{tmp_path.name}/"):
        assert upscale.main([str(tmp_path), out]) == 1
        error = capsys.readouterr().err
        assert "is the folder of the images: name another OUT" in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_result_too_long_for_its_format_is_not_written(tmp_path, capsys):
    Image.new("RGB", (8200, 4)).save(tmp_path / "a.png")
    assert upscale.main([str(tmp_path / "a.png"), str(tmp_path / "b.webp")]) == 1
    assert "too long for webp: name a .png file" in capsys.readouterr().err
    assert not (tmp_path / "b.webp").exists()


def test_upscale_never_writes_over_a_source(tmp_path, capsys):
    image = tmp_path / "one.png"
    Image.fromarray(draw_scene(1, 40, 40)).save(image)
    before = image.read_bytes()
    for source, target in ((image, image), (image, tmp_path)):
        assert upscale.main([str(source), str(target)]) == 1
        assert "one.png would be written over its source" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_upscale_without_a_source(tmp_path, capsys):
    source = tmp_path / "none.png"
    assert upscale.main([str(source), str(tmp_path / "b.png")]) == 1
    assert capsys.readouterr().err == f"model.upscale: no such file or folder: {source}\n"


def test_upscale_creates_the_folder_of_an_image_as_of_a_folder(tmp_path):
    source, target = tmp_path / "a.png", tmp_path / "new/folder/b.png"
    Image.fromarray(draw_scene(1, 20, 20)).save(source)
    assert upscale.main([str(source), str(target)]) == 0
    with Image.open(target) as result:
        assert result.size == (40, 40)


def test_upscale_names_the_folder_that_it_cannot_create_before_it_computes(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(upscale, "_load", None)
    source = tmp_path / "a.png"
    Image.fromarray(draw_scene(1, 20, 20)).save(source)
    for folder, why in ((source, "File exists"), (source / "b", "Not a directory")):
        assert upscale.main([str(source), str(folder / "c.png")]) == 1
        error = capsys.readouterr().err
        assert error == f"model.upscale: cannot create the folder {folder}: {why}\n"
    assert upscale.main([str(tmp_path), str(source)]) == 1
    assert f"cannot create the folder {source}: File exists" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_upscale_writes_what_the_network_makes(tmp_path, shipped, precision):
    rgb = draw_scene(1, 40, 51)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    places = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert upscale.main([*places, "--precision", precision]) == 0
    compute_dtype = backends.fastest_dtype() if precision == "auto" else precision
    expected = result_of(Upscaler(shipped, compute_dtype=compute_dtype), rgb)
    with Image.open(tmp_path / "b.png") as result:
        np.testing.assert_array_equal(np.asarray(result), expected)


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
def test_upscale_an_image_into_a_folder(tmp_path, options, name, file_format):
    (tmp_path / "out").mkdir()
    Image.fromarray(draw_scene(1, 20, 20)).save(tmp_path / "a.bmp")
    assert upscale.main([str(tmp_path / "a.bmp"), str(tmp_path / "out"), *options]) == 0
    with Image.open(tmp_path / "out" / name) as result:
        assert result.format == file_format


def test_upscale_keeps_rights_and_drops_the_rest(tmp_path):
    (tmp_path / "a.jpg").write_bytes(files.with_rights()["jpeg"])
    places = [str(tmp_path / "a.jpg"), str(tmp_path / "b.png")]
    assert upscale.main(places) == 0
    result = (tmp_path / "b.png").read_bytes()
    _, image = decode(result, max_pixels=10**6)
    assert image.rights.texts("dc:creator") == ("Jürgen Müller", "Ann")
    assert files.SECRET.encode() not in result
    assert upscale.main([*places, "--metadata", "none"]) == 0
    _, image = decode((tmp_path / "b.png").read_bytes(), max_pixels=10**6)
    assert image.rights is None


def test_upscale_encodes_as_it_is_told(tmp_path):
    Image.fromarray(draw_scene(1, 40, 40)).save(tmp_path / "a.png")
    sizes = []
    for name, *options in (
        ("b.avif",),
        ("b.avif", "--quality", "30"),
        ("b.webp",),
        ("b.webp", "--quality", "30"),
        ("b.jpg",),
        ("b.jpg", "--progressive", "yes", "--quality", "30"),
    ):
        target = tmp_path / name
        assert upscale.main([str(tmp_path / "a.png"), str(target), *options]) == 0
        sizes.append(target.stat().st_size)
        assert Image.open(target).size == (80, 80)
    assert all(small < large for large, small in zip(sizes[::2], sizes[1::2], strict=True))
    assert Image.open(tmp_path / "b.jpg").info["progressive"]


@pytest.mark.parametrize("quality", ["0", "101", "9.5", "-1", "best"])
def test_upscale_refuses_a_quality_out_of_range(quality, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        upscale.main([str(tmp_path), str(tmp_path), "--quality", quality])
    assert "from 1 to 100" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_upscale_refuses_a_limit_that_no_image_meets(limit, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        upscale.main([str(tmp_path), str(tmp_path), f"--max_pixels={limit}"])
    assert "must be a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("sharpening", ["0,75", "nan", "1.6", "-1", ""])
def test_upscale_refuses_a_sharpening_out_of_range(sharpening, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        upscale.main([str(tmp_path), str(tmp_path), f"--source_sharpening={sharpening}"])
    assert "must be unknown or a number from -0.75 to 1.5" in capsys.readouterr().err


def test_upscale_refuses_too_large_an_image(tmp_path, capsys):
    Image.fromarray(draw_scene(1, 20, 20)).save(tmp_path / "a.png")
    out = tmp_path / "b.png"
    assert upscale.main([str(tmp_path / "a.png"), str(out), "--max_pixels", "399"]) == 1
    assert "the limit is 399" in capsys.readouterr().err and not out.exists()


def test_upscale_goes_on_after_an_image_that_does_not_fit(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, side in (("a", 40), ("b", 20)):
        Image.fromarray(draw_scene(1, side, side)).save(folder / f"{name}.png")
    original = Upscaler.upscale_image

    def small_device(self, image, **options):
        if image.height > 20:
            raise OutOfMemoryError("injected")
        return original(self, image, **options)

    monkeypatch.setattr(Upscaler, "upscale_image", small_device)
    assert upscale.main([str(folder), str(tmp_path / "out")]) == 1
    assert "a.png: injected" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_upscale_with_self_ensemble(tmp_path, shipped, upscaler):
    rgb = draw_scene(1, 40, 51)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    options = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--self_ensemble"]
    options += ["--precision", "float32"]
    assert upscale.main(options) == 0
    with Image.open(tmp_path / "b.png") as result:
        written = np.asarray(result)
    expected = result_of(Upscaler(shipped, self_ensemble=True), rgb)
    np.testing.assert_array_equal(written, expected)
    assert (written != result_of(upscaler, rgb)).any()


def test_upscale_prints_the_measures_of_what_it_made(tmp_path, capsys):
    Image.fromarray(draw_scene(1, 60, 70)).save(tmp_path / "a.png")
    assert upscale.main([str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("b.png (140 x 120)")
    found = dict(part.split() for part in second.strip().split(", "))
    assert float(found["roundtrip_psnr_db"]) > 35 and float(found["self_gain_db"]) > 0
    difference = float(found["self_psnr_db"]) - float(found["self_bicubic_psnr_db"])
    assert abs(difference - float(found["self_gain_db"])) < 0.11  # three digits each
    assert not (tmp_path / "b_compare.png").exists()


def test_an_image_too_small_to_measure_is_upscaled_all_the_same(tmp_path, capsys):
    Image.fromarray(draw_scene(1, 40, 40)[:9, :9]).save(tmp_path / "a.png")
    assert upscale.main([str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--compare"]) == 0
    output = capsys.readouterr().out
    assert "(18 x 18)" in output and "too small to measure" in output


def test_compare_writes_bicubic_ours_and_the_error(tmp_path, capsys):
    rgb = draw_scene(1, 150, 130)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert upscale.main([str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--compare"]) == 0
    assert "b_compare.png" in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "b_compare.png"))
    ours = np.asarray(Image.open(tmp_path / "b.png"))
    bicubic = resampling.to_uint8(resampling.bicubic(rgb, 300, 260))
    error = np.abs(full_reference.luma(resampling.shrink(ours, 2)) - full_reference.luma(rgb))
    assert _place(sheet, bicubic) < _place(sheet, ours)
    left = _place(sheet, ours) + 260 + 8
    column = sheet[:, left - 268 : left - 8]
    top = next(y for y in range(len(column) - 299) if (column[y : y + 300] == ours).all())
    shown = full_reference.luma(sheet[top : top + 300 : 2, left : left + 260 : 2])
    assert np.corrcoef(shown.ravel(), error.ravel())[0, 1] > 0.8


def _place(sheet, part):
    """The column where a part of the sheet begins."""
    height, width = part.shape[:2]
    middle = height // 2, width // 2
    for y, x in np.argwhere((sheet == part[middle]).all(axis=-1)) - middle:
        if y >= 0 <= x and np.array_equal(sheet[y : y + height, x : x + width], part):
            return x
    raise AssertionError("it is not on the sheet")


def test_a_sheet_never_takes_an_image_s_place(tmp_path, capsys):
    image = tmp_path / "b_compare.png"
    Image.fromarray(draw_scene(1, 40, 40)).save(image)
    before = image.read_bytes()
    assert upscale.main([str(image), str(tmp_path / "b.png"), "--compare"]) == 1
    assert "b_compare.png would be written over an image" in capsys.readouterr().err
    assert image.read_bytes() == before


@pytest.mark.parametrize("name", ["x.gif", "x.tif", "x"])
def test_upscale_refuses_a_suffix_that_it_cannot_write(name, tmp_path, capsys):
    Image.fromarray(draw_scene(1, 20, 20)).save(tmp_path / "a.jpg")
    out = tmp_path / name
    assert upscale.main([str(tmp_path / "a.jpg"), str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"model.upscale: cannot write {out}: name a file with .png, .jpg")
    assert error.count("\n") == 1 and not out.exists()


def test_upscale_writes_any_name_in_the_format_that_is_asked_for(tmp_path):
    Image.fromarray(draw_scene(1, 20, 20)).save(tmp_path / "a.jpg")
    out = tmp_path / "result"
    assert upscale.main([str(tmp_path / "a.jpg"), str(out), "--format", "webp"]) == 0
    with Image.open(out) as result:
        assert result.format == "WEBP"


def test_upscale_refuses_a_format_that_the_name_contradicts(tmp_path, capsys):
    Image.fromarray(draw_scene(1, 20, 20)).save(tmp_path / "a.jpg")
    out = tmp_path / "out.png"
    assert upscale.main([str(tmp_path / "a.jpg"), str(out), "--format", "jpeg"]) == 1
    error = capsys.readouterr().err
    assert error == f"model.upscale: {out} is named as png, but --format is jpeg\n"
    assert not out.exists()
