"""Target size: plans the passes of a network and the final shrink of each image."""

import numbers
from dataclasses import dataclass

# The largest enlargement by two passes: a second pass of x3 or x4 would invent too much.
MAX_SCALE = 4


@dataclass(frozen=True)
class Enlargement:
    """How one image reaches its size: passes of the network, then perhaps a shrink.

        source --x2--> --x2--> network's result --Lanczos--> published image

    Attributes:
        network_scale: of one pass.
        passes: 1 or 2.
        scale: the enlargement asked for, or the smallest that reaches the target side; at most
            that of all passes.
        height, width: of the published image, pixels.

    Example:
        >>> plan = TargetSize(side_px=700).plan(300, 200, network_scale=2)
        >>> plan.passes, plan.network_total, plan.height, plan.width
        (2, 4, 700, 467)
    """

    network_scale: int
    passes: int
    scale: int
    height: int
    width: int

    @property
    def network_total(self) -> int:
        """Scale of all passes together."""
        return self.network_scale**self.passes

    def name_of(self, model: str) -> str:
        """The network's name, with the passes if there are several: `rdn-product x2 twice`."""
        return model if self.passes == 1 else f"{model} x{self.network_scale} twice"


@dataclass(frozen=True)
class TargetSize:
    """The size that results shall have.

    Attributes:
        scale: enlargement of each image, 2 to 4; None for the network's own. With `side_px` the
            largest one allowed; None allows `MAX_SCALE`.
        side_px: longer side of each result; None for `scale` times the source.

    Raises:
        ValueError: if one of them is not allowed.

    Example:
        >>> TargetSize(scale=4).plan(50, 40, network_scale=2).name_of("rdn-product")
        'rdn-product x2 twice'
    """

    scale: int | None = None
    side_px: int | None = None

    def __post_init__(self) -> None:
        scale, side_px = whole_number(self.scale), whole_number(self.side_px)
        if self.scale is not None and scale not in range(2, MAX_SCALE + 1):
            raise ValueError(
                f"scale is a whole number, 2 to {MAX_SCALE}. Received: {self.scale!r}"
            )
        if self.side_px is not None and (side_px is None or side_px < 1):
            raise ValueError(
                f"target_side is a whole number, at least 1 pixel. Received: {self.side_px!r}"
            )
        # Products of numpy's small integers would overflow.
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "side_px", side_px)

    def check(self, network_scale: int) -> None:
        """Checks that a network can reach the scale in at most two passes.

        Raises:
            ValueError: if it cannot.
        """
        if self.scale is not None and self.scale > network_scale and network_scale**2 > MAX_SCALE:
            raise ValueError(
                f"a network of x{network_scale} upscales by {network_scale} or less. "
                f"Received: scale {self.scale}"
            )

    def has_reached(self, height: int, width: int) -> bool:
        """Whether an image has the longer side already."""
        return self.side_px is not None and max(height, width) >= self.side_px

    def plan(self, height: int, width: int, network_scale: int) -> Enlargement:
        """Plans the enlargement of one image.

        Args:
            height, width: of the source, pixels, at least 1.
            network_scale: of one pass.

        Returns:
            Without `side_px` exactly `scale` times the source. With it, the smallest of the
            network's scales that reaches it, shrunk to exactly that longer side; the largest
            scale where none reaches it. An image that has reached it is planned as any other.

        Raises:
            ValueError: see `check`.
        """
        self.check(network_scale)
        scale = self._scale_for(max(height, width), network_scale)
        size = height * scale, width * scale
        if self.side_px is not None and max(size) > self.side_px:
            size = _fit_side(height, width, self.side_px)
        passes = 1 if scale <= network_scale else 2
        return Enlargement(network_scale, passes, scale, *size)

    def max_result_side(self, max_side_px: int, network_scale: int) -> int:
        """Longer side of the largest result of the network, before any shrink.

        Args:
            max_side_px: longer side of the largest source.
            network_scale: of one pass.

        Raises:
            ValueError: see `check`.
        """
        largest = max_side_px * self.plan(1, 1, network_scale).network_total
        if self.side_px is None:
            return largest
        # A second pass is only for an image whose first result stays below the target.
        return min(largest, network_scale * self.side_px)

    def _scale_for(self, longer_px: int, network_scale: int) -> int:
        """The enlargement of an image with this longer side."""
        if self.side_px is None:
            return self.scale or network_scale
        twice = network_scale**2
        largest = self.scale or (twice if twice <= MAX_SCALE else network_scale)
        is_enough = network_scale < largest and network_scale * longer_px >= self.side_px
        return network_scale if is_enough else largest


def whole_number(value: object) -> int | None:
    """Returns any library's whole number as int; None for what is none, such as 2.0 or True."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    return None


def _fit_side(height: int, width: int, side_px: int) -> tuple[int, int]:
    """The size with this longer side and the same proportions, at least one pixel wide."""
    longer = max(height, width)
    return max(1, round(height * side_px / longer)), max(1, round(width * side_px / longer))
