"""Images of a training run: groups to draw patches from, and held-out sets to measure."""

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model import files
from model.data import hr_sources
from model.data.hr_sources import HrFile, HrImage, HrScene
from model.data.pairs import Pair, make_pair
from model.data.patches import Group
from model.data.recipes import RECIPES
from model.train.config import TrainConfig

_log = logging.getLogger("model.train")

# Of each group, so many images are measured, at the centre, on so large a side of LR.
_MEASURED_IMAGES = 4
_MEASURED_LR_PX = 96
# With shorter sides inside the border a PSNR has no meaning, HR pixels.
_MEASURED_INNER_PX = 8
# Of a run that degrades, held-out images are measured by these recipes, too.
_MEASURED_RECIPES = ("jpeg75", "sharpened80-jpeg80", "lanczos", "nearest", "jpeg75-png")
# Side of drawn HR images: the product fills them, so that patches seldom are empty.
_DRAWN_PX = 220


@dataclass(frozen=True)
class MeasuredSet:
    """Images on which a run is measured.

    Attributes:
        pairs: of LR and HR.
        jpeg_quality: on which the network is conditioned for them, 1..100.

    Example:
        MeasuredSet([make_pair(image, scale=2) for image in held_out])
    """

    pairs: list[Pair]
    jpeg_quality: int = 100


def load_groups(
    config: TrainConfig, *, processes: int = 0
) -> tuple[list[Group], dict[str, list[HrImage]]]:
    """Lists the images to train on, and those that are held out.

    Args:
        config: names the sources.
        processes: that draw the scenes; 0 draws in this one.

    Returns:
        The groups with shares that sum to 1; and what is held out of each. A file that is held
        out of one place is in no group, although another place may name it, too.

    Raises:
        ValueError: if there is nothing to train on, or nothing of a group.
        OSError: if a source does not exist.
    """
    compressed_share = config.compressed_share * bool(config.compressed_data)
    drawn_share = config.drawn_share * bool(config.drawn_scenes)
    clean_share = max(0.0, 1 - compressed_share - drawn_share)
    scenes = [HrScene(seed, _DRAWN_PX) for seed in range(config.drawn_scenes)]
    drawn = hr_sources.large_enough(scenes, 1, processes=processes)
    sources: list[tuple[str, float, list[Sequence[HrImage]]]] = [
        ("clean", clean_share, _files(config.data, 1)),
        ("compressed", compressed_share, _files(config.compressed_data, 2)),
        ("drawn", drawn_share, [drawn]),
    ]
    groups, held_out = [], {}
    for name, share, folders in sources:
        if not any(folders) or not share:
            continue
        parts = [_hold_out(images, config.held_out) for images in folders]
        groups.append(Group(name, share, [image for _, trained in parts for image in trained]))
        held_out[name] = [image for held, _ in parts for image in held]
    total = sum(group.share for group in groups)
    if not total:
        raise ValueError(
            "nothing to train on: give --data, --compressed_data or --drawn_scenes, with shares"
        )
    hidden = {_location(image) for images in held_out.values() for image in images} - {None}
    return [_without(hidden, Group(g.name, g.share / total, g.images)) for g in groups], held_out


def measured_sets(
    config: TrainConfig, groups: Sequence[Group], held_out: Mapping[str, Sequence[HrImage]]
) -> dict[str, MeasuredSet]:
    """Centres of some images by set.

    Args:
        config: of the run.
        groups, held_out: see `load_groups`.

    Returns:
        `train_<group>` of those that are trained on, `<group>` held out, both clean; and
        `<group>_<recipe>` held out if the run degrades. Images that are too small to measure are
        left out with a note, and so is a set without images.
    """
    sets = {}
    for group in groups:
        trained = _centres(group.images, config.scale)
        if trained:
            sets[f"train_{group.name}"] = MeasuredSet(trained)
        pairs = _centres(held_out[group.name], config.scale)
        if not pairs:
            continue
        sets[group.name] = MeasuredSet(pairs)
        for name in _MEASURED_RECIPES if config.degradation.degraded_share else ():
            recipe = RECIPES[name]
            made = [
                Pair(p.name, recipe.make_lr(p.hr, config.scale, np.random.default_rng(0)), p.hr)
                for p in pairs
            ]
            sets[f"{group.name}_{name}"] = MeasuredSet(made, recipe.lowest_quality)
    return sets


def list_files(images: Sequence[HrImage], path: Path) -> None:
    """Writes the files among some images, one a line, as `hr_sources.list_images` reads them."""
    uris = [image.uri for image in images if isinstance(image, HrFile)]
    text = "".join(f"{_resolved(uri)}\n" for uri in uris)
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else text
    if before != text:
        _log.warning("%s is written anew: other images, or in another folder", path)
    if text:
        with files.appearing(path) as partial:
            partial.write_text(text, encoding="utf-8")


def _resolved(uri: str) -> str:
    """The one spelling of a file's place."""
    return uri if "://" in uri else str(Path(uri).resolve())


def _location(image: HrImage) -> str | None:
    """Where an image lies; None if it is in no file."""
    return _resolved(image.uri) if isinstance(image, HrFile) else None


def _without(hidden: Set[str | None], group: Group) -> Group:
    """The group without the images that some place holds out."""
    images = [image for image in group.images if _location(image) not in hidden]
    if not images:
        raise ValueError(
            f"nothing to train on is left of the group {group.name!r}: all its images are held "
            "out of other places. Name each image in one place, or give --held_out 0"
        )
    return Group(group.name, group.share, images)


def _files(folders: Sequence[str], shrink_first: int) -> list[Sequence[HrImage]]:
    """The images of each source."""
    return [hr_sources.list_images(folder, shrink_first=shrink_first) for folder in folders]


def _hold_out(images: Sequence[HrImage], count: int) -> tuple[list[HrImage], list[HrImage]]:
    """(held out, the others) of a source; spread over the sorted names."""
    count = min(count, len(images) // 4)
    chosen = {i * len(images) // count for i in range(count)}
    return (
        [image for i, image in enumerate(images) if i in chosen],
        [image for i, image in enumerate(images) if i not in chosen],
    )


def _centres(images: Sequence[HrImage], scale: int) -> list[Pair]:
    """Centres of some of the images, LR clean; small ones are left out."""
    pairs = []
    least = _MEASURED_INNER_PX + 2 * scale
    for image in images[:: max(1, len(images) // _MEASURED_IMAGES)][:_MEASURED_IMAGES]:
        hr = image.read()
        # LR has whole pixels only: what is beyond the last one is cut off.
        if min(hr.shape[:2]) // scale * scale < least:
            hr_sources.note_too_small(image.name, hr, least)
            continue
        height, width = (min(side, _MEASURED_LR_PX * scale) for side in hr.shape[:2])
        top, left = (hr.shape[0] - height) // 2, (hr.shape[1] - width) // 2
        centre = hr_sources.HrArray(image.name, hr[top : top + height, left : left + width])
        pairs.append(make_pair(centre, scale))
    return pairs
