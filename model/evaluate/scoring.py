"""Compares all methods on one image, measures them and takes means over images."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.data.pairs import Pair
from model.imaging import resampling
from model.imaging.image import RasterImage
from model.inference.measured import upscale_with_self_test
from model.inference.upscaler import Upscaler
from model.metrics import full_reference

# The methods' names, in tables and files alike.
BICUBIC, LANCZOS, AGAINST, OURS = "bicubic", "lanczos", "against", "ours"

# SSIM's window must fit inside the border.
_MIN_INNER_PX = 11


@dataclass(frozen=True, eq=False)
class Comparison:
    """One image upscaled by every method, beside HR.

    Attributes:
        name: of the image.
        scale: factor of the upscaling.
        lr: uint8 [H, W, 3], LR with each pixel repeated as a square of scale x scale; H and W
            are those of HR.
        upscaled: results by method, from bicubic to ours: uint8 [H, W, 3].
        hr: uint8 [H, W, 3].

    Example:
        comparison = compare(pair, upscaler)
        middle = comparison.crop(top=20, left=50, height=160, width=160)
    """

    name: str
    scale: int
    lr: np.ndarray
    upscaled: dict[str, np.ndarray]
    hr: np.ndarray

    def crop(self, top: int, left: int, height: int, width: int) -> "Comparison":
        """Cuts the same rectangle out of every version, as copies that keep no other pixels alive.

        Args:
            top, left: its first row and column, HR pixels.
            height, width: of the rectangle; it is clipped to the image.
        """

        def cut(version: np.ndarray) -> np.ndarray:
            return version[top : top + height, left : left + width].copy()

        upscaled = {method: cut(version) for method, version in self.upscaled.items()}
        return dataclasses.replace(self, lr=cut(self.lr), upscaled=upscaled, hr=cut(self.hr))


@dataclass(frozen=True)
class Figures:
    """Figures of one method on one image, or their means over images.

    Attributes:
        psnr_y_db: see `full_reference.psnr_y`; infinite where the result is exact.
        ssim_y: see `full_reference.ssim_y`.
        background_noise: see `full_reference.background_noise`, grey levels; nan where there is no
            flat background.
        psnr_c_db: see `full_reference.psnr_c`; infinite where the chroma is exact, as of grey
            images.

    Example:
        Figures(psnr_y_db=38.02, ssim_y=0.961, background_noise=0.42, psnr_c_db=43.1)
    """

    psnr_y_db: float
    ssim_y: float
    background_noise: float
    psnr_c_db: float


@dataclass(frozen=True)
class Score:
    """The figures of all methods on one image, or their means.

    Attributes:
        name: of the image, or `mean`.
        figures: by method, in the order of `Comparison.upscaled`.

    Example:
        print(score(comparison).gain_db())  # over bicubic
    """

    name: str
    figures: dict[str, Figures]

    def gain_db(self, over: str = BICUBIC) -> float:
        """Our PSNR-Y minus another method's, dB; 0 where both are exact."""
        ours, other = self.figures[OURS].psnr_y_db, self.figures[over].psnr_y_db
        return 0.0 if math.isinf(ours) and math.isinf(other) else ours - other

    @property
    def is_finite(self) -> bool:
        """Whether no method is exact: only then do PSNRs have a mean."""
        return all(math.isfinite(one.psnr_y_db) for one in self.figures.values())

    @property
    def has_color_error(self) -> bool:
        """Whether no method's chroma is exact, as it is of grey images: `is_finite` of PSNR-C."""
        return all(math.isfinite(one.psnr_c_db) for one in self.figures.values())

    @property
    def has_background(self) -> bool:
        """Whether the image has a flat background beside an object."""
        return not math.isnan(self.figures[OURS].background_noise)


def compare(
    pair: Pair, ours: Upscaler, against: Upscaler | None = None, *, jpeg_quality: int = 100
) -> Comparison:
    """Upscales one image by every method.

    Args:
        pair: HR `scale` times LR; up to scale - 1 more rows and columns are cut off.
        ours: the network to measure.
        against: a second one, if wanted.
        jpeg_quality: 1..100 with which LR was compressed, 100 if it was not.

    Returns:
        The comparison, cut to `scale` times LR.

    Raises:
        ValueError: if the networks' scales differ, or HR is not `scale` times LR.
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    s = ours.scale
    if against is not None and against.scale != s:
        raise ValueError(f"both networks need one scale. Received: x{s} and x{against.scale}")
    height, width = pair.lr.shape[0] * s, pair.lr.shape[1] * s
    if not (0 <= pair.hr.shape[0] - height < s and 0 <= pair.hr.shape[1] - width < s):
        raise ValueError(
            f"{pair.name}: HR must be {s} times LR. "
            f"Received: LR {pair.lr.shape[:2]}, HR {pair.hr.shape[:2]}"
        )
    upscaled = {
        BICUBIC: resampling.to_uint8(resampling.bicubic(pair.lr, height, width)),
        LANCZOS: resampling.to_uint8(resampling.lanczos(pair.lr, height, width)),
    }
    if against is not None:
        upscaled[AGAINST] = _upscale(against, pair.lr, jpeg_quality)
    upscaled[OURS] = _upscale(ours, pair.lr, jpeg_quality)
    squares = pair.lr.repeat(s, axis=0).repeat(s, axis=1)
    return Comparison(pair.name, s, squares, upscaled, pair.hr[:height, :width])


def _upscale(network: Upscaler, lr: np.ndarray, jpeg_quality: int) -> np.ndarray:
    """As the job, but without the quality gate; equal planes count as one grey plane."""
    is_grey = bool((lr == lr[..., :1]).all())
    source = RasterImage(lr, is_grey=is_grey)
    made = upscale_with_self_test(network, source, jpeg_quality=jpeg_quality, extent="off")
    return made.result.rgb


def score(comparison: Comparison) -> Score:
    """Measures every method, inside a border of `scale` pixels.

    Args:
        comparison: the image in all versions.

    Returns:
        The figures by method.

    Raises:
        ValueError: if less than 11 x 11 pixels are left inside the border.
    """
    hr, border = comparison.hr, comparison.scale
    min_px = _MIN_INNER_PX + 2 * border
    if min(hr.shape[:2]) < min_px:
        raise ValueError(
            f"{comparison.name} is too small to measure: HR needs at least {min_px} x {min_px}. "
            f"Received: {hr.shape[1]} x {hr.shape[0]}"
        )
    figures = {
        method: measure(hr, result, border) for method, result in comparison.upscaled.items()
    }
    return Score(comparison.name, figures)


def measure(hr: np.ndarray, result: np.ndarray, border: int) -> Figures:
    """Measures one result.

    Args:
        hr: uint8 [H, W, 3].
        result: the same.
        border: rows and columns to leave out at each side.

    Raises:
        ValueError: if shapes differ, or less than 11 x 11 pixels are left inside the border.
    """
    return Figures(
        psnr_y_db=full_reference.psnr_y(hr, result, border=border),
        ssim_y=full_reference.ssim_y(hr, result, border=border),
        background_noise=full_reference.background_noise(hr, result, border=border),
        psnr_c_db=full_reference.psnr_c(hr, result, border=border),
    )


def mean(scores: Sequence[Score]) -> Score:
    """Takes the mean over images, as papers report it, over the same images for each method.

    A figure's mean leaves out an image on which that figure is not finite for any method (PSNR of
    an exact result, noise without a flat background): one infinity, or methods measured on
    different images, would make the mean worthless.

    Args:
        scores: of the images, at least one, all of the same methods.

    Returns:
        The score named `mean`; a figure is nan where no image has it.
    """
    methods = list(scores[0].figures)
    means: dict[str, dict[str, float]] = {method: {} for method in methods}
    for field in (field.name for field in dataclasses.fields(Figures)):
        values = [[getattr(one.figures[method], field) for method in methods] for one in scores]
        finite = [row for row in values if all(map(math.isfinite, row))]
        for i, method in enumerate(methods):
            total = math.fsum(row[i] for row in finite)
            means[method][field] = total / len(finite) if finite else math.nan
    return Score("mean", {method: Figures(**fields) for method, fields in means.items()})
