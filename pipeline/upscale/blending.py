"""Decides what is published: the network's result, its blend with bicubic, or bicubic alone."""

import dataclasses
import math
from dataclasses import dataclass

from model.imaging import resampling
from model.imaging.image import RasterImage
from model.inference.measured import UpscaledImage
from model.metrics.quality import Measures
from pipeline.upscale import quality_gate
from pipeline.upscale.quality_gate import Rejection, bicubic_image, failed_rule


@dataclass(frozen=True)
class BlendLimits:
    """Where the network is trusted less; `docs/measures.md` says how the limits were chosen.

        share of the network
        1.0  ----.                  .----
                  \\                /
        0.1        '--------------'
                 doubt         undone

    The excess is the source's Nyquist ratio over what is usual for edges as steep as its own: high
    where it was sharpened or shrunk without a filter. The usual error is the detail error that the
    network makes on the same content where that was shrunk softly: that of its self-test.

    Attributes:
        max_blended_sharpening: log2; where somebody told the network of a stronger sharpening,
            undoing it is no doubt.
        min_jpeg_quality: of a source to which this applies, unless the network believes its
            source. Removing stronger compression contradicts the source's detail in any case, and
            hides sharpening and aliasing.
        doubt: detail error over the usual one, times the fourth power of an excess above 1: up to
            the first the network's result is published, from the second on `min_share`.
        usual_error: from the least to the most that counts as usual.
        assumed_error: the usual error where there was no self-test.
        undone: detail error over the excess: from the first on the share grows again, up to all at
            the second: the network has clearly recognised and undone a sharpening.
        min_share: 0..1 of the network in the most doubtful result.
        believed_doubt: the same of a network that believes its source, by the square of such an
            excess and without bounds of the usual error: it changes hardly anything of a source,
            so that a small error says much.
        believed_min_share: `min_share` of such a network.

    Example:
        >>> measures = Measures(
        ...     detail_error=0.1,
        ...     self_detail_error=0.001,
        ...     nyquist_ratio_source=0.3,
        ...     edge_steepness_source=53.0,
        ... )
        >>> network_share(measures, 100)
        0.25
    """

    max_blended_sharpening: float = 0.25
    min_jpeg_quality: int = 97
    doubt: tuple[float, float] = (7.0, 300.0)
    usual_error: tuple[float, float] = (0.0007, 0.0025)
    assumed_error: float = 0.001
    undone: tuple[float, float] = (0.04, 0.85)
    min_share: float = 0.1
    believed_doubt: tuple[float, float] = (0.45, 4.2)
    believed_min_share: float = 0.15


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is published of an upscaled image.

    Attributes:
        image: of all passes' scale, not yet shrunk to its published size.
        measures: of `image`; self PSNR, both detail errors and told sharpening are the network's
            in any case.
        network_share: 0..1 of the network's result in `image`; the rest is bicubic.
        doubt: why `image` is a blend, for people; None if it is none.
        rejection: by the quality gate, if the share is 0.

    Example:
        verdict = judge(upscaled, jpeg_quality=85)
        verdict.network_share  # 1.0
    """

    image: RasterImage
    measures: Measures
    network_share: float
    doubt: str | None = None
    rejection: Rejection | None = None

    @property
    def detail(self) -> str | None:
        """One line for people, unless the network's own result is published."""
        if self.rejection is not None:
            return f"published is bicubic: {self.rejection.detail}"
        if self.doubt is None:
            return None
        share = f"{self.network_share:.0%} of the network's result"
        return f"published is {share} and bicubic: {self.doubt}"


_BLEND_LIMITS = BlendLimits()
# Of softly shrunk sources, for each grey level of their edges' steepness; and the steepness below
# which the ratio falls no more.
_USUAL_RATIO, _LEAST_STEEPNESS = 0.2 / 53, 30.0
# Detail error that rounding to 8 bits leaves.
_LEAST_ERROR = 0.0001


def judge(
    upscaled: UpscaledImage, jpeg_quality: int, *, sharpening: float | None = None
) -> Verdict:
    """Measures a result, applies the quality gate and blends a doubtful result with bicubic.

    Args:
        upscaled: the network's result.
        jpeg_quality: 1..100 on which the network was conditioned.
        sharpening: of the source, log2, as somebody told it; None where the network saw for
            itself.

    Returns:
        See `Verdict`.
    """
    measures = upscaled.measure()
    limits = quality_gate.GateLimits().at_scale(upscaled.scale)
    limits = limits.for_sharpening(upscaled.sharpening)
    rejection = failed_rule(measures, limits)
    if rejection is not None:
        share = 0.0
    else:
        share = network_share(
            measures,
            jpeg_quality,
            sharpening=sharpening,
            believes_source=upscaled.believes_source,
        )
    if share == 1:
        return Verdict(upscaled.result, measures, share)
    image = bicubic_image(upscaled.source, upscaled.scale)
    doubt = None
    if rejection is None:
        image = blend(upscaled.result, image, share)
        doubt = _in_words(measures)
    of_image = UpscaledImage(upscaled.source, image, upscaled.scale).measure()
    of_network = (
        *("self_psnr_db", "self_bicubic_psnr_db", "self_gain_db"),
        *("detail_error", "self_detail_error", "told_sharpening"),
    )
    kept = {name: getattr(measures, name) for name in of_network}
    return Verdict(image, dataclasses.replace(of_image, **kept), share, doubt, rejection)


def network_share(
    measures: Measures,
    jpeg_quality: int,
    limits: BlendLimits = _BLEND_LIMITS,
    *,
    sharpening: float | None = None,
    believes_source: bool = False,
) -> float:
    """Decides how much of the network's result is published.

    Args:
        measures: of the network's result.
        jpeg_quality: 1..100 on which the network was conditioned.
        limits: see `BlendLimits`.
        sharpening: of the source, log2, as somebody told it; None where the network saw for
            itself.
        believes_source: see `RDN`.

    Returns:
        The smallest share of `limits`..1, in steps of 0.01; 1 where the source has no measurable
        detail, or somebody told of more than `limits.max_blended_sharpening`, or a network that
        believes its source has no self-test.
    """
    error, ratio = measures.detail_error, measures.nyquist_ratio_source
    is_certain = (sharpening or 0.0) > limits.max_blended_sharpening
    removes_noise = jpeg_quality < limits.min_jpeg_quality and not believes_source
    if is_certain or removes_noise or not error or not ratio:
        return 1.0
    excess = ratio / _usual_ratio(measures)
    too_much, usual = max(1.0, excess), measures.self_detail_error
    if believes_source:
        if usual is None:
            return 1.0
        least = limits.believed_min_share
        doubt = error / (usual + _LEAST_ERROR) * too_much**2
        trusted = 1 - _ramp(doubt, *limits.believed_doubt)
    else:
        least, (low, high) = limits.min_share, limits.usual_error
        usual = limits.assumed_error if usual is None else min(max(usual, low), high)
        doubt = error / usual * too_much**4
        trusted = max(1 - _ramp(doubt, *limits.doubt), _ramp(error / excess, *limits.undone))
    return round(least + (1 - least) * trusted, 2)


def _usual_ratio(measures: Measures) -> float:
    """The Nyquist ratio of a softly shrunk source with edges as steep."""
    return _USUAL_RATIO * max(measures.edge_steepness_source or 0.0, _LEAST_STEEPNESS)


def _in_words(measures: Measures) -> str:
    """Why a result is blended, for people."""
    ratio, usual = measures.nyquist_ratio_source, _usual_ratio(measures)
    looks = "the network contradicts the detail of the source"
    if ratio is not None and ratio > usual:
        looks = "the source looks sharpened or aliased, Nyquist ratio "
        looks += f"{ratio:.2g} where {usual:.2g} is usual"
    error = f"detail error {measures.detail_error:.2g}"
    if measures.self_detail_error is not None:
        error += f" where {measures.self_detail_error:.2g} is usual for this network"
    return f"{looks}, {error}"


def _ramp(value: float, start: float, stop: float) -> float:
    """0 up to `start`, 1 from `stop` on, even steps of the logarithm in between."""
    return min(max(math.log(value / start) / math.log(stop / start), 0.0), 1.0)


def blend(result: RasterImage, bicubic: RasterImage, share: float) -> RasterImage:
    """Mixes two versions of an image.

    Args:
        result: the network's.
        bicubic: of the same size and kind.
        share: 0..1 of `result`.

    Returns:
        An image of the same kind; rounded once.
    """
    rgb = resampling.to_uint8(bicubic.rgb + share * (result.rgb - bicubic.rgb.astype("float32")))
    if result.alpha is None or bicubic.alpha is None:
        return result.with_pixels(rgb, None)
    step = result.alpha - bicubic.alpha.astype("float32")
    return result.with_pixels(rgb, resampling.to_uint8(bicubic.alpha + share * step))
