import csv
import json
import logging
import math

import numpy as np
import pytest
from PIL import Image

from model.data.pairs import Pair, make_pairs
from model.data.recipes import RECIPES
from model.evaluate import __main__ as command
from model.evaluate import evaluation, pair_files, scoring, tables
from model.evaluate.scoring import Figures, Score
from model.imaging import resampling
from model.imaging.colour import from_h273, icc_profile
from model.inference.errors import OutOfMemoryError
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.network import loading, presets
from model.network.rdn import RDN
from model.scenes.drawing import draw_scene
from tests.image_data import BENCHMARKS, needs_benchmarks
from tests.results import result_of


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    for i in range(2):
        hr = draw_scene(20 + i, 80, 64)
        Image.fromarray(hr).save(folder / f"img_{i}_HR.png")
        lr = resampling.to_uint8(resampling.shrink(hr, 2))
        Image.fromarray(lr).save(folder / f"img_{i}_LR.png")
    return folder


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "hr"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(draw_scene(20 + i, 120, 124)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Saves a small network that upscales bicubically: its last convolution is still zero.

    For tests in which any network will do: it loads and compiles in a fifth of the time.
    """
    folder = tmp_path_factory.mktemp("untrained")

    def save(scale=2):
        path = folder / f"untrained_x{scale}.keras"
        if not path.exists():
            RDN(convs_per_block=1, num_blocks=1, growth_rate=4, features=4, scale=scale).save(path)
        return str(path)

    return save


def run(*options):
    return command.main([str(option) for option in options])


def strict_json(path):
    """Parses strictly: refuses Infinity and NaN."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def made_score(name, ours=38.0, noise=0.5):
    return Score(
        name, {"bicubic": Figures(33.5, 0.91, 1.5, 35), "ours": Figures(ours, 0.95, noise, 36)}
    )


def test_evaluate_prints_a_table_and_writes_json(pairs, tmp_path, capsys):
    assert run("--pairs", pairs, "--json", tmp_path / "out.json") == 0
    printed = capsys.readouterr().out
    assert "PSNR-Y" in printed and "img_0" in printed and "mean" in printed
    content = strict_json(tmp_path / "out.json")
    assert [one["name"] for one in content["images"]] == ["img_0", "img_1"]
    mean = content["mean"]
    assert mean["psnr_y_db"] > mean["bicubic_psnr_y_db"] + 1
    assert mean["lanczos_psnr_y_db"] > mean["bicubic_psnr_y_db"]
    for key in ("psnr_y_db", "ssim_y", "lanczos_ssim_y"):
        assert mean[key] == pytest.approx(np.mean([one[key] for one in content["images"]]))
    assert f"{mean['psnr_y_db']:.2f}" in printed
    assert not any(key.startswith("against") for key in mean)
    settings = {"model": "rdn-small", "against": None, "scale": 2, "jpeg_quality": 100}
    assert settings.items() <= content.items()


def test_pairs_with_different_profiles_are_compared_in_srgb(pairs, tmp_path, untrained):
    """A linear copy of HR has the same colours but for the rounding of its dark levels."""
    assert run("--pairs", pairs, "--model", untrained(), "--json", tmp_path / "a.json") == 0
    for path in pairs.glob("*HR.png"):
        values = np.asarray(Image.open(path), np.float64) / 255
        light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        linear = icc_profile(from_h273(1, 8, is_png=True), is_grey=False)
        Image.fromarray(resampling.to_uint8(255 * light)).save(path, icc_profile=linear)
    assert run("--pairs", pairs, "--model", untrained(), "--json", tmp_path / "b.json") == 0
    plain, converted = (strict_json(tmp_path / name)["mean"] for name in ("a.json", "b.json"))
    assert converted["psnr_y_db"] == pytest.approx(plain["psnr_y_db"], abs=0.5)


def test_the_figures_of_an_image_are_its_own(pairs, tmp_path):
    upscaler = Upscaler(loading.load_by_name(presets.BEST_ON_CLEAN))
    assert run("--pairs", pairs, "--json", tmp_path / "out.json") == 0
    for i, one in enumerate(strict_json(tmp_path / "out.json")["images"]):
        lr, hr = (np.asarray(Image.open(pairs / f"img_{i}_{kind}.png")) for kind in ("LR", "HR"))
        lanczos = resampling.to_uint8(resampling.lanczos(lr, 80, 64))
        ours = upscaler.upscale_rgb(lr)
        assert one["psnr_y_db"] == full_reference.psnr_y(hr, ours, border=2)
        assert one["background_noise"] == full_reference.background_noise(hr, ours, border=2)
        assert one["psnr_c_db"] == full_reference.psnr_c(hr, ours, border=2)
        assert one["lanczos_ssim_y"] == full_reference.ssim_y(hr, lanczos, border=2)


def test_csv_holds_a_line_an_image_and_what_json_holds(pairs, tmp_path, untrained):
    table, out = tmp_path / "out.csv", tmp_path / "out.json"
    assert run("--pairs", pairs, "--model", untrained(), "--csv", table, "--json", out) == 0
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line, one in zip(lines, strict_json(out)["images"], strict=True):
        assert line.pop("name") == one.pop("name")
        assert {key: float(value) for key, value in line.items()} == one


def test_a_second_network_gets_columns_everywhere(pairs, tmp_path, untrained, capsys):
    table, out = tmp_path / "out.csv", tmp_path / "out.json"
    options = ["--pairs", pairs, "--against", untrained(), "--csv", table, "--json", out]
    assert run(*options) == 0
    mean = strict_json(out)["mean"]
    assert mean["against_psnr_y_db"] == pytest.approx(mean["bicubic_psnr_y_db"], abs=0.05)
    assert mean["psnr_y_db"] > mean["against_psnr_y_db"] + 1
    printed = capsys.readouterr().out
    assert "gain 2: over against" in printed and "untrained_x2.keras" in printed
    assert f"{mean['psnr_y_db'] - mean['against_psnr_y_db']:+.2f}" in printed
    header = table.read_text().partition("\n")[0].split(",")
    assert {"against_psnr_y_db", "against_ssim_y", "against_background_noise"} <= set(header)


def test_networks_of_two_scales_do_not_compare(pairs, untrained, capsys):
    options = ["--model", untrained(), "--against", untrained(scale=3)]
    assert run("--pairs", pairs, *options) == 1
    assert f"x3, but --model {untrained()} x2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "ours_better"), [(["--self_ensemble", "ours"], True), (["--self_ensemble"], False)]
)
def test_self_ensemble_of_one_or_both_networks(pairs, tmp_path, options, ours_better):
    out = tmp_path / "out.json"
    assert run("--pairs", pairs, "--against", "rdn-small", "--json", out, *options) == 0
    mean = strict_json(out)["mean"]
    assert (mean["psnr_y_db"] > mean["against_psnr_y_db"]) == ours_better
    assert (mean["psnr_y_db"] == mean["against_psnr_y_db"]) != ours_better


def test_an_exact_result_is_null_and_no_part_of_the_mean(pairs, tmp_path, capsys, untrained):
    for kind, side in (("LR", 40), ("HR", 80)):
        Image.new("RGB", (side, side), (10, 90, 200)).save(pairs / f"flat_{kind}.png")
    table, out = tmp_path / "out.csv", tmp_path / "out.json"
    assert run("--pairs", pairs, "--model", untrained(), "--json", out, "--csv", table) == 0
    content = strict_json(out)
    flat, *others = content["images"]
    assert flat["name"] == "flat" and flat["bicubic_psnr_y_db"] is None
    assert flat["bicubic_ssim_y"] == pytest.approx(1) and flat["background_noise"] is None
    expected = np.mean([one["bicubic_psnr_y_db"] for one in others])
    assert content["mean"]["bicubic_psnr_y_db"] == pytest.approx(expected)
    assert (content["images_in_mean_psnr"], content["images_in_mean_noise"]) == (2, 2)
    printed = capsys.readouterr().out
    assert "inf" in printed and "without 1 image on" in printed and "2 of 3" in printed
    with table.open(newline="") as file:
        line = next(csv.DictReader(file))
    assert line["bicubic_psnr_y_db"] == "inf" and line["background_noise"] == ""


def test_only_exact_results_have_no_mean():
    text = tables.as_json([made_score("a", ours=math.inf)], {})
    assert json.loads(text)["mean"]["psnr_y_db"] is None and "NaN" not in text
    assert tables.as_text([made_score("a", ours=math.inf)]).splitlines()[3].split()[1:4] == [
        "-",
        "-",
        "-",
    ]


def test_a_record_has_our_figures_without_a_prefix():
    assert tables.as_record(made_score("a")) == {
        "name": "a",
        "psnr_y_db": 38.0,
        "ssim_y": 0.95,
        "background_noise": 0.5,
        "psnr_c_db": 36,
        "bicubic_psnr_y_db": 33.5,
        "bicubic_ssim_y": 0.91,
        "bicubic_background_noise": 1.5,
        "bicubic_psnr_c_db": 35,
    }


def test_the_table():
    scores = [made_score("short"), made_score("a longer name", ours=40.0, noise=math.nan)]
    assert tables.as_text(scores).splitlines() == [
        "                 PSNR-Y, dB                   SSIM-Y              background noise"
        "    PSNR-C, dB",
        "                 bicubic     ours     gain    bicubic     ours    bicubic     ours"
        "    bicubic     ours",
        "short              33.50    38.00    +4.50     0.9100   0.9500       1.50     0.50"
        "      35.00    36.00",
        "a longer name      33.50    40.00    +6.50     0.9100   0.9500       1.50        -"
        "      35.00    36.00",
        "mean               33.50    39.00    +5.50     0.9100   0.9500       1.50     0.50"
        "      35.00    36.00",
        "gain: ours over bicubic",
        "background noise: mean over 1 of 2 images, the others have no flat background",
    ]


def test_a_grey_image_is_no_part_of_the_mean_of_psnr_c(pairs, tmp_path, capsys, untrained):
    for kind in ("LR", "HR"):
        Image.open(pairs / f"img_0_{kind}.png").convert("L").save(pairs / f"grey_{kind}.png")
    out = tmp_path / "out.json"
    assert run("--pairs", pairs, "--model", untrained(), "--json", out) == 0
    content = strict_json(out)
    grey, *others = content["images"]
    assert grey["psnr_c_db"] is None and grey["psnr_y_db"] is not None
    expected = np.mean([one["psnr_c_db"] for one in others])
    assert content["mean"]["psnr_c_db"] == pytest.approx(expected)
    assert (content["images_in_mean_psnr"], content["images_in_mean_psnr_c"]) == (3, 2)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("mean PSNR-C without 1 image on") and last.endswith(": grey")


def test_evaluate_names_the_missing_file(pairs, capsys, untrained):
    (pairs / "img_1_HR.png").unlink()
    assert run("--pairs", pairs, "--model", untrained()) == 1
    assert "img_1_LR.png has no img_1_HR.png" in capsys.readouterr().err
    assert run("--pairs", pairs / "none", "--model", untrained()) == 1
    assert "no such folder" in capsys.readouterr().err
    Image.fromarray(draw_scene(1, 40, 40)).save(pairs / "img_1_HR.png")
    assert run("--pairs", pairs, "--model", untrained()) == 1
    assert "HR must be 2 times LR" in capsys.readouterr().err
    for option in ("--model", "--against"):
        assert run("--pairs", pairs, option, "rdn-huge") == 1
        assert "rdn-small" in capsys.readouterr().err


def test_evaluate_makes_lr_from_hr_images(images, tmp_path):
    out = tmp_path / "out.json"
    scores = {}
    for quality in (100, 30):
        options = ["--hr", images, "--limit", 2, "--json", out, "--jpeg_quality", quality]
        assert run(*options) == 0
        content = strict_json(out)
        assert len(content["images"]) == 2
        scores[quality] = content["mean"]
    assert scores[100]["psnr_y_db"] > scores[30]["psnr_y_db"] + 3
    assert scores[100]["bicubic_psnr_y_db"] > scores[30]["bicubic_psnr_y_db"] + 1
    assert scores[100]["background_noise"] < scores[30]["background_noise"]


def test_evaluate_makes_lr_by_a_recipe(images, tmp_path, capsys, untrained):
    out = tmp_path / "out.json"
    content = {}
    options = ["--hr", images, "--limit", 2, "--json", out, "--model", untrained()]
    for name in ("sharpened80", "jpeg50-jpeg95"):
        assert run(*options, "--recipe", name) == 0
        content[name] = strict_json(out)
    assert (content["sharpened80"]["recipe"], content["sharpened80"]["jpeg_quality"]) == (
        *("sharpened80", 100),
    )
    assert content["jpeg50-jpeg95"]["jpeg_quality"] == 50
    (pair, *_) = make_pairs(str(images), scale=2, recipe=RECIPES["sharpened80"])
    lr = RECIPES["sharpened80"].make_lr(pair.hr, 2, np.random.default_rng(0))
    np.testing.assert_array_equal(pair.lr, lr)
    for options in (("--hr", images, "--jpeg_quality", 75), ("--pairs", images)):
        with pytest.raises(SystemExit):
            run(*options, "--recipe", "nearest")
        assert "--recipe goes with --hr" in capsys.readouterr().err


def test_shrink_first_shrinks_the_truth(images):
    for pair in make_pairs(str(images), scale=2, shrink_first=3):
        assert pair.hr.shape == (40, 40, 3) and pair.lr.shape == (20, 20, 3)
        expected = resampling.to_uint8(resampling.shrink(pair.hr, 2))
        np.testing.assert_array_equal(pair.lr, expected)


def test_no_more_images_are_read_than_wanted(images, untrained):
    (images / "2.png").write_bytes(b"broken")
    assert run("--hr", images, "--limit", 2, "--model", untrained()) == 0
    assert run("--hr", images, "--limit", 3, "--model", untrained()) == 1


def test_too_small_images_are_skipped_with_a_note(images, caplog, capsys, untrained):
    for i in range(2):
        Image.new("RGB", (40, 31)).save(images / f"{i}.png")
    with caplog.at_level(logging.WARNING):
        found = list(make_pairs(str(images), scale=2))
    assert [pair.name for pair in found] == ["2.png"]
    assert "0.png: 40 x 31" in caplog.text
    Image.new("RGB", (1, 1)).save(images / "2.png")
    assert run("--hr", images, "--model", untrained()) == 1
    assert "at least 32 x 32" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--pairs", "--hr"])
def test_a_truncated_image_is_named(option, pairs, capsys, untrained):
    path = pairs / "img_1_LR.png"
    path.write_bytes(path.read_bytes()[:500])
    assert run(option, pairs, "--model", untrained()) == 1
    error = capsys.readouterr().err
    assert "img_1_LR.png" in error and error.count("\n") == 1


def test_too_small_a_pair_is_named(pairs, capsys, untrained):
    for kind, side in (("LR", 7), ("HR", 14)):
        Image.new("RGB", (side, side)).save(pairs / f"speck_{kind}.png")
    assert run("--pairs", pairs, "--model", untrained()) == 1
    assert "speck is too small" in capsys.readouterr().err


def test_an_image_that_does_not_fit_is_one_line(pairs, capsys, monkeypatch):
    def small_device(*_, **__):
        raise OutOfMemoryError("the device has no memory")

    monkeypatch.setattr(Upscaler, "upscale_rgb", small_device)
    assert run("--pairs", pairs) == 1
    assert capsys.readouterr().err == "model.evaluate: the device has no memory\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--jpeg_quality", "0"], "1..100. Received: 0"),
        (["--jpeg_quality", "101"], "1..100. Received: 101"),
        (["--jpeg_quality", "high"], "1..100. Received: high"),
        (["--limit", "0"], "1 or more. Received: 0"),
        (["--shrink_first", "-1"], "1 or more. Received: -1"),
        (["--shrink_first", "2"], "--shrink_first goes with --hr"),
        (["--image", "img_0"], "--image goes with --heat_map"),
        (["--hr", "folder"], "not allowed with"),
        (["--self_ensemble", "some"], "invalid choice"),
    ],
)
def test_wrong_options(options, message, pairs, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--pairs", pairs, *options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def must_not_start(monkeypatch):
    """Makes the evaluation an error."""

    def start(*_, **__):
        raise AssertionError("the evaluation started before its outputs were checked")

    monkeypatch.setattr(evaluation, "evaluate", start)
    monkeypatch.setattr(pair_files, "read_pairs", start)


@pytest.mark.parametrize("option", ["--json", "--csv", "--sheet", "--patches", "--heat_map"])
def test_outputs_are_checked_before_the_work(option, pairs, tmp_path, capsys, monkeypatch):
    must_not_start(monkeypatch)
    (tmp_path / "folder.png").mkdir()
    for path, reason in (
        (tmp_path / "none/out.png", "No such file or directory"),
        (tmp_path / "folder.png", "Is a directory"),
    ):
        assert run("--pairs", pairs, option, path) == 1
        assert (
            capsys.readouterr().err == f"model.evaluate: cannot write {option} {path}: {reason}\n"
        )


@pytest.mark.parametrize("name", ["out", "out.txt", "out.psd"])
def test_an_image_needs_a_known_suffix(name, pairs, tmp_path, capsys, monkeypatch):
    must_not_start(monkeypatch)
    assert run("--pairs", pairs, "--sheet", tmp_path / name) == 1
    assert "needs an image's suffix" in capsys.readouterr().err


def test_no_result_overwrites_an_input_or_another_result(pairs, tmp_path, capsys, monkeypatch):
    must_not_start(monkeypatch)
    before = (pairs / "img_0_HR.png").read_bytes()
    assert run("--pairs", pairs, "--sheet", pairs / "img_0_HR.png") == 1
    assert "would overwrite the images to read" in capsys.readouterr().err
    assert (pairs / "img_0_HR.png").read_bytes() == before
    one, again = tmp_path / "one.png", tmp_path / "pairs/../one.png"
    assert run("--pairs", pairs, "--sheet", one, "--patches", again) == 1
    assert "would overwrite the output of --sheet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("--sheet=hr/0.png", "the images to read"),
        ("--patches=hr/../hr/1.png", "the images to read"),
        ("--csv=list.txt", "the list of images"),
        ("--json=ours.keras", "the network of --model"),
        ("--json=other.keras", "the network of --against"),
    ],
)
def test_no_result_overwrites_a_list_its_images_or_a_network(
    output, what, images, tmp_path, capsys, monkeypatch
):
    must_not_start(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("hr/0.png\nhr/1.png\ns3://shop/2.png\n")
    networks = ["--model", "ours.keras", "--against", "other.keras"]
    for name in networks[1::2]:
        (tmp_path / name).write_bytes(b"a network")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert run("--hr", "list.txt", *networks, output) == 1
    assert f"would overwrite {what}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_no_result_overwrites_a_shipped_network(pairs, tmp_path, capsys, monkeypatch):
    must_not_start(monkeypatch)
    shipped = presets.Preset.path.fget
    monkeypatch.setattr(presets.Preset, "path", property(lambda p: tmp_path / shipped(p).name))
    assert run("--pairs", pairs, "--model=rdn-small", "--csv", tmp_path / "rdn-small.keras") == 1
    assert "would overwrite the network of --model" in capsys.readouterr().err


def test_networks_are_conditioned_on_the_quality_of_lr_files(tmp_path):
    """As the job conditions them: the network for compressed images gains by it."""
    hr = draw_scene(3, 120, 120)
    lr = Image.fromarray(resampling.to_uint8(resampling.shrink(hr, 2)))
    seen = {}
    for kind, options in (("png", {}), ("jpg", {"quality": 40}), ("webp", {"quality": 60})):
        folder = tmp_path / kind
        folder.mkdir()
        lr.save(folder / f"a_LR.{kind}", **options)
        Image.fromarray(hr).save(folder / f"a_HR.{kind}", **options)
        (pair,) = pair_files.read_pairs(folder)
        seen[kind] = pair.jpeg_quality
    assert seen == {"png": 100, "jpg": 40, "webp": 85}
    (pair,) = pair_files.read_pairs(tmp_path / "jpg")
    upscaler = Upscaler(loading.load_by_name(presets.DEFAULT))
    for quality, expected in ((100, 40), (75, 40), (20, 20)):
        (score,) = evaluation.evaluate([pair], upscaler, jpeg_quality=quality)
        result = result_of(upscaler, pair.lr, expected)
        assert score.figures["ours"] == scoring.measure(pair.hr, result, 2)


def test_a_failed_evaluation_leaves_files_as_they_were(pairs, tmp_path, untrained):
    old, new = tmp_path / "old.json", tmp_path / "new.csv"
    old.write_text("kept")
    options = ["--pairs", pairs, "--json", old, "--csv", new]
    assert run(*options, "--model", "rdn-huge") == 1
    assert old.read_text() == "kept" and not new.exists()
    assert run(*options, "--model", untrained()) == 0
    assert strict_json(old)["images"] and new.exists()


def test_the_images_are_written(images, tmp_path, untrained):
    files = {name: tmp_path / f"{name}.bmp" for name in ("sheet", "patches", "heat_map")}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    sizes = {}
    for against in ([], ["--against", untrained()]):
        assert run("--hr", images, "--model", untrained(), *options, *against) == 0
        for name, path in files.items():
            with Image.open(path) as image:
                sizes.setdefault(name, []).append(image.size)
    assert sizes["sheet"][0][0] > 4 * 2 * 120 and sizes["sheet"][0][1] > 3 * 2 * 120
    for first, second in sizes.values():
        assert second[0] > first[0] + 120 and second[1] == first[1]  # one column more


def test_the_heat_map_is_of_the_named_image(pairs, tmp_path, capsys, untrained):
    files = [tmp_path / f"{i}.bmp" for i in range(2)]
    for i, file in enumerate(files):
        options = ["--model", untrained(), "--heat_map", file]
        assert run("--pairs", pairs, *options, "--image", f"img_{i}") == 0
    assert files[0].read_bytes() != files[1].read_bytes()
    capsys.readouterr()
    assert run("--pairs", pairs, *options, "--image", "img_7") == 1
    assert "img_7 is none of the 2 images img_0, img_1" in capsys.readouterr().err


def test_evaluate_gives_each_image_to_the_gallery_once(upscaler):
    class Visitors:
        def __init__(self):
            self.seen = []

        def add(self, comparison, score):
            self.seen.append((comparison.name, score))

    hr = draw_scene(1, 40, 48)
    lr = resampling.to_uint8(resampling.shrink(hr, 2))
    visitors = Visitors()
    pairs = [Pair(name, lr, hr) for name in ("a", "b")]
    scores = evaluation.evaluate(pairs, upscaler, gallery=visitors)
    assert visitors.seen == [("a", scores[0]), ("b", scores[1])]
    assert scores[0] == scoring.score(scoring.compare(pairs[0], upscaler))


@needs_benchmarks
@pytest.mark.parametrize("model", ["rdn-product-x3", "rdn-product-x4"])
def test_the_shipped_weights_of_other_scales_reach_their_recorded_figures(model, tmp_path):
    paths = sorted((BENCHMARKS / "Set5").glob("*HR.png"))
    assert len(paths) == 5
    (tmp_path / "set5.txt").write_text("".join(f"{path}\n" for path in paths))
    out = tmp_path / "scores.json"
    assert run("--hr", tmp_path / "set5.txt", "--model", model, "--json", out) == 0
    mean = strict_json(out)["mean"]
    assert mean["psnr_y_db"] == pytest.approx(presets.PRESETS[model].set5_psnr_y_db, abs=0.006)
    assert mean["psnr_y_db"] > mean["bicubic_psnr_y_db"] + 2.5


@needs_benchmarks
@pytest.mark.parametrize(
    ("model", "name"),
    [*((model, "Set5") for model in (*presets.ON_A_CPU, "rdn-large")), (presets.DEFAULT, "Set14")],
)
def test_the_shipped_weights_reach_their_recorded_figures(model, name, tmp_path):
    out = tmp_path / "scores.json"
    precision = "bfloat16" if model == "rdn-large" else "float32"  # six times the work
    options = ("--model", model, "--precision", precision, "--json", out)
    assert run("--pairs", BENCHMARKS / name, *options) == 0
    mean = strict_json(out)["mean"]
    preset = presets.PRESETS[model]
    recorded = {"Set5": preset.set5_psnr_y_db, "Set14": preset.set14_psnr_y_db}
    assert mean["psnr_y_db"] == pytest.approx(recorded[name], abs=0.006)
    if name == "Set5":
        assert 33.6 <= mean["bicubic_psnr_y_db"] <= 33.7  # as published: the protocol is right
        assert mean["psnr_y_db"] >= 37.2
