"""Surfaces: natural and woven textures, metal, and light on round bodies.

A `Fill` (colours) or a `Relief` (brightness) is a function of a `Patch`, the part of the board
that a shape covers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from model.scenes.palette import Color

# Size of the finest detail of a texture: finer details would vanish when the board is shrunk.
_FINEST_PX = 4.0


@dataclass(frozen=True)
class Patch:
    """The part of a board that a texture fills.

    Attributes:
        generator: the texture's own source of randomness.
        height: rows of the board, pixels.
        width: columns of the board, pixels.
        unit_px: pixels per unit of the board, for the size of threads and grains.

    Example:
        patch = Patch(np.random.default_rng(1), height=200, width=260, unit_px=300)
        pixels = plain((206, 160, 108), wood)(patch)  # float32 [200, 260, 3]
    """

    generator: np.random.Generator
    height: int
    width: int
    unit_px: float

    @property
    def x(self) -> np.ndarray:
        """Columns, float32 [1, W], pixels."""
        return np.arange(self.width, dtype=np.float32)[None]

    @property
    def y(self) -> np.ndarray:
        """Rows, float32 [H, 1], pixels."""
        return np.arange(self.height, dtype=np.float32)[:, None]

    @property
    def across(self) -> np.ndarray:
        """Columns as shares of the width, float32 [1, W], 0..1."""
        return (self.x + 0.5) / np.float32(self.width)

    @property
    def down(self) -> np.ndarray:
        """Rows as shares of the height, float32 [H, 1], 0..1."""
        return (self.y + 0.5) / np.float32(self.height)

    def period(self, units: float) -> float:
        """Converts a length to pixels, at least twice the finest detail."""
        return max(units * self.unit_px, 2 * _FINEST_PX)


Relief = Callable[[Patch], np.ndarray]
"""Brightness around 1, float32 [H, W] or broadcastable to it."""
Fill = Callable[[Patch], np.ndarray]
"""Colours in grey levels, float32 [H, W, 3]."""


def noise(patch: Patch, cell_y_px: float, cell_x_px: float) -> np.ndarray:
    """Smooth random hills.

    Args:
        patch: the part of the board to fill.
        cell_y_px, cell_x_px: about the size of a hill, pixels; unequal sizes give fibres.

    Returns:
        float32 [H, W], mean 0, deviation about 1.
    """
    cell_y_px, cell_x_px = max(cell_y_px, 1.0), max(cell_x_px, 1.0)
    rows, columns = (
        math.ceil(side / cell) + 4
        for side, cell in ((patch.height, cell_y_px), (patch.width, cell_x_px))
    )
    hills = Image.fromarray(patch.generator.standard_normal((rows, columns), np.float32))
    box = (1.5, 1.5, 1.5 + patch.width / cell_x_px, 1.5 + patch.height / cell_y_px)
    smooth = hills.resize((patch.width, patch.height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(smooth) * np.float32(1.35)


def hills(patch: Patch, cell_px: float) -> np.ndarray:
    """Smooth random hills on a rotated lattice, so that no rows and columns show.

    Args:
        patch: the part of the board to fill.
        cell_px: about the size of a hill, pixels.

    Returns:
        float32 [H, W], mean 0, deviation about 1.
    """
    cell_px = max(cell_px, 1.0)
    angle = float(patch.generator.uniform(0.4, 1.1))
    cos, sin = math.cos(angle) / cell_px, math.sin(angle) / cell_px
    rows = math.ceil(patch.width * sin + patch.height * cos) + 5
    columns = math.ceil(patch.width * cos + patch.height * sin) + 5
    lattice = Image.fromarray(patch.generator.standard_normal((rows, columns), np.float32))
    rotated = lattice.transform(
        (patch.width, patch.height),
        Image.Transform.AFFINE,
        (cos, sin, 2.5, -sin, cos, 2.5 + patch.width * sin),
        Image.Resampling.BICUBIC,
    )
    return np.asarray(rotated) * np.float32(1.35)


def fractal(patch: Patch, coarsest_px: float, slope: float = 1.0) -> np.ndarray:
    """Noise at every scale, as in most natural surfaces.

    Args:
        patch: the part of the board to fill.
        coarsest_px: size of the largest hills.
        slope: amplitude grows with size to this power; 1 gives an amplitude of 1 / frequency.

    Returns:
        float32 [H, W], mean 0, deviation about 1.
    """
    total = np.zeros((patch.height, patch.width), np.float32)
    power, cell = 0.0, max(coarsest_px, _FINEST_PX)
    while cell >= _FINEST_PX:
        weight = (cell / coarsest_px) ** slope
        total += np.float32(weight) * hills(patch, cell)
        power += weight**2
        cell /= 2
    return total / np.float32(math.sqrt(power))


def grains(patch: Patch, size_px: float, density: float) -> np.ndarray:
    """Specks of random size, position and brightness.

    Args:
        patch: the part of the board to fill.
        size_px: largest diameter.
        density: about the share of the area under them.

    Returns:
        float32 [H, W], 0 between the grains, else -1..1.
    """
    size_px = max(size_px, _FINEST_PX)
    count = min(6000, round(density * patch.height * patch.width / (0.35 * size_px**2)))
    image = Image.new("L", (patch.width, patch.height), 128)
    draw = ImageDraw.Draw(image)
    numbers = patch.generator.random((count, 5))
    for x, y, a, b, grey in numbers.tolist():
        x, y = x * patch.width, y * patch.height  # noqa: PLW2901
        wide, high = size_px * (0.25 + 0.3 * a), size_px * (0.2 + 0.3 * b)
        draw.ellipse((x - wide, y - high, x + wide, y + high), fill=int(255 * grey))
    return (np.asarray(image, np.float32) - 128) / 128


def plain(paint: Color, relief: Relief | None = None) -> Fill:
    """One colour, lit by a relief."""

    def fill(patch: Patch) -> np.ndarray:
        light = np.float32(1) if relief is None else relief(patch)
        light = np.broadcast_to(light, (patch.height, patch.width))
        return np.asarray(paint, np.float32) * light[..., None]

    return fill


def ramp(first: Color, second: Color, upright: bool = True) -> Fill:
    """A gradient between two colours, downwards or to the right."""

    def fill(patch: Patch) -> np.ndarray:
        at = patch.down if upright else patch.across
        at = np.broadcast_to(at, (patch.height, patch.width))[..., None]
        a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
        return a + (b - a) * at

    return fill


def striped(paints: tuple[Color, ...], period: float, checked: bool, relief: Relief) -> Fill:
    """Stripes or checks of two colours, with the relief of the cloth.

    Args:
        paints: two colours.
        period: of the stripes, units.
        checked: whether there are stripes in both directions.
        relief: of the cloth.
    """

    def fill(patch: Patch) -> np.ndarray:
        length = patch.period(period)
        mixed = np.zeros((patch.height, patch.width), np.float32)
        mixed += patch.y % length < length * 0.4
        if checked:
            mixed += patch.x % length < length * 0.4
            mixed /= 2
        first, second = (np.asarray(paint, np.float32) for paint in paints[:2])
        cloth = first + (second - first) * mixed[..., None]
        light = np.broadcast_to(relief(patch), mixed.shape)
        return cloth * light[..., None]

    return fill


def weave(patch: Patch) -> np.ndarray:
    """Plain woven cloth: crossing threads with random slubs."""
    period = patch.period(0.014)
    x, y = (math.tau * at / period for at in (patch.x, patch.y))
    slubs = noise(patch, period / 2, period * 12) + noise(patch, period * 12, period / 2)
    return 1 + 0.09 * np.sin(x) * np.sin(y) + 0.035 * slubs + folds(patch)


def knit(patch: Patch) -> np.ndarray:
    """Knitted columns of V-shaped stitches."""
    period = patch.period(0.036)
    wobble = noise(patch, period * 5, period * 5) * 0.08
    column = patch.x / period + wobble
    aside = np.abs(column - np.floor(column) - 0.5)  # 0 in the middle, 0.5 between columns
    row = patch.y / (period * 0.75) + wobble - 1.3 * aside
    stitch = np.abs(np.sin(math.pi * row)) * (0.35 + np.sin(math.pi * 2 * aside))
    yarn = noise(patch, period / 5, period / 5)
    return 0.72 + 0.3 * stitch + 0.03 * yarn + folds(patch)


def denim(patch: Patch) -> np.ndarray:
    """Twill: fine diagonals of blue and white threads, worn in places."""
    period = patch.period(0.011)
    jitter = noise(patch, period * 3, period) * 0.12
    twill = np.sin(math.tau * ((patch.x + 0.6 * patch.y) / period + jitter))
    slubs = noise(patch, period * 14, period * 0.7)
    worn = fractal(patch, patch.unit_px * 0.3, 1.2)
    return 1 + 0.16 * twill + 0.09 * slubs + 0.09 * worn + folds(patch)


def leather(patch: Patch) -> np.ndarray:
    """Grained leather: cells between fine creases."""
    cell = patch.period(0.02)
    creases = np.abs(hills(patch, cell)) * np.abs(hills(patch, cell * 0.7))
    return 0.9 + 0.16 * np.minimum(creases, 1.2) + 0.05 * hills(patch, patch.unit_px * 0.1)


def fur(patch: Patch) -> np.ndarray:
    """Plush or towelling: short tufts."""
    cell = patch.period(0.012)
    return 1 + 0.09 * hills(patch, cell) + 0.07 * hills(patch, cell * 2)


def folds(patch: Patch) -> np.ndarray:
    """Broad soft folds of hanging cloth, mean 0."""
    return 0.06 * noise(patch, patch.unit_px * 0.5, patch.unit_px * 0.12)


def brushed(patch: Patch) -> np.ndarray:
    """Brushed metal: fine streaks."""
    return 1 + 0.04 * noise(patch, 5, patch.unit_px * 0.3)


def crust(patch: Patch) -> np.ndarray:
    """A baked crust: rough at every scale, with pores and crumbs."""
    rough = fractal(patch, patch.unit_px * 0.12, 0.7)
    pores = grains(patch, patch.unit_px * 0.012, 0.12)
    return 1 + 0.12 * rough + 0.1 * pores


def cork(patch: Patch) -> np.ndarray:
    """Pressed cork: granules, some of them dark."""
    granules = grains(patch, patch.unit_px * 0.035, 0.9)
    dark = np.minimum(grains(patch, patch.unit_px * 0.016, 0.12), 0)
    return 1 + 0.16 * granules + 0.45 * dark + 0.06 * fractal(patch, patch.unit_px * 0.05, 0.5)


def stone(patch: Patch) -> np.ndarray:
    """Granite: clouds and crystals."""
    crystals = grains(patch, patch.unit_px * 0.014, 0.5)
    return 1 + 0.07 * fractal(patch, patch.unit_px * 0.3) + 0.13 * crystals


def wood(patch: Patch) -> np.ndarray:
    """Boards cut along the trunk: year rings, fibres and pores, running to the right."""
    unit = patch.unit_px
    bent = 0.03 * unit * noise(patch, unit * 0.35, unit * 1.8)
    rings = (patch.y + bent + 0.004 * unit * noise(patch, unit * 0.02, unit * 0.5)) / patch.period(
        0.05
    )
    late = (rings - np.floor(rings)) ** 3  # each year ends in dark, hard wood
    fibres = noise(patch, 5, unit * 0.12)
    pores = np.minimum(noise(patch, 4, unit * 0.04) + 1.6, 0)
    return 1.06 - 0.2 * late + 0.045 * fibres + 0.16 * pores


def cylinder(patch: Patch) -> np.ndarray:
    """Light on an upright round body: bright left of the middle, dark to the sides."""
    x = patch.across * 2 - 1
    body = 0.55 + 0.5 * np.sqrt(np.maximum(1 - x * x, 0))
    shine = 0.22 * np.exp(-(((x + 0.45) / 0.12) ** 2)) + 0.08 * np.exp(-(((x - 0.7) / 0.07) ** 2))
    return body + shine


def ball(patch: Patch) -> np.ndarray:
    """Light on a sphere from the upper left."""
    x, y = patch.across * 2 - 1, patch.down * 2 - 1
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    lit = np.maximum(-0.45 * x - 0.55 * y + 0.7 * z, 0)
    return 0.45 + 0.62 * lit + 0.5 * lit**24


def dome(patch: Patch) -> np.ndarray:
    """Soft light from above on a bulging body."""
    x, y = patch.across * 2 - 1, patch.down * 2 - 1
    return 1.1 - 0.2 * x * x - 0.12 * y - 0.16 * y * y


def polished(bands: int) -> Relief:
    """Polished metal: random smooth bands of dark and bright across."""

    def relief(patch: Patch) -> np.ndarray:
        levels = patch.generator.uniform(0.45, 1.25, bands)
        return np.interp(patch.across, np.linspace(0, 1, bands), levels).astype(np.float32)

    return relief
