"""Heat map colours: from black over purple and orange to light yellow."""

import numpy as np

# Every 15th colour of matplotlib's inferno: linear interpolation between them is at most 6 levels
# off, and no worker of the pipeline needs matplotlib.
_EVERY_15TH = (
    *((0, 0, 3), (9, 6, 33), (29, 12, 69), (55, 9, 97), (80, 13, 108), (104, 22, 110)),
    *((128, 31, 107), (152, 39, 101), (175, 49, 91), (197, 61, 77), (217, 77, 61), (232, 97, 43)),
    *((243, 121, 24), (250, 147, 6), (251, 176, 20), (248, 205, 55), (241, 233, 104)),
    (252, 254, 164),
)
# uint8 [256, 3], from no error to the largest.
COLOURS = np.rint(
    [
        np.interp(np.arange(256), np.arange(0, 256, 15), plane)
        for plane in zip(*_EVERY_15TH, strict=True)
    ]
).T.astype(np.uint8)


def coloured(error: np.ndarray, max_error: float) -> np.ndarray:
    """Maps errors to colours, from black over red and orange to light yellow.

    Args:
        error: [H, W], 0 or more.
        max_error: the error from which on the colour is the lightest.

    Returns:
        uint8 [H, W, 3]; a larger error is never darker.
    """
    return COLOURS[np.rint(np.clip(error / max_error, 0, 1) * 255).astype(np.uint8)]
