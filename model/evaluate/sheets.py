"""Images of an evaluation: side by side, the best and the worst patches, heat maps of errors.

sheet, patches                              heat map
LR | bicubic | [against] | ours | HR        HR | bicubic | [against] | ours | legend
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.evaluate.heatmap import coloured
from model.evaluate.scoring import AGAINST, BICUBIC, OURS, Comparison, Score
from model.metrics import full_reference

_SHEET_ROWS = 8
_SHEET_SIDE_PX = 160
_SHEET_ZOOM = 2
_PATCH_SIDE_PX = 64
_PATCH_ZOOM = 4
_PATCH_ROWS = 4

# An RMS error below 1.4 grey levels can hardly be seen: without this cap nearly flat patches,
# whose PSNR jumps by many dB with a single pixel, would be both the best and the worst.
PATCH_PSNR_CAP_DB = 45.0

_FONT_PX = 16
_MIN_PANEL_PX = 240
_INK, _FAINT, _FRAME, _PAPER = (20, 20, 20), (90, 90, 90), (190, 190, 190), (255, 255, 255)

# This share of the errors lies below the heat map's brightest colour; the rest shares it.
_HEAT_SHARE = 0.995
_LEGEND_STEPS = 4


@dataclass(frozen=True, eq=False)
class Panel:
    """An image and the line above it.

    Attributes:
        caption: shortened where it is wider than the image.
        pixels: uint8 [H, W, 3].
    """

    caption: str
    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class Row:
    """Panels side by side, below a title."""

    title: str
    panels: list[Panel]


@dataclass(frozen=True, eq=False)
class Patch:
    """A small square of an image.

    Attributes:
        gain_db: our PSNR-Y on it less another method's, each capped at `PATCH_PSNR_CAP_DB`.
        top, left: where it lies, HR pixels.
        cut: the square, in all versions.
    """

    gain_db: float
    top: int
    left: int
    cut: Comparison


class Gallery:
    """Collects the images' material while an evaluation goes on.

    It keeps small crops and one whole image, however many images pass.

    Args:
        images: how many will come.
        over: the method over which the gain counts: `bicubic` or `against`.
        heading: first line of each image: which networks are shown.
        named: the image of the heat map; None for the one with the least gain.
    """

    def __init__(
        self, images: int, *, over: str = BICUBIC, heading: str = "", named: str | None = None
    ) -> None:
        self._step = math.ceil(images / _SHEET_ROWS)
        self._patches_each = math.ceil(_PATCH_ROWS / images)
        self._over = over
        self._heading = heading
        self._named = named
        self._seen = 0
        self._rows: list[Row] = []
        self._patches: list[Patch] = []
        self._shown: tuple[Comparison, Score] | None = None

    def add(self, comparison: Comparison, score: Score) -> None:
        """Takes what it needs of the next image."""
        if self._seen % self._step == 0:
            self._rows.append(sheet_row(comparison, score))
        self._seen += 1
        self._patches += extreme_patches(comparison, over=self._over, count=self._patches_each)
        if self._named is not None:
            if comparison.name == self._named:
                self._shown = comparison, score
        elif self._shown is None or score.gain_db(self._over) < self._shown[1].gain_db(self._over):
            self._shown = comparison, score

    def sheet(self) -> np.ndarray:
        """The middles of up to 8 images, evenly chosen, side by side; uint8 [h, w, 3]."""
        return lay_out(self._heading, self._rows)

    def patches(self) -> np.ndarray:
        """Up to 4 best patches, best first, above as many worst, worst first; uint8 [h, w, 3].

        Of several images none gives more than its share, so that one image does not fill
        the sheet; the best and the worst of all are always there.
        """
        best, worst = choose(self._patches, _PATCH_ROWS)
        rows = [
            patch_row(f"{kind} {i}", patch, over=self._over)
            for kind, patches in (("best", best), ("worst", worst))
            for i, patch in enumerate(patches, start=1)
        ]
        return lay_out(self._heading, rows)

    def heat_map(self) -> np.ndarray:
        """The error heat map of one image, see `heat_map`; uint8 [h, w, 3].

        Raises:
            ValueError: if the named image did not come.
        """
        if self._shown is None:
            raise ValueError(f"no image {self._named!r} was evaluated")
        return heat_map(*self._shown, heading=self._heading)


def sheet_row(comparison: Comparison, score: Score) -> Row:
    """The middle of an image in all versions, with the PSNR-Y of the whole image."""
    height, width = comparison.hr.shape[:2]
    side = _SHEET_SIDE_PX
    middle = comparison.crop(max(0, (height - side) // 2), max(0, (width - side) // 2), side, side)
    captions = {method: _decibels(one.psnr_y_db) for method, one in score.figures.items()}
    gain = f"{score.gain_db():+.2f} dB over {BICUBIC}"
    title = f"{comparison.name}, middle of {height} x {width}: {gain}"
    return Row(title, _panels(middle, captions, _SHEET_ZOOM))


def extreme_patches(
    comparison: Comparison, *, over: str, count: int, side: int = _PATCH_SIDE_PX
) -> list[Patch]:
    """Finds the patches of an image with the highest and the lowest gain.

    Args:
        comparison: the image; patches lie on a grid inside a border of `scale` pixels.
        over: the method over which the gain counts.
        count: how many of each kind.
        side: of a patch, HR pixels; in a smaller image all that lies inside the border.

    Returns:
        Up to 2 * count patches, the highest gain first, none twice.
    """
    border = comparison.scale
    reference = full_reference.luma(comparison.hr)
    errors = {
        method: (full_reference.luma(comparison.enlarged[method]) - reference) ** 2
        for method in (over, OURS)
    }
    ranked = []
    for top in _starts(reference.shape[0], side, border):
        for left in _starts(reference.shape[1], side, border):
            where = np.s_[top : top + side, left : left + side]
            gain = _patch_psnr(errors[OURS][where]) - _patch_psnr(errors[over][where])
            ranked.append((gain, top, left))
    ranked.sort(key=lambda one: -one[0])
    kept = ranked[:count] + ranked[count:][-count:]
    height, width = (min(side, length - 2 * border) for length in reference.shape)
    return [
        Patch(gain, top, left, comparison.crop(top, left, height, width))
        for gain, top, left in kept
    ]


def choose(patches: Sequence[Patch], count: int) -> tuple[list[Patch], list[Patch]]:
    """Sorts patches of all images into the best, best first, and the worst, worst first.

    Args:
        patches: in any order.
        count: most of each kind; of few patches, half are the best and no patch is both.
    """
    ranked = sorted(patches, key=lambda patch: -patch.gain_db)
    count = min(count, (len(ranked) + 1) // 2)
    return ranked[:count], ranked[count:][-count:][::-1]


def patch_row(kind: str, patch: Patch, *, over: str) -> Row:
    """A patch in all versions, with the PSNR-Y on it."""
    reference = full_reference.luma(patch.cut.hr)
    psnr_db = {
        method: _patch_psnr((full_reference.luma(version) - reference) ** 2)
        for method, version in patch.cut.enlarged.items()
    }
    title = (
        f"{kind}: {patch.gain_db:+.2f} dB over {over}, {patch.cut.name}, "
        f"row {patch.top}, column {patch.left}"
    )
    captions = {
        method: _decibels(value, cap_db=PATCH_PSNR_CAP_DB) for method, value in psnr_db.items()
    }
    return Row(title, _panels(patch.cut, captions, _PATCH_ZOOM))


def heat_map(comparison: Comparison, score: Score, *, heading: str = "") -> np.ndarray:
    """Colours each pixel by the absolute error of its luma, on one scale for all methods.

    The scale ends at the 99.5th percentile of all errors shown, rounded up to a multiple of 4.

    Args:
        comparison: the image.
        score: its figures, for the captions.
        heading: first line.

    Returns:
        uint8 [h, w, 3]: HR, the map of bicubic, of the second network if there is one, of ours,
        and the legend.
    """
    reference = full_reference.luma(comparison.hr)
    errors = {
        method: np.abs(full_reference.luma(version) - reference)
        for method, version in comparison.enlarged.items()
        if method in (BICUBIC, AGAINST, OURS)
    }
    highest = _scale_end(np.stack(list(errors.values())))
    zoom = math.ceil(_MIN_PANEL_PX / comparison.hr.shape[1])
    panels = [Panel("HR", _enlarged(comparison.hr, zoom))]
    for method, error in errors.items():
        caption = f"{method}  {_decibels(score.figures[method].psnr_y_db)}"
        panels.append(Panel(caption, _enlarged(coloured(error, highest), zoom)))
    font_px = max(_FONT_PX, panels[0].pixels.shape[1] // 32)
    panels.append(Panel("levels", _legend(panels[0].pixels.shape[0], highest, font_px)))
    title = f"{comparison.name}: absolute error of each pixel's luma, grey levels"
    return lay_out(heading, [Row(title, panels)], font_px=font_px)


def error_sheet(name: str, bicubic: np.ndarray, ours: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Two versions of an image and the error map of the second, side by side.

    Args:
        name: for the heading.
        bicubic: uint8 [H, W, 3].
        ours: the same.
        error: [H, W], of the round trip, grey levels.

    Returns:
        uint8 [h, w, 3].
    """
    highest = _scale_end(error)
    zoom = math.ceil(_MIN_PANEL_PX / ours.shape[1])
    panels = [
        Panel("bicubic", _enlarged(bicubic, zoom)),
        Panel("ours", _enlarged(ours, zoom)),
        Panel("error of the round trip", _enlarged(coloured(error, highest), zoom)),
    ]
    panels.append(Panel("levels", _legend(panels[0].pixels.shape[0], highest, _FONT_PX)))
    return lay_out("", [Row(name, panels)])


def lay_out(heading: str, rows: Sequence[Row], *, font_px: int = _FONT_PX) -> np.ndarray:
    """Sets rows of panels below each other on white, their columns aligned.

    Args:
        heading: first line; none if empty. Lines wider than the whole are shortened.
        rows: at least one.
        font_px: size of the letters.

    Returns:
        uint8 [h, w, 3].
    """
    font = ImageFont.load_default(font_px)
    gap, line = font_px // 2, round(1.5 * font_px)
    columns = range(max(len(row.panels) for row in rows))
    widths = [
        max(row.panels[i].pixels.shape[1] for row in rows if i < len(row.panels)) for i in columns
    ]
    heights = [max(panel.pixels.shape[0] for panel in row.panels) for row in rows]
    width = sum(widths) + gap * (len(widths) + 1)
    top = gap + (line + gap if heading else 0)
    height = top + sum(2 * line + one + 2 * gap for one in heights)
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)

    def write(x: int, y: int, text: str, room: int, fill: tuple[int, int, int]) -> None:
        draw.text((x, y), _shortened(text, font, room), fill=fill, font=font)

    if heading:
        write(gap, gap, heading, width - 2 * gap, _INK)
    for row, row_height in zip(rows, heights, strict=True):
        write(gap, top, row.title, width - 2 * gap, _INK)
        left = gap
        for panel, panel_width in zip(row.panels, widths, strict=False):
            write(left, top + line, panel.caption, panel_width, _FAINT)
            # A frame around it, or a product on white would have no visible extent.
            bottom, right = panel.pixels.shape[0] + top + 2 * line, panel.pixels.shape[1] + left
            draw.rectangle([(left - 1, top + 2 * line - 1), (right, bottom)], outline=_FRAME)
            image.paste(Image.fromarray(panel.pixels), (left, top + 2 * line))
            left += panel_width + gap
        top += 2 * line + row_height + 2 * gap
    return np.asarray(image)


def _panels(cut: Comparison, captions: dict[str, str], zoom: int) -> list[Panel]:
    """LR | bicubic | [against] | ours | HR, each pixel a square of zoom x zoom."""
    methods = [method for method in cut.enlarged if method in (BICUBIC, AGAINST, OURS)]
    return [
        Panel("LR", _enlarged(cut.lr, zoom)),
        *(
            Panel(f"{method}  {captions[method]}", _enlarged(cut.enlarged[method], zoom))
            for method in methods
        ),
        Panel("HR", _enlarged(cut.hr, zoom)),
    ]


def _starts(length: int, side: int, border: int) -> list[int]:
    """Where patches begin along an axis; the last one is moved back so that it ends inside."""
    last = max(border, length - border - side)
    return [*range(border, last, side), last]


def _patch_psnr(squared_error: np.ndarray) -> float:
    """PSNR-Y of a patch, capped, dB."""
    least = 255**2 / 10 ** (PATCH_PSNR_CAP_DB / 10)
    return 10 * math.log10(255**2 / max(float(squared_error.mean()), least))


def _decibels(psnr_db: float, cap_db: float = math.inf) -> str:
    """A PSNR for a caption."""
    if math.isinf(psnr_db):
        return "exact"
    return f"over {cap_db:.0f} dB" if psnr_db >= cap_db else f"{psnr_db:.2f} dB"


def _enlarged(pixels: np.ndarray, zoom: int) -> np.ndarray:
    """[H, W, 3] with each pixel as a square of zoom x zoom."""
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _scale_end(errors: np.ndarray) -> int:
    """Where the heat map's colours end, grey levels: a multiple of the legend's steps."""
    steps = math.ceil(np.quantile(errors, _HEAT_SHARE) / _LEGEND_STEPS)
    return _LEGEND_STEPS * max(1, steps)


def _legend(height: int, highest: int, font_px: int) -> np.ndarray:
    """The colours from `highest` at the top to 0 at the bottom, with their grey levels."""
    font = ImageFont.load_default(font_px)
    label = f"{highest}+"
    bar_px = 2 * font_px
    width = bar_px + font_px + math.ceil(font.getlength(label))
    levels = np.linspace(highest, 0, height)[:, None].repeat(bar_px, axis=1)
    image = Image.new("RGB", (max(width, 4 * font_px), height), _PAPER)
    image.paste(Image.fromarray(coloured(levels, highest)))
    draw = ImageDraw.Draw(image)
    for i in range(_LEGEND_STEPS + 1):
        y = round((height - 1) * (1 - i / _LEGEND_STEPS))
        draw.line([(bar_px, y), (bar_px + font_px // 3, y)], fill=_INK)
        inside = min(max(y, font_px // 2 + 1), height - font_px // 2 - 1)
        text = label if i == _LEGEND_STEPS else str(highest * i // _LEGEND_STEPS)
        draw.text((bar_px + font_px // 2, inside), text, fill=_INK, font=font, anchor="lm")
    return np.asarray(image)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    """The text, or its two ends with "..." between them, no wider than `room` pixels."""
    if font.getlength(text) <= room:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
        if font.getlength(shorter) <= room:
            return shorter
    return ""
