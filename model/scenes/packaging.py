"""Printed packs: cartons, bottles, jars, tins, pouches, tubes, mugs."""

import math
from collections.abc import Callable

import numpy as np

from model.scenes import lettering, textures
from model.scenes.board import Board
from model.scenes.geometry import Point, smooth
from model.scenes.lettering import choose
from model.scenes.palette import PAINTS, PAPERS, Color, darker
from model.scenes.printing import back, emblem, front, ink_on


def carton(board: Board) -> None:
    """A cardboard box: three faces in perspective, or its front alone."""
    g = board.generator
    paint = board.paint()
    high, wide = float(g.uniform(0.55, 0.78)), float(g.uniform(0.42, 0.6))
    if g.random() < 0.3:
        high, wide = wide * 0.8, min(high, 0.72)
    sheet = board.sheet(high, wide, paint)
    (back if g.random() < 0.25 else front)(sheet, paint)
    deep, rise = float(g.uniform(0.16, 0.3)), float(g.uniform(0.04, 0.12))
    side = board.sheet(high, deep * 1.3, paint)
    if g.random() < 0.6:
        back(side, paint)
    else:
        _upright_name(side, paint)
    x0 = (1 - wide - deep * 0.8) / 2
    x1, x2 = x0 + wide, x0 + wide + deep * 0.8
    y0, y1 = 0.06 + rise, 0.06 + rise + high
    shrink = 0.5 * rise
    near: list[Point] = [(x0, y0 - 0.6 * shrink), (x1, y0), (x1, y1), (x0, y1 - shrink)]
    far: list[Point] = [(x1, y0), (x2, y0 - rise), (x2, y1 - rise * 1.3), (x1, y1)]
    behind = (x2 - wide * 0.9, y0 - rise - 0.6 * shrink)
    top = [near[0], near[1], far[1], behind]
    outer = [near[0], near[1], far[1], far[2], near[2], near[3]]
    if g.random() < 0.5:
        top, outer, near, far = ([(1 - x, y) for x, y in face] for face in (top, outer, near, far))
        near, far = ([face[i] for i in (1, 0, 3, 2)] for face in (near, far))
    board.path(top, textures.ramp(darker(paint, 1.25), darker(paint, 1.05)))
    board.path(outer, darker(paint, 0.7))  # beneath the seam of the faces
    board.warp(side, far, 0.72)
    board.warp(sheet, near)


def _upright_name(sheet: Board, paint: Color) -> None:
    """The brand, running upwards."""
    words = lettering.brand(sheet.generator)
    ink, face = ink_on(sheet, paint), sheet.face(lettering.DISPLAY)
    size = sheet.width * 0.5
    sheet.text(
        0.5 * sheet.width,
        0.5 * sheet.height,
        words,
        size,
        ink,
        0.85 * sheet.height,
        face,
        rotation_deg=90,
    )


def _round_label(  # noqa: PLR0917 - a box, as Pillow's
    board: Board, x0: float, y0: float, x1: float, y1: float, bend: float
) -> None:
    """A printed label around a bottle or jar; print is in its middle, which is least distorted."""
    paper: Color = choose(board.generator, (*PAPERS, *PAINTS[:4]))
    wide = (x1 - x0) * math.pi / 2
    sheet = board.sheet(y1 - y0, wide, paper)
    middle = board.sheet(y1 - y0 - 0.06, wide * 0.66, paper)
    (back if board.generator.random() < 0.2 else front)(middle, paper)
    at = round((sheet.image.width - middle.image.width) / 2)
    sheet.image.paste(middle.image, (at, round(0.03 * board.unit_px)))
    edge = ink_on(board, paper)
    for y in (0.012, y1 - y0 - 0.02):
        sheet.rectangle(0, y, wide, y + 0.008, edge)
    board.wrap(sheet, x0, y0, x1, y1, bend, textures.cylinder)


def bottle(board: Board) -> None:
    """A bottle or flask with a ribbed cap and a label."""
    g = board.generator
    paint = board.paint()
    half, neck = float(g.uniform(0.14, 0.23)), float(g.uniform(0.045, 0.09))
    shoulder = float(g.uniform(0.3, 0.42))
    right: list[Point] = [(0.5 + neck, 0.12), (0.5 + neck, shoulder - 0.12)]
    right += [(0.5 + neck * 1.15, shoulder - 0.08), (0.5 + half * 0.92, shoulder - 0.01)]
    right += [(0.5 + half, shoulder + 0.04), (0.5 + half, 0.9), (0.5 + half * 0.93, 0.94)]
    curve = smooth(right, 6, closed=False)
    outline = curve + [(1 - x, y) for x, y in reversed(curve)]
    board.path(outline, paint, textures.cylinder)
    cap = board.paint()
    board.rounded(0.5 - neck * 1.25, 0.04, 0.5 + neck * 1.25, 0.15, 0.012, cap, textures.cylinder)
    for i in range(12):
        x = 0.5 - neck * 1.15 * math.cos(math.pi * (i + 0.5) / 12)
        board.line(((x, 0.055), (x, 0.135)), 0.004, darker(cap, 0.7))
    _round_label(board, 0.5 - half, shoulder + 0.1, 0.5 + half, 0.86, float(g.uniform(0, 0.02)))


def jar(board: Board) -> None:
    """A glass jar of beans, jam or nuts with a metal lid and a label."""
    g = board.generator
    content: Color = choose(
        g, ((120, 60, 30), (176, 40, 44), (224, 178, 90), (90, 110, 50), (210, 140, 40))
    )
    half = float(g.uniform(0.24, 0.33))
    board.rounded(0.5 - half, 0.17, 0.5 + half, 0.94, 0.07, (226, 234, 234), textures.cylinder)
    filling = textures.plain(content, textures.cork if g.random() < 0.6 else textures.crust)
    board.rounded(
        0.5 - half + 0.02, 0.25, 0.5 + half - 0.02, 0.92, 0.06, filling, textures.cylinder
    )
    lid = board.paint()
    board.rounded(0.52 - half, 0.06, 0.48 + half, 0.17, 0.015, lid, textures.cylinder)
    board.line(((0.53 - half, 0.145), (0.47 + half, 0.145)), 0.005, darker(lid, 0.6))
    board.line(((0.54 - half, 0.3), (0.54 - half, 0.86)), 0.012, (244, 248, 248))
    top = float(g.uniform(0.36, 0.46))
    _round_label(board, 0.5 - half, top, 0.5 + half, 0.84, 0.02)


def tin(board: Board) -> None:
    """A tin or drink can with metal rims and print all around."""
    g = board.generator
    half = float(g.uniform(0.19, 0.34))
    top, bend = float(g.uniform(0.1, 0.3)), float(g.uniform(0.015, 0.04))
    metal = textures.plain((206, 208, 212), textures.polished(9))
    board.ellipse(0.5, 0.9, half * 0.96, bend * 1.3, metal)
    board.rectangle(0.5 - half * 0.96, top, 0.5 + half * 0.96, 0.9, metal)
    _round_label(board, 0.5 - half, top, 0.5 + half, 0.88, bend)
    board.ellipse(0.5, top, half, bend, metal)
    board.ellipse(0.5, top, half * 0.93, bend * 0.8, (150, 152, 158))
    board.ellipse(0.5, top + 0.004, half * 0.9, bend * 0.7, metal)


def pouch(board: Board) -> None:
    """A bag of coffee or crisps with welded edges and a window."""
    g = board.generator
    paint = board.paint()
    side = [(0.2, 0.06), (0.21, 0.2), (0.17, 0.5), (0.18, 0.8), (0.2, 0.95)]
    left = smooth(side, 8, closed=False)
    outline = left + [(1 - x, y) for x, y in reversed(left)]
    crumpled = textures.plain(paint, _crumpled)
    board.path(outline, crumpled, textures.cylinder if g.random() < 0.5 else textures.dome)
    for y in np.linspace(0.065, 0.1, 5).tolist():
        board.line(((0.203, y), (0.797, y)), 0.003, darker(paint, 0.75))
    sheet = board.sheet(0.62, 0.5, paint)
    windowed = g.random() < 0.4
    front(sheet, paint, not windowed)
    if windowed:
        beans = textures.plain((92, 54, 30), textures.cork)
        sheet.ellipse(0.25, 0.47, 0.15, 0.1, beans, textures.dome)
    lean = float(g.uniform(-0.02, 0.02))
    board.warp(sheet, ((0.25 + lean, 0.18), (0.75 + lean, 0.18), (0.75, 0.8), (0.25, 0.8)))


def _crumpled(patch: textures.Patch) -> np.ndarray:
    """Light on crumpled foil."""
    return 1 + 0.1 * textures.noise(patch, patch.unit_px * 0.2, patch.unit_px * 0.08)


def tube(board: Board) -> None:
    """A tube of cream or toothpaste, lying, printed along its length."""
    g = board.generator
    paint, cap = board.paint(), board.paint()
    half = float(g.uniform(0.12, 0.18))
    sheet = board.sheet(2 * half, 0.72, paint)
    ink, face = ink_on(board, paint), board.face(lettering.DISPLAY)
    stripe = board.paint()
    sheet.rectangle(0, half * 1.75, 0.72, half * 2, stripe)
    sheet.text(0.36, half * 0.65, lettering.brand(g), half * 0.8, ink, 0.6, face)
    words = f"{lettering.goods(g)}  {lettering.fact(g, 'quantity')}"
    sheet.text(0.36, half * 1.35, words, half * 0.4, ink, 0.62, board.face(lettering.TEXT))
    body = ((0.06, 0.5 - half * 1.15), (0.78, 0.5 - half * 0.9), (0.78, 0.5 + half * 0.9))
    board.warp(sheet, (*body, (0.06, 0.5 + half * 1.15)))
    gloss = (0.1, 0.5 - half * 0.92), (0.76, 0.5 - half * 0.74)
    board.line(gloss, 0.01, darker(paint, 1.5))
    for i in range(7):
        x = 0.063 + i * 0.005
        board.line(((x, 0.5 - half * 1.14), (x, 0.5 + half * 1.14)), 0.002, darker(paint, 0.7))
    board.rounded(0.775, 0.5 - half * 0.85, 0.94, 0.5 + half * 0.85, 0.02, cap, textures.dome)
    for i in range(9):
        y = 0.5 - half * 0.7 + i * half * 0.175
        board.line(((0.8, y), (0.92, y)), 0.004, darker(cap, 0.75))


def mug(board: Board) -> None:
    """A mug with a handle and a print."""
    g = board.generator
    paint = board.paint()
    sheet = board.sheet(0.56, 0.5 * math.pi / 2, paint)
    ink = ink_on(board, paint)
    middle = sheet.width / 2
    kind = int(g.integers(3))
    if kind == 0:
        for i in range(9):
            sheet.rectangle(0, 0.05 + 0.055 * i, sheet.width, 0.07 + 0.055 * i, ink)
    elif kind == 1:
        emblem(sheet, middle, 0.25, 0.16)
        sheet.text(middle, 0.48, lettering.brand(g), 0.07, ink, 0.4, board.face(lettering.TEXT))
    else:
        for i in range(3):
            face = board.face(lettering.DISPLAY)
            sheet.text(middle, 0.13 + 0.14 * i, lettering.brand(g), 0.15, ink, 0.46, face)
    arc = np.linspace(-1.35, 1.35, 24)
    ring = [(0.66 + 0.2 * math.cos(a), 0.55 + 0.17 * math.sin(a)) for a in arc.tolist()]
    board.line(ring, 0.055, darker(paint, 0.82))
    board.line(ring, 0.018, darker(paint, 1.05))
    board.wrap(sheet, 0.18, 0.26, 0.68, 0.82, 0.05, textures.cylinder)
    board.ellipse(0.43, 0.27, 0.25, 0.05, darker(paint, 1.08))
    board.ellipse(0.43, 0.275, 0.232, 0.043, textures.ramp(darker(paint, 0.5), (88, 54, 34)))


PACKAGING: tuple[Callable[[Board], None], ...] = (carton, bottle, jar, tin, pouch, tube, mug)
