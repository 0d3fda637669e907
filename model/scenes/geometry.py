"""Geometry of drawn products: curves, and sheets in perspective or around a cylinder."""

import math
from collections.abc import Sequence

import numpy as np

from model.scenes.textures import Patch, Relief

# A cylinder is made of this many flat strips.
_STRIPS = 16

Point = tuple[float, float]


def smooth(points: Sequence[Point], steps: int = 10, closed: bool = True) -> list[Point]:
    """Draws a curve through points.

    Args:
        points: at least three.
        steps: of the curve between two of them.
        closed: ends where it began.

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
        All of it.
    """
    return right + [(1 - x, y) for x, y in reversed(right)]


def perspective(target: np.ndarray, source: np.ndarray) -> list[float]:
    """Pillow's 8 coefficients that take 4 target points [4, 2] to 4 source points."""
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows), np.array(values)).tolist()


def _around(across: np.ndarray) -> np.ndarray:
    """Where on the flat sheet a column of the image of a cylinder lies, shares."""
    return np.arcsin(np.clip(across * 2 - 1, -1, 1)) / math.pi + 0.5


def lit_around(flat: np.ndarray, light: Relief, patch: Patch) -> np.ndarray:
    """Lights a flat sheet [H, W, 3] as it will be lit around the cylinder."""
    shade = np.broadcast_to(light(patch), flat.shape[:2])
    seen = (np.sin((patch.across[0] - 0.5) * math.pi) + 1) / 2
    columns = np.clip(np.round(seen * patch.width - 0.5), 0, patch.width - 1).astype(int)
    return flat * shade[:, columns][..., None]


def strips(
    source: tuple[int, int], target: tuple[int, int], drop: float, scale: float
) -> list[tuple[tuple[int, int, int, int], tuple[float, ...]]]:
    """Pillow's mesh for `Board.wrap`: upright strips, each a box and its source quadrilateral.

    `scale` is source pixels per target pixel, downwards; the source has a clear margin of 2.
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
