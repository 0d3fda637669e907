"""Colours of inks, papers, paints, metals and woods."""

Color = tuple[int, int, int]
"""Red, green and blue, 0..255."""

INKS: tuple[Color, ...] = (
    *((24, 26, 30), (18, 52, 96), (122, 20, 32), (16, 84, 60), (92, 52, 16), (60, 24, 84)),
)
PAPERS: tuple[Color, ...] = (
    *((255, 255, 255), (248, 246, 240), (250, 240, 200), (226, 236, 244), (244, 226, 226)),
)
PAINTS: tuple[Color, ...] = (
    *((214, 64, 52), (238, 176, 40), (42, 110, 180), (60, 150, 92), (130, 84, 160)),
    *((232, 226, 210), (52, 58, 70), (226, 132, 160), (20, 70, 78), (120, 170, 200)),
    *((150, 110, 74), (246, 246, 244), (28, 28, 32), (178, 190, 120), (240, 120, 60)),
)
STEEL: Color = (204, 207, 212)
METALS: tuple[Color, ...] = (STEEL, (222, 184, 96), (204, 140, 112), (150, 152, 160))
WOODS: tuple[Color, ...] = ((206, 160, 108), (150, 98, 60), (228, 196, 146), (104, 68, 44))


def darker(paint: Color, share: float) -> Color:
    """Darkens a colour, or brightens it with a share above 1.

    Args:
        paint: the colour.
        share: factor of each channel; channels are clipped to 255.
    """
    red, green, blue = (min(255, int(share * channel)) for channel in paint)
    return red, green, blue
