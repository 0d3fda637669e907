"""Images that benchmarks run on."""

from pathlib import Path

import numpy as np

from model.data.hr_sources import find_images


def pick_evenly(folder: Path, count: int) -> list[Path]:
    """Picks images of a folder, spread evenly over the sorted names.

    Args:
        folder: the images.
        count: number of images; all of them if the folder has fewer.

    Raises:
        FileNotFoundError: if the folder does not exist or holds no image.
    """
    found = find_images(folder)
    picks = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[i] for i in picks]
