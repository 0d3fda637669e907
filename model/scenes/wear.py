"""Clothes and accessories: cloth, denim, leather, fine metal."""

import math
from collections.abc import Callable

import numpy as np

from model.scenes import lettering, textures
from model.scenes.board import Board
from model.scenes.geometry import Point, mirrored, smooth
from model.scenes.lettering import choose
from model.scenes.palette import INKS, METALS, PAINTS, STEEL, Color, darker
from model.scenes.textures import Fill, Relief


def _cloth(board: Board, first: Color) -> Fill:
    """A material for clothes: plain, striped or checked."""
    relief: Relief = choose(
        board.generator, (textures.weave, textures.knit, textures.fur, _lit_cloth)
    )
    if board.generator.random() < 0.5:
        return textures.plain(first, relief)
    period = float(board.generator.uniform(0.03, 0.14))
    checked = board.generator.random() < 0.4
    return textures.striped((first, board.paint()), period, checked, relief)


def _lit_cloth(patch: textures.Patch) -> np.ndarray:
    """Folds alone, as brightness."""
    return 1 + textures.folds(patch)


def shirt(board: Board) -> None:
    """A T-shirt or pullover with a print."""
    g = board.generator
    paint = board.paint()
    sleeve = float(g.uniform(0.42, 0.72))
    tip = 0.86 + 0.12 * (sleeve - 0.42)
    right = [
        (0.5, 0.16),
        (0.56, 0.15),
        (0.62, 0.1),
        (0.72, 0.14),
        (0.8, 0.22),
        (tip, sleeve - 0.04),
    ]
    right += [(tip - 0.12, sleeve), (0.71, 0.38), (0.7, 0.6), (0.71, 0.92)]
    cloth = _cloth(board, paint)
    board.path(mirrored(right), cloth, textures.dome)
    collar = [(0.38, 0.1), (0.44, 0.155), (0.5, 0.175), (0.56, 0.155), (0.62, 0.1)]
    board.line(smooth(collar, 8, closed=False), 0.02, darker(paint, 0.7))
    for x in (0.3, 0.7):
        board.line(((x, 0.36), (x * 0.98 + 0.01, 0.22)), 0.003, darker(paint, 0.7))
    board.seam(((0.292, 0.9), (0.708, 0.9)), darker(paint, 0.6))
    if g.random() < 0.5:
        ink = choose(g, INKS) if sum(paint) > 420 else (246, 244, 238)
        face = choose(g, lettering.DISPLAY)
        board.text(0.5, 0.42, lettering.brand(g), 0.13, ink, 0.36, face)


def jeans(board: Board) -> None:
    """Denim trousers: seams, pockets, a button."""
    paint: Color = choose(
        board.generator, ((52, 78, 122), (34, 44, 70), (108, 142, 182), (70, 72, 78))
    )
    right = [(0.5, 0.07), (0.68, 0.06), (0.71, 0.3), (0.74, 0.93), (0.55, 0.95), (0.5, 0.42)]
    denim = textures.plain(paint, textures.denim)
    board.path(mirrored(right)[:-1], denim)
    gold: Color = (206, 150, 70)
    board.seam(((0.32, 0.115), (0.68, 0.115)), gold)
    for side in (1, -1):
        pocket = [(0.5 + side * x, y) for x, y in ((0.08, 0.12), (0.1, 0.18), (0.19, 0.21))]
        board.line(smooth(pocket, 8, closed=False), 0.006, darker(paint, 0.55))
        for shift in (0.0, 0.012):
            board.seam([(x, y + shift) for x, y in smooth(pocket, 8, closed=False)], gold)
        board.seam(((0.5 + side * 0.185, 0.25), (0.5 + side * 0.22, 0.92)), gold)
        board.line(((0.5, 0.42), (0.5 + side * 0.03, 0.5)), 0.004, darker(paint, 0.6))
    board.line(((0.5, 0.12), (0.5, 0.4)), 0.005, darker(paint, 0.5))
    board.seam(smooth([(0.52, 0.12), (0.535, 0.28), (0.5, 0.34)], 8, closed=False), gold)
    board.disc(0.5, 0.092, 0.014, (186, 140, 90), textures.ball)
    leather = textures.plain((150, 96, 54), textures.leather)
    board.rectangle(0.58, 0.075, 0.66, 0.125, leather)
    words = lettering.brand(board.generator)
    board.text(0.62, 0.1, words, 0.03, (60, 34, 18), 0.075, "DejaVuSerif-Bold")


def shoe(board: Board) -> None:
    """A laced shoe from the side: leather, canvas or denim."""
    g = board.generator
    paint, sole = board.paint(), (244, 242, 236) if g.random() < 0.6 else (60, 42, 32)
    relief: Relief = choose(g, (textures.leather, textures.weave, textures.denim))
    upper: list[Point] = [(0.09, 0.7), (0.08, 0.48), (0.1, 0.3), (0.22, 0.27), (0.36, 0.29)]
    upper += [(0.46, 0.4), (0.6, 0.5), (0.78, 0.55), (0.92, 0.62), (0.93, 0.71)]
    outline = [*smooth(upper, 8, closed=False), (0.09, 0.71)]
    board.path(outline, textures.plain(paint, relief), textures.dome)
    board.ellipse(0.23, 0.285, 0.13, 0.022, darker(paint, 0.35))
    toe = smooth([(0.74, 0.545), (0.84, 0.57), (0.93, 0.64), (0.93, 0.71), (0.72, 0.71)], 8)
    board.path(toe, darker(paint, 0.85), textures.dome)
    board.seam(smooth([(0.73, 0.545), (0.7, 0.62), (0.71, 0.7)], 8, closed=False), (236, 230, 214))
    board.seam(smooth([(0.12, 0.32), (0.2, 0.5), (0.18, 0.7)], 8, closed=False), (236, 230, 214))
    bottom = [(0.07, 0.69), (0.5, 0.705), (0.94, 0.69), (0.95, 0.74), (0.9, 0.78), (0.1, 0.78)]
    board.path(bottom, sole, textures.dome)
    board.line(((0.08, 0.725), (0.945, 0.725)), 0.006, board.paint())
    for i in range(24):
        x = 0.11 + i * 0.034
        board.line(((x, 0.75), (x, 0.778)), 0.004, darker(sole, 0.75))
    lace: Color = (248, 246, 240) if sum(paint) < 500 else (50, 50, 54)
    for i in range(5):
        x, y = 0.38 + 0.055 * i, 0.33 + 0.044 * i
        board.line(((x, y), (x - 0.07, y + 0.075)), 0.013, lace)
        board.disc(x - 0.07, y + 0.078, 0.01, STEEL, textures.ball)
    face = choose(g, lettering.BOLD)
    ink: Color = (250, 250, 246) if sum(paint) < 420 else (36, 38, 44)
    board.text(0.38, 0.6, lettering.brand(g), 0.07, ink, 0.24, face)


def handbag(board: Board) -> None:
    """A leather or woven bag with a flap, seams and a clasp."""
    g = board.generator
    paint: Color = choose(g, (*PAINTS, (140, 84, 46), (86, 50, 32)))
    relief = textures.leather if g.random() < 0.7 else textures.weave
    skin = textures.plain(paint, relief)
    metal = choose(g, METALS)
    strap = smooth([(0.24, 0.42), (0.3, 0.14), (0.5, 0.06), (0.7, 0.14), (0.76, 0.42)], 10, False)
    board.line(strap, 0.035, darker(paint, 0.8))
    board.seam(strap, darker(paint, 1.4))
    body = [(0.5, 0.36), (0.82, 0.38), (0.88, 0.86), (0.84, 0.93), (0.5, 0.935)]
    board.path(mirrored(body), skin, textures.dome)
    flap = smooth([(0.82, 0.36), (0.84, 0.52), (0.7, 0.63), (0.5, 0.66)], 8, closed=False)
    edge = [*flap, *[(1 - x, y) for x, y in reversed(flap)]]
    board.path(edge, textures.plain(darker(paint, 0.92), relief), textures.dome)
    board.line(edge, 0.005, darker(paint, 0.5))
    board.seam([(0.5 + (x - 0.5) * 0.95, y - 0.018) for x, y in edge], darker(paint, 1.5))
    board.rounded(0.455, 0.6, 0.545, 0.7, 0.012, metal, textures.polished(6))
    board.disc(0.5, 0.65, 0.012, darker(metal, 0.5))
    for x in (0.24, 0.76):
        board.disc(x, 0.42, 0.026, metal, textures.ball)
        board.disc(x, 0.42, 0.012, darker(paint, 0.6))
    words = lettering.brand(g)
    board.text(0.5, 0.79, words, 0.05, darker(metal, 1.05), 0.4, choose(g, lettering.SERIF))


def scarf(board: Board) -> None:
    """A scarf or towel, folded, with fringes."""
    g = board.generator
    paint = board.paint()
    cloth = _cloth(board, paint)
    for x0, x1, y1 in ((0.5, 0.74, 0.8), (0.28, 0.56, 0.86)):
        for i in range(int((x1 - x0) / 0.014)):
            x = x0 + 0.007 + 0.014 * i
            end = x + float(g.uniform(-0.012, 0.012))
            board.line(((x, y1 - 0.01), (end, y1 + 0.08)), 0.005, darker(paint, 0.85))
        board.path(
            ((x0, 0.1), (x1, 0.1), (x1 + 0.02, y1), (x0 - 0.02, y1)), cloth, textures.cylinder
        )
    board.rounded(0.24, 0.06, 0.77, 0.3, 0.08, cloth, textures.dome)
    board.rectangle(0.44, 0.5, 0.52, 0.56, (250, 248, 242))
    board.text(0.48, 0.53, lettering.brand(g), 0.03, (60, 60, 64), 0.075, "DejaVuSans")


def necklace(board: Board) -> None:
    """A chain of links with a pendant and a stone."""
    g = board.generator
    metal = choose(g, METALS)
    deep = float(g.uniform(0.5, 0.62))
    t = np.linspace(-1, 1, 400)
    x, y = 0.5 + 0.43 * np.sin(t * 2.2), 0.08 + deep * (1 - t * t) ** 0.9
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    link = float(g.uniform(0.016, 0.03))
    for i, at in enumerate(np.arange(0, along[-1], link * 0.8).tolist()):
        ends = np.array([at - link / 2, at + link / 2])
        xs, ys = np.interp(ends, along, x).tolist(), np.interp(ends, along, y).tolist()
        if i % 2:
            board.line(list(zip(xs, ys, strict=True)), 0.006, darker(metal, 0.75))
            continue
        rotation = math.atan2(ys[1] - ys[0], xs[1] - xs[0])
        cx, cy = sum(xs) / 2, sum(ys) / 2
        angle = np.linspace(0, math.tau, 16)
        u, v = link / 2 * np.cos(angle), link / 3 * np.sin(angle)
        ring_x = cx + u * math.cos(rotation) - v * math.sin(rotation)
        ring_y = cy + u * math.sin(rotation) + v * math.cos(rotation)
        board.line(list(zip(ring_x.tolist(), ring_y.tolist(), strict=True)), 0.005, metal)
    low = float(y.max())
    size = float(g.uniform(0.06, 0.12))
    stone = board.paint()
    cy = low + size
    board.disc(0.5, cy, size, metal, textures.polished(8))
    board.disc(0.5, cy, size * 0.8, darker(stone, 0.6))
    for facet in range(8):
        a, b = facet * math.tau / 8, (facet + 1) * math.tau / 8
        outer = [(0.5 + size * 0.78 * math.cos(c), cy + size * 0.78 * math.sin(c)) for c in (a, b)]
        inner = [(0.5 + size * 0.4 * math.cos(c), cy + size * 0.4 * math.sin(c)) for c in (b, a)]
        board.path(outer + inner, darker(stone, float(g.uniform(0.5, 1.5))))
        board.path([(0.5, cy), *inner], darker(stone, float(g.uniform(0.9, 1.5))))


def watch(board: Board) -> None:
    """A wrist watch: strap, brushed ring, dial with numerals and hands."""
    g = board.generator
    strap, metal = board.paint(), choose(g, METALS)
    dial: Color = choose(g, ((250, 250, 246), (28, 32, 44), (20, 60, 56)))
    ink: Color = (30, 32, 38) if sum(dial) > 400 else (240, 236, 220)
    face = choose(g, lettering.DISPLAY)
    leather = textures.plain(strap, textures.leather)
    board.rounded(0.41, 0.04, 0.59, 0.96, 0.03, leather, textures.cylinder)
    for x in (0.425, 0.575):
        board.seam(((x, 0.06), (x, 0.94)), darker(strap, 1.4))
    board.rounded(0.78, 0.47, 0.83, 0.53, 0.01, metal, textures.polished(5))
    board.disc(0.5, 0.5, 0.3, textures.plain(metal, textures.polished(9)))
    board.disc(0.5, 0.5, 0.272, darker(metal, 0.55))
    board.disc(0.5, 0.5, 0.265, textures.plain(metal, textures.brushed))
    board.disc(0.5, 0.5, 0.245, dial)
    for minute in range(60):
        angle = math.radians(6 * minute)
        inner = 0.222 if minute % 5 == 0 else 0.232
        ends = [(0.5 + r * math.sin(angle), 0.5 - r * math.cos(angle)) for r in (inner, 0.239)]
        board.line(ends, 0.005 if minute % 5 == 0 else 0.0025, ink)
    for hour in range(1, 13):
        angle = math.radians(30 * hour)
        x, y = 0.5 + 0.192 * math.sin(angle), 0.5 - 0.192 * math.cos(angle)
        board.text(x, y, str(hour), 0.048, ink, 0.06, face)
    board.text(0.5, 0.41, lettering.brand(g), 0.034, ink, 0.17, face)
    for reach, thick in ((0.11, 0.014), (0.165, 0.009), (0.19, 0.004)):
        angle = float(g.random()) * math.tau
        tip = (0.5 + reach * math.sin(angle), 0.5 - reach * math.cos(angle))
        board.line(((0.5, 0.5), tip), thick, ink if thick > 0.005 else (200, 40, 40))
    board.disc(0.5, 0.5, 0.014, ink)


WEAR: tuple[Callable[[Board], None], ...] = (
    *(shirt, jeans, shoe, handbag, scarf, necklace, watch),
)
