"""Formats of results, and how they are encoded; imports no other library."""

from dataclasses import dataclass

IMAGE_FORMATS = ("png", "jpeg", "webp", "avif")
EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp", "avif": "avif"}
PROFILES = ("keep", "srgb")
METADATA = ("rights", "none")


@dataclass(frozen=True)
class Encoding:
    """How results are encoded, whatever their format.

    Attributes:
        quality: 1..100, of JPEG and of lossy WebP and AVIF; None for the default of each.
        is_progressive: whether a JPEG shows as a whole before it is loaded.
        profile: `keep` the colour profile, or convert to `srgb` and write none.
        metadata: keep the `rights`, or `none`.

    Example:
        >>> Encoding(quality=80).profile
        'keep'
    """

    quality: int | None = None
    is_progressive: bool = False
    profile: str = "keep"
    metadata: str = "rights"
