"""Gallery: collects the images that an evaluation draws.

sheet, patches                              heat map
LR | bicubic | [against] | ours | HR        HR | bicubic | [against] | ours | legend
"""

import math

import numpy as np

from model.evaluate import error_maps, panels
from model.evaluate import patches as patch_rows
from model.evaluate.panels import Row
from model.evaluate.patches import Patch
from model.evaluate.scoring import BICUBIC, Comparison, Score

_SHEET_ROWS = 8
_SHEET_SIDE_PX = 160
_SHEET_ZOOM = 2
_PATCH_ROWS = 4


class Gallery:
    """Collects material for the images to draw while an evaluation runs.

    It keeps small crops and one whole image, however many images pass.

    Args:
        images: number of images to come.
        over: the method over which the gain counts: `bicubic` or `against`.
        heading: first line of each drawn image; names the networks.
        named: the image of the heat map; None for the one with the lowest gain.

    Example:
        gallery = Gallery(len(pairs))
        for pair in pairs:
            comparison = scoring.compare(pair, upscaler)
            gallery.add(comparison, scoring.score(comparison))
        Image.fromarray(gallery.sheet()).save("sheet.png")
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
        """Keeps the parts of the next image that the drawings need."""
        if self._seen % self._step == 0:
            self._rows.append(sheet_row(comparison, score))
        self._seen += 1
        self._patches += patch_rows.extreme_patches(
            comparison, over=self._over, count=self._patches_each
        )
        if self._named is not None:
            if comparison.name == self._named:
                self._shown = comparison, score
        elif self._shown is None or score.gain_db(self._over) < self._shown[1].gain_db(self._over):
            self._shown = comparison, score

    def sheet(self) -> np.ndarray:
        """Shows the middles of up to 8 images, evenly chosen, in all versions; uint8 [h, w, 3]."""
        return panels.lay_out(self._heading, self._rows)

    def patches(self) -> np.ndarray:
        """Shows up to 4 best patches above up to 4 worst; uint8 [h, w, 3].

        No image contributes more than its share, so that one image does not fill the sheet; the
        best and the worst patch of all are always shown.
        """
        best, worst = patch_rows.choose(self._patches, _PATCH_ROWS)
        rows = [
            patch_rows.patch_row(f"{kind} {i}", patch, over=self._over)
            for kind, patches in (("best", best), ("worst", worst))
            for i, patch in enumerate(patches, start=1)
        ]
        return panels.lay_out(self._heading, rows)

    def heat_map(self) -> np.ndarray:
        """Draws the heat map of one image, see `error_maps.heat_map`; uint8 [h, w, 3].

        Raises:
            ValueError: if the named image was not added.
        """
        if self._shown is None:
            raise ValueError(f"no image {self._named!r} was evaluated")
        return error_maps.heat_map(*self._shown, heading=self._heading)


def sheet_row(comparison: Comparison, score: Score) -> Row:
    """Shows the middle of an image in all versions.

    Args:
        comparison: the image.
        score: of the whole image, for the captions.
    """
    height, width = comparison.hr.shape[:2]
    side = _SHEET_SIDE_PX
    middle = comparison.crop(max(0, (height - side) // 2), max(0, (width - side) // 2), side, side)
    captions = {method: panels.decibels(one.psnr_y_db) for method, one in score.figures.items()}
    gain = f"{score.gain_db():+.2f} dB over {BICUBIC}"
    title = f"{comparison.name}, middle of {width} x {height}: {gain}"
    return Row(title, panels.all_versions(middle, captions, _SHEET_ZOOM))
