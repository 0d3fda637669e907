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
        0.2        '--------------'
                 doubt         detail error

    Attributes:
        max_blended_sharpening: log2; where somebody told the network of a stronger sharpening,
            undoing it is no doubt.
        min_jpeg_quality: of a source to which this applies. Removing stronger compression
            contradicts the source's detail in any case, and hides sharpening and aliasing.
        doubt: detail error times the third power of the Nyquist ratio over `usual_nyquist_ratio`:
            up to the first the network's result is published, from the second on `min_share`.
        detail_error: from the first on the share grows again, up to all at the second: the
            network has clearly recognised and undone a sharpening.
        usual_nyquist_ratio: of a source that was shrunk softly.
        min_share: 0..1 of the network in the most doubtful result.

    Example:
        >>> network_share(Measures(detail_error=0.15, nyquist_ratio_source=0.3), 100)
        0.2
    """

    max_blended_sharpening: float = 0.25
    min_jpeg_quality: int = 97
    doubt: tuple[float, float] = (0.01, 0.03)
    detail_error: tuple[float, float] = (0.2, 0.6)
    usual_nyquist_ratio: float = 0.2
    min_share: float = 0.2


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is published of an upscaled image.

    Attributes:
        image: of all passes' scale, not yet shrunk to its published size.
        measures: of `image`; self PSNR, detail error and told sharpening are the network's in any
            case.
        network_share: 0..1 of the network's result in `image`; the rest is bicubic.
        rejection: by the quality gate, if the share is 0.

    Example:
        verdict = judge(upscaled, jpeg_quality=85)
        verdict.network_share  # 1.0
    """

    image: RasterImage
    measures: Measures
    network_share: float
    rejection: Rejection | None = None

    @property
    def detail(self) -> str | None:
        """One line for people, unless the network's own result is published."""
        if self.rejection is not None:
            return f"published is bicubic: {self.rejection.detail}"
        if self.network_share == 1:
            return None
        return (
            f"published is {self.network_share:.0%} of the network's result and bicubic: the "
            "source looks sharpened or aliased, detail error "
            f"{self.measures.detail_error:.2g}, Nyquist ratio "
            f"{self.measures.nyquist_ratio_source:.2g}"
        )


_BLEND_LIMITS = BlendLimits()


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
    limits = limits.for_sharpening(upscaled.sharpening, is_seen=sharpening is None)
    rejection = failed_rule(measures, limits)
    if rejection is not None:
        share = 0.0
    else:
        share = network_share(measures, jpeg_quality, sharpening=sharpening)
    if share == 1:
        return Verdict(upscaled.result, measures, share)
    image = bicubic_image(upscaled.source, upscaled.scale)
    if share > 0:
        image = blend(upscaled.result, image, share)
    of_image = UpscaledImage(upscaled.source, image, upscaled.scale).measure()
    of_network = (
        *("self_psnr_db", "self_bicubic_psnr_db", "self_gain_db"),
        *("detail_error", "told_sharpening"),
    )
    kept = {name: getattr(measures, name) for name in of_network}
    return Verdict(image, dataclasses.replace(of_image, **kept), share, rejection)


def network_share(
    measures: Measures,
    jpeg_quality: int,
    limits: BlendLimits = _BLEND_LIMITS,
    *,
    sharpening: float | None = None,
) -> float:
    """Decides how much of the network's result is published.

    Args:
        measures: of the network's result.
        jpeg_quality: 1..100 on which the network was conditioned.
        limits: see `BlendLimits`.
        sharpening: of the source, log2, as somebody told it; None where the network saw for
            itself.

    Returns:
        `limits.min_share`..1, in steps of 0.01; 1 where the source has no measurable detail, or
        somebody told of more than `limits.max_blended_sharpening`.
    """
    error, ratio = measures.detail_error, measures.nyquist_ratio_source
    is_certain = (sharpening or 0.0) > limits.max_blended_sharpening
    if is_certain or jpeg_quality < limits.min_jpeg_quality or not error or not ratio:
        return 1.0
    doubt = error * (ratio / limits.usual_nyquist_ratio) ** 3
    trusted = max(1 - _ramp(doubt, *limits.doubt), _ramp(error, *limits.detail_error))
    return round(limits.min_share + (1 - limits.min_share) * trusted, 2)


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
