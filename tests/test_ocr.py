import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import degradations, ocr, print_lines
from benchmarks.ocr import FEWEST, HR, LR, Read
from benchmarks.print_lines import Line, Page, Reading
from model.data.hr_sources import HrArray
from model.data.recipes import RECIPES
from tests.fake_networks import FakeNetwork


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("alpro", "", 5),
        ("", "pro", 3),
        ("kitten", "sitting", 3),
        ("sunday", "saturday", 3),
        ("sommarmjolk", "somrnarmjolk", 2),
    ],
)
def test_the_edit_distance_counts_insertions_deletions_and_substitutions(a, b, distance):
    assert ocr.edit_distance(a, b) == ocr.edit_distance(b, a) == distance


def test_the_interval_holds_the_difference_and_narrows_with_more_images():
    generator = np.random.default_rng(3)
    few, many = generator.integers(-2, 4, 20).tolist(), generator.integers(-2, 4, 2000).tolist()
    widths = []
    for difference in (few, many):
        low, high = ocr.interval(difference, [10] * len(difference))
        assert low < sum(difference) / (10 * len(difference)) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5
    assert ocr.interval([1, 1, 1], [10, 10, 10]) == pytest.approx((0.1, 0.1))


def test_letters_and_digits_count_large_and_small_as_one():
    assert print_lines.letters("Mild & Creamy, 1.5 %") == "mildcreamy15"


def test_a_label_has_its_lines_where_it_says():
    page = print_lines.draw_label(3)
    again = print_lines.draw_label(3)
    assert (page.hr == again.hr).all() and page.lines[0].text == again.lines[0].text
    assert len(page.lines) > 4
    assert (print_lines.draw_label(4).hr != page.hr).any()
    blank = np.ones(page.hr.shape[:2], bool)
    for line in page.lines:
        (left, top), (right, bottom) = line.quad.min(0), line.quad.max(0)
        assert bottom - top == pytest.approx(line.height_px)
        inside = page.hr[int(top) : int(bottom) + 1, int(left) : int(right) + 1].astype(int)
        assert np.ptp(inside, axis=(0, 1)).max() > 30  # there is print
        blank[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = False
    paper = page.hr[20:-20, 8:-8][blank[20:-20, 8:-8]].astype(int)
    assert np.ptp(paper, axis=0).max() < 8  # and nowhere else


class Clear:
    """Reads a line right where it has enough contrast, and finds one line in each image."""

    def __init__(self, confidence=0.95):
        self.confidence = confidence
        self.seen = []

    def find(self, rgb):
        return [np.array([(4, 4), (36, 4), (36, 20), (4, 20)], np.float32)]

    def read(self, rgb, quads):
        self.seen.append(rgb.shape)
        (quad,) = quads
        (left, top), (right, bottom) = quad.min(0).astype(int), quad.max(0).astype(int)
        contrast = np.ptp(rgb[top:bottom, left:right].astype(int))
        return [Reading("Alpro!" if contrast > 100 else "A1pr", self.confidence)]


class Flat(FakeNetwork):
    """A network whose results are grey."""

    def upscale_rgb(self, lr, *, jpeg_quality=100, **_):
        return np.full((2 * lr.shape[0], 2 * lr.shape[1], 3), 128, np.uint8)

    def upscale_image(self, image, *, jpeg_quality=100, **_):
        return image.with_pixels(self.upscale_rgb(image.rgb, jpeg_quality=jpeg_quality), None)


def striped(name):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, ::16] = pixels[:, 1::16] = pixels[:, 2::16] = pixels[:, 3::16] = 255
    return HrArray(name, pixels)


def test_only_what_ocr_is_sure_of_is_the_truth():
    images = [striped("a"), striped("b")]
    options = {"min_confidence": 0.9}
    (page, _) = print_lines.pages_of_photographs(images, Clear(), **options)
    assert [(one.text, one.height_px, one.confidence) for one in page.lines] == [
        ("alpro", 16, 0.95)
    ]
    assert not list(print_lines.pages_of_photographs(images, Clear(0.5), **options))


def test_a_network_that_wipes_print_out_is_told_from_bicubic():
    hr = striped("a").read()
    pages = [
        Page(name, hr, (Line("alpro", Clear().find(hr)[0]),)) for name in ("a", "b", "c", "d")
    ]
    recipes = {"bicubic": RECIPES["bicubic"]}
    reads = ocr.read_all(pages, recipes, {"flat": Flat()}, Clear(), degradations.true_quality)
    rows = {(row.recipe, row.method): row for row in ocr.rows(reads)}
    methods = ("lr", "bicubic", "lanczos", "flat", "flat gated", FEWEST)
    assert list(rows) == [(HR, HR), *(("bicubic", method) for method in methods)]
    assert {row.lines for row in rows.values()} == {4}
    flat = rows["bicubic", "flat"]
    assert (flat.error, flat.whole_share) == (0.4, 0)  # "a1pr" for "alpro"
    assert (flat.over_bicubic, flat.low, flat.high) == pytest.approx((0.4, 0.4, 0.4))
    for method in (LR, "bicubic", "flat gated", FEWEST):
        assert (rows["bicubic", method].error, rows["bicubic", method].whole_share) == (0, 1)
    printed = ocr.table("labels", reads)
    assert "labels: 4 lines in 4 images" in printed
    assert "+0.400 (+0.400 to +0.400)" in printed
    assert "from 8 px, 4 lines" in printed


def test_images_of_one_name_keep_their_lines():
    hr = striped("a").read()
    quad = Clear().find(hr)[0]
    pages = [Page("1.jpg", hr, (Line(truth, quad),)) for truth in ("alpro", "alprx", "alpro")]
    pages.append(Page("1.jpg (2)", hr, (Line("alpro", quad),)))
    recipes = {"bicubic": RECIPES["bicubic"]}
    reads = ocr.read_all(pages, recipes, {"flat": Flat()}, Clear(), degradations.true_quality)
    assert len({read.page for read in reads}) == 4
    rows = {(row.recipe, row.method): row for row in ocr.rows(reads)}
    assert {row.lines for row in rows.values()} == {4}
    assert rows["bicubic", "bicubic"].error == 1 / 20
    assert "labels: 4 lines in 4 images" in ocr.table("labels", reads)


def test_the_fewest_wrong_characters_are_taken_line_by_line():
    def read(line, method, text):
        return Read("a", line, "jpeg75", method, 9.0, "alpro", text, 1.0)

    reads = [read(0, "bicubic", "alpro"), read(1, "bicubic", "al")]
    reads += [read(0, "net", "a"), read(1, "net", "alpr")]
    rows = {row.method: row.error for row in ocr.rows(reads)}
    assert rows == {"bicubic": 0.3, "net": 0.5, FEWEST: 0.1}


def test_the_command_says_how_to_install_ocr(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    assert ocr.main([str(tmp_path)]) == 1
    assert "pip install rapidocr-onnxruntime" in capsys.readouterr().err


def test_the_command_prints_tables_and_writes_every_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ocr, "PaddleOcr", Clear)
    Image.fromarray(striped("a").read()).save(tmp_path / "a.png")
    out = tmp_path / "out.json"
    options = ["--labels", "0", "--recipes", "jpeg75", "--model", "rdn-product"]
    assert ocr.main([str(tmp_path), *options, "--json", str(out)]) == 0
    assert "photographs: 1 line in 1 image\n" in capsys.readouterr().out
    lines = json.loads(out.read_text())["lines"]
    assert {(line["recipe"], line["method"]) for line in lines} >= {
        ("jpeg75", "rdn-product gated"),
        (HR, HR),
    }
    assert {(line["of"], line["truth"], line["height_px"]) for line in lines} == {
        ("photographs", "alpro", 8)
    }
