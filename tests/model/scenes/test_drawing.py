import dataclasses

import numpy as np
import pytest
from PIL import Image

from model.scenes import __main__ as command
from model.scenes import drawing, lettering, textures
from model.scenes.board import Board

SIZES = [(16, 16), (16, 90), (131, 17), (65, 120), (200, 133)]


def _names(kinds):
    return [kind.__name__ for kind in kinds]


def _drawn(kind, seed=0, side=300):
    """One product on its board: colours on white, uint8 [H, W, 3], and alpha, uint8 [H, W]."""
    board = Board(side, np.random.default_rng(seed))
    kind(board)
    white = Image.new("RGBA", board.image.size, (255, 255, 255))
    colours = np.asarray(Image.alpha_composite(white, board.image).convert("RGB"))
    return colours, np.asarray(board.image)[..., 3]


def _detail(colours):
    """Mean difference of neighbours in a row, grey levels."""
    return np.abs(np.diff(colours.mean(-1), axis=1)).mean()


def _seeds(condition, count=5):
    """The first seeds whose plans meet a condition."""
    return [seed for seed in range(400) if condition(drawing.plan(seed))][:count]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(12))
def test_size_and_type(seed, size):
    scene = drawing.draw_scene(seed, *size)
    assert scene.shape == (*size, 3) and scene.dtype == np.uint8
    cutout = drawing.draw_cutout(seed, *size)
    assert cutout.shape == (*size, 4) and cutout.dtype == np.uint8


def test_too_small():
    with pytest.raises(ValueError, match="40 x 15"):
        drawing.draw_scene(1, 15, 40)
    with pytest.raises(ValueError, match="15 x 40"):
        drawing.draw_cutout(1, 40, 15)


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_decides_the_image(seed):
    first, second = drawing.draw_scene(seed, 80, 80), drawing.draw_scene(seed + 1, 80, 80)
    np.testing.assert_array_equal(first, drawing.draw_scene(seed, 80, 80))
    assert (first != second).any()
    cutout = drawing.draw_cutout(seed, 80, 80)
    np.testing.assert_array_equal(cutout, drawing.draw_cutout(seed, 80, 80))


def test_the_size_does_not_change_the_plan():
    small, large = (drawing.draw_scene(11, side, side).mean((0, 1)) for side in (60, 180))
    np.testing.assert_allclose(small, large, atol=8)


@pytest.mark.parametrize("kind", drawing.KINDS, ids=_names(drawing.KINDS))
def test_every_kind_shows_a_whole_product(kind):
    for seed in range(6):
        colours, alpha = _drawn(kind, seed)
        assert colours[alpha > 0].size and (alpha > 128).mean() > 0.005
        assert colours.std() > 10
        border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert border.max() == 0, f"cut off with seed {seed}"


@pytest.mark.parametrize("kind", drawing.KINDS, ids=_names(drawing.KINDS))
@pytest.mark.parametrize("side", [12, 31])
def test_every_kind_fits_a_tiny_board(kind, side):
    for seed in range(5):
        _drawn(kind, seed, side)


@pytest.mark.parametrize("kind", drawing.PRINTED, ids=_names(drawing.PRINTED))
def test_print_is_full_of_edges(kind, monkeypatch):
    with_print = [_detail(_drawn(kind, seed)[0]) for seed in range(4)]
    monkeypatch.setattr(Board, "text", _no_text)
    blank = [_detail(_drawn(kind, seed)[0]) for seed in range(4)]
    assert np.mean(with_print) > 1.15 * np.mean(blank)  # half of the mugs bear no words


def _no_text(*_, **__):
    """Replaces `Board.text`."""


def test_the_plans_reach_everything():
    plans = [drawing.plan(seed) for seed in range(1500)]
    poses = [pose for plan in plans for pose in plan.poses]
    assert {pose.kind for pose in poses} == set(drawing.KINDS)
    assert {plan.background for plan in plans} == {name for _, name in drawing.BACKGROUNDS}
    white = np.mean([plan.background == "white" for plan in plans])
    assert 0.55 < white < 0.65
    assert 0.1 < np.mean([len(plan.poses) == 2 for plan in plans]) < 0.2
    sizes = [pose.size for plan in plans if len(plan.poses) == 1 for pose in plan.poses]
    assert min(sizes) < 0.45 and np.median(sizes) > 0.8 and max(sizes) > 1.5
    softness = [plan.softness_px for plan in plans]
    assert min(softness) < 0.02 and 0.58 < max(softness) <= 0.6


def test_backgrounds_add_up():
    assert sum(share for share, _ in drawing.BACKGROUNDS) == pytest.approx(1)


def test_white_is_exactly_white_far_from_the_product():
    seeds = _seeds(lambda plan: plan.background == "white" and plan.poses[0].size < 0.9)
    for seed in seeds:
        scene, alpha = (
            drawing.draw_scene(seed, 120, 120),
            drawing.draw_cutout(seed, 120, 120)[..., 3],
        )
        near = Image.fromarray(np.uint8(alpha > 0) * 255).resize((12, 12), Image.Resampling.BOX)
        reach = np.pad(np.asarray(near) > 0, 2)
        reach = sum(np.roll(reach, (y, x), (0, 1)) for y in range(-2, 3) for x in range(-2, 3))
        far = np.kron(reach[2:-2, 2:-2] == 0, np.ones((10, 10), bool))
        assert far.mean() > 0.02
        assert scene[far].min() == 255


@pytest.mark.parametrize(("name", "lowest", "highest"), [("dark", 10, 64), ("grey", 105, 194)])
def test_flat_backgrounds_have_one_colour(name, lowest, highest):
    seeds = _seeds(lambda plan: plan.background == name and plan.poses[0].size <= 1)
    for seed in seeds:
        scene = drawing.draw_scene(seed, 90, 90)
        assert np.ptp(scene[0], axis=0).max() == 0
        assert lowest <= scene[0].min() and scene[0].max() <= highest


def test_a_whole_product_is_clear_of_the_border_and_opaque_inside():
    seeds = _seeds(lambda plan: max(pose.size for pose in plan.poses) <= 1, 25)
    for seed in seeds:
        alpha = drawing.draw_cutout(seed, 100, 100)[..., 3]
        assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) == 0
        assert alpha.max() == 255 or (alpha > 0).sum() < 800  # chains are thinner than a pixel


def test_a_close_up_is_cut_by_the_frame():
    for seed in _seeds(lambda plan: plan.poses[0].size > 1.4, 4):
        alpha = drawing.draw_cutout(seed, 100, 100)[..., 3]
        assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 0


def test_a_cutout_has_the_colours_of_its_scene():
    seeds = _seeds(lambda plan: plan.background == "white" and plan.shadow == 0.0, 4)
    for seed in seeds:
        cutout = drawing.draw_cutout(seed, 100, 100).astype(np.float32)
        opacity = cutout[..., 3:] / 255
        on_white = cutout[..., :3] * opacity + 255 * (1 - opacity)
        assert np.abs(on_white - drawing.draw_scene(seed, 100, 100)).mean() < 0.5


@pytest.mark.parametrize("draw", [drawing.draw_scene, drawing.draw_cutout])
def test_softness_blurs(draw, monkeypatch):
    plan, details = drawing.plan(3), []
    for softness_px in (0.0, 0.3, 0.6):
        soft = dataclasses.replace(plan, softness_px=softness_px)
        monkeypatch.setattr(drawing, "plan", lambda _, soft=soft: soft)
        details.append(_detail(draw(3, 100, 100).astype(float)))
    assert details[2] < details[1] < details[0] and details[2] < 0.9 * details[0]


@pytest.mark.parametrize("face", lettering.FACES)
def test_every_font_prints_accents_and_signs(face):
    mask = lettering.line("Crème brûlée Łąka 12,99 €", face, 24)
    assert mask.width > 150 and np.asarray(mask).max() == 255


def test_fonts_differ():
    pytest.importorskip("matplotlib")
    prints = {lettering.line("Rhubarb 42", face, 24).tobytes() for face in lettering.FACES}
    assert len(prints) == len(lettering.FACES) >= 15


def test_without_matplotlib_all_print_is_in_the_embedded_font(monkeypatch):
    monkeypatch.setattr(lettering, "_font_folder", _no_folder)
    lettering.font.cache_clear()
    try:
        assert lettering.font("DejaVuSerif", 20).font.family == lettering.EMBEDDED
        assert np.asarray(lettering.line("żurek 3 €", "DejaVuSerif", 20)).max() == 255
        assert lettering.line("€", "DejaVuSerif", 20).width > 20  # EUR
    finally:
        lettering.font.cache_clear()


def _no_folder():
    """Replaces `_font_folder` where matplotlib is missing."""


def test_unknown_font():
    with pytest.raises(ValueError, match="'Comic'"):
        lettering.font("Comic", 12)


def test_lines_fit_their_room():
    words = ["Nach", "dem", "Öffnen", "kühl", "lagern", "und", "bald", "verbrauchen"]
    lines = lettering.wrap(words, "DejaVuSans", 20, 180)
    assert " ".join(lines).split() == words and len(lines) > 2
    used = lettering.font("DejaVuSans", 20)
    assert all(used.getlength(line) <= 180 for line in lines)


def test_facts_vary():
    generator = np.random.default_rng(0)
    for form in ("price", "date", "code", "quantity"):
        assert len({lettering.fact(generator, form) for _ in range(40)}) > 20


@pytest.mark.parametrize(
    "relief",
    [
        *(textures.weave, textures.knit, textures.denim, textures.leather, textures.fur),
        *(textures.crust, textures.cork, textures.stone, textures.wood),
    ],
)
def test_materials_have_relief_around_one(relief):
    patch = textures.Patch(np.random.default_rng(0), 200, 260, 300)
    light = np.broadcast_to(relief(patch), (200, 260))
    assert 0.85 < light.mean() < 1.15 and 0.03 < light.std() < 0.4
    other = textures.Patch(np.random.default_rng(1), 200, 260, 300)
    assert np.abs(relief(other) - light).mean() > 0.01


def test_fractal_noise_has_more_power_in_coarse_waves():
    patch = textures.Patch(np.random.default_rng(0), 256, 256, 256)
    noise = textures.fractal(patch, 128)
    power = np.abs(np.fft.fft2(noise)) ** 2
    assert 0.5 < noise.std() < 1.6
    assert power[1:6, 1:6].mean() > 20 * power[20:30, 20:30].mean()
    assert power[20:30, 20:30].mean() > 20 * power[100:120, 100:120].mean()


def test_the_command_line(tmp_path, capsys):
    out = tmp_path / "drawn"
    assert command.main([str(out), "--count", "2", "--side", "40", "--first", "7"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["scene-7.png", "scene-8.png"]
    with Image.open(out / "scene-8.png") as image:
        np.testing.assert_array_equal(np.asarray(image), drawing.draw_scene(8, 40, 40))
    assert command.main([str(out), "--side", "8"]) == 1
    assert "at least 16" in capsys.readouterr().err
