"""A decoded image: pixels, transparency, grey mode, colour profile and rights."""

from dataclasses import dataclass, replace

import numpy as np

from model.imaging import resampling
from model.imaging.alpha import bleed_colours
from model.imaging.metadata.rights import Rights


@dataclass(frozen=True, eq=False)
class RasterImage:
    """An upright image of 8 bits, its colours apart from its transparency.

    Attributes:
        rgb: uint8 [H, W, 3], straight (not premultiplied); three equal planes if `is_grey`.
        alpha: uint8 [H, W], 255 opaque; None for an image without an alpha channel.
        is_grey: whether the file had one grey plane or a palette of greys; a result then has one
            grey plane, too.
        icc_profile: the colour profile of `rgb` (or the grey plane); None for sRGB.
        rights: copyright, creators and licence; None without any.

    Example:
        >>> image = RasterImage(np.zeros((40, 56, 3), np.uint8))
        >>> image.height, image.width, image.is_opaque
        (40, 56, True)
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    is_grey: bool = False
    icc_profile: bytes | None = None
    rights: Rights | None = None

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
        """Whether no pixel is transparent, not even partly."""
        return self.alpha is None or bool(self.alpha.min() == 255)

    def with_pixels(self, rgb: np.ndarray, alpha: np.ndarray | None) -> "RasterImage":
        """Returns an image of the same mode, profile and rights with other pixels.

        Args:
            rgb: uint8 [h, w, 3], any size; of a grey image their mean is taken.
            alpha: uint8 [h, w], or None if this image has none.
        """
        if self.is_grey:
            grey = np.rint(rgb.mean(axis=-1)).astype(np.uint8)
            rgb = np.repeat(grey[..., None], 3, axis=-1)
        return replace(self, rgb=rgb, alpha=alpha)

    def shrunk_to(self, height: int, width: int) -> "RasterImage":
        """Shrinks the image by anti-aliased Lanczos.

        Args:
            height, width: pixels, at most those of this image. Colours beyond the edge of a
                transparent object must continue it, as in results of the network: else they show
                as a fringe.

        Returns:
            An image of the same mode and profile; this one if it has that size.
        """
        if (self.height, self.width) == (height, width):
            return self
        rgb = resampling.to_uint8(resampling.lanczos(self.rgb, height, width))
        if self.alpha is None:
            return self.with_pixels(rgb, None)
        alpha = resampling.to_uint8(resampling.lanczos(self.alpha, height, width))
        return self.with_pixels(rgb, alpha)

    def bled(self) -> np.ndarray:
        """Returns the colours as networks see them, extended under transparency: uint8 [H, W, 3].

        See `alpha.bleed_colours`.
        """
        if self.alpha is None or self.is_opaque:
            return self.rgb
        return bleed_colours(self.rgb, self.alpha)

    def over_white(self) -> np.ndarray:
        """Composites the image over white, as a product page shows it: uint8 [H, W, 3]."""
        if self.alpha is None or self.is_opaque:
            return self.rgb
        opacity = self.alpha[..., None].astype(np.float32) / 255
        return np.rint(self.rgb * opacity + 255 * (1 - opacity)).astype(np.uint8)
