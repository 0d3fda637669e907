"""Which images are worth upscaling, by their size alone."""

from dataclasses import dataclass

from pipeline.records import Reason


@dataclass(frozen=True)
class SizeLimits:
    """Sizes of the images that a run upscales.

    Attributes:
        min_side_px: shorter side below this: a tracking pixel or placeholder.
        max_side_px: longer side above this: large enough for a product page.
        max_pixels: refuse to decode more.
        target_side_px: longer side that results shall have; None without one.

    Example:
        >>> reject_size(20, 20, SizeLimits(32, 1000, 40_000_000))[0].value
        'too_small'
    """

    min_side_px: int
    max_side_px: int
    max_pixels: int
    target_side_px: int | None = None


def reject_size(height: int, width: int, limits: SizeLimits) -> tuple[Reason, str] | None:
    """Returns why an image of this size is not upscaled.

    Args:
        height: pixels.
        width: pixels.
        limits: see `SizeLimits`.

    Returns:
        None for an image to upscale; else the reason and a line for people. An image that
        needs no upscaling is never decoded, so the pixel limit is asked last.
    """
    size = f"{width} x {height}"
    if min(height, width) < limits.min_side_px:
        return Reason.TOO_SMALL, f"{size}, the shorter side is below {limits.min_side_px}"
    if max(height, width) > limits.max_side_px:
        return Reason.LARGE_ENOUGH, f"{size}, the longer side is above {limits.max_side_px}"
    if limits.target_side_px is not None and max(height, width) >= limits.target_side_px:
        return Reason.LARGE_ENOUGH, f"{size}, the target side is {limits.target_side_px}"
    if height * width > limits.max_pixels:
        return Reason.TOO_MANY_PIXELS, f"{size}, more than {limits.max_pixels} pixels"
    return None
