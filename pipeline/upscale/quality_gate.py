"""Quality gate: rejects bad results and falls back to bicubic."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from model.imaging import resampling
from model.imaging.image import RasterImage
from model.metrics.quality import Measures


@dataclass(frozen=True)
class GateLimits:
    """All thresholds of the gate; `docs/measures.md` says how they were chosen.

    Attributes:
        min_roundtrip_psnr_db: below it the result shows another image, or garbage, unless
        max_detail_error: the detail error is not above this: a strong sharpening was undone.
        max_channel_drift: grey levels of a channel's mean; above it the image is tinted,
            darker or paler.
        max_block_drift: grey levels of luma in a block; above it a tile is missing, foreign or of
            another brightness, or the contrast has changed.
        max_drift_share: of the round-trip error's standard deviation; a drift up to this is a
            part of the compression noise or sharpening that was removed, which is not the same
            everywhere: JPEG lifts the dark channel of saturated colours.
        max_block_shift_px: source pixels; above it a tile or all of the image has moved.
        grain_gain, max_added_grain: from pixel to pixel, the near-flat background may be as noisy
            as the source's noise times the first, plus the second in grey levels.
        max_sharpness_ratio: above it the result is noise or halos rather than detail.
        min_sharpness_ratio: below it the result is blurred; undoing a sharpening takes less.
        shift_of_sharpening_px: undoing a sharpening of 1, log2, looks like a shift up to this.
        min_self_gain_db: below it bicubic upscales this very image better.

    Example:
        >>> GateLimits(max_channel_drift=2.0).max_channel_drift
        2.0
    """

    min_roundtrip_psnr_db: float = 22.0
    max_detail_error: float = 1.0
    max_channel_drift: float = 1.5
    max_block_drift: float = 3.0
    max_drift_share: float = 0.42
    max_block_shift_px: float = 0.3
    grain_gain: float = 0.5
    max_added_grain: float = 0.4
    max_sharpness_ratio: float = 12.0
    min_sharpness_ratio: float = 0.65
    min_self_gain_db: float = -2.0
    shift_of_sharpening_px: float = 0.25

    def at_scale(self, scale: int) -> "GateLimits":
        """The limits for results of another scale than 2.

        A larger result of bicubic is softer: over it, the same sharpness counts more. The second
        pass of `rdn-product` makes the ratio two to three times as large.
        """
        larger = self.max_sharpness_ratio * max(1.0, scale / 2) ** 1.5
        return replace(self, max_sharpness_ratio=larger)

    def for_sharpening(self, sharpening: float | None) -> "GateLimits":
        """The limits where the network was told how the source was sharpened, or saw it itself.

        A source whose finest detail was doubled loses half of it again, and its edges their
        overshoot, which is not the same on both sides.

        Args:
            sharpening: log2, see `Recipe.sharpening`; None where it is unknown.
        """
        undone = max(0.0, sharpening or 0.0)
        return replace(
            self,
            min_sharpness_ratio=self.min_sharpness_ratio * 2**-undone,
            max_block_shift_px=self.max_block_shift_px + self.shift_of_sharpening_px * undone,
        )


class Rejection(NamedTuple):
    """Why a result is not published: the rule's name, for scripts, and one line for people.

    Example:
        >>> Rejection("colour", "largest drift of a channel is 5, above 1.5").rule
        'colour'
    """

    rule: str
    detail: str


class _Rule(NamedTuple):
    """A rule and the measured value that it judges; None where that could not be measured."""

    name: str
    subject: str
    value: float | None
    minimum: float | None = None
    maximum: float | None = None

    def reject(self) -> Rejection | None:
        """Rejects a value outside the bounds; nan is outside."""
        if self.value is None:
            return None
        if self.minimum is not None and not self.value >= self.minimum:
            side, bound = "below", self.minimum
        elif self.maximum is not None and not self.value <= self.maximum:
            side, bound = "above", self.maximum
        else:
            return None
        # A value close beyond its bound takes more digits than three to look so.
        texts = ((f"{self.value:.{n}g}", f"{bound:.{n}g}") for n in range(3, 18))
        value, limit = next(both for both in texts if both[0] != both[1])
        return Rejection(self.name, f"{self.subject} is {value}, {side} {limit}")


def failed_rule(measures: Measures, limits: GateLimits) -> Rejection | None:
    """Decides whether a result is published.

    Args:
        measures: of the result.
        limits: see `GateLimits`.

    Returns:
        None for a good result; else the first rule that it breaks, from gross to fine. A measure
        that is None breaks no rule.

    Example:
        >>> failed_rule(Measures(channel_drift=5.0), GateLimits()).rule
        'colour'
    """
    rejections = (rule.reject() for rule in _rules(measures, limits))
    return next((one for one in rejections if one is not None), None)


def _rules(measures: Measures, limits: GateLimits) -> tuple[_Rule, ...]:
    """The rules in the order in which they are applied."""
    source_noise = measures.background_noise_source or 0.0
    drift = limits.max_drift_share * _error_levels(measures)
    error = measures.detail_error
    is_detail = error is not None and error <= limits.max_detail_error
    return (
        _Rule(
            "roundtrip",
            "round-trip PSNR in dB",
            measures.roundtrip_psnr_db,
            minimum=0.0 if is_detail else limits.min_roundtrip_psnr_db,
        ),
        _Rule(
            "colour",
            "largest drift of a channel in grey levels",
            measures.channel_drift,
            maximum=max(limits.max_channel_drift, drift),
        ),
        _Rule(
            "place",
            "largest drift of a block in grey levels",
            measures.block_drift,
            maximum=max(limits.max_block_drift, drift),
        ),
        _Rule(
            "shift",
            "largest shift of a block in pixels",
            measures.block_shift_px,
            maximum=limits.max_block_shift_px,
        ),
        _Rule(
            "noise",
            "grain of the flat background in grey levels",
            measures.background_grain,
            maximum=limits.grain_gain * source_noise + limits.max_added_grain,
        ),
        _Rule(
            "sharpness",
            "sharpness over bicubic's",
            measures.sharpness_ratio,
            minimum=limits.min_sharpness_ratio,
            maximum=limits.max_sharpness_ratio,
        ),
        _Rule(
            "worse_than_bicubic",
            "gain over bicubic in dB",
            measures.self_gain_db,
            minimum=limits.min_self_gain_db,
        ),
    )


def _error_levels(measures: Measures) -> float:
    """Standard deviation of the round-trip error, grey levels; 0 where it was not measured."""
    if measures.roundtrip_psnr_db is None:
        return 0.0
    return 255 * 10 ** (-measures.roundtrip_psnr_db / 20)


def bicubic_image(source: RasterImage, scale: int) -> RasterImage:
    """Upscales a source by bicubic, to publish it in place of a rejected result.

    Args:
        source: [H, W].
        scale: of the network.

    Returns:
        [H * scale, W * scale] of the same kind; the colours of a transparent image are continued
        beyond its edge first.
    """
    size = (source.height * scale, source.width * scale)
    rgb = resampling.to_uint8(resampling.bicubic(source.bled(), *size))
    if source.alpha is None:
        return source.with_pixels(rgb, None)
    return source.with_pixels(rgb, resampling.to_uint8(resampling.bicubic(source.alpha, *size)))
