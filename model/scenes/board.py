"""Drawing board: shapes, print and sheets in perspective, with clean edges."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from model.imaging import resampling
from model.scenes import geometry, lettering
from model.scenes.geometry import Point
from model.scenes.palette import PAINTS, Color
from model.scenes.textures import Fill, Patch, Relief, plain

# Boards are this many times larger than the image, and masks of shapes _FINE times the board.
SUPERSAMPLING = 3
_FINE = 2
# Minimum em height of print: 5 pixels in the image. Smaller print would be grey mush there.
_MIN_PRINT_PX = 15


class Board:
    """A transparent board to draw on.

    Positions and sizes are in units, from the upper left corner.

    Args:
        unit_px: pixels of one unit.
        generator: the only source of randomness.
        height, width: of the board, units.

    Example:
        board = Board(300, np.random.default_rng(1))
        board.disc(0.5, 0.5, 0.4, (214, 64, 52), textures.ball)
        board.text(0.5, 0.5, "Alma", 0.1, (255, 255, 255), 0.6, "DejaVuSans-Bold")
        board.image.save("disc.png")
    """

    def __init__(
        self,
        unit_px: float,
        generator: np.random.Generator,
        height: float = 1.0,
        width: float = 1.0,
    ) -> None:
        self.unit_px = unit_px
        self.generator = generator
        self.height, self.width = height, width
        size = (max(2, round(width * unit_px)), max(2, round(height * unit_px)))
        self.image = Image.new("RGBA", size)

    def sheet(self, height: float, width: float, paint: Color | Fill) -> "Board":
        """Returns another board with the same unit, filled with a paint."""
        sheet = Board(self.unit_px, self.generator, height, width)
        sheet.rectangle(0, 0, width, height, paint)
        return sheet

    def paint(self) -> Color:
        """Chooses a colour for a surface."""
        return lettering.choose(self.generator, PAINTS)

    def face(self, faces: Sequence[str]) -> str:
        """Chooses a font from `faces`."""
        return lettering.choose(self.generator, faces)

    # -- shapes

    def path(
        self, points: Sequence[Point], paint: Color | Fill, light: Relief | None = None
    ) -> None:
        """Fills a polygon.

        Args:
            points: (x, y) in units.
            paint: a colour or a texture.
            light: brightness to multiply it with.
        """
        pixels = np.asarray(points, np.float64) * self.unit_px
        left, top = (math.floor(at) - 1 for at in pixels.min(0))
        right, bottom = (math.ceil(at) + 2 for at in pixels.max(0))
        mask = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE))
        local = (pixels - (left, top)) * _FINE
        ImageDraw.Draw(mask).polygon([(x, y) for x, y in local.tolist()], fill=255)
        self._stamp(mask.reduce(_FINE), left, top, paint, light)

    def rectangle(  # noqa: PLR0917 - a box, as Pillow's
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        paint: Color | Fill,
        light: Relief | None = None,
    ) -> None:
        """Fills a rectangle."""
        self.path(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), paint, light)

    def rounded(  # noqa: PLR0917 - a box, as Pillow's
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        radius: float,
        paint: Color | Fill,
        light: Relief | None = None,
    ) -> None:
        """Fills a rectangle with round corners."""
        self.path(geometry.rounded_box(x0, y0, x1, y1, radius), paint, light)

    def ellipse(  # noqa: PLR0917 - where, how large, how
        self,
        x: float,
        y: float,
        wide: float,
        high: float,
        paint: Color | Fill,
        light: Relief | None = None,
        rotation_rad: float = 0.0,
    ) -> None:
        """Fills an ellipse.

        Args:
            x, y: its centre.
            wide, high: its half axes.
            paint, light: see `path`.
            rotation_rad: clockwise around the centre.
        """
        self.path(geometry.ellipse(x, y, wide, high, rotation_rad), paint, light)

    def disc(
        self, x: float, y: float, radius: float, paint: Color | Fill, light: Relief | None = None
    ) -> None:
        """Fills a circle."""
        self.ellipse(x, y, radius, radius, paint, light)

    def line(
        self,
        points: Sequence[Point],
        width: float,
        paint: Color | Fill,
        light: Relief | None = None,
    ) -> None:
        """Draws a line with round ends, at least 1.5 pixels of the board wide."""
        pixels = np.asarray(points, np.float64) * self.unit_px
        thick = max(width * self.unit_px, 1.5)
        left, top = (math.floor(at - thick) - 1 for at in pixels.min(0))
        right, bottom = (math.ceil(at + thick) + 2 for at in pixels.max(0))
        mask = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE))
        draw = ImageDraw.Draw(mask)
        local = [(x, y) for x, y in ((pixels - (left, top)) * _FINE).tolist()]
        draw.line(local, fill=255, width=round(thick * _FINE), joint="curve")
        r = thick * _FINE / 2 - 0.5
        for x, y in (local[0], local[-1]):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
        self._stamp(mask.reduce(_FINE), left, top, paint, light)

    def seam(self, points: Sequence[Point], paint: Color, stitch: float = 0.014) -> None:
        """Draws a seam: a dashed line along points, one dash per stitch."""
        p = np.asarray(points, np.float64)
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(p, axis=0).T))])
        starts = np.arange(0, along[-1], stitch)
        for at in starts.tolist():
            ends = np.array([at, min(at + stitch * 0.6, along[-1])])
            xs, ys = np.interp(ends, along, p[:, 0]), np.interp(ends, along, p[:, 1])
            self.line(list(zip(xs.tolist(), ys.tolist(), strict=True)), 0.004, paint)

    # -- print

    def text(  # noqa: PLR0917 - where, what, how
        self,
        x: float,
        y: float,
        words: str,
        size: float,
        ink: Color,
        room: float,
        face: str,
        anchor: str = "m",
        rotation_deg: float = 0.0,
    ) -> None:
        """Prints a line, smaller if it does not fit.

        Args:
            x, y: its middle, or its left or right end with the anchor `l` or `r`.
            words: the text.
            size: em height; raised to 15 pixels of the board where there is room.
            ink: colour.
            room: maximum width.
            face: font.
            anchor: `l`, `m` or `r`.
            rotation_deg: counter-clockwise around the middle.
        """
        size_px = max(round(size * self.unit_px), _MIN_PRINT_PX)
        mask = lettering.line(words, face, size_px)
        room_px = room * self.unit_px
        if mask.width > room_px:
            size_px = max(1, int(size_px * room_px / mask.width))
            mask = lettering.line(words, face, size_px)
        shift = {"l": 0.5, "m": 0.0, "r": -0.5}[anchor] * mask.width
        if rotation_deg:
            mask = mask.rotate(rotation_deg, Image.Resampling.BICUBIC, expand=True)
        left = round(x * self.unit_px + shift - mask.width / 2)
        self._stamp(mask, left, round(y * self.unit_px - mask.height / 2), ink)

    def paragraph(  # noqa: PLR0917 - where, how large, how
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        size: float,
        ink: Color,
        face: str,
        anchor: str = "l",
    ) -> None:
        """Fills a box with lines of small print."""
        size_px = max(round(size * self.unit_px), _MIN_PRINT_PX)
        pitch_px = size_px * 1.18
        count = int((y1 - y0) * self.unit_px / pitch_px)
        words: list[str] = []
        generator = self._child()
        room_px = (x1 - x0) * self.unit_px
        lines: list[str] = []
        while len(lines) <= count:
            words += lettering.small_print(generator).split()
            lines = lettering.wrap(words, face, size_px, room_px)
        x = {"l": x0, "m": (x0 + x1) / 2, "r": x1}[anchor]
        for i, words_ in enumerate(lines[:count]):
            y = y0 + (i + 0.5) * pitch_px / self.unit_px
            self.text(x, y, words_, size, ink, x1 - x0, face, anchor)

    def bars(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Prints a bar code, with its number where there is room."""
        self.rectangle(x0 - 0.012, y0 - 0.01, x1 + 0.012, y1 + 0.01, (255, 255, 255))
        step = max((x1 - x0) / 60, 3.2 / self.unit_px)
        generator = self._child()
        digits_high = (y1 - y0) * 0.26
        numbered = digits_high * self.unit_px > 0.7 * _MIN_PRINT_PX
        foot = y1 - digits_high if numbered else y1
        at = x0
        while at < x1 - step:
            bar = step * int(generator.integers(1, 4))
            self.rectangle(at, y0, min(at + bar, x1), foot, (20, 20, 20))
            at += bar + step * int(generator.integers(1, 4))
        if numbered:
            digits = " ".join(str(n) for n in generator.integers(10**5, 10**6, 2))
            at, size = (x0 + x1) / 2, 0.85 * digits_high
            self.text(at, (foot + y1) / 2, digits, size, (20, 20, 20), x1 - x0, "DejaVuSansMono")

    # -- sheets in space

    def warp(self, sheet: "Board", corners: Sequence[Point], light: float = 1.0) -> None:
        """Lays a sheet into a quadrilateral, in perspective.

        Args:
            sheet: flat.
            corners: upper left, upper right, lower right, lower left, units.
            light: brightness of the sheet, at most 1.
        """
        quad = np.asarray(corners, np.float64) * self.unit_px
        left, top = (math.floor(at) - 2 for at in quad.min(0))
        right, bottom = (math.ceil(at) + 3 for at in quad.max(0))
        flat = Image.new("RGBA", (sheet.image.width + 4, sheet.image.height + 4))
        shade = Image.new("RGB", sheet.image.size)
        flat.paste(Image.blend(shade, sheet.image.convert("RGB"), light), (2, 2))
        w, h = sheet.image.size
        source = np.array([(2, 2), (w + 2, 2), (w + 2, h + 2), (2, h + 2)], np.float64)
        laid = flat.transform(
            (right - left, bottom - top),
            Image.Transform.PERSPECTIVE,
            geometry.perspective(quad - (left, top), source),
            Image.Resampling.BICUBIC,
        )
        self._lay(laid, left, top)

    def wrap(  # noqa: PLR0917 - what, a box, how
        self,
        sheet: "Board",
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        bend: float,
        light: Relief | None,
    ) -> None:
        """Wraps a sheet around an upright cylinder.

        Args:
            sheet: flat; its whole width is on the visible half.
            x0, y0, x1, y1: box on this board, units, without the bend.
            bend: distance of the middle below the sides, units.
            light: on the cylinder.
        """
        size = (max(2, round((x1 - x0) * self.unit_px)), max(2, round((y1 - y0) * self.unit_px)))
        flat = sheet.image.convert("RGB")
        if light is not None:
            bent = geometry.lit_around(np.asarray(flat, np.float32), light, self._patch(flat))
            flat = Image.fromarray(resampling.to_uint8(bent))
        framed = Image.new("RGBA", (flat.width, flat.height + 4))
        framed.paste(flat, (0, 2))
        drop = bend * self.unit_px
        height = size[1] + math.ceil(abs(drop)) + 2
        mesh = geometry.strips(framed.size, (size[0], height), drop, flat.height / size[1])
        laid = framed.transform(
            (size[0], height), Image.Transform.MESH, mesh, Image.Resampling.BICUBIC
        )
        self._lay(laid, round(x0 * self.unit_px), round(y0 * self.unit_px))

    # -- inside

    def _child(self) -> np.random.Generator:
        """A generator for draws whose number depends on the size: later choices stay the same."""
        return np.random.default_rng(int(self.generator.integers(2**32)))

    def _patch(self, image: Image.Image) -> Patch:
        """The patch of a texture that covers an image."""
        return Patch(self._child(), image.height, image.width, self.unit_px)

    def _stamp(
        self,
        mask: Image.Image,
        left: int,
        top: int,
        paint: Color | Fill,
        light: Relief | None = None,
    ) -> None:
        """Lays paint on the board where the mask is set."""
        if isinstance(paint, tuple) and light is None:
            layer = Image.new("RGB", mask.size, paint)
        else:
            fill = plain(paint) if isinstance(paint, tuple) else paint
            patch = self._patch(mask)
            pixels = fill(patch)
            if light is not None:
                shade = np.broadcast_to(light(patch), pixels.shape[:2])
                pixels = pixels * shade[..., None]
            layer = Image.fromarray(resampling.to_uint8(pixels))
        layer.putalpha(mask)
        self._lay(layer, left, top)

    def _lay(self, layer: Image.Image, left: int, top: int) -> None:
        """Composes a layer; crops it at the border."""
        x0, y0 = max(0, -left), max(0, -top)
        x1 = min(layer.width, self.image.width - left)
        y1 = min(layer.height, self.image.height - top)
        if x0 < x1 and y0 < y1:
            self.image.alpha_composite(layer.crop((x0, y0, x1, y1)), (left + x0, top + y0))
