"""Drawn product pictures: objects with print, fabric and metal on a flat background.

Our own material: drawn by these functions with the font that Pillow embeds, larger than asked for
and shrunk, so that edges are clean.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from model import degrade

_SUPERSAMPLING = 3

_BRANDS = ("Alma", "Nordlys", "Tivoli", "Bergen & Co", "Pomona", "Kestrel", "Lumo", "Casa Vera")
_GOODS = ("muesli", "green tea", "olive soap", "espresso", "pasta", "honey", "shampoo", "crackers")
_SMALL_PRINT = (
    "Ingredients: oats, rye, sunflower seeds, salt",
    "Keep cool and dry. Best before: see bottom",
    "Made in Portugal - 100 % recycled board",
    "Net weight 250 g / 8.8 oz",
    "Contains 12 servings of 25 ml each",
)
_INKS = ((24, 26, 30), (18, 52, 96), (122, 20, 32), (16, 84, 60), (92, 52, 16))
_PAINTS = (
    (214, 64, 52),
    (238, 176, 40),
    (42, 110, 180),
    (60, 150, 92),
    (130, 84, 160),
    (232, 226, 210),
    (52, 58, 70),
    (226, 132, 160),
)

_Color = tuple[int, int, int]


class _Board:
    """A transparent drawing board; positions and sizes are shares of its shorter side."""

    def __init__(self, height: int, width: int, generator: np.random.Generator) -> None:
        self.image = Image.new("RGBA", (width, height))
        self.draw = ImageDraw.Draw(self.image)
        self.generator = generator
        self.side = min(height, width)
        self._left = (width - self.side) / 2
        self._top = (height - self.side) / 2

    def points(self, *pairs: tuple[float, float]) -> list[tuple[float, float]]:
        """Turns (x, y) shares into pixels."""
        return [(self._left + x * self.side, self._top + y * self.side) for x, y in pairs]

    def length(self, share: float) -> int:
        """Turns a share into whole pixels, at least one."""
        return max(1, round(share * self.side))

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: _Color) -> None:
        """A plain rectangle."""
        self.draw.rectangle(self.points((x0, y0), (x1, y1)), fill=fill)

    def rounded(  # noqa: PLR0917 - a box, as Pillow's
        self, x0: float, y0: float, x1: float, y1: float, radius: float, fill: _Color
    ) -> None:
        """A rectangle with round corners."""
        box = self.points((x0, y0), (x1, y1))
        self.draw.rounded_rectangle(box, self.length(radius), fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: _Color) -> None:
        """A filled circle."""
        self.draw.ellipse(self.points((x - radius, y - radius), (x + radius, y + radius)), fill)

    def text(  # noqa: PLR0917 - where, what, how
        self, x: float, y: float, words: str, size: float, fill: _Color, room: float
    ) -> None:
        """Centred words, made smaller until they fit into `room`."""
        font = ImageFont.load_default(self.length(size))
        width = self.draw.textlength(words, font=font)
        if width > room * self.side:
            font = ImageFont.load_default(
                max(1, int(self.length(size) * room * self.side / width))
            )
        self.draw.text(self.points((x, y))[0], words, fill=fill, font=font, anchor="mm")

    def pick(self, choices: tuple) -> object:
        """One of the choices."""
        return choices[int(self.generator.integers(len(choices)))]

    def paint(self) -> _Color:
        """A colour for a surface."""
        return self.pick(_PAINTS)  # type: ignore[return-value]

    def ink(self) -> _Color:
        """A dark colour for print."""
        return self.pick(_INKS)  # type: ignore[return-value]


def draw_scene(seed: int, height: int, width: int) -> np.ndarray:
    """Draws a product on a flat or softly graded background, with a soft shadow.

    Args:
        seed: decides everything; the same seed and size give the same pixels.
        height: rows, at least 16.
        width: columns, at least 16.

    Returns:
        uint8 [height, width, 3] RGB.

    Raises:
        ValueError: if a side is below 16.
    """
    generator, board = _draw_object(seed, height, width)
    background = _background(generator, *board.image.size)
    shadow = _shadow(board.image)
    background.paste((90, 92, 98), mask=shadow)
    background.paste(board.image, mask=board.image)
    return degrade.to_uint8(degrade.shrink(np.asarray(background), _SUPERSAMPLING))


def draw_cutout(seed: int, height: int, width: int) -> np.ndarray:
    """Draws the product of `draw_scene` alone, cut out on transparency.

    Args:
        seed, height, width: see `draw_scene`.

    Returns:
        uint8 [height, width, 4] RGBA, straight alpha.

    Raises:
        ValueError: if a side is below 16.
    """
    _, board = _draw_object(seed, height, width)
    rgba = np.asarray(board.image).astype(np.float32)
    opacity = rgba[..., 3:] / 255
    stacked = degrade.shrink(np.dstack([rgba[..., :3] * opacity, opacity]), _SUPERSAMPLING)
    opacity = np.clip(stacked[..., 3:], 0, 1)
    straight = stacked[..., :3] / np.maximum(opacity, 1 / 512)
    return degrade.to_uint8(np.dstack([np.clip(straight, 0, 255), opacity * 255]))


def _draw_object(seed: int, height: int, width: int) -> tuple[np.random.Generator, _Board]:
    """The object on a large board, and the generator for what is left to choose."""
    if min(height, width) < 16:
        raise ValueError(f"a scene needs sides of at least 16. Received: {height} x {width}")
    generator = np.random.default_rng(seed)
    board = _Board(height * _SUPERSAMPLING, width * _SUPERSAMPLING, generator)
    _KINDS[int(generator.integers(len(_KINDS)))](board)
    return generator, board


def _background(generator: np.random.Generator, width: int, height: int) -> Image.Image:
    """White for most products; else near-white, pastel or a soft vertical gradient."""
    kind = generator.random()
    if kind < 0.6:
        return Image.new("RGB", (width, height), (255, 255, 255))
    top = generator.integers(225, 251, 3).astype(np.float32)
    bottom = top if kind < 0.8 else top - float(generator.integers(10, 40))
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    rows = top + (bottom - top) * ramp
    return Image.fromarray(degrade.to_uint8(np.broadcast_to(rows, (height, width, 3))))


def _shadow(image: Image.Image) -> Image.Image:
    """A soft, flat shadow under the object, as a mask."""
    mask = Image.new("L", image.size)
    box = image.getbbox()
    if box is None:
        return mask
    left, _, right, bottom = box
    depth = max(2, (right - left) // 12)
    ellipse = (left, bottom - depth, right, bottom + depth // 2)
    ImageDraw.Draw(mask).ellipse(ellipse, fill=110)
    return mask.filter(ImageFilter.GaussianBlur(depth / 2))


def _fill(board: _Board, shape: Image.Image, texture: np.ndarray) -> None:
    """Lays a texture, float [H, W, 3], on the board where the mask is set."""
    board.image.paste(Image.fromarray(degrade.to_uint8(texture)), mask=shape)


def _mask(board: _Board, points: list[tuple[float, float]]) -> Image.Image:
    """A polygon as a mask."""
    mask = Image.new("L", board.image.size)
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask


def _round_shading(board: _Board, paint: _Color) -> np.ndarray:
    """A colour shaded from left to right like a cylinder, float [H, W, 3]."""
    width, height = board.image.size
    x = (np.arange(width) - width / 2) / (board.side * 0.3)
    light = 0.62 + 0.5 * np.exp(-((x + 0.35) ** 2) * 2.2)
    row = np.asarray(paint, np.float32) * light[:, None]
    return np.broadcast_to(row, (height, width, 3))


def _darker(paint: _Color, share: float) -> _Color:
    """The colour with less light."""
    red, green, blue = (int(share * channel) for channel in paint)
    return red, green, blue


def _bars(board: _Board, x: float, y: float, width: float, height: float) -> None:
    """A bar code."""
    board.rectangle(x - 0.01, y - 0.01, x + width + 0.01, y + height + 0.01, (255, 255, 255))
    at = x
    while at < x + width:
        bar = 0.003 * float(board.generator.integers(1, 4))
        board.rectangle(at, y, min(at + bar, x + width), y + height, (20, 20, 20))
        at += bar + 0.003 * float(board.generator.integers(1, 4))


def _box(board: _Board) -> None:
    """A cardboard box seen from the front right, printed."""
    paint, ink = board.paint(), board.ink()
    dark = _darker(paint, 0.72)
    board.draw.polygon(board.points((0.7, 0.12), (0.86, 0.2), (0.86, 0.84), (0.7, 0.92)), dark)
    board.rectangle(0.14, 0.12, 0.7, 0.92, paint)
    board.rounded(0.18, 0.17, 0.66, 0.5, 0.03, (250, 248, 240))
    board.text(0.42, 0.26, str(board.pick(_BRANDS)), 0.12, ink, 0.44)
    board.text(0.42, 0.38, str(board.pick(_GOODS)), 0.075, ink, 0.4)
    board.text(0.42, 0.46, "250 g", 0.04, ink, 0.2)
    board.disc(0.27, 0.66, 0.09, (250, 240, 190))
    board.text(0.27, 0.66, "NEW", 0.055, ink, 0.15)
    print_ink = ink if sum(paint) > 450 else (255, 255, 255)
    for i, words in enumerate(_SMALL_PRINT[:3]):
        board.text(0.53, 0.6 + 0.045 * i, words, 0.026, print_ink, 0.3)
    _bars(board, 0.42, 0.76, 0.22, 0.1)


def _bottle(board: _Board) -> None:
    """A bottle with cap and label."""
    paint, ink = board.paint(), board.ink()
    outline = [(0.42, 0.14), (0.58, 0.14), (0.58, 0.28), (0.68, 0.38), (0.68, 0.9), (0.66, 0.94)]
    outline += [(1 - x, y) for x, y in reversed(outline)]
    _fill(board, _mask(board, board.points(*outline)), _round_shading(board, paint))
    board.rounded(0.41, 0.06, 0.59, 0.16, 0.015, (40, 40, 46))
    for i in range(9):
        x = 0.425 + i * 0.0188
        board.rectangle(x, 0.075, x + 0.005, 0.15, (84, 84, 92))
    board.rectangle(0.32, 0.46, 0.68, 0.8, (248, 246, 240))
    board.text(0.5, 0.53, str(board.pick(_BRANDS)), 0.085, ink, 0.32)
    board.text(0.5, 0.61, str(board.pick(_GOODS)), 0.05, ink, 0.3)
    for i, words in enumerate(_SMALL_PRINT[2:5]):
        board.text(0.5, 0.68 + 0.035 * i, words, 0.022, ink, 0.32)


def _mug(board: _Board) -> None:
    """A mug with a handle and stripes."""
    paint, stripe = board.paint(), board.paint()
    handle = board.points((0.6, 0.38), (0.88, 0.68))
    board.draw.arc(handle, -90, 90, fill=_darker(paint, 0.8), width=board.length(0.05))
    body = board.points((0.22, 0.28), (0.74, 0.28), (0.7, 0.84), (0.26, 0.84))
    texture = np.array(_round_shading(board, paint))
    period = board.length(0.08)
    rows = (np.arange(texture.shape[0]) // (period // 2)) % 2 == 1
    texture[rows] = np.array(_round_shading(board, stripe))[rows]
    _fill(board, _mask(board, body), texture)
    board.draw.ellipse(board.points((0.22, 0.23), (0.74, 0.33)), fill=(245, 243, 238))
    board.draw.ellipse(board.points((0.25, 0.245), (0.71, 0.32)), fill=(88, 54, 34))


def _book(board: _Board) -> None:
    """A book's cover with title and author."""
    paint, ink = board.paint(), (250, 248, 240)
    board.rectangle(0.2, 0.1, 0.8, 0.9, _darker(paint, 0.6))
    board.rectangle(0.225, 0.1, 0.8, 0.885, paint)
    for i in range(5):
        board.rectangle(0.8, 0.11 + 0.003 * i, 0.803 + 0.002 * i, 0.885, (238, 234, 222))
    board.text(0.51, 0.24, str(board.pick(_BRANDS)), 0.1, ink, 0.52)
    board.text(0.51, 0.34, "and the missing pixels", 0.045, ink, 0.5)
    for i in range(7):
        radius = 0.17 - 0.022 * i
        board.disc(0.51, 0.58, radius, ink if i % 2 else _darker(paint, 0.7))
    board.text(0.51, 0.82, "A NOVEL BY V. HALO", 0.035, ink, 0.5)


def _shirt(board: _Board) -> None:
    """A T-shirt with woven stripes or checks."""
    outline = [
        *((0.38, 0.12), (0.42, 0.16), (0.5, 0.18), (0.58, 0.16), (0.62, 0.12)),
        *((0.86, 0.26), (0.78, 0.42), (0.68, 0.36), (0.69, 0.9)),
        *((0.31, 0.9), (0.32, 0.36), (0.22, 0.42), (0.14, 0.26)),
    ]
    width, height = board.image.size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    fold = 1 + 0.06 * np.sin(x / board.side * 21 + 2 * np.sin(y / board.side * 5))
    thread = 1 + 0.07 * np.sin(x * 2 * math.pi / board.length(0.012)) * np.sin(
        y * 2 * math.pi / board.length(0.012)
    )
    period = board.length(0.07)
    pattern = y % period < period / 3
    if board.generator.random() < 0.5:
        pattern ^= x % period < period / 3
    first, second = (
        np.asarray(_PAINTS[i], np.float32) for i in board.generator.permutation(len(_PAINTS))[:2]
    )
    cloth = np.where(pattern[..., None], first, second)
    _fill(board, _mask(board, board.points(*outline)), cloth * (fold * thread)[..., None])


def _watch(board: _Board) -> None:
    """A wrist watch: strap, brushed ring, dial with numerals and hands."""
    strap, ink = board.paint(), board.ink()
    board.rounded(0.41, 0.05, 0.59, 0.95, 0.03, strap)
    for i in range(10):
        board.disc(0.5, 0.09 + i * 0.092, 0.008, (30, 30, 34))
    for i in range(24):
        grey = int(150 + 80 * math.sin(i * 0.9))
        board.disc(0.5, 0.5, 0.3 - 0.002 * i, (grey, grey, grey + 6))
    board.disc(0.5, 0.5, 0.245, (250, 250, 246))
    for hour in range(1, 13):
        angle = math.radians(30 * hour)
        x, y = 0.5 + 0.2 * math.sin(angle), 0.5 - 0.2 * math.cos(angle)
        board.text(x, y, str(hour), 0.045, ink, 0.06)
    board.text(0.5, 0.4, str(board.pick(_BRANDS)), 0.032, ink, 0.16)
    for turn, reach, thick in ((0.14, 0.11, 0.014), (0.71, 0.17, 0.009), (0.44, 0.19, 0.004)):
        tip = (0.5 + reach * math.sin(turn * math.tau), 0.5 - reach * math.cos(turn * math.tau))
        board.draw.line(board.points((0.5, 0.5), tip), fill=ink, width=board.length(thick))
    board.disc(0.5, 0.5, 0.014, ink)


def _calculator(board: _Board) -> None:
    """A pocket calculator: display, labelled keys."""
    board.rounded(0.27, 0.08, 0.73, 0.92, 0.04, (56, 60, 68))
    board.rounded(0.31, 0.13, 0.69, 0.26, 0.015, (186, 204, 182))
    number = f"{board.generator.integers(1000, 99999) / 100:.2f}"
    board.text(0.56, 0.195, number, 0.08, (30, 36, 30), 0.24)
    accent = _PAINTS[int(board.generator.integers(4))]
    for i, label in enumerate("789/456x123-0.=+"):
        x, y = 0.315 + 0.095 * (i % 4), 0.36 + 0.13 * (i // 4)
        board.rounded(x, y, x + 0.08, y + 0.1, 0.012, accent if i % 4 == 3 else (232, 232, 228))
        board.text(x + 0.04, y + 0.05, label, 0.055, (30, 32, 36), 0.07)


_KINDS: tuple[Callable[[_Board], None], ...] = (
    _box,
    _bottle,
    _mug,
    _book,
    _shirt,
    _watch,
    _calculator,
)
