"""Panels: captioned images set out in rows and columns, as one image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.evaluate.scoring import AGAINST, BICUBIC, OURS, Comparison

FONT_PX = 16
INK, PAPER = (20, 20, 20), (255, 255, 255)
_FAINT, _FRAME = (90, 90, 90), (190, 190, 190)


@dataclass(frozen=True, eq=False)
class Panel:
    """An image with a caption above it.

    Attributes:
        caption: shortened where it is wider than the image.
        pixels: uint8 [H, W, 3].

    Example:
        Panel("ours  31.23 dB", sr)
    """

    caption: str
    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class Row:
    """Panels side by side, below a title.

    Example:
        lay_out("two networks", [Row("shirt.png", [Panel("LR", lr), Panel("HR", hr)])])
    """

    title: str
    panels: list[Panel]


def lay_out(heading: str, rows: Sequence[Row], *, font_px: int = FONT_PX) -> np.ndarray:
    """Sets rows of panels below each other on white, with aligned columns.

    Args:
        heading: first line; no line if empty. Lines wider than the image are shortened.
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
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)

    def write(x: int, y: int, text: str, room: int, fill: tuple[int, int, int]) -> None:
        draw.text((x, y), shortened(text, font, room), fill=fill, font=font)

    if heading:
        write(gap, gap, heading, width - 2 * gap, INK)
    for row, row_height in zip(rows, heights, strict=True):
        write(gap, top, row.title, width - 2 * gap, INK)
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


def all_versions(cut: Comparison, captions: dict[str, str], zoom: int) -> list[Panel]:
    """Shows a comparison as LR | bicubic | [against] | ours | HR.

    Args:
        cut: the images.
        captions: text after the method's name, by method.
        zoom: side of the square that shows one pixel.

    Returns:
        The panels, from left to right.
    """
    methods = [method for method in cut.upscaled if method in (BICUBIC, AGAINST, OURS)]
    return [
        Panel("LR", zoomed(cut.lr, zoom)),
        *(
            Panel(f"{method}  {captions[method]}", zoomed(cut.upscaled[method], zoom))
            for method in methods
        ),
        Panel("HR", zoomed(cut.hr, zoom)),
    ]


def decibels(psnr_db: float, cap_db: float = math.inf) -> str:
    """Formats a PSNR for a caption.

    Args:
        psnr_db: infinite for an exact result.
        cap_db: from this PSNR on, the text only names the cap.

    Returns:
        For example `31.23 dB`, `over 45 dB` or `exact`.
    """
    if math.isinf(psnr_db):
        return "exact"
    return f"over {cap_db:.0f} dB" if psnr_db >= cap_db else f"{psnr_db:.2f} dB"


def zoomed(pixels: np.ndarray, zoom: int) -> np.ndarray:
    """Repeats pixels.

    Args:
        pixels: [H, W, 3].
        zoom: 1 or more.

    Returns:
        [H * zoom, W * zoom, 3]; each pixel is a square of zoom x zoom.
    """
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    """Shortens a text in its middle until it fits.

    Args:
        text: one line.
        font: measures the text.
        room: width in pixels.

    Returns:
        The text, its two ends with "..." between them, or nothing where not even that fits.
    """
    if font.getlength(text) <= room:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
        if font.getlength(shorter) <= room:
            return shorter
    return ""
