"""Training patches: cutting, thinning out flat ones, turning, cutting out on white, degrading.

The network sees patches of P x P LR pixels. Each is cut from HR with a margin around it, so that
shrinking and compression see what they would see in the whole image.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model import files
from model.data.cut_outs import cut_out
from model.data.drawn_recipes import Degradation
from model.data.hr_sources import HrArray, HrImage, large_enough, note_too_small
from model.metrics import full_reference
from model.network import dihedral

# LR pixels around a patch: JPEG's blocks begin at any of 8 positions, and the kernels, sharpening
# and an enlargement reach 8 pixels further.
MARGIN_PX = 16
_BLOCK_PX = 8
# How often a patch that is too flat is drawn.
TRIES = 8

FEEDINGS = ("memory", "images", "image", "grid")


@dataclass(frozen=True)
class Group:
    """Images of one kind.

    Attributes:
        name: for logs and validation.
        share: of the patches that comes from them, 0..1.
        images: drawn evenly.

    Example:
        Group("clean", 0.5, list_images("photographs/"))
    """

    name: str
    share: float
    images: Sequence[HrImage]


@dataclass(frozen=True)
class Cutter:
    """Cuts and degrades patches.

    Attributes:
        scale: of the network.
        lr_patch_px: side P of the LR patches.
        degradation: of the LR patches.
        cut_out_share: of the patches that show a part of their image on white, 0..1.

    Example:
        >>> Cutter(scale=2, lr_patch_px=32, degradation=Degradation()).region_px
        128
    """

    scale: int
    lr_patch_px: int
    degradation: Degradation
    cut_out_share: float = 0.0

    @property
    def region_px(self) -> int:
        """Side of a patch with its margins, HR pixels: no image may be smaller."""
        return (self.lr_patch_px + 2 * MARGIN_PX) * self.scale

    def region(
        self, hr: np.ndarray, min_variation: float, generator: np.random.Generator
    ) -> np.ndarray:
        """A random patch with its margins, drawn again while it is too flat.

        Args:
            hr: uint8 [H, W, 3], sides at least `region_px`.
            min_variation: see `variation`; the last of several tries is taken as it is, so
                that an image which is flat all over still gives a patch.
            generator: the only source of randomness.

        Returns:
            A view, uint8 [region_px, region_px, 3].
        """
        side = self.region_px
        for _ in range(TRIES):
            top = int(generator.integers(hr.shape[0] - side + 1))
            left = int(generator.integers(hr.shape[1] - side + 1))
            region = hr[top : top + side, left : left + side]
            if not min_variation or variation(self._patch(region)) >= min_variation:
                break
        return region

    def is_flat_throughout(self, hr: np.ndarray, min_variation: float) -> bool:
        """Whether an image holds one patch only, as those of a grid, and this varies too little.

        Args:
            hr: uint8 [H, W, 3], sides at least `region_px`.
            min_variation: see `variation`; 0 for any.
        """
        is_one_patch = max(hr.shape[:2]) == self.region_px
        return bool(min_variation) and is_one_patch and variation(self._patch(hr)) < min_variation

    def pair(
        self, region: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, int, float]:
        """Transforms a region by one of the 8 dihedral transforms, and makes its LR patch.

        Args:
            region: uint8 [region_px, region_px, 3].
            generator: the only source of randomness.

        Returns:
            LR uint8 [P, P, 3], HR uint8 [P * scale, P * scale, 3], and what to tell the network:
            the JPEG quality, 1..100, and the sharpening, log2 or not a number.
        """
        quarter_turns, is_flipped = int(generator.integers(4)), bool(generator.integers(2))
        (hr,) = dihedral.transform(region[None], quarter_turns, is_flipped)
        if self.cut_out_share and generator.random() < self.cut_out_share:
            hr = cut_out(hr, self.lr_patch_px * self.scale, generator)
        # The image that is degraded begins somewhere in the margin, and so do JPEG's blocks.
        top, left = (int(at) for at in generator.integers(0, _BLOCK_PX, 2))
        lr, quality, sharpening = self.degradation.make_lr(
            np.ascontiguousarray(hr[top * self.scale :, left * self.scale :]),
            self.scale,
            generator,
        )
        top, left = MARGIN_PX - top, MARGIN_PX - left
        lr = lr[top : top + self.lr_patch_px, left : left + self.lr_patch_px]
        return lr, self._patch(hr), quality, sharpening

    def _patch(self, region: np.ndarray) -> np.ndarray:
        """The HR patch within a region."""
        at, side = MARGIN_PX * self.scale, self.lr_patch_px * self.scale
        return region[at : at + side, at : at + side]


def variation(patch: np.ndarray) -> float:
    """How much happens in a patch: the standard deviation of its luma.

    Args:
        patch: uint8 [H, W, 3] RGB.

    Returns:
        Grey levels; 0 for a plain colour, about 30 to 60 for a textured patch.
    """
    return float(full_reference.luma(patch).std())


def prepare(
    groups: Sequence[Group], feeding: str, cutter: Cutter, folder: Path, *, processes: int = 0
) -> list[Group]:
    """Does beforehand what a way of feeding needs.

    Args:
        groups: of images anywhere.
        feeding: `memory` reads all images once and keeps them; `images` and `image` read
            them from where they lie at every step; `grid` cuts all images into patches side
            by side, writes these to disk, and every step draws from them.
        cutter: with the size of patches.
        folder: where the grid's files go, `grid-<group>-<digest>.u8`; those of an earlier start
            with the same images and sizes are used again, others are replaced.
        processes: that read the images for `memory`; 0 reads in this one.

    Returns:
        The groups to draw from.

    Raises:
        ValueError: if no image of a group is large enough.
    """
    if feeding in ("images", "image"):
        return list(groups)
    prepared = []
    for group in groups:
        if feeding == "grid":
            images: Sequence[HrImage] = _grid(group, cutter, folder)
        else:
            images = large_enough(group.images, cutter.region_px, processes=processes)
        if not images:
            raise ValueError(
                f"no image of the group {group.name!r} has the {cutter.region_px} x "
                f"{cutter.region_px} pixels that a patch with its margins needs"
            )
        prepared.append(Group(group.name, group.share, images))
    return prepared


def _grid(group: Group, cutter: Cutter, folder: Path) -> list[HrImage]:
    """Patches side by side, with their margins, in a file that is mapped into memory."""
    side, stride = cutter.region_px, cutter.lr_patch_px * cutter.scale
    made_of = repr((side, stride, list(group.images))).encode()
    path = folder / f"grid-{group.name}-{hashlib.sha256(made_of).hexdigest()[:16]}.u8"
    if not path.exists():
        for other in folder.glob(f"grid-{group.name}-*.u8"):
            other.unlink()
        with files.appearing(path) as partial, partial.open("wb") as file:
            for image in group.images:
                hr = image.read()
                if min(hr.shape[:2]) < side:
                    note_too_small(image.name, hr, side)
                for top in range(0, hr.shape[0] - side + 1, stride):
                    for left in range(0, hr.shape[1] - side + 1, stride):
                        file.write(hr[top : top + side, left : left + side].tobytes())
    if not path.stat().st_size:
        path.unlink()  # the same images may be larger at the next start
        return []
    mapped = np.memmap(path, np.uint8, mode="r").reshape(-1, side, side, 3)
    return [HrArray(f"{path.name}[{i}]", mapped[i]) for i in range(len(mapped))]
