"""Training patches: pairs of LR and HR cut from a set of pictures."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from model import degrade, scenes

PICTURE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif"),
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """One picture in both resolutions.

    Attributes:
        name: the file's name.
        lr: uint8 [H, W, 3] RGB.
        hr: uint8 [H * scale, W * scale, 3] RGB.
    """

    name: str
    lr: np.ndarray
    hr: np.ndarray


def find_pictures(folder: Path) -> list[Path]:
    """Lists the picture files right in a folder, sorted by name.

    Raises:
        FileNotFoundError: if the folder does not exist or holds no picture.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise FileNotFoundError(f"no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}) in {folder}")
    return pictures


def read_rgb(path: Path) -> np.ndarray:
    """Reads a training or benchmark picture as uint8 [H, W, 3] RGB."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def make_pairs(folder: Path, *, scale: int, min_lr_side: int, shrink_first: int = 1) -> list[Pair]:
    """Makes LR from every HR picture of a folder by anti-aliased bicubic, rounded to uint8.

    Args:
        folder: where the HR pictures lie; pictures below `min_lr_side` are skipped with a note.
        scale: of the network.
        min_lr_side: shorter side that an LR picture must have, pixels.
        shrink_first: shrinks each picture by this before it serves as HR, so that the JPEG
            compression of a photograph does not become the network's target.

    Returns:
        The pairs in the order of the files' names.

    Raises:
        FileNotFoundError: if the folder holds no picture, or none that is large enough.
    """
    pairs = []
    for path in find_pictures(folder):
        hr = read_rgb(path)
        if shrink_first > 1:
            hr = degrade.crop_to_multiple(hr, shrink_first)
            hr = degrade.to_uint8(degrade.shrink(hr, shrink_first))
        hr = degrade.crop_to_multiple(hr, scale)
        if min(hr.shape[:2]) < min_lr_side * scale:
            _log.warning("skipped %s: %d x %d is too small for a patch", path, *hr.shape[:2])
            continue
        pairs.append(Pair(path.name, degrade.to_uint8(degrade.shrink(hr, scale)), hr))
    if not pairs:
        raise FileNotFoundError(f"no picture in {folder} is large enough for a patch")
    return pairs


def draw_pairs(count: int, *, scale: int, lr_side: int) -> list[Pair]:
    """Draws product scenes as clean HR pictures, see `model.scenes`.

    Args:
        count: how many; their seeds are 0 .. count - 1.
        scale: of the network.
        lr_side: side of the square LR pictures, pixels.

    Returns:
        The pairs.
    """
    pairs = []
    for seed in range(count):
        hr = scenes.draw_scene(seed, lr_side * scale, lr_side * scale)
        pairs.append(Pair(f"scene {seed}", degrade.to_uint8(degrade.shrink(hr, scale)), hr))
    return pairs


@dataclass(frozen=True)
class Compression:
    """How LR patches are compressed.

    Attributes:
        share: of the patches, 0..1; the others stay clean.
        lowest_quality, highest_quality: range of the JPEG quality, drawn evenly.
    """

    share: float
    lowest_quality: int
    highest_quality: int


@dataclass(frozen=True)
class Batch:
    """Patches for one step.

    Attributes:
        lr: float32 [N, P, P, 3], 0..1.
        hr: float32 [N, P * scale, P * scale, 3], 0..1, clean.
        quality: int [N], JPEG quality of the LR patches, 100 for those that stayed clean.
    """

    lr: np.ndarray
    hr: np.ndarray
    quality: np.ndarray


def sample_batch(
    groups: Iterable[tuple[float, list[Pair]]],
    *,
    batch_size: int,
    lr_patch_px: int,
    generator: np.random.Generator,
    compression: Compression | None = None,
) -> Batch:
    """Cuts random patches, each from a random picture, turned and mirrored at random.

    Args:
        groups: (share, pairs) for each group of pictures; the shares sum to 1, and a group's
            pictures are drawn evenly.
        batch_size: N, patches to cut.
        lr_patch_px: side P of the square LR patches, pixels.
        generator: the only source of randomness.
        compression: of the LR patches; None leaves all clean.

    Returns:
        See `Batch`.
    """
    groups = list(groups)
    shares = [share for share, _ in groups]
    lr_patches: list[np.ndarray] = []
    hr_patches: list[np.ndarray] = []
    qualities: list[int] = []
    for choice in generator.choice(len(groups), size=batch_size, p=shares):
        pairs = groups[choice][1]
        pair = pairs[generator.integers(len(pairs))]
        scale = pair.hr.shape[0] // pair.lr.shape[0]
        top = int(generator.integers(pair.lr.shape[0] - lr_patch_px + 1))
        left = int(generator.integers(pair.lr.shape[1] - lr_patch_px + 1))
        turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
        lr = pair.lr[top : top + lr_patch_px, left : left + lr_patch_px]
        quality = 100
        if compression is not None and generator.random() < compression.share:
            lr, quality = _compressed_patch(
                pair.lr, top, left, lr_patch_px, compression, generator
            )
        hr_side = lr_patch_px * scale
        hr = pair.hr[top * scale :, left * scale :][:hr_side, :hr_side]
        for patch, patches in ((lr, lr_patches), (hr, hr_patches)):
            turned = np.rot90(patch, turns)
            patches.append(turned[:, ::-1] if mirrored else turned)
        qualities.append(quality)
    lr_stack, hr_stack = (
        np.stack(patches).astype(np.float32) / 255 for patches in (lr_patches, hr_patches)
    )
    return Batch(lr_stack, hr_stack, np.array(qualities))


def _compressed_patch(  # noqa: PLR0917 - where, how
    lr: np.ndarray,
    top: int,
    left: int,
    side: int,
    compression: Compression,
    generator: np.random.Generator,
) -> tuple[np.ndarray, int]:
    """A patch of a compressed picture, uint8 [side, side, 3], and the quality.

    Only the patch and some pixels around it are compressed; how many above and to the left
    decides where JPEG's 8 x 8 blocks fall.
    """
    quality = int(generator.integers(compression.lowest_quality, compression.highest_quality + 1))
    subsampling = "4:4:4" if generator.random() < 0.25 else "4:2:0"
    above, before = (min(int(n), at) for n, at in zip(generator.integers(0, 16, 2), (top, left)))  # noqa: B905
    region = lr[top - above : top + side + 8, left - before : left + side + 8]
    compressed = degrade.compress_jpeg(
        np.ascontiguousarray(region), quality, subsampling=subsampling
    )
    return compressed[above : above + side, before : before + side], quality
