"""How good a magnified picture is: measured on what the files and the network give."""

from dataclasses import dataclass

import numpy as np

from model import degrade, metrics
from model.picture import Picture

# Equal pictures have an infinite PSNR, which neither JSON nor a mean can carry.
MAX_PSNR_DB = 100.0
# Below this many pixels inside the border a PSNR says nothing.
_SMALLEST_SIDE_PX = 8


@dataclass(frozen=True)
class Measures:
    """Measures that every magnified picture gets; None where it is too small for one.

    Attributes:
        roundtrip_psnr_db: the result shrunk again against the source, on RGB. Catches shifted
            colours and wrong tiles; a good network is above 40 dB.
        self_psnr_db: the source shrunk and magnified by the network, against the source, on
            luma: what the network does on this very picture.
        self_bicubic_psnr_db: the same with bicubic instead of the network.
        self_gain_db: the difference of the two.
    """

    roundtrip_psnr_db: float | None
    self_psnr_db: float | None
    self_bicubic_psnr_db: float | None
    self_gain_db: float | None


@dataclass(frozen=True)
class ReferenceMeasures:
    """Measures against the true HR picture, on luma."""

    reference_psnr_db: float
    reference_bicubic_psnr_db: float
    reference_ssim: float | None


def self_test_input(source: Picture, scale: int) -> np.ndarray | None:
    """The source shrunk by `scale`: what the network magnifies for the self PSNR.

    Args:
        source: of any size.
        scale: of the network.

    Returns:
        uint8 [H // scale, W // scale, 3], over white; None if that is too small to measure.
    """
    original = degrade.crop_to_multiple(source.over_white(), scale)
    if min(original.shape[:2]) < _SMALLEST_SIDE_PX + 2 * scale:
        return None
    return degrade.to_uint8(degrade.shrink(original, scale))


def measure(
    source: Picture,
    result: Picture,
    *,
    scale: int,
    self_lr: np.ndarray | None,
    self_sr: np.ndarray | None,
) -> Measures:
    """Measures a result with its source as the only reference.

    Transparent pictures are measured over white. Borders of `scale` pixels are cut. The source
    carries its own noise: a network that removes compression noise scores lower here than one
    that keeps it.

    Args:
        source: [H, W].
        result: [H * scale, W * scale].
        scale: of the network.
        self_lr: `self_test_input(source, scale)`.
        self_sr: `self_lr` magnified by the same network, uint8; None with `self_lr`.

    Returns:
        See `Measures`.
    """
    original = source.over_white()
    roundtrip = self_psnr = self_bicubic = gain = None
    if min(original.shape[:2]) >= _SMALLEST_SIDE_PX + 2 * scale:
        again = degrade.shrink(result.over_white(), scale)
        roundtrip = _capped(
            metrics.psnr(
                metrics.crop_border(original, scale),
                metrics.crop_border(again, scale),
                data_range=255,
            )
        )
    if self_lr is not None and self_sr is not None:
        reference = degrade.crop_to_multiple(original, scale)
        bicubic = degrade.to_uint8(degrade.bicubic(self_lr, *reference.shape[:2]))
        self_psnr = _capped(metrics.psnr_y(reference, self_sr, border=scale))
        self_bicubic = _capped(metrics.psnr_y(reference, bicubic, border=scale))
        gain = self_psnr - self_bicubic
    return Measures(roundtrip, self_psnr, self_bicubic, gain)


def measure_against_reference(
    source: Picture, result: Picture, reference: Picture, *, scale: int
) -> ReferenceMeasures:
    """Measures a result against the HR picture from which its source was made.

    Args:
        source: [H, W], the LR picture.
        result: [H * scale, W * scale].
        reference: the HR picture; up to `scale` - 1 rows and columns larger than the result,
            which shrinking cut off.
        scale: of the network.

    Returns:
        See `ReferenceMeasures`; the SSIM is None below 11 x 11 pixels inside the border.

    Raises:
        ValueError: if the reference's size does not belong to the result's.
    """
    height, width = result.height, result.width
    if (
        not 0 <= reference.height - height < scale
        or not 0 <= reference.width - width < scale
        or min(height, width) <= 2 * scale
    ):
        raise ValueError(
            f"the reference is {reference.height} x {reference.width}, "
            f"the result {height} x {width}"
        )
    truth = reference.over_white()[:height, :width]
    published = result.over_white()
    bicubic = degrade.to_uint8(degrade.bicubic(source.over_white(), height, width))
    has_ssim = min(height, width) >= 11 + 2 * scale
    return ReferenceMeasures(
        reference_psnr_db=_capped(metrics.psnr_y(truth, published, border=scale)),
        reference_bicubic_psnr_db=_capped(metrics.psnr_y(truth, bicubic, border=scale)),
        reference_ssim=metrics.ssim_y(truth, published, border=scale) if has_ssim else None,
    )


def _capped(decibels: float) -> float:
    """Keeps infinity out of rows and means."""
    return min(decibels, MAX_PSNR_DB)
