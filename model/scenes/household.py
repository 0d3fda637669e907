"""Household goods: toys, metal, wood, food, plants, cables."""

import math
from collections.abc import Callable

import numpy as np

from model.scenes import lettering, textures
from model.scenes.board import Board
from model.scenes.geometry import Point, smooth
from model.scenes.lettering import choose
from model.scenes.palette import METALS, STEEL, WOODS, Color, darker
from model.scenes.textures import Relief


def toy_ball(board: Board) -> None:
    """A beach ball, a plush ball or a football."""
    g = board.generator
    first, second = board.paint(), board.paint()
    kind = int(g.integers(3))
    relief: Relief | None = (None, textures.fur, textures.leather)[kind]
    board.disc(0.5, 0.5, 0.42, textures.plain(first, relief), textures.ball)
    if kind == 0:
        for i in range(-2, 3, 2):
            _gore(board, 0.5 + 0.14 * i, second)
        board.disc(0.43, 0.22, 0.05, (250, 250, 248))
    elif kind == 2:
        for i in range(5):
            angle = i * math.tau / 5 + 0.3
            _pentagon(
                board, 0.5 + 0.27 * math.cos(angle), 0.5 + 0.27 * math.sin(angle), 0.1, second
            )
        _pentagon(board, 0.5, 0.5, 0.12, second)
        for i in range(5):
            angle = i * math.tau / 5 + 0.3
            ends = [(0.5 + r * math.cos(angle), 0.5 + r * math.sin(angle)) for r in (0.12, 0.18)]
            board.line(ends, 0.005, darker(first, 0.6))
    else:
        for x in (0.39, 0.61):
            board.disc(x, 0.42, 0.045, (252, 252, 250))
            board.disc(x, 0.425, 0.026, (24, 24, 28), textures.ball)
        smile = smooth([(0.36, 0.6), (0.5, 0.68), (0.64, 0.6)], 10, closed=False)
        board.line(smile, 0.016, darker(first, 0.4))


def _gore(board: Board, bulge: float, paint: Color) -> None:
    """One stripe of a beach ball from pole to pole, with the light of the ball."""
    xs = []
    for angle in np.linspace(-math.pi / 2, math.pi / 2, 24).tolist():
        xs.append((0.5 + (bulge - 0.5) * math.cos(angle) * 0.95, 0.5 + 0.42 * math.sin(angle)))
    back = [(x + 0.15 * math.cos((y - 0.5) / 0.42 * math.pi / 2), y) for x, y in reversed(xs)]
    inside = [(0.5 + np.clip(x - 0.5, -0.42, 0.42), y) for x, y in [*xs, *back]]
    reach = [min(1.0, 0.418 / max(math.hypot(x - 0.5, y - 0.5), 1e-6)) for x, y in inside]
    kept = zip(inside, reach, strict=True)
    outline = [(0.5 + (x - 0.5) * r, 0.5 + (y - 0.5) * r) for (x, y), r in kept]
    board.path(outline, textures.ramp(darker(paint, 1.15), darker(paint, 0.7)))


def _pentagon(board: Board, x: float, y: float, radius: float, paint: Color) -> None:
    """A patch of a football, flattened towards the rim."""
    off = math.hypot(x - 0.5, y - 0.5) / 0.42
    away = math.atan2(y - 0.5, x - 0.5)
    points = []
    for i in range(5):
        angle = i * math.tau / 5
        u = radius * math.cos(angle) * math.sqrt(max(0.0, 1 - off * off))
        v = radius * math.sin(angle)
        points.append(
            (
                x + u * math.cos(away) - v * math.sin(away),
                y + u * math.sin(away) + v * math.cos(away),
            )
        )
    board.path(points, textures.ramp(darker(paint, 1.1), darker(paint, 0.75)))


def bricks(board: Board) -> None:
    """Toy building bricks, stacked, with studs and an embossed name."""
    g = board.generator
    y = 0.94
    for _ in range(int(g.integers(2, 5))):
        paint = board.paint()
        studs = int(g.integers(2, 5))
        wide = 0.16 * studs
        x = float(g.uniform(0.1, 0.86 - wide))
        top = y - 0.17
        board.path(
            ((x, top), (x + 0.05, top - 0.04), (x + wide + 0.05, top - 0.04), (x + wide, top)),
            darker(paint, 1.15),
        )
        right = x + wide
        far = ((right + 0.05, top - 0.04), (right + 0.05, y - 0.04))
        board.path(((right, top), *far, (right, y)), darker(paint, 0.66))
        front = textures.ramp(darker(paint, 1.04), darker(paint, 0.92))
        board.rectangle(x, top, x + wide, y, front)
        board.line(((x, top), (x + wide, top)), 0.003, darker(paint, 1.35))
        for i in range(studs):
            cx = x + 0.105 + 0.16 * i
            board.rectangle(
                cx - 0.045, top - 0.055, cx + 0.045, top - 0.02, paint, textures.cylinder
            )
            board.ellipse(cx, top - 0.02, 0.045, 0.014, paint, textures.cylinder)
            board.ellipse(cx, top - 0.055, 0.045, 0.014, darker(paint, 1.2))
            board.text(cx, top - 0.055, "AB", 0.016, darker(paint, 0.85), 0.05, "DejaVuSans-Bold")
        y = top - 0.022


def cable(board: Board) -> None:
    """A coiled cable with two plugs, or headphones: thin smooth lines."""
    g = board.generator
    paint = board.paint()
    turns = int(g.integers(3, 6))
    angle = np.linspace(0.5, math.tau * turns, 60 * turns)
    radius = 0.3 + 0.012 * angle / math.tau + 0.02 * np.sin(angle * 0.37 + float(g.uniform(0, 6)))
    coil = np.stack([0.5 + radius * np.cos(angle), 0.44 + 0.8 * radius * np.sin(angle)], 1)
    thick = float(g.uniform(0.008, 0.022))
    points = [(x, y) for x, y in coil.tolist()]
    pieces = np.array_split(np.arange(len(points)), turns * 2)
    for piece in pieces:
        part = [points[i] for i in range(piece[0], min(piece[-1] + 2, len(points)))]
        board.line(part, thick * 1.3, darker(paint, 0.55))
        board.line(part, thick * 0.8, paint)
        board.line(
            [(x - thick * 0.2, y - thick * 0.2) for x, y in part], thick * 0.2, darker(paint, 1.5)
        )
    end, start = points[-1], points[0]
    for x, y, (px, py) in ((0.3, 0.92, end), (0.62, 0.92, start)):
        tail = smooth([(px, py), ((px + x) / 2 + 0.05, 0.7), (x, y - 0.14)], 10, closed=False)
        board.line(tail, thick * 1.3, darker(paint, 0.55))
        board.line(tail, thick * 0.8, paint)
        board.rounded(
            x - 0.03, y - 0.15, x + 0.03, y - 0.04, 0.012, (40, 40, 44), textures.cylinder
        )
        board.rectangle(x - 0.018, y - 0.04, x + 0.018, y + 0.02, STEEL, textures.polished(6))
    board.rectangle(0.765, 0.38, 0.83, 0.5, (36, 36, 40), textures.cylinder)


def cutlery(board: Board) -> None:
    """A knife, a fork and a spoon of polished metal."""
    g = board.generator
    metal = choose(g, METALS[:2])
    fill = textures.plain(metal, textures.polished(7))
    wooden = g.random() < 0.3
    paint = choose(g, WOODS)
    handle = textures.plain(paint, textures.weave) if wooden else fill
    for x in (0.24, 0.5, 0.76):
        wide = 0.028
        grip = [(x - wide * 0.5, 0.5), (x + wide * 0.5, 0.5), (x + wide, 0.9), (x, 0.95)]
        board.path(smooth([*grip, (x - wide, 0.9)], 8), handle)
        board.rectangle(x - 0.012, 0.38, x + 0.012, 0.52, fill)
    for i in range(4):
        x = 0.195 + 0.03 * i
        board.line(((x, 0.07), (x, 0.27)), 0.011, metal, textures.polished(4))
    prongs = [
        (0.187, 0.24),
        (0.293, 0.24),
        (0.285, 0.33),
        (0.252, 0.4),
        (0.228, 0.4),
        (0.195, 0.33),
    ]
    board.path(prongs, fill)
    blade = smooth([(0.515, 0.06), (0.55, 0.2), (0.545, 0.42), (0.49, 0.42), (0.48, 0.2)], 8)
    board.path(blade, fill)
    board.line(((0.484, 0.16), (0.49, 0.4)), 0.003, (250, 250, 250))
    board.ellipse(0.76, 0.23, 0.075, 0.16, fill)
    board.ellipse(0.76, 0.225, 0.06, 0.14, metal, textures.ball)


def plant(board: Board) -> None:
    """A pot plant: leaves with veins, a stone or clay pot."""
    g = board.generator
    green: Color = choose(g, ((62, 120, 58), (94, 140, 60), (40, 92, 70), (130, 150, 90)))
    for i in range(int(g.integers(5, 10))):
        lean = float(g.uniform(-1, 1))
        tip = (0.5 + 0.4 * lean, 0.08 + 0.22 * abs(lean) + 0.1 * float(g.random()))
        _leaf(board, (0.5 + 0.05 * lean, 0.66), tip, darker(green, 0.8 + 0.06 * (i % 5)))
    clay: Color = choose(g, ((190, 108, 74), (232, 228, 220), (120, 122, 126), (60, 90, 110)))
    pot = textures.plain(clay, textures.stone if g.random() < 0.5 else None)
    board.path(((0.33, 0.66), (0.67, 0.66), (0.62, 0.94), (0.38, 0.94)), pot, textures.cylinder)
    board.rectangle(0.315, 0.63, 0.685, 0.69, pot, textures.cylinder)
    board.line(((0.32, 0.692), (0.68, 0.692)), 0.004, darker(clay, 0.55))


def _leaf(board: Board, base: Point, tip: Point, green: Color) -> None:
    """A leaf with a midrib and side veins."""
    (x0, y0), (x1, y1) = base, tip
    along = np.array([x1 - x0, y1 - y0])
    across = np.array([-along[1], along[0]]) * 0.26

    def at(share: float, aside: float) -> Point:
        x, y = np.array(base) + share * along + aside * across
        return float(x), float(y)

    outline = [at(0, 0), at(0.3, 0.45), at(0.6, 0.6), at(0.85, 0.3), at(1, 0)]
    outline += [at(0.85, -0.3), at(0.6, -0.6), at(0.3, -0.45)]
    board.path(smooth(outline, 8), textures.plain(green, _blade), textures.dome)
    vein = darker(green, 1.35)
    board.line((at(0, 0), at(0.95, 0)), 0.006, vein)
    for share in np.linspace(0.2, 0.8, 7).tolist():
        reach = 0.5 * math.sin(math.pi * (share * 0.8 + 0.12))
        for aside in (reach, -reach):
            board.line((at(share, 0), at(share + 0.1, aside)), 0.0025, vein)


def _blade(patch: textures.Patch) -> np.ndarray:
    """The mottled skin of a leaf."""
    return 1 + 0.09 * textures.fractal(patch, patch.unit_px * 0.1, 0.8)


def bread(board: Board) -> None:
    """A loaf or a biscuit: a rough crust, cuts and seeds."""
    g = board.generator
    paint: Color = choose(g, ((190, 124, 62), (150, 90, 46), (214, 160, 96)))
    angle = np.linspace(0, math.tau, 18, endpoint=False)
    high = float(g.uniform(0.24, 0.42))
    wobble = 1 + 0.035 * g.standard_normal(18)
    points = list(
        zip(
            (0.5 + 0.43 * wobble * np.cos(angle)).tolist(),
            (0.52 + high * wobble * np.sin(angle)).tolist(),
            strict=True,
        )
    )
    board.path(smooth(points), textures.plain(paint, textures.crust), textures.ball)
    for i in range(int(g.integers(2, 5))):
        x = 0.27 + 0.15 * i
        cut = [(x, 0.52 - high * 0.55), (x + 0.06, 0.5), (x + 0.04, 0.52 + high * 0.3)]
        cut += [(x + 0.005, 0.5)]
        board.path(smooth(cut, 8), textures.plain((236, 204, 152), textures.crust))
    if g.random() < 0.6:
        for _ in range(60):
            a, r = float(g.uniform(0, math.tau)), math.sqrt(float(g.random())) * 0.8
            x, y = 0.5 + 0.43 * r * math.cos(a), 0.52 + high * r * math.sin(a)
            board.ellipse(x, y, 0.014, 0.007, (240, 222, 180), None, float(g.uniform(0, 3)))


def wooden_board(board: Board) -> None:
    """A cutting board with a handle, perhaps with a branded name."""
    g = board.generator
    paint = choose(g, WOODS)
    high = float(g.uniform(0.36, 0.6))
    y0, y1 = 0.5 - high / 2, 0.5 + high / 2
    grain = textures.plain(paint, textures.wood)
    board.rounded(0.725, 0.44, 0.96, 0.56, 0.06, grain)
    board.rounded(0.06, y0 + 0.01, 0.78, y1 + 0.015, 0.05, darker(paint, 0.55))
    board.rounded(0.06, y0, 0.78, y1, 0.05, grain)
    board.disc(0.9, 0.5, 0.022, darker(paint, 0.3))
    if g.random() < 0.5:
        face = choose(g, lettering.SERIF)
        board.text(0.42, 0.5, lettering.brand(g), 0.12, darker(paint, 0.4), 0.55, face)


def trivet(board: Board) -> None:
    """A round mat of cork, stone or wool."""
    g = board.generator
    kinds: tuple[tuple[Color, Relief], ...] = (
        ((204, 158, 106), textures.cork),
        ((150, 150, 148), textures.stone),
        (board.paint(), textures.knit),
    )
    paint, relief = kinds[int(g.integers(3))]
    board.disc(0.5, 0.512, 0.43, darker(paint, 0.55))
    board.disc(0.5, 0.5, 0.43, textures.plain(paint, relief))
    if g.random() < 0.4:
        ink = darker(paint, 0.35)
        board.text(0.5, 0.5, lettering.brand(g), 0.16, ink, 0.6, choose(g, lettering.BOLD))


def calculator(board: Board) -> None:
    """A pocket calculator: display, labelled keys."""
    g = board.generator
    case: Color = choose(g, ((56, 60, 68), (236, 236, 232), (42, 110, 180)))
    board.rounded(0.25, 0.07, 0.77, 0.945, 0.04, darker(case, 0.6))
    board.rounded(0.25, 0.06, 0.77, 0.93, 0.04, textures.ramp(darker(case, 1.1), case))
    ink: Color = (240, 240, 236) if sum(case) < 400 else (40, 42, 48)
    board.text(0.3, 0.1, lettering.brand(g), 0.04, ink, 0.3, "DejaVuSans-Bold", "l")
    board.rounded(0.29, 0.13, 0.73, 0.26, 0.015, textures.ramp((170, 190, 168), (192, 210, 188)))
    number = f"{g.integers(1000, 9999999) / 100:.2f}"
    board.text(0.71, 0.197, number, 0.1, (30, 36, 30), 0.4, "DejaVuSansMono-Bold", "r")
    accent = board.paint()
    for i, label in enumerate("789÷456×123-0.=+"):
        x, y = 0.3 + 0.108 * (i % 4), 0.33 + 0.145 * (i // 4)
        key = accent if i % 4 == 3 else (232, 232, 228)
        board.rounded(x, y, x + 0.09, y + 0.112, 0.014, darker(key, 0.6))
        board.rounded(x, y, x + 0.09, y + 0.1, 0.014, textures.ramp(darker(key, 1.05), key))
        key_ink: Color = (30, 32, 36) if sum(key) > 330 else (248, 248, 244)
        board.text(x + 0.045, y + 0.05, label, 0.065, key_ink, 0.08, "DejaVuSans")


HOUSEHOLD: tuple[Callable[[Board], None], ...] = (
    *(toy_ball, bricks, cable, cutlery, plant, bread, wooden_board, trivet, calculator),
)
