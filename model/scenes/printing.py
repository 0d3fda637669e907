"""Print of packs: fronts, backs and emblems."""

import math

import numpy as np

from model.scenes import lettering, textures
from model.scenes.board import Board
from model.scenes.lettering import choose
from model.scenes.palette import INKS, PAPERS, Color, darker


def ink_on(board: Board, paper: Color) -> Color:
    """Chooses a colour for print with high contrast to a paper: dark on light, light on dark."""
    if sum(paper) > 420:
        return choose(board.generator, INKS)
    return choose(board.generator, PAPERS)


def front(board: Board, paper: Color, lower_half: bool = True) -> None:
    """Prints a whole sheet as the front of a pack: name, contents, claims, amount.

    Args:
        board: a sheet of any proportions, already painted.
        paper: its colour.
        lower_half: whether to print the lower half too.
    """
    g, w, h = board.generator, board.width, board.height
    panel = paper
    if g.random() < 0.5:
        panel = choose(g, PAPERS)
        board.rounded(0.07 * w, 0.06 * h, 0.93 * w, 0.56 * h, 0.03 * g.integers(3), panel)
    ink, face = ink_on(board, panel), board.face(lettering.DISPLAY)
    size = min(0.24 * h, w * float(g.uniform(0.16, 0.34)))
    name = lettering.brand(g)
    board.text(0.5 * w, 0.2 * h, name, size, ink, 0.8 * w, face)
    sub = board.face(lettering.TEXT)
    board.text(0.5 * w, 0.37 * h, lettering.goods(g), 0.5 * size, ink, 0.8 * w, sub)
    board.text(
        0.5 * w, 0.48 * h, lettering.fact(g, "quantity"), 0.3 * size, ink, 0.6 * w, "DejaVuSans"
    )
    if lower_half:
        _lower_half(board, paper)


def _lower_half(board: Board, paper: Color) -> None:
    """A seal or an emblem, small print, at random a bar code: all below the name."""
    g, w, h = board.generator, board.width, board.height
    print_ink = ink_on(board, paper)
    kind = int(g.integers(3))
    if kind == 0:
        r = min(0.16 * h, 0.24 * w)
        seal = board.paint()
        board.disc(0.27 * w, 0.76 * h, r, seal)
        rotation = float(g.choice([0, 12, -15, 25]))
        seal_face = board.face(lettering.BOLD)
        seal_ink = ink_on(board, seal)
        board.text(
            0.27 * w,
            0.76 * h,
            lettering.claim(g),
            0.6 * r,
            seal_ink,
            1.75 * r,
            seal_face,
            rotation_deg=rotation,
        )
        board.paragraph(
            0.54 * w, 0.62 * h, 0.94 * w, 0.95 * h, 0.028, print_ink, board.face(lettering.TEXT)
        )
    elif kind == 1:
        emblem(board, 0.5 * w, 0.71 * h, min(0.13 * h, 0.3 * w))
        size = min(0.05, 0.09 * h)
        board.text(0.5 * w, 0.92 * h, lettering.claim(g), size, print_ink, 0.8 * w, "DejaVuSans")
    else:
        board.paragraph(
            0.08 * w,
            0.6 * h,
            0.92 * w,
            0.8 * h,
            0.03,
            print_ink,
            board.face(lettering.TEXT),
            "m",
        )
        if w > 0.3:
            board.bars(0.5 * w, 0.83 * h, 0.9 * w, 0.96 * h)
        board.text(
            0.08 * w,
            0.9 * h,
            lettering.fact(g, "date"),
            0.035,
            print_ink,
            0.36 * w,
            "DejaVuSansMono",
            "l",
        )


def back(board: Board, paper: Color) -> None:
    """Prints a whole sheet as the back of a pack: table, paragraphs, bar code.

    Args:
        board: a sheet of any proportions, already painted.
        paper: its colour.
    """
    g, w, h = board.generator, board.width, board.height
    ink, face = ink_on(board, paper), board.face(lettering.TEXT)
    title = board.face(lettering.BOLD)
    high = min(0.06, 0.1 * h)
    board.text(0.07 * w, 0.08 * h, lettering.goods(g), high, ink, 0.86 * w, title, "l")
    board.line(((0.07 * w, 0.14 * h), (0.93 * w, 0.14 * h)), 0.004, ink)
    size, tabled = float(g.uniform(0.026, 0.042)), h > 0.5
    board.paragraph(0.07 * w, 0.16 * h, 0.93 * w, (0.46 if tabled else 0.76) * h, size, ink, face)
    for i in range(5 if tabled else 0):
        y = (0.5 + 0.055 * i) * h
        entry = choose(g, ("Energy", "Fett / fat", "Sucre", "Salt", "Protéines", "Fibre"))
        board.text(0.09 * w, y, entry, 0.04 * h, ink, 0.4 * w, face, "l")
        amount = f"{g.uniform(0, 60):.1f} g"
        board.text(0.91 * w, y, amount, 0.04 * h, ink, 0.35 * w, face, "r")
        board.line(((0.07 * w, y + 0.0275 * h), (0.93 * w, y + 0.0275 * h)), 0.002, ink)
    if w > 0.24:
        board.bars(0.1 * w, 0.82 * h, 0.62 * w, 0.96 * h)
        board.text(
            0.66 * w,
            0.89 * h,
            lettering.fact(g, "code"),
            0.035,
            ink,
            0.28 * w,
            "DejaVuSansMono",
            "l",
            0.0,
        )


def emblem(board: Board, x: float, y: float, radius: float) -> None:
    """Draws an image of rings, rays, a leaf or waves."""
    g = board.generator
    kind = int(g.integers(4))
    first, second = board.paint(), board.paint()
    if kind == 0:
        for i in range(6):
            board.disc(x, y, radius * (1 - i / 6), first if i % 2 else second)
    elif kind == 1:
        count = int(g.integers(8, 20))
        for i in range(count):
            angle = i * math.tau / count
            tip = (x + radius * math.cos(angle), y + radius * math.sin(angle))
            board.line(((x, y), tip), 0.006, first)
        board.disc(x, y, radius * 0.45, second)
    elif kind == 2:
        for i in range(5):
            angle = math.radians(-90 + 32 * (i - 2))
            cx, cy = x + 0.5 * radius * math.cos(angle), y + 0.5 * radius * math.sin(angle)
            fill = textures.ramp(first, darker(first, 0.6))
            board.ellipse(cx, cy, 0.55 * radius, 0.18 * radius, fill, rotation_rad=angle)
    else:
        for i in range(4):
            xs = np.linspace(-1, 1, 24)
            ys = (i - 1.5) * 0.4 + 0.14 * np.sin(xs * 9)
            curve = [
                (x + radius * float(a), y + radius * float(b)) for a, b in zip(xs, ys, strict=True)
            ]
            board.line(curve, 0.012, first if i % 2 else second)
