"""A decoded image between file and network: pixels, transparency, and what must survive."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class RasterImage:
    """Pixels as people see them: upright, in 8 bits, colours apart from transparency.

    Attributes:
        rgb: uint8 [H, W, 3], straight (not premultiplied); three equal planes if `is_grey`.
        alpha: uint8 [H, W], 255 opaque; None for an image without an alpha channel.
        is_grey: the file had one grey plane, or a palette of greys, and the result shall have
            one grey plane.
        icc_profile: the colour profile that gives `rgb` (or the grey plane) its meaning; None
            for sRGB.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    is_grey: bool = False
    icc_profile: bytes | None = None

    @property
    def height(self) -> int:
        """Rows."""
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.rgb.shape[1]

    @property
    def is_opaque(self) -> bool:
        """Whether nothing shines through anywhere."""
        return self.alpha is None or bool(self.alpha.min() == 255)

    def with_pixels(self, rgb: np.ndarray, alpha: np.ndarray | None) -> "RasterImage":
        """The same kind of image with other pixels; a grey image gets three equal planes.

        Args:
            rgb: uint8 [h, w, 3], any size.
            alpha: uint8 [h, w], or None if this image has none.
        """
        if self.is_grey:
            grey = np.rint(rgb.mean(axis=-1)).astype(np.uint8)
            rgb = np.repeat(grey[..., None], 3, axis=-1)
        return replace(self, rgb=rgb, alpha=alpha)

    def over_white(self) -> np.ndarray:
        """uint8 [H, W, 3]: as a white product page shows it."""
        if self.alpha is None or self.is_opaque:
            return self.rgb
        opacity = self.alpha[..., None].astype(np.float32) / 255
        return np.rint(self.rgb * opacity + 255 * (1 - opacity)).astype(np.uint8)
