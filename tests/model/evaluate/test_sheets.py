import weakref

import numpy as np
import pytest
from PIL import ImageFont

from model.evaluate import error_maps, heatmap, panels, patches, scoring, sheets
from model.evaluate.panels import FONT_PX, Panel, Row
from model.evaluate.patches import Patch
from model.evaluate.scoring import Comparison, Figures, Score
from model.evaluate.sheets import Gallery
from model.metrics import full_reference


def grey_with(*spots, height=200, width=260, level=120):
    """A grey image with squares (top, left, side, level)."""
    pixels = np.full((height, width, 3), level, np.uint8)
    for top, left, side, spot in spots:
        pixels[top : top + side, left : left + side] = spot
    return pixels


def comparison(bicubic, ours, *, hr=None, against=None, name="a"):
    hr = grey_with(height=ours.shape[0], width=ours.shape[1]) if hr is None else hr
    upscaled = {"bicubic": bicubic, "lanczos": bicubic}
    if against is not None:
        upscaled["against"] = against
    return Comparison(name, 2, hr, upscaled | {"ours": ours}, hr)


def scored(one):
    return one, scoring.score(one)


def brightness(rgb):
    return full_reference.luma(rgb)


def find(whole, part):
    """(top, left) of each exact copy of one image in another; the copied one is not flat."""
    height, width = part.shape[:2]
    inner = whole[: whole.shape[0] - height + 1, : whole.shape[1] - width + 1]
    return [
        (int(y), int(x))
        for y, x in np.argwhere((inner == part[0, 0]).all(axis=-1))
        if np.array_equal(whole[y : y + height, x : x + width], part)
    ]


def zoomed(pixels, zoom):
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def test_the_heat_map_is_brightest_where_the_error_is():
    hr = np.random.default_rng(1).integers(0, 200, (200, 260, 3), dtype=np.uint8)
    bicubic, ours = hr.copy(), hr.copy()
    bicubic[40:70, 50:80] += 30
    ours[140:150, 190:200] += 10
    sheet = error_maps.heat_map(*scored(comparison(bicubic, ours, hr=hr)))
    ((top, left),) = find(sheet, hr)
    step = 260 + FONT_PX // 2
    of_bicubic, of_ours = (
        brightness(sheet[top : top + 200, start : start + 260])
        for start in (left + step, left + 2 * step)
    )
    inside = np.zeros((200, 260), bool)
    inside[40:70, 50:80] = True
    assert of_bicubic[inside].min() > of_bicubic[~inside].max() + 100
    inside[:] = False
    inside[140:150, 190:200] = True
    assert of_ours[inside].min() > of_ours[~inside].max() + 10
    # One scale for both: the error of 10 levels is darker than that of 30.
    assert of_ours.max() < of_bicubic.max() - 30


def test_the_heat_map_has_a_map_for_each_network_and_a_legend():
    error = grey_with((40, 50, 30, 150))
    two = error_maps.heat_map(*scored(comparison(error, error)))
    three = error_maps.heat_map(*scored(comparison(error, error, against=error)))
    assert three.shape[1] - two.shape[1] == 260 + FONT_PX // 2
    assert three.shape[0] == two.shape[0]


def test_the_legend_shows_the_colours_of_its_levels():
    legend = error_maps.legend(300, 16, 20)
    assert legend.shape[0] == 300
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = round(299 * (1 - share))
        expected = heatmap.coloured(np.array([[16 * share]]), 16)[0, 0].astype(int)
        assert np.abs(legend[y, 5].astype(int) - expected).max() <= 3
    assert (legend[:, -1] == 255).all()  # no number is cut off


@pytest.mark.parametrize(("error", "end"), [(0, 4), (3, 4), (4, 4), (5, 8), (219, 220)])
def test_the_scale_ends_at_a_round_level(error, end):
    assert error_maps.scale_end(np.full((9, 9), float(error))) == end


def test_single_outliers_do_not_stretch_the_scale():
    errors = np.full((100, 100), 3.0)
    errors[0, :40] = 200
    assert error_maps.scale_end(errors) == 4


def test_a_small_image_s_heat_map_is_zoomed():
    small = grey_with(height=30, width=40)
    sheet = error_maps.heat_map(
        *scored(comparison(small, grey_with((9, 9, 4, 90), height=30, width=40)))
    )
    assert sheet.shape[1] > 3 * 240 and sheet.shape[0] > 180


def test_the_best_and_the_worst_patch_really_are():
    """Ours halves bicubic's error in one place and doubles it in another."""
    bicubic = grey_with((70, 70, 40, 140), (70, 134, 40, 140))
    ours = grey_with((70, 70, 40, 130), (70, 134, 40, 160))
    found = patches.extreme_patches(comparison(bicubic, ours), over="bicubic", count=1)
    best, worst = found
    assert (best.top, best.left) == (66, 66) and (worst.top, worst.left) == (66, 130)
    assert best.gain_db == pytest.approx(20 * np.log10(2), abs=0.01)
    assert worst.gain_db == pytest.approx(-20 * np.log10(2), abs=0.01)
    np.testing.assert_array_equal(best.cut.upscaled["ours"], ours[66:130, 66:130])
    np.testing.assert_array_equal(worst.cut.upscaled["bicubic"], bicubic[66:130, 130:194])


def test_patches_may_compare_with_the_second_network():
    bicubic = grey_with((70, 70, 40, 180))
    against, ours = grey_with((6, 6, 40, 140)), grey_with((6, 6, 40, 130))
    one = comparison(bicubic, ours, against=against)
    assert patches.extreme_patches(one, over="against", count=1)[0].top == 2
    assert patches.extreme_patches(one, over="bicubic", count=1)[0].top == 66


def test_invisible_errors_make_no_extreme_patch():
    """A single wrong level where bicubic is exact would be a loss of infinite decibels."""
    bicubic = grey_with((70, 70, 40, 140))
    ours = grey_with((70, 70, 40, 140))
    ours[10, 10] += 1
    found = patches.extreme_patches(comparison(bicubic, ours), over="bicubic", count=20)
    assert {patch.gain_db for patch in found} == {0.0}


@pytest.mark.parametrize(
    ("height", "width"), [(200, 260), (68, 68), (69, 131), (20, 300), (15, 15)]
)
def test_patches_cover_an_image_once_and_stay_inside(height, width):
    ours = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = patches.extreme_patches(comparison(ours, ours), over="bicubic", count=99)
    corners = [(patch.top, patch.left) for patch in found]
    assert len(set(corners)) == len(corners)
    covered = np.zeros((height, width), bool)
    for patch in found:
        side = patch.cut.hr.shape
        assert side[:2] == (min(64, height - 4), min(64, width - 4))
        covered[patch.top : patch.top + side[0], patch.left : patch.left + side[1]] = True
    assert covered[2:-2, 2:-2].all()
    assert not covered[:2].any() and not covered[:, -2:].any()


def made_patch(gain_db, name="a"):
    hr = grey_with(height=64, width=64)
    return Patch(gain_db, 0, 0, comparison(hr, hr, name=name))


def gains(chosen):
    return [patch.gain_db for patch in chosen]


def test_choosing_patches():
    best, worst = patches.choose([made_patch(g) for g in (3, -2, 5, 0, 1, -4)], 2)
    assert (gains(best), gains(worst)) == ([5, 3], [-4, -2])


def test_of_few_patches_none_is_both_best_and_worst():
    best, worst = patches.choose([made_patch(g) for g in (1, 2, 3)], 4)
    assert (gains(best), gains(worst)) == ([3, 2], [1])
    best, worst = patches.choose([made_patch(1)], 4)
    assert (gains(best), gains(worst)) == ([1], [])


def test_a_patch_s_row_shows_it_in_all_versions():
    bicubic, ours = grey_with((6, 6, 40, 180)), grey_with((6, 6, 40, 150))
    against = grey_with((6, 6, 40, 160))
    one = comparison(bicubic, ours, against=against, name="shirt.png")
    patch = patches.extreme_patches(one, over="bicubic", count=1)[0]
    row = patches.patch_row("best 1", patch, over="bicubic")
    assert row.title == "best 1: +6.02 dB over bicubic, shirt.png, row 2, column 2"
    captions = [panel.caption for panel in row.panels]
    assert [caption.split()[0] for caption in captions] == [
        "LR",
        "bicubic",
        "against",
        "ours",
        "HR",
    ]
    cut = np.s_[2:66, 2:66]
    psnr_db = full_reference.psnr_y(one.hr[cut], ours[cut], border=0)
    assert captions[3] == f"ours  {psnr_db:.2f} dB"
    for panel, version in zip(row.panels, (one.hr, bicubic, against, ours, one.hr), strict=True):
        np.testing.assert_array_equal(panel.pixels, zoomed(version[cut], 4))


def test_a_patch_without_visible_error_says_so():
    flat = grey_with()
    patch = patches.extreme_patches(comparison(flat, flat), over="bicubic", count=1)[0]
    row = patches.patch_row("best 1", patch, over="bicubic")
    assert row.panels[1].caption == "bicubic  over 45 dB"


def test_the_sheet_s_row_is_the_middle_of_the_image():
    ours = np.random.default_rng(1).integers(0, 256, (200, 260, 3), dtype=np.uint8)
    one = comparison(grey_with((9, 9, 80, 0)), ours, hr=ours)
    row = sheets.sheet_row(*scored(one))
    assert [panel.caption.split()[0] for panel in row.panels] == ["LR", "bicubic", "ours", "HR"]
    assert row.panels[2].caption == "ours  exact"
    assert "middle of 260 x 200: +inf dB" in row.title
    np.testing.assert_array_equal(row.panels[2].pixels, zoomed(ours[20:180, 50:210], 2))


def test_panels_stand_in_columns_and_nothing_is_cut_off():
    sizes = [[(40, 300), (30, 200)], [(60, 250), (60, 250), (20, 20)]]
    generator = np.random.default_rng(1)
    rows = [
        Row(
            "a title",
            [
                Panel("a caption", generator.integers(0, 200, (*size, 3), dtype=np.uint8))
                for size in row
            ],
        )
        for row in sizes
    ]
    sheet = panels.lay_out("a heading", rows)
    places = []
    for row in rows:
        for panel in row.panels:
            (place,) = find(sheet, panel.pixels)
            places.append(place)
    (a, b), (c, d, e) = places[:2], places[2:]
    assert a[1] == c[1] and b[1] == d[1] and a[0] == b[0] and c[0] == d[0] == e[0]
    assert c[0] > a[0] + 40
    margins = (sheet[:4], sheet[-4:], sheet[:, :4], sheet[:, -4:])
    assert all((margin == 255).all() for margin in margins)


def test_a_white_panel_has_a_frame():
    white = np.full((10, 120, 3), 255, np.uint8)
    sheet = panels.lay_out("", [Row("", [Panel("", white)])])
    framed = np.argwhere((sheet != 255).any(axis=-1))
    height, width = np.ptp(framed, axis=0) + 1
    assert (height, width) == (12, 122) and len(framed) == 2 * (12 + 122) - 4


def test_captions_are_readable_and_stay_in_their_column():
    white = np.full((10, 120, 3), 255, np.uint8)
    long = "a caption far longer than its panel is wide"
    sheet = panels.lay_out("", [Row("title", [Panel(long, white), Panel("", white)])])
    gap = FONT_PX // 2
    line = round(1.5 * FONT_PX)
    second = sheet[gap + line : gap + 2 * line - 1, 2 * gap + 120 :]
    assert (second == 255).all()
    assert brightness(sheet).min() < 60  # dark letters on white


@pytest.mark.parametrize("room", [10, 60, 200, 5000])
def test_text_is_shortened_in_its_middle(room):
    font = ImageFont.load_default(16)
    text = "1a1b2429-4235-486e-9a97-afb7acb116e1.jpg"
    shown = panels.shortened(text, font, room)
    assert font.getlength(shown) <= room
    if room == 5000:
        assert shown == text
    elif room >= 60:
        start, _, end = shown.partition("...")
        assert text.startswith(start) and text.endswith(end) and start and end


def many(count, gains_db=None):
    """Images whose ours is better than bicubic's error of 30 levels by so much."""
    for i in range(count):
        gain = 1.0 if gains_db is None else gains_db[i]
        error = round(30 / 10 ** (gain / 20))
        yield comparison(
            grey_with((70, 70, 40, 150)), grey_with((70, 70, 40, 120 + error)), name=f"p{i}"
        )


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (1, ["p0"]),
        (3, ["p0", "p1", "p2"]),
        (9, ["p0", "p2", "p4", "p6", "p8"]),
        (17, ["p0", "p3", "p6", "p9", "p12", "p15"]),
    ],
)
def test_the_sheet_spreads_over_all_images(count, shown):
    gallery = Gallery(count)
    rows = []
    for one in many(count):
        gallery.add(*scored(one))
        if one.name in shown:
            rows.append(sheets.sheet_row(*scored(one)))
    assert len(rows) == len(shown)
    np.testing.assert_array_equal(gallery.sheet(), panels.lay_out("", rows))


@pytest.mark.parametrize(("named", "expected"), [(None, "p1"), ("p2", "p2")])
def test_the_heat_map_shows_the_image_with_the_lowest_gain_or_the_named_one(named, expected):
    gallery = Gallery(3, named=named)
    maps = {}
    for one in many(3, gains_db=[2, -3, 4]):
        gallery.add(*scored(one))
        maps[one.name] = error_maps.heat_map(*scored(one))
    np.testing.assert_array_equal(gallery.heat_map(), maps[expected])
    others = [one for name, one in maps.items() if name != expected]
    assert not any(np.array_equal(maps[expected], other) for other in others)


def test_a_named_image_must_be_there():
    with pytest.raises(ValueError, match="'p9'"):
        Gallery(3, named="p9").heat_map()


def test_the_gallery_s_patches_come_from_several_images():
    gallery = Gallery(8)
    found = []
    for one in many(8, gains_db=range(8)):
        gallery.add(*scored(one))
        found += patches.extreme_patches(one, over="bicubic", count=1)
    best, worst = patches.choose(found, 4)
    assert [patch.cut.name for patch in best] == ["p7", "p6", "p5", "p4"]
    rows = [
        patches.patch_row(f"{kind} {i}", patch, over="bicubic")
        for kind, chosen in (("best", best), ("worst", worst))
        for i, patch in enumerate(chosen, start=1)
    ]
    np.testing.assert_array_equal(gallery.patches(), panels.lay_out("", rows))


def test_the_gallery_keeps_one_whole_image_only():
    gallery, images = Gallery(40), []
    for one in many(40):
        gallery.add(*scored(one))
        images.append(weakref.ref(one.hr))
    del one
    assert sum(image() is not None for image in images) == 1
    assert gallery.patches().size > 0


def test_the_heading_says_which_networks_are_shown():
    flat = grey_with()
    with_heading = error_maps.heat_map(*scored(comparison(flat, flat)), heading="ours: rdn-small")
    without = error_maps.heat_map(*scored(comparison(flat, flat)))
    assert with_heading.shape[0] > without.shape[0]
    assert brightness(with_heading[: FONT_PX * 2]).min() < 60


def test_captions_take_the_score_of_the_whole_image():
    one = comparison(grey_with(), grey_with())
    score = Score("a", dict.fromkeys(("bicubic", "lanczos", "ours"), Figures(31.234, 1, 0, 0)))
    row = sheets.sheet_row(one, score)
    assert row.panels[1].caption == "bicubic  31.23 dB"
