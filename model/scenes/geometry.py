"""Geometry of drawn products: curves, and sheets in perspective or around a cylinder."""

import math
from collections.abc import Sequence

import numpy as np

from model.scenes.textures import Patch, Relief

# Flat strips of a cylinder.
_STRIPS = 16

Point = tuple[float, float]


def smooth(points: Sequence[Point], steps: int = 10, closed: bool = True) -> list[Point]:
    """Draws a curve through points.

    Args:
        points: at least three.
        steps: points of the curve per point given.
        closed: whether the curve ends where it began.

    Returns:
        A finer polygon or line, a Catmull-Rom spline.
    """
    p = np.asarray(points, np.float64)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i][:, None] for i in range(4))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    flat = curve.reshape(-1, 2).tolist()
    return [(x, y) for x, y in (flat if closed else [*flat, p[-2].tolist()])]


def mirrored(right: list[Point]) -> list[Point]:
    """Completes an outline that is symmetric about x = 0.5.

    Args:
        right: its right half, from top to bottom.

    Returns:
        The right half, then the left half from bottom to top.
    """
    return right + [(1 - x, y) for x, y in reversed(right)]


def rounded_box(x0: float, y0: float, x1: float, y1: float, radius: float) -> list[Point]:
    """Outlines a rectangle with round corners.

    Args:
        x0, y0, x1, y1: the rectangle.
        radius: of the corners; at most half of the shorter side is used.
    """
    radius = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    points = []
    for x, y, quarter in ((x1, y0, 3), (x1, y1, 0), (x0, y1, 1), (x0, y0, 2)):
        cx = x - radius if x == x1 else x + radius
        cy = y - radius if y == y1 else y + radius
        for step in range(7):
            angle = (quarter + step / 6) * math.pi / 2
            points.append((cx + radius * math.cos(angle), cy + radius * math.sin(angle)))
    return points


def ellipse(x: float, y: float, wide: float, high: float, rotation_rad: float) -> list[Point]:
    """Outlines an ellipse by 48 points.

    Args:
        x, y: its centre.
        wide, high: its half axes.
        rotation_rad: clockwise around the centre, as y points down.
    """
    angle = np.linspace(0, math.tau, 48, endpoint=False)
    across, down = wide * np.cos(angle), high * np.sin(angle)
    cos, sin = math.cos(rotation_rad), math.sin(rotation_rad)
    xs, ys = x + across * cos - down * sin, y + across * sin + down * cos
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def perspective(target: np.ndarray, source: np.ndarray) -> list[float]:
    """Solves for Pillow's 8 coefficients of a perspective.

    Args:
        target: 4 points [4, 2] of the result.
        source: their 4 points [4, 2] in the image to transform.
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows), np.array(values)).tolist()


def _around(across: np.ndarray) -> np.ndarray:
    """Maps columns of a cylinder's image to columns of the flat sheet, both as shares."""
    return np.arcsin(np.clip(across * 2 - 1, -1, 1)) / math.pi + 0.5


def lit_around(flat: np.ndarray, light: Relief, patch: Patch) -> np.ndarray:
    """Lights a flat sheet so that the light fits once the sheet is around the cylinder.

    Args:
        flat: [H, W, 3], grey levels.
        light: on the cylinder.
        patch: of the sheet's size.

    Returns:
        [H, W, 3], grey levels.
    """
    shade = np.broadcast_to(light(patch), flat.shape[:2])
    seen = (np.sin((patch.across[0] - 0.5) * math.pi) + 1) / 2
    columns = np.clip(np.round(seen * patch.width - 0.5), 0, patch.width - 1).astype(int)
    return flat * shade[:, columns][..., None]


def strips(
    source: tuple[int, int], target: tuple[int, int], drop: float, scale: float
) -> list[tuple[tuple[int, int, int, int], tuple[float, ...]]]:
    """Builds Pillow's mesh for `Board.wrap`.

    Args:
        source: width and height of the flat sheet, pixels; 2 rows above and below it are clear.
        target: width and height of the result, pixels.
        drop: distance of the middle below the sides, target pixels.
        scale: source pixels per target pixel, downwards.

    Returns:
        Upright strips: each a box of the target and its quadrilateral in the source.
    """
    edges = np.unique(np.round(np.linspace(0, target[0], _STRIPS + 1)).astype(int))
    shares = edges / target[0]
    columns = _around(shares) * source[0]
    lowered = drop * np.sqrt(np.maximum(1 - (shares * 2 - 1) ** 2, 0)) + max(0.0, -drop)
    mesh = []
    for i in range(len(edges) - 1):
        tops = [2 - lowered[j] * scale for j in (i, i + 1)]
        bottoms = [top + target[1] * scale for top in tops]
        left, right = columns[i], columns[i + 1]
        quad = (left, tops[0], left, bottoms[0], right, bottoms[1], right, tops[1])
        box = (int(edges[i]), 0, int(edges[i + 1]), target[1])
        mesh.append((box, tuple(float(at) for at in quad)))
    return mesh
