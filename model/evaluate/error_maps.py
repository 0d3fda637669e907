"""Error maps: each pixel's absolute error in colours, with a legend."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.evaluate import panels
from model.evaluate.heatmap import coloured
from model.evaluate.panels import FONT_PX, INK, PAPER, Panel, Row
from model.evaluate.scoring import AGAINST, BICUBIC, OURS, Comparison, Score
from model.metrics import full_reference

_MIN_PANEL_PX = 240
# This share of the errors lies below the brightest colour; the rest shares it.
_COLOURED_SHARE = 0.995
_LEGEND_STEPS = 4


def heat_map(comparison: Comparison, score: Score, *, heading: str = "") -> np.ndarray:
    """Colours each pixel by the absolute error of its luma, on one scale for all methods.

    The scale ends at the 99.5th percentile of all errors shown, rounded up to a multiple of 4.

    Args:
        comparison: the image.
        score: its figures, for the captions.
        heading: first line.

    Returns:
        uint8 [h, w, 3]: HR | bicubic | [against] | ours | legend.
    """
    reference = full_reference.luma(comparison.hr)
    errors = {
        method: np.abs(full_reference.luma(version) - reference)
        for method, version in comparison.upscaled.items()
        if method in (BICUBIC, AGAINST, OURS)
    }
    max_error = scale_end(np.stack(list(errors.values())))
    zoom = math.ceil(_MIN_PANEL_PX / comparison.hr.shape[1])
    shown = [Panel("HR", panels.zoomed(comparison.hr, zoom))]
    for method, error in errors.items():
        caption = f"{method}  {panels.decibels(score.figures[method].psnr_y_db)}"
        shown.append(Panel(caption, panels.zoomed(coloured(error, max_error), zoom)))
    font_px = max(FONT_PX, shown[0].pixels.shape[1] // 32)
    shown.append(Panel("levels", legend(shown[0].pixels.shape[0], max_error, font_px)))
    title = f"{comparison.name}: absolute error of each pixel's luma, grey levels"
    return panels.lay_out(heading, [Row(title, shown)], font_px=font_px)


def error_sheet(name: str, bicubic: np.ndarray, ours: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Shows two versions of an image and the error map of the second side by side.

    Args:
        name: of the image, for the heading.
        bicubic: uint8 [H, W, 3].
        ours: the same.
        error: [H, W], error of the round trip, grey levels.

    Returns:
        uint8 [h, w, 3].
    """
    max_error = scale_end(error)
    zoom = math.ceil(_MIN_PANEL_PX / ours.shape[1])
    shown = [
        Panel("bicubic", panels.zoomed(bicubic, zoom)),
        Panel("ours", panels.zoomed(ours, zoom)),
        Panel("error of the round trip", panels.zoomed(coloured(error, max_error), zoom)),
    ]
    shown.append(Panel("levels", legend(shown[0].pixels.shape[0], max_error, FONT_PX)))
    return panels.lay_out("", [Row(name, shown)])


def scale_end(errors: np.ndarray) -> int:
    """Chooses the error from which on pixels have the brightest colour.

    Args:
        errors: of all maps, any shape, grey levels.

    Returns:
        The 99.5th percentile, rounded up to a multiple of the legend's steps, at least 4.
    """
    steps = math.ceil(np.quantile(errors, _COLOURED_SHARE) / _LEGEND_STEPS)
    return _LEGEND_STEPS * max(1, steps)


def legend(height: int, max_error: int, font_px: int) -> np.ndarray:
    """Draws the colours with their grey levels.

    Args:
        height: rows.
        max_error: grey level of the top; the bottom is 0.
        font_px: size of the numbers.

    Returns:
        uint8 [height, w, 3].
    """
    font = ImageFont.load_default(font_px)
    label = f"{max_error}+"
    bar_px = 2 * font_px
    width = bar_px + font_px + math.ceil(font.getlength(label))
    levels = np.linspace(max_error, 0, height)[:, None].repeat(bar_px, axis=1)
    image = Image.new("RGB", (max(width, 4 * font_px), height), PAPER)
    image.paste(Image.fromarray(coloured(levels, max_error)))
    draw = ImageDraw.Draw(image)
    for i in range(_LEGEND_STEPS + 1):
        y = round((height - 1) * (1 - i / _LEGEND_STEPS))
        draw.line([(bar_px, y), (bar_px + font_px // 3, y)], fill=INK)
        inside = min(max(y, font_px // 2 + 1), height - font_px // 2 - 1)
        text = label if i == _LEGEND_STEPS else str(max_error * i // _LEGEND_STEPS)
        draw.text((bar_px + font_px // 2, inside), text, fill=INK, font=font, anchor="lm")
    return np.asarray(image)
