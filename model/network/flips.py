"""The eight ways to turn and mirror a square grid, and their undoing. Numpy only."""

import itertools

import numpy as np

# Quarter turns, and whether mirrored: all that map a square grid onto itself.
VERSIONS = tuple(itertools.product(range(4), (False, True)))


def turned(pictures: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Turns [N, H, W, ...] by quarters, then mirrors it if wanted.

    Args:
        pictures: any dtype.
        turns: quarter turns, counter-clockwise.
        mirrored: whether left and right change places after that.

    Returns:
        Contiguous, [N, H, W, ...] or [N, W, H, ...].
    """
    result = np.rot90(pictures, turns, axes=(1, 2))
    return np.ascontiguousarray(result[:, :, ::-1] if mirrored else result)


def undone(pictures: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Brings back what `turned` made, for the same arguments; a view."""
    return np.rot90(pictures[:, :, ::-1] if mirrored else pictures, -turns, axes=(1, 2))
