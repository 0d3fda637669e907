"""Printed paper: books, signs, leaflets, price tags."""

import math
from collections.abc import Callable

import numpy as np

from model.scenes import lettering, textures
from model.scenes.board import Board
from model.scenes.geometry import smooth
from model.scenes.lettering import choose
from model.scenes.palette import PAINTS, PAPERS, Color, darker
from model.scenes.printing import back, emblem, ink_on
from model.scenes.textures import Fill


def book(board: Board) -> None:
    """A book with its cover in slight perspective."""
    g = board.generator
    paint = board.paint()
    ink, face = ink_on(board, paint), board.face(lettering.DISPLAY)
    sheet = board.sheet(0.84, 0.6, paint)
    if g.random() < 0.5:
        cloth = textures.plain(paint, textures.weave)
        sheet.rectangle(0, 0, 0.6, 0.84, cloth)
    for i in range(int(g.integers(1, 4))):
        words = lettering.brand(g) if i == 0 else lettering.goods(g)
        sheet.text(0.3, 0.12 + 0.1 * i, words, 0.11 - 0.03 * i, ink, 0.52, face)
    emblem(sheet, 0.3, 0.55, 0.16)
    author = f"{lettering.brand(g)} {lettering.brand(g)}"
    sheet.text(0.3, 0.78, author, 0.04, ink, 0.5, board.face(lettering.TEXT))
    sheet.rectangle(0.03, 0, 0.036, 0.84, darker(paint, 0.75))
    lean = float(g.uniform(-0.04, 0.04))
    board.path(
        ((0.2, 0.09), (0.83, 0.08 + lean), (0.84, 0.9 + lean), (0.2, 0.95)), darker(paint, 0.6)
    )
    for i in range(6):
        x = 0.805 + 0.004 * i
        board.line(((x, 0.09 + lean), (x, 0.9 + lean)), 0.002, (236 - 10 * (i % 2), 230, 214))
    corners = ((0.18, 0.07), (0.8, 0.08 + lean), (0.8, 0.91 + lean), (0.18, 0.94))
    board.warp(sheet, corners)


def card(board: Board) -> None:
    """A sign, voucher or poster: lines in all sizes and fonts."""
    g = board.generator
    paper: Color = choose(g, (*PAPERS, *PAINTS))
    high, wide = float(g.uniform(0.5, 0.9)), float(g.uniform(0.5, 0.9))
    sheet = board.sheet(high, wide, paper)
    ink = ink_on(board, paper)
    if g.random() < 0.5:
        for inset, thick in ((0.03, 0.006), (0.045, 0.003)):
            box = ((inset, inset), (wide - inset, inset), (wide - inset, high - inset))
            sheet.line((*box, (inset, high - inset), box[0]), thick, ink)
    y = 0.07
    while y < high - 0.1:
        size = float(np.exp(g.uniform(math.log(0.028), math.log(0.2))))
        size = min(size, high - y - 0.05)
        words = _any_words(g, size)
        rotation = float(g.uniform(-3, 3)) if g.random() < 0.2 else 0.0
        own = ink if g.random() < 0.7 else ink_on(board, paper)
        face = board.face(lettering.FACES)
        sheet.text(
            wide / 2, y + size / 2, words, size, own, wide - 0.14, face, rotation_deg=rotation
        )
        y += size * float(g.uniform(1.05, 1.5))
    x0, y0 = (1 - wide) / 2, (1 - high) / 2
    tilt = float(g.uniform(-0.04, 0.04))
    corners = ((x0, y0 + tilt), (x0 + wide, y0 - tilt), (x0 + wide, y0 + high), (x0, y0 + high))
    board.path([(x + 0.006, y + 0.008) for x, y in corners], (150, 150, 152))
    board.warp(sheet, corners)


def _any_words(generator: np.random.Generator, size: float) -> str:
    """Words for one line: a small line gets more of them."""
    kinds: tuple[Callable[[np.random.Generator], str], ...]
    kinds = (lettering.brand, lettering.goods, lettering.claim)
    words = kinds[int(generator.integers(3))](generator)
    if generator.random() < 0.3:
        words = lettering.fact(generator, choose(generator, ("price", "date", "quantity")))
    if size < 0.06:
        words = f"{words} - {lettering.small_print(generator)}"[:60]
    return words


def leaflet(board: Board) -> None:
    """The back of a pack or an instruction sheet, filling the board with small print."""
    g = board.generator
    paper: Color = choose(g, (*PAPERS, *PAINTS[:3], PAINTS[6]))
    high, wide = float(g.uniform(0.7, 0.92)), float(g.uniform(0.5, 0.8))
    sheet = board.sheet(high, wide, paper)
    back(sheet, paper)
    x0, y0 = (1 - wide) / 2, (1 - high) / 2
    a, b, c, d = g.uniform(-0.02, 0.02, 4).tolist()
    x1, y1 = x0 + wide, y0 + high
    corners = ((x0 + a, y0 + b), (x1 + c, y0 + d), (x1 - a, y1 - b), (x0 - c, y1 - d))
    board.path([(x + 0.006, y + 0.006) for x, y in corners], (160, 160, 160))
    board.warp(sheet, corners)


def price_tag(board: Board) -> None:
    """A hang tag with a hole, a string, a price and a bar code."""
    g = board.generator
    paper: Color = choose(g, (*PAPERS, (196, 160, 112), *PAINTS[:2]))
    ink = ink_on(board, paper)
    fill: Color | Fill = paper
    if g.random() < 0.4:
        fill = textures.plain(paper, _pulp)
    outline = [(0.36, 0.12), (0.64, 0.12), (0.74, 0.24), (0.74, 0.94), (0.26, 0.94), (0.26, 0.24)]
    board.path([(x + 0.006, y + 0.006) for x, y in outline], darker(paper, 0.7))
    board.path(outline, fill)
    board.disc(0.5, 0.2, 0.032, darker(paper, 0.55))
    board.disc(0.5, 0.2, 0.018, (246, 246, 244))
    loop = smooth([(0.5, 0.2), (0.42, 0.1), (0.52, 0.02), (0.62, 0.06), (0.5, 0.2)], 10, False)
    board.line(loop, 0.006, (110, 84, 50))
    face = board.face(lettering.DISPLAY)
    board.text(0.5, 0.33, lettering.brand(g), 0.1, ink, 0.42, face)
    board.text(0.5, 0.42, lettering.goods(g), 0.05, ink, 0.42, board.face(lettering.TEXT))
    price = lettering.fact(g, "price")
    board.text(0.5, 0.55, price, 0.14, ink, 0.42, board.face(lettering.BOLD))
    board.paragraph(0.3, 0.63, 0.7, 0.75, 0.03, ink, board.face(lettering.TEXT))
    board.bars(0.32, 0.78, 0.68, 0.91)


def _pulp(patch: textures.Patch) -> np.ndarray:
    """Recycled card: specks and fibres."""
    specks = textures.grains(patch, patch.unit_px * 0.008, 0.05)
    return 1 + 0.03 * textures.fractal(patch, patch.unit_px * 0.05, 0.5) + 0.12 * specks


PAPER: tuple[Callable[[Board], None], ...] = (book, card, leaflet, price_tag)
