"""Measures of an upscaled image against its source, its own self-test, or an HR reference.

`docs/measures.md` describes each measure's use and typical values.
"""

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import numpy as np

from model.imaging import profiles, resampling
from model.imaging.image import RasterImage
from model.metrics import detail, full_reference, no_reference, noise, round_trip

# Replaces the infinite PSNR of equal images, which JSON and means cannot hold.
MAX_PSNR_DB = 100.0
# With shorter sides inside the border a PSNR has no meaning.
_SMALLEST_SIDE_PX = 8
_WINDOW_PX = 96
_OF_COLOURS = ("detail_error", "nyquist_ratio_source", "edge_steepness_source")


class Meaning(NamedTuple):
    """What a measure measures, in one line for people, and its unit; empty for a ratio.

    Example:
        >>> Meaning("result shrunk again against the source", "dB").unit
        'dB'
    """

    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Measures:
    """Measures of an upscaled image; None if a measure is undefined for it.

    Images below 12 x 12 pixels (at scale 2) have no measures, flat images no sharpness and
    blockiness, textured images no background noise.

    Attributes:
        roundtrip_psnr_db: detects shifted colours and wrong tiles; a good network is above 40 dB.
        self_psnr_db: the network's quality on this image. See `self_test`.

    Example:
        >>> Measures(self_psnr_db=31.5).self_psnr_db
        31.5
    """

    roundtrip_psnr_db: Annotated[
        float | None,
        Meaning(
            (
                "PSNR of the shrunk result against the source, RGB: detects shifted "
                "colours and wrong tiles"
            ),
            "dB",
        ),
    ] = None
    self_psnr_db: Annotated[
        float | None,
        Meaning(
            (
                "PSNR of the source's most detailed block, shrunk and upscaled, against"
                " itself, luma"
            ),
            "dB",
        ),
    ] = None
    self_bicubic_psnr_db: Annotated[float | None, Meaning("the same with bicubic", "dB")] = None
    self_gain_db: Annotated[
        float | None, Meaning("`self_psnr_db` minus `self_bicubic_psnr_db`", "dB")
    ] = None
    sharpness_ratio: Annotated[
        float | None, Meaning("fine detail of the result over that of bicubic")
    ] = None
    blockiness_source: Annotated[
        float | None,
        Meaning("steps across the 8 x 8 grid over the steps within its blocks, in the source"),
    ] = None
    blockiness: Annotated[float | None, Meaning("the same in the result")] = None
    background_noise_source: Annotated[
        float | None,
        Meaning("noise in the near-flat cells of the source, in grey levels", "grey levels"),
    ] = None
    background_noise: Annotated[
        float | None, Meaning("noise in the same cells of the result", "grey levels")
    ] = None
    clipped_share: Annotated[
        float | None,
        Meaning("share of the source's pixels that reach 0 or 255 only in the result"),
    ] = None
    channel_drift: Annotated[
        float | None, Meaning("largest change of a channel's mean, in grey levels", "grey levels")
    ] = None
    background_grain: Annotated[
        float | None,
        Meaning(
            ("pixel-to-pixel noise in the near-flat cells of the result, in grey levels"),
            "grey levels",
        ),
    ] = None
    block_drift: Annotated[
        float | None,
        Meaning(
            "largest change of a block's mean luma that removing noise does not explain, in grey "
            "levels",
            "grey levels",
        ),
    ] = None
    block_shift_px: Annotated[
        float | None, Meaning("largest displacement of a block, in source pixels", "px")
    ] = None
    chroma_noise_source: Annotated[
        float | None,
        Meaning(
            "coloured noise in the near-flat cells of the source, in grey levels", "grey levels"
        ),
    ] = None
    chroma_noise: Annotated[
        float | None, Meaning("coloured noise in the same cells of the result", "grey levels")
    ] = None
    nyquist_ratio_source: Annotated[
        float | None,
        Meaning("detail of the source near the Nyquist frequency over that at half of it"),
    ] = None
    detail_error: Annotated[
        float | None,
        Meaning("round-trip error of the network's result over the source's finest detail"),
    ] = None
    self_detail_error: Annotated[
        float | None,
        Meaning("`detail_error` of the block of `self_psnr_db`: usual for a softly shrunk source"),
    ] = None
    edge_steepness_source: Annotated[
        float | None,
        Meaning(
            "how steep the edges of the source are, in grey levels from pixel to pixel",
            "grey levels",
        ),
    ] = None
    told_sharpening: Annotated[
        float | None,
        Meaning(
            "how the source was sharpened, log2, as the network was told: the number given for "
            "it, or what the network saw itself; null if nothing"
        ),
    ] = None


@dataclass(frozen=True)
class ReferenceMeasures:
    """Measures on luma against a true HR image.

    Attributes:
        reference_ssim: None for images too small for it.

    Example:
        >>> ReferenceMeasures(33.1, 31.9, None).reference_ssim is None
        True
    """

    reference_psnr_db: Annotated[
        float, Meaning("PSNR of the result against the reference, luma", "dB")
    ]
    reference_bicubic_psnr_db: Annotated[float, Meaning("the same with bicubic", "dB")]
    reference_ssim: Annotated[
        float | None, Meaning("SSIM of the result against the reference, luma")
    ]


@dataclass(frozen=True, eq=False)
class SelfTest:
    """A part of a source and its shrunk version, which the network upscales for the self PSNR.

    Attributes:
        reference: uint8 [h * scale, w * scale, 3], a part of the source.
        lr: uint8 [h, w, 3], `reference` shrunk: the network's input.

    Example:
        >>> test = self_test(RasterImage(np.zeros((200, 300, 3), np.uint8)), 2)
        >>> test.reference.shape, test.lr.shape
        ((96, 96, 3), (48, 48, 3))
    """

    reference: np.ndarray
    lr: np.ndarray


def self_test(source: RasterImage, scale: int, extent: str = "window") -> SelfTest | None:
    """Selects the part of a source for the self PSNR and shrinks it.

    Args:
        source: of any size.
        scale: of the network.
        extent: `window`, the 96 x 96 pixels with the most detail, undiluted by flat background and
            at a fraction of the cost; `full`, the whole image, at a quarter of the cost of
            upscaling it; `off`, no self-test.

    Returns:
        None if the part is too small to measure, or with `off`.
    """
    reference = resampling.crop_to_multiple(source.over_white(), scale)
    if extent == "off" or min(reference.shape[:2]) < _SMALLEST_SIDE_PX + 2 * scale:
        return None
    if extent == "window":
        reference = detail.most_detailed_window(reference, _WINDOW_PX - _WINDOW_PX % scale)
    return SelfTest(reference, resampling.to_uint8(resampling.shrink(reference, scale)))


def measure(
    source: RasterImage,
    result: RasterImage,
    *,
    scale: int,
    self_test: SelfTest | None,
    self_sr: np.ndarray | None,
) -> Measures:
    """Measures a result with its source as the only reference.

    Transparent images are measured over white, their finest detail on their colours, as networks
    see them: a hard edge of the transparency is no sharpening. `scale` pixels at the borders are
    left out, but for blocks and clipping. The source contains its own noise: a network that
    removes compression noise scores lower than one that keeps it.

    Args:
        source: [H, W].
        result: [H * scale, W * scale].
        scale: of the network.
        self_test: of the source; None omits the self PSNR.
        self_sr: `self_test.lr` upscaled by the same network, uint8; None with `self_test`.

    Returns:
        See `Measures`.

    Raises:
        ValueError: if the sizes of source and result do not belong together.
    """
    original, published = source.over_white(), result.over_white()
    measures = Measures()
    if min(original.shape[:2]) >= _SMALLEST_SIDE_PX + 2 * scale:
        measures = _compare(original, published, scale)
        if original is not source.rgb:
            of_colours = _compare(source.bled(), result.rgb, scale)
            measures = replace(
                measures, **{name: getattr(of_colours, name) for name in _OF_COLOURS}
            )
    if self_test is None or self_sr is None:
        return measures
    reference = self_test.reference
    bicubic = resampling.to_uint8(resampling.bicubic(self_test.lr, *reference.shape[:2]))
    self_psnr = _capped(full_reference.psnr_y(reference, self_sr, border=scale))
    self_bicubic = _capped(full_reference.psnr_y(reference, bicubic, border=scale))
    return replace(
        measures,
        self_psnr_db=self_psnr,
        self_bicubic_psnr_db=self_bicubic,
        self_gain_db=self_psnr - self_bicubic,
        self_detail_error=_self_detail_error(self_test.lr, self_sr, scale),
    )


def _compare(source: np.ndarray, result: np.ndarray, scale: int) -> Measures:
    """All measures but the self PSNR, of uint8 [H, W, 3] and [H * scale, W * scale, 3]."""
    again = round_trip.shrink(result, scale)
    inside = full_reference.crop_border(source, scale)
    inside_again = full_reference.crop_border(again, scale)
    source_luma = full_reference.luma(source, dtype=np.float32)
    result_luma = full_reference.luma(result, dtype=np.float32)
    luma_error = full_reference.crop_border(
        full_reference.luma(again, dtype=np.float32) - source_luma, scale
    )
    inside_luma = full_reference.crop_border(source_luma, scale)
    inside_result = full_reference.crop_border(result_luma, scale**2)
    inside_rgb = full_reference.crop_border(result, scale**2)
    flat = noise.flat_cells(inside_luma)
    removed_noise = noise.flat_noise(luma_error, flat, pixel_px=1) or 0.0
    return Measures(
        roundtrip_psnr_db=_capped(full_reference.psnr(inside, inside_again, data_range=255)),
        sharpness_ratio=no_reference.sharpness_ratio(
            # Not a variable: it is large, and this is its only use.
            full_reference.crop_border(resampling.bicubic(source_luma, *result_luma.shape), scale),
            full_reference.crop_border(result_luma, scale),
        ),
        blockiness_source=no_reference.blockiness(source_luma, pixel_px=1),
        blockiness=no_reference.blockiness(result_luma, pixel_px=scale),
        background_noise_source=noise.flat_noise(inside_luma, flat, pixel_px=1),
        background_noise=noise.flat_noise(inside_result, flat, pixel_px=scale),
        background_grain=noise.flat_grain(inside_result, flat, pixel_px=scale),
        clipped_share=no_reference.clipped_share(source, result, scale=scale),
        channel_drift=no_reference.channel_drift(inside_again - inside),
        block_drift=no_reference.block_drift(luma_error),
        block_shift_px=no_reference.block_shift(inside_luma, luma_error),
        chroma_noise_source=noise.flat_chroma_noise(inside, flat, pixel_px=1),
        chroma_noise=noise.flat_chroma_noise(inside_rgb, flat, pixel_px=scale),
        nyquist_ratio_source=detail.nyquist_ratio(inside_luma),
        detail_error=detail.detail_error(inside_luma, luma_error, removed_noise),
        edge_steepness_source=detail.edge_steepness(inside_luma),
    )


def _self_detail_error(lr: np.ndarray, sr: np.ndarray, scale: int) -> float | None:
    """Detail error of a self-test of uint8 [H, W, 3], `scale` times as large; None if small."""
    if min(lr.shape[:2]) < 2 * scale + 3:
        return None
    again, luma = (
        full_reference.luma(full_reference.crop_border(rgb, scale), dtype=np.float32)
        for rgb in (round_trip.shrink(sr, scale), lr)
    )
    return detail.detail_error(luma, again - luma, removed_noise=0.0)


def measure_against_reference(
    source: RasterImage, result: RasterImage, reference: RasterImage, *, scale: int
) -> ReferenceMeasures:
    """Measures a result against the HR image whose shrunk version is the source, all in sRGB.

    Args:
        source: [H, W], the LR image; each of the three may have a profile of its own.
        result: [H * scale, W * scale].
        reference: the HR image; up to `scale` - 1 rows and columns larger than the result,
            because shrinking cuts them off.
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
            f"the reference is {reference.width} x {reference.height}, "
            f"the result {width} x {height}"
        )
    source_rgb, published, truth = (
        profiles.to_srgb(image).over_white() for image in (source, result, reference)
    )
    truth = truth[:height, :width]
    bicubic = resampling.to_uint8(resampling.bicubic(source_rgb, height, width))
    has_ssim = min(height, width) >= 11 + 2 * scale
    return ReferenceMeasures(
        reference_psnr_db=_capped(full_reference.psnr_y(truth, published, border=scale)),
        reference_bicubic_psnr_db=_capped(full_reference.psnr_y(truth, bicubic, border=scale)),
        reference_ssim=full_reference.ssim_y(truth, published, border=scale) if has_ssim else None,
    )


def _capped(decibels: float) -> float:
    """Limits a PSNR to `MAX_PSNR_DB`."""
    return min(decibels, MAX_PSNR_DB)
