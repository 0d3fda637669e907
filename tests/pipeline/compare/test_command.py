"""The command, on real runs of the two shipped networks over one catalog."""

import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from PIL import Image, ImageFilter

from model.imaging import colour, resampling
from model.imaging.image import RasterImage
from model.metrics import quality
from model.scenes.drawing import draw_scene
from pipeline import job
from pipeline.compare import __main__ as command
from pipeline.compare import differences
from pipeline.compare.looking import measure_pixels
from pipeline.output.schema import to_batch
from pipeline.storage import locations
from tests.image_data import CATALOG, needs_catalog
from tests.pipeline.browser import opened
from tests.pipeline.conftest import image_bytes, make_row


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Ten shop images, upscaled by both networks."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "in").mkdir()
    files = sorted(CATALOG.iterdir())
    small = [path for path in files if path.stem.endswith("_Iconic")]  # 198 pixels wide
    for path in [*small[:: len(small) // 9][:9], files[5]]:
        shutil.copy(path, folder / "in")
    for name in ("rdn-product", "rdn-small"):
        places = ["--input", str(folder / "in"), "--output", str(folder / name)]
        assert job.run([*places, "--run_id", "r", "--model", name, "--report", "no"]) == 0
    return folder


def run_of(shop, name):
    return str(shop / name / "runs/r")


@needs_catalog
def test_the_network_that_keeps_the_noise_is_worse(shop, tmp_path, capsys):
    """It was preferred when the self PSNR and the round trip judged: +0.1 dB and +13 dB."""
    product, small = run_of(shop, "rdn-product"), run_of(shop, "rdn-small")
    figures = tmp_path / "f.json"
    assert command.main([product, small, "--json", str(figures)]) == command.WORSE
    printed = capsys.readouterr().out
    assert printed.startswith("B rdn-small against A rdn-product: worse\n")
    assert "benchmarks.degradations HR_FOLDER --model rdn-product rdn-small" in printed
    found = json.loads(figures.read_text())
    change = {one["measure"]: one["change"] for one in found["drifts"] if one["group"] == "all"}
    assert change["self_gain_db"] > 0 and change["roundtrip_psnr_db"] > 10
    assert change["background_noise"] > 0.3 and change["overshoot"] > 0.1
    assert sum("noise" in one["why"] for one in found["worse"]) >= 8
    # A carton with print has less noise with rdn-small, and seven times the overshoot.
    assert found["verdict"]["worse"] >= 9 and found["verdict"]["better"] == 0
    assert found["looked_at"] == 10

    assert command.main([small, product, "--json", str(figures)]) == command.DONE
    assert "against A rdn-small: better\n" in capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["verdict"]["better"] >= 9 and found["worse"] == []


def blurred(pixels, radius):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def sharpened(pixels, percent):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(2, percent, 0)))


def noisy(pixels, sigma):
    noise = np.random.default_rng(1).normal(0, sigma, pixels.shape)
    return resampling.to_uint8(pixels + noise)


def compressed(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@needs_catalog
@pytest.mark.parametrize(
    ("damage", "strength", "verdict"),
    [
        (blurred, 1.0, "worse"),
        (sharpened, 50, "worse"),
        (noisy, 1.0, "worse"),
        (compressed, 30, "worse"),
        (compressed, 75, "worse"),
        (compressed, 95, "not decided"),  # no eye sees it
    ],
)
def test_damaged_results_are_worse(shop, damage, strength, verdict):
    sources, rows, pixels = {}, ([], []), {}
    table = ds.dataset(shop / "rdn-product/rows").to_table(columns=["uri", "image"])
    for uri, image in zip(*(table[name].to_pylist() for name in ("uri", "image")), strict=True):
        sources[uri] = np.asarray(Image.open(locations.local_path(uri)).convert("RGB"))
        good = np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB"))
        results = good, damage(good, strength)
        pixels[uri] = measure_pixels(sources[uri], *results)
        for side, result in enumerate(results):
            measured = quality.measure(
                *(RasterImage(sources[uri]), RasterImage(result)),
                scale=2,
                self_test=None,
                self_sr=None,
            )
            columns = {"source_etag": "e", "image_sha256": str(side), **vars(measured)}
            rows[side].append(make_row(uri, **columns))
    tables = (
        pa.Table.from_batches([to_batch(side)]).select(list(differences.COLUMNS)) for side in rows
    )
    found = differences.compare(*tables, look=lambda uris: {uri: pixels[uri] for uri in uris})
    assert found.verdict.verdict == verdict, found.verdict
    assert found.verdict.better <= 1


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Three small images by both networks."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "in").mkdir()
    for i in range(3):
        (folder / f"in/{i}.jpg").write_bytes(image_bytes(90, 100, seed=i, quality=60))
    for name in ("rdn-product", "rdn-small"):
        places = ["--input", str(folder / "in"), "--output", str(folder / name)]
        assert job.run([*places, "--run_id", "r", "--model", name, "--report", "no"]) == 0
    return folder


def test_a_result_of_a_target_side_can_get_better(tmp_path):
    """2.5 is no whole number: its pixels were not looked at, and it could only get worse."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/0.jpg").write_bytes(image_bytes(160, 200, seed=1, quality=50))
    for name in ("rdn-small", "rdn-product"):
        places = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / name)]
        options = ["--run_id", "r", "--model", name, "--report", "no", "--target_side", "500"]
        assert job.run([*places, *options]) == 0
    figures, runs = (
        tmp_path / "f.json",
        [run_of(tmp_path, n) for n in ("rdn-small", "rdn-product")],
    )
    command.main([*runs, "--json", str(figures)])
    found = json.loads(figures.read_text())
    assert found["looked_at"] == 1 and found["verdict"]["better"] == 1
    assert "overshoot" in found["judged"][0]["why"]


SIZES = {
    "desktop": {"viewport": {"width": 1300, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"},
}


@pytest.mark.parametrize("size", SIZES)
def test_the_page_shows_source_and_both_results(drawn, size, tmp_path):
    page = tmp_path / "page.html"
    runs = [run_of(drawn, name) for name in ("rdn-product", "rdn-small")]
    assert command.main([*runs, "--page", str(page), "--max_worse", "1"]) == 0
    with opened(page, **SIZES[size]) as view:
        example = view.page.locator(".example").first
        assert view.page.locator(".example.side").count() == 3
        width = SIZES[size]["viewport"]["width"]
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width
        names = example.locator(".name:visible").all_inner_texts()
        assert names == ["source", "A rdn-product", "B rdn-small"]
        shown = "[...document.querySelector('.example').querySelectorAll('.layer:not(.heat)')]"
        boxes = view.page.evaluate(f"{shown}.map(l => l.getBoundingClientRect().toJSON())")
        along = "x" if size == "desktop" else "y"
        assert boxes[0][along] < boxes[1][along] < boxes[2][along]
        example.locator(".open").press("Enter")
        view.page.locator("dialog [data-zoom='4']").press("Enter")
        place = "document.querySelector('dialog .view').style.getPropertyValue('--x')"
        before = view.page.evaluate(place)
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            view.page.locator("dialog .view").press(key)
        assert view.page.evaluate(place) != before  # all three moved
        view.page.locator("dialog [data-show=slider]").press("Enter")
        assert view.visible("dialog .cut") and not view.visible("dialog .source")
        view.page.keyboard.press("Escape")
        example.locator("[data-show=change]").click()
        view.page.locator("canvas").wait_for()
        assert view.problems == []


def test_a_source_that_is_gone_leaves_the_verdict_open_and_the_results_on_the_page(
    drawn, tmp_path, capsys
):
    moved = tmp_path / "moved"
    shutil.copytree(drawn, moved, ignore=shutil.ignore_patterns("in"))
    for name in ("rdn-product", "rdn-small"):
        path = moved / name / "runs/r/summary.json"
        summary = json.loads(path.read_text()) | {"input": "s3://other/manifest.csv"}
        path.write_text(json.dumps(summary))
    page = tmp_path / "page.html"
    runs = [run_of(moved, name) for name in ("rdn-small", "rdn-product")]
    command.main([*runs, "--page", str(page), "--max_worse", "1"])
    text = page.read_text()
    printed = capsys.readouterr().out
    assert "not decided" in printed and "0 of 3 judged images got better, 0 worse" in printed
    assert "the source cannot be shown" in text and 'class="after"' in text


def test_the_page_is_utf8_in_any_locale(drawn, tmp_path):
    page = tmp_path / "page.html"
    runs = [run_of(drawn, name) for name in ("rdn-small", "rdn-product")]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.compare", *runs, "--page", str(page), "--max_worse", "1"],
        env=os.environ | ascii_only,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == command.DONE, done.stderr
    assert "×" in page.read_text(encoding="utf-8")


@pytest.fixture
def replaced_sources(drawn):
    """The sources of both runs, sharpened by the shop since then."""
    before = {path: path.read_bytes() for path in (drawn / "in").iterdir()}
    for path, data in before.items():
        with Image.open(io.BytesIO(data)) as image:
            image.filter(ImageFilter.UnsharpMask(1, 150, 0)).save(path, quality=95)
    yield
    for path, data in before.items():
        path.write_bytes(data)


def test_results_are_not_measured_against_what_replaced_their_sources(
    drawn, replaced_sources, capsys
):
    command.main([run_of(drawn, name) for name in ("rdn-small", "rdn-product")])
    printed = capsys.readouterr().out
    assert "not decided" in printed and "0 of 3 judged images got better, 0 worse" in printed


def test_the_same_run_twice_is_not_decided(drawn, capsys):
    run = run_of(drawn, "rdn-small")
    assert command.main([run, run, "--max_worse", "0"]) == command.DONE
    printed = capsys.readouterr().out
    assert "not decided" in printed and "3 results identical to the last byte" in printed


def test_colours_in_a_profile_and_in_srgb_are_the_same(tmp_path, capsys):
    """All were worse for their edges when the numbers of two colour spaces were compared."""
    linear = colour.icc_profile(colour.from_h273(1, 8, is_png=True), is_grey=False)
    (tmp_path / "in").mkdir()
    for i in range(3):
        image = Image.fromarray(draw_scene(i, 90, 100))
        image.save(tmp_path / f"in/{i}.png", icc_profile=linear)
    for profile in ("keep", "srgb"):
        places = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / profile)]
        options = ["--model", "rdn-small", "--report", "no", "--profile", profile]
        assert job.run([*places, "--run_id", "r", *options]) == 0
    page, figures = tmp_path / "page.html", tmp_path / "f.json"
    runs = [run_of(tmp_path, profile) for profile in ("keep", "srgb")]
    command.main([*runs, "--page", str(page), "--max_worse", "0", "--json", str(figures)])
    found = json.loads(figures.read_text())
    assert found["looked_at"] == 3 and found["worse"] == []
    assert found["verdict"]["worse"] == found["verdict"]["better"] == 0


def test_runs_with_nothing_in_common_are_an_error(drawn, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/other.jpg").write_bytes(image_bytes(40, 40))
    places = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert job.run([*places, "--run_id", "r", "--report", "no"]) == 0
    capsys.readouterr()
    runs = [run_of(drawn, "rdn-small"), str(tmp_path / "out/runs/r")]
    assert command.main(runs) == command.FAILED
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "run both with the same --input" in error


@pytest.mark.parametrize("run", ["nowhere/runs/x", "nowhere"])
def test_no_such_run_is_one_clear_line(run, capsys):
    assert command.main([run, run]) == command.FAILED
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and run in error


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [("--max_worse", "5", "0..1: 5.0"), ("--max_looked_at", "0", "at least 1: 0")],
)
def test_a_number_out_of_range_is_a_usage_error(capsys, option, value, error):
    with pytest.raises(SystemExit) as stopped:
        command.main(["a", "b", option, value])
    assert stopped.value.code == 2 and error in capsys.readouterr().err
