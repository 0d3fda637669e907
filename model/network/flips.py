"""The eight ways to turn and mirror a square grid, and their undoing. Numpy only."""

import itertools

import numpy as np

# Quarter turns, and whether mirrored: all that map a square grid onto itself.
DIHEDRAL_TRANSFORMS = tuple(itertools.product(range(4), (False, True)))


def turned(images: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Turns [N, H, W, ...] by quarters, then mirrors it if wanted.

    Args:
        images: any dtype.
        turns: quarter turns, counter-clockwise.
        mirrored: whether left and right change places after that.

    Returns:
        Contiguous, [N, H, W, ...] or [N, W, H, ...].
    """
    result = np.rot90(images, turns, axes=(1, 2))
    return np.ascontiguousarray(result[:, :, ::-1] if mirrored else result)


def undone(images: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Brings back what `turned` made, for the same arguments; a view."""
    return np.rot90(images[:, :, ::-1] if mirrored else images, -turns, axes=(1, 2))
