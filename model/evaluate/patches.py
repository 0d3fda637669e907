"""Patches: the squares of images with the highest and the lowest gain."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.evaluate import panels
from model.evaluate.panels import Row
from model.evaluate.scoring import OURS, Comparison
from model.metrics import full_reference

_SIDE_PX = 64
_ZOOM = 4

# An RMS error below 1.4 grey levels is hardly visible: without this cap nearly flat patches,
# whose PSNR jumps by many dB with a single pixel, would be both the best and the worst.
PSNR_CAP_DB = 45.0


@dataclass(frozen=True, eq=False)
class Patch:
    """A small square of an image.

    Attributes:
        gain_db: our PSNR-Y on it minus another method's, each capped at `PSNR_CAP_DB`.
        top, left: its first row and column, HR pixels.
        cut: the square in all versions.

    Example:
        (best, worst) = extreme_patches(comparison, over="bicubic", count=1)
        row = patch_row("best", best, over="bicubic")
    """

    gain_db: float
    top: int
    left: int
    cut: Comparison


def extreme_patches(
    comparison: Comparison, *, over: str, count: int, side: int = _SIDE_PX
) -> list[Patch]:
    """Finds the patches of an image with the highest and the lowest gain.

    Args:
        comparison: the image; patches lie on a grid inside a border of `scale` pixels.
        over: the method over which the gain counts.
        count: number of the best, and of the worst.
        side: of a patch, HR pixels; a smaller image has one patch, all inside its border.

    Returns:
        Up to 2 * count patches, the highest gain first, none twice.
    """
    border = comparison.scale
    reference = full_reference.luma(comparison.hr)
    errors = {
        method: (full_reference.luma(comparison.upscaled[method]) - reference) ** 2
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
    """Chooses the best and the worst patches of all images.

    Args:
        patches: in any order.
        count: maximum of each kind; of few patches, half are the best and no patch is both.

    Returns:
        The best, best first, and the worst, worst first.
    """
    ranked = sorted(patches, key=lambda patch: -patch.gain_db)
    count = min(count, (len(ranked) + 1) // 2)
    return ranked[:count], ranked[count:][-count:][::-1]


def patch_row(kind: str, patch: Patch, *, over: str) -> Row:
    """Shows a patch in all versions, with its PSNR-Y.

    Args:
        kind: first words of the title, such as `best 1`.
        patch: the patch.
        over: the method over which its gain counts.
    """
    reference = full_reference.luma(patch.cut.hr)
    psnr_db = {
        method: _patch_psnr((full_reference.luma(version) - reference) ** 2)
        for method, version in patch.cut.upscaled.items()
    }
    title = (
        f"{kind}: {patch.gain_db:+.2f} dB over {over}, {patch.cut.name}, "
        f"row {patch.top}, column {patch.left}"
    )
    captions = {
        method: panels.decibels(value, cap_db=PSNR_CAP_DB) for method, value in psnr_db.items()
    }
    return Row(title, panels.all_versions(patch.cut, captions, _ZOOM))


def _starts(length: int, side: int, border: int) -> list[int]:
    """First pixels of the patches along an axis; the last patch moves back to end inside."""
    last = max(border, length - border - side)
    return [*range(border, last, side), last]


def _patch_psnr(squared_error: np.ndarray) -> float:
    """PSNR-Y of a patch, capped, dB."""
    min_error = 255**2 / 10 ** (PSNR_CAP_DB / 10)
    return 10 * math.log10(255**2 / max(float(squared_error.mean()), min_error))
