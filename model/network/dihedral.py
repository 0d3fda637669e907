"""Dihedral transforms: the eight flips and rotations of a square grid, and their inverses."""

import itertools

import numpy as np

# Quarter turns, and whether the result is flipped left to right.
DIHEDRAL_TRANSFORMS = tuple(itertools.product(range(4), (False, True)))


def transform(images: np.ndarray, quarter_turns: int, is_flipped: bool) -> np.ndarray:
    """Rotates images by quarter turns, then flips them left to right if wanted.

    Args:
        images: [N, H, W, ...], any dtype.
        quarter_turns: any integer, counter-clockwise.
        is_flipped: whether to flip after the rotation.

    Returns:
        Contiguous, [N, H, W, ...] or [N, W, H, ...], the dtype of `images`.
    """
    result = np.rot90(images, quarter_turns, axes=(1, 2))
    return np.ascontiguousarray(result[:, :, ::-1] if is_flipped else result)


def invert(images: np.ndarray, quarter_turns: int, is_flipped: bool) -> np.ndarray:
    """Inverts `transform` with the same arguments.

    Args:
        images: [N, H, W, ...], any dtype, as `transform` returned them.
        quarter_turns: as given to `transform`.
        is_flipped: as given to `transform`.

    Returns:
        A view, [N, H, W, ...] or [N, W, H, ...]: the images before the transform.
    """
    return np.rot90(images[:, :, ::-1] if is_flipped else images, -quarter_turns, axes=(1, 2))
