"""Pairs of LR and HR images in a folder, and compression of their LR images."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from model.data import degradation
from model.data.hr_sources import decode_file, find_images, read_image
from model.data.pairs import Pair
from model.imaging import profiles
from model.imaging.decode import assumed_quality


def find_pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """Lists the pairs `NAME_LR.png` and `NAME_HR.png` of a folder.

    Args:
        folder: the files `*LR.*` and `*HR.*` of one pair have the same suffix.

    Returns:
        (name, LR file, HR file) of each pair, sorted by name.

    Raises:
        FileNotFoundError: if the folder is missing, holds no pair, or an LR file has no HR file.
    """
    files = {path.name: path for path in find_images(folder)}
    pairs = []
    for lr in files.values():
        if lr.stem.endswith("LR"):
            hr_name = lr.stem[:-2] + "HR" + lr.suffix
            if hr_name not in files:
                raise FileNotFoundError(f"{lr} has no {hr_name} beside it")
            pairs.append((lr.stem[:-2].rstrip("_"), lr, files[hr_name]))
    if not pairs:
        raise FileNotFoundError(f"no pairs *LR.png and *HR.png in {folder}")
    return pairs


def read_pairs(folder: Path) -> Iterator[Pair]:
    """Reads the pairs of `find_pairs`, in sRGB: their profiles may differ.

    Args:
        folder: see `find_pairs`.

    Yields:
        One pair after the other; its images are uint8 [H, W, 3], its JPEG quality is that of the
        LR file.

    Raises:
        FileNotFoundError: see `find_pairs`.
        OSError: if an image cannot be read; the message names the file.
    """
    for name, lr, hr in find_pairs(folder):
        header, lr_image = decode_file(lr)
        lr_rgb, hr_rgb = (
            profiles.to_srgb(image).over_white() for image in (lr_image, read_image(hr))
        )
        yield Pair(name, lr_rgb, hr_rgb, assumed_quality(header))


def compress_lr(pairs: Iterable[Pair], jpeg_quality: int) -> Iterator[Pair]:
    """Compresses the LR images of pairs as JPEG.

    Args:
        pairs: the pairs.
        jpeg_quality: libjpeg's setting, 1..99; 100 changes nothing.

    Yields:
        The pairs in their order.
    """
    for pair in pairs:
        if jpeg_quality < 100:
            lr = degradation.compress_jpeg(pair.lr, jpeg_quality)
            yield dataclasses.replace(pair, lr=lr)
        else:
            yield pair
