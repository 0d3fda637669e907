"""Cuts parts of photographs out on white, as shops show packaging: HR for training."""

import numpy as np

_LUMA: np.ndarray = np.array([0.299, 0.587, 0.114], np.float32)
# How much stronger colours and contrast become, and how much lighter, grey levels: packaging is
# more colourful than photographs of it.
_SATURATION = (1.0, 2.2)
_CONTRAST = (1.0, 1.3)
_LIGHTER = (-10.0, 30.0)
# Width over which an edge goes from the object to white, HR pixels.
_EDGE_PX = (1.0, 2.5)
# Most edges of cartons are nearly upright or level.
_LEVEL_SHARE = 0.6
_LEVEL_ERROR = 0.06
_CORNER_ERROR = 0.05
# Of objects bounded by one, two and three edges.
_EDGES = (0.6, 0.3, 0.1)


def cut_out(hr: np.ndarray, patch_px: int, generator: np.random.Generator) -> np.ndarray:
    """Leaves a part of a square region, with stronger colours, on exactly white background.

    Args:
        hr: uint8 [S, S, 3] RGB.
        patch_px: side of the patch in the middle of the region, through which edges go mostly.
        generator: the only source of randomness.

    Returns:
        uint8 [S, S, 3].
    """
    side = hr.shape[0]
    rgb = hr.astype(np.float32)
    grey = rgb @ _LUMA
    rgb = grey[..., None] + (rgb - grey[..., None]) * generator.uniform(*_SATURATION)
    rgb = (rgb - 128) * generator.uniform(*_CONTRAST) + 128 + generator.uniform(*_LIGHTER)
    inside = _distance_inside(side, patch_px, generator)
    share = np.clip(inside / generator.uniform(*_EDGE_PX) + 0.5, 0, 1)[..., None]
    return np.rint(np.clip(rgb, 0, 255) * share + 255 * (1 - share)).astype(np.uint8)


def _distance_inside(side: int, patch_px: int, generator: np.random.Generator) -> np.ndarray:
    """Distance of each pixel from the nearest edge, pixels [S, S]; negative outside."""
    y, x = np.mgrid[:side, :side].astype(np.float32) - side / 2
    first = generator.uniform(0, 2 * np.pi)
    if generator.random() < _LEVEL_SHARE:
        first = generator.integers(4) * np.pi / 2 + generator.normal(0, _LEVEL_ERROR)
    inside = np.full((side, side), np.inf, np.float32)
    for number in range(int(generator.choice([1, 2, 3], p=_EDGES))):
        angle = first + number * np.pi / 2 + generator.normal(0, _CORNER_ERROR)
        offset = generator.uniform(-0.5, 0.4) * patch_px
        inside = np.minimum(inside, x * np.cos(angle) + y * np.sin(angle) - offset)
    return inside
