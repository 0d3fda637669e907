"""Which results are doubted, and what is published in their place."""

from dataclasses import dataclass
from typing import NamedTuple

from model.imaging import resampling
from model.imaging.alpha import bleed_colours
from model.imaging.image import RasterImage
from model.metrics.quality import Measures


@dataclass(frozen=True)
class GateLimits:
    """All thresholds of the gate. How they were chosen stands in `docs/measures.md`.

    Attributes:
        min_roundtrip_psnr_db: below it the result is of another image, or garbage.
        max_channel_drift: grey levels of a channel's mean; above it the image is tinted,
            darker or paler.
        max_block_drift: grey levels of luma in a place; above it a tile is missing, foreign or of
            another brightness, or the contrast has changed.
        max_block_shift_px: source pixels; above it a tile or all of the image has moved.
        grain_gain, max_added_grain: from one result pixel to the next, the near-flat places may
            be as noisy as the source's noise times the first, plus the second in grey levels.
        max_sharpness_ratio: above it the result is noise or halos rather than detail.
        min_sharpness_ratio: below it bicubic is sharper.
        min_self_gain_db: below it bicubic upscales this very image better.
    """

    min_roundtrip_psnr_db: float = 26.0
    max_channel_drift: float = 1.5
    max_block_drift: float = 3.5
    max_block_shift_px: float = 0.3
    grain_gain: float = 0.5
    max_added_grain: float = 0.4
    max_sharpness_ratio: float = 12.0
    min_sharpness_ratio: float = 0.9
    min_self_gain_db: float = -2.0


class Rejection(NamedTuple):
    """Why a result is not published: the rule's name, for scripts, and one line for people."""

    rule: str
    detail: str


class _Check(NamedTuple):
    """A rule with the value that it is about; None where that could not be measured."""

    rule: str
    what: str
    value: float | None
    lowest: float | None = None
    highest: float | None = None

    def doubt(self) -> Rejection | None:
        """What to tell if the value lies outside; a nan lies outside."""
        if self.value is None:
            return None
        if self.lowest is not None and not self.value >= self.lowest:
            return Rejection(
                self.rule, f"{self.what} is {self.value:.3g}, below {self.lowest:.3g}"
            )
        if self.highest is not None and not self.value <= self.highest:
            return Rejection(
                self.rule, f"{self.what} is {self.value:.3g}, above {self.highest:.3g}"
            )
        return None


def failed_rule(measures: Measures, limits: GateLimits) -> Rejection | None:
    """Tells why a result is not published.

    Args:
        measures: of the result.
        limits: see `GateLimits`.

    Returns:
        None for a good result; else the first rule that it breaks, from gross to fine. What
        could not be measured breaks no rule.
    """
    for check in _checks(measures, limits):
        doubt = check.doubt()
        if doubt is not None:
            return doubt
    return None


def _checks(measures: Measures, limits: GateLimits) -> tuple[_Check, ...]:
    """The rules in the order in which they are asked."""
    source_noise = measures.background_noise_source or 0.0
    return (
        _Check(
            "roundtrip",
            "round-trip PSNR in dB",
            measures.roundtrip_psnr_db,
            lowest=limits.min_roundtrip_psnr_db,
        ),
        _Check(
            "colour",
            "largest drift of a channel in grey levels",
            measures.channel_drift,
            highest=limits.max_channel_drift,
        ),
        _Check(
            "place",
            "largest drift of a place in grey levels",
            measures.block_drift,
            highest=limits.max_block_drift,
        ),
        _Check(
            "shift",
            "largest shift of a place in pixels",
            measures.block_shift_px,
            highest=limits.max_block_shift_px,
        ),
        _Check(
            "noise",
            "grain of flat places in grey levels",
            measures.background_grain,
            highest=limits.grain_gain * source_noise + limits.max_added_grain,
        ),
        _Check(
            "sharpness",
            "sharpness over bicubic's",
            measures.sharpness_ratio,
            lowest=limits.min_sharpness_ratio,
            highest=limits.max_sharpness_ratio,
        ),
        _Check(
            "worse_than_bicubic",
            "gain over bicubic in dB",
            measures.self_gain_db,
            lowest=limits.min_self_gain_db,
        ),
    )


def bicubic_image(source: RasterImage, scale: int) -> RasterImage:
    """The image that is published in place of a doubted result.

    Args:
        source: [H, W].
        scale: of the network.

    Returns:
        [H * scale, W * scale] of the same kind, enlarged by the project's bicubic; of a
        transparent image the colours are continued beyond its edge first.
    """
    size = (source.height * scale, source.width * scale)
    if source.alpha is None or source.is_opaque:
        colours = source.rgb
    else:
        colours = bleed_colours(source.rgb, source.alpha)
    rgb = resampling.to_uint8(resampling.bicubic(colours, *size))
    if source.alpha is None:
        return source.with_pixels(rgb, None)
    return source.with_pixels(rgb, resampling.to_uint8(resampling.bicubic(source.alpha, *size)))
