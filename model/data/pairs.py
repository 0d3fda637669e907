"""Pairs of one image in both resolutions, made from HR images by a recipe."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.data.hr_sources import HrArray, HrImage, list_images, note_too_small
from model.data.object_store import ObjectStore
from model.data.recipes import Recipe
from model.imaging import resampling


@dataclass(frozen=True)
class Pair:
    """One image in both resolutions.

    Attributes:
        name: the file's name.
        lr: uint8 [H, W, 3] RGB.
        hr: uint8 [H * scale, W * scale, 3] RGB.
        jpeg_quality: of the file that LR was read from, 1..100, as the pipeline assumes it; 100
            for LR that was made here.

    Example:
        pair = make_pair(HrFile("a.png"), scale=2)  # pair.hr has twice the sides of pair.lr
    """

    name: str
    lr: np.ndarray
    hr: np.ndarray
    jpeg_quality: int = 100


def make_pair(image: HrImage, scale: int, recipe: Recipe | None = None) -> Pair:
    """Makes LR from HR by a recipe, without one by bicubic; HR is cut to a multiple."""
    hr = resampling.crop_to_multiple(image.read(), scale)
    generator = np.random.default_rng(zlib.crc32(image.name.encode()))
    return Pair(image.name, (recipe or Recipe()).make_lr(hr, scale, generator), hr)


def make_pairs(
    place: str | Path,
    *,
    scale: int,
    shrink_first: int = 1,
    min_lr_side: int = 16,
    recipe: Recipe | None = None,
    store: ObjectStore | None = None,
) -> Iterator[Pair]:
    """Makes a pair of every HR image of a place, one at a time.

    Args:
        place: see `list_images`.
        scale: of the network.
        shrink_first: see `HrFile`.
        recipe: see `make_pair`.
        min_lr_side: an image whose LR has a shorter side, pixels, is left out with a note.
        store: see `HrFile`.

    Raises:
        OSError: if there is no image, none that is large enough, or one that cannot be read;
            the message names it.
    """
    least = min_lr_side * scale
    found = False
    for image in list_images(str(place), shrink_first=shrink_first, store=store):
        hr = image.read()
        if min(hr.shape[:2]) < least:
            note_too_small(image.name, hr, least)
            continue
        found = True
        yield make_pair(HrArray(image.name, hr), scale, recipe)
    if not found:
        raise FileNotFoundError(f"no image in {place} has at least {least} x {least} pixels")
