"""Full-reference quality measures: luma, PSNR, SSIM, background noise. Numpy only."""

from collections.abc import Callable, Iterator

import numpy as np

# Bands of this size stay in the processor's cache and keep intermediate results small.
_BAND_VALUES = 1 << 17

# Wang et al. 2004, section III-C: an 11 x 11 Gaussian window with sigma 1.5.
_SSIM_TAPS = 11
_SSIM_SIGMA = 1.5

# Flat background: 7 x 7 pixels that differ no more than rounding and a soft gradient explain.
_FLAT_WINDOW_PX = 7
_FLAT_RANGE = 2.0
# Reach of the noise that compression and networks add beside an edge: 1.5 JPEG blocks.
_NEAR_PX = 12
# The deviation of fewer pixels has no meaning.
_MIN_BACKGROUND_PX = 64


def luma(rgb: np.ndarray, *, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """Computes BT.601 luma in video range, as all published PSNR-Y figures do.

    Args:
        rgb: [..., 3], uint8 or float, 0..255.
        dtype: of the computation and the result; float32 takes half the time of float64.

    Returns:
        float [...], 16..235, not rounded.

    Raises:
        ValueError: if the last axis does not hold three planes.

    Source:
        ITU-R BT.601-7, section 2.5; MATLAB `rgb2ycbcr`.
    """
    if rgb.shape[-1] != 3:
        raise ValueError(f"luma needs RGB in the last axis. Received: shape {rgb.shape}")
    weights = (np.array([65.481, 128.553, 24.966]) / 255.0).astype(dtype)
    if rgb.ndim == 1:
        return rgb.astype(dtype) @ weights + dtype(16)
    plane = np.empty(rgb.shape[:-1], dtype)
    for rows in row_bands(rgb.shape):
        plane[rows] = rgb[rows].astype(dtype) @ weights
    plane += dtype(16)
    return plane


def chroma(rgb: np.ndarray, *, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """BT.601 chroma in video range.

    Args:
        rgb: [..., 3], uint8 or float, 0..255.
        dtype: of the computation and the result; float32 takes half the time of float64.

    Returns:
        float [..., 2], Cb and Cr, 16..240, grey at exactly 128, not rounded.

    Raises:
        ValueError: if the last axis does not hold three planes.

    Source:
        ITU-R BT.601-7, section 2.5; MATLAB `rgb2ycbcr`.
    """
    if rgb.shape[-1] != 3:
        raise ValueError(f"chroma needs RGB in the last axis. Received: shape {rgb.shape}")
    # The weights of R, G, B sum to 0, but rounded they would leave 1e-14 of grey; R - G and B - G
    # are exactly 0, and G counts no more: (-37.797, -74.203, 112) and (112, -93.786, -18.214).
    weights = np.array([[-37.797, 0.0, 112.0], [112.0, 0.0, -18.214]]) / 255.0
    differences = rgb.astype(dtype)
    for k in (0, 2):
        differences[..., k] -= differences[..., 1]
    return differences @ weights.T.astype(dtype) + dtype(128)


def row_bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cuts an array's first axis into bands of about 100,000 values, at least one row each.

    Args:
        shape: of the array, at least one axis.

    Yields:
        Slices in order, without gaps.
    """
    values_per_row = max(1, int(np.prod(shape[1:])))
    rows = max(1, _BAND_VALUES // values_per_row)
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def window_sums(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sums over all windows of a size in one pass.

    Args:
        plane: [H, W], any dtype.
        height, width: of the windows, 1..H and 1..W.

    Returns:
        float64 [H - height + 1, W - width + 1], indexed by the window's upper left corner.

    Source:
        Crow, "Summed-area tables for texture mapping", SIGGRAPH 1984.
    """
    sums = np.pad(plane, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    totals = sums[height:, width:] - sums[:-height, width:]
    totals -= sums[height:, :-width] - sums[:-height, :-width]
    return totals


def reduce_cells(reduce: Callable[..., np.ndarray], plane: np.ndarray, side: int) -> np.ndarray:
    """Reduces a plane to one value for each whole cell.

    Args:
        reduce: as `np.max`, with an axis.
        plane: [H, W].
        side: of a cell, pixels.

    Returns:
        [H // side, W // side].
    """
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    whole = plane[: rows * side, : columns * side].reshape(rows, side, columns * side)
    return reduce(reduce(whole, axis=1).reshape(rows, columns, side), axis=2)


def crop_border(image: np.ndarray, border: int) -> np.ndarray:
    """Cuts `border` rows and columns from each side.

    Args:
        image: [H, W, ...], any dtype.
        border: pixels, 0 or more.

    Returns:
        A view of shape [H - 2 * border, W - 2 * border, ...].

    Raises:
        ValueError: if no pixel would remain.
    """
    height, width = image.shape[:2]
    if min(height, width) <= 2 * border:
        raise ValueError(
            f"crop_border needs sides above {2 * border} pixels. Received: {width} x {height}"
        )
    return image[border : height - border, border : width - border]


def psnr(reference: np.ndarray, result: np.ndarray, *, data_range: float) -> float:
    """Computes the peak signal-to-noise ratio.

    Args:
        reference: any shape, uint8 or float.
        result: the same shape.
        data_range: the largest possible value less the smallest (255 for 8-bit images).
            Required: guessing it from the dtype has misled users elsewhere.

    Returns:
        dB; infinity if the two are equal.

    Raises:
        ValueError: if shapes differ or are empty.
    """
    _check_pair("psnr", reference, result)
    squares = 0.0
    for rows in row_bands(reference.shape):
        error = np.subtract(reference[rows], result[rows], dtype=np.float64).ravel()
        squares += float(error @ error)
    mse = squares / reference.size
    return float("inf") if mse == 0 else float(10 * np.log10(data_range**2 / mse))


def psnr_y(reference: np.ndarray, result: np.ndarray, *, border: int) -> float:
    """Computes the PSNR on the luma, the standard protocol of super-resolution papers.

    Args:
        reference: [H, W, 3], uint8 or float, 0..255.
        result: the same shape and range; round it to uint8 first to compare with papers.
        border: pixels cut from each side, by convention the scale.

    Returns:
        dB, with a data range of 255 as the papers take it.

    Raises:
        ValueError: if shapes differ or no pixel remains inside the border.
    """
    _check_pair("psnr_y", reference, result)
    return psnr(
        luma(crop_border(reference, border)), luma(crop_border(result, border)), data_range=255
    )


def psnr_c(reference: np.ndarray, result: np.ndarray, *, border: int) -> float:
    """PSNR on the chroma, both planes together.

    Args:
        reference: [H, W, 3], uint8 or float, 0..255.
        result: the same shape and range.
        border: pixels cut from each side, by convention the scale.

    Returns:
        dB, with a data range of 255 as `psnr_y`.

    Raises:
        ValueError: if shapes differ or nothing is left inside the border.
    """
    _check_pair("psnr_c", reference, result)
    return psnr(
        chroma(crop_border(reference, border)), chroma(crop_border(result, border)), data_range=255
    )


def ssim(reference: np.ndarray, result: np.ndarray, *, data_range: float) -> float:
    """Computes the mean structural similarity (SSIM) of two planes.

    Means, variances and the covariance under an 11 x 11 Gaussian window (sigma 1.5), population
    statistics, K1 = 0.01, K2 = 0.03; windows that cross the border are excluded.

    Args:
        reference: [H, W], uint8 or float, both sides at least 11.
        result: the same shape.
        data_range: the largest possible value less the smallest.

    Returns:
        -1..1; 1 if the two are equal.

    Raises:
        ValueError: if shapes differ, are not planes, or are smaller than the window.

    Source:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
        IEEE TIP 2004, equation 13 and section III-C.
    """
    _check_pair("ssim", reference, result)
    if reference.ndim != 2 or min(reference.shape) < _SSIM_TAPS:
        raise ValueError(
            f"ssim needs one plane of at least {_SSIM_TAPS} x {_SSIM_TAPS}. "
            f"Received: shape {reference.shape}"
        )
    x = reference.astype(np.float64)
    y = result.astype(np.float64)
    mu_x, mu_y = _gaussian(x), _gaussian(y)
    sigma_xx = _gaussian(x * x) - mu_x * mu_x
    sigma_yy = _gaussian(y * y) - mu_y * mu_y
    sigma_xy = _gaussian(x * y) - mu_x * mu_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mu_x * mu_y + c1) * (2 * sigma_xy + c2)) / (
        (mu_x**2 + mu_y**2 + c1) * (sigma_xx + sigma_yy + c2)
    )
    return float(similarity.mean())


def ssim_y(reference: np.ndarray, result: np.ndarray, *, border: int) -> float:
    """Computes the SSIM on the luma, inside a border.

    Args:
        reference: [H, W, 3], uint8 or float, 0..255.
        result: the same shape and range.
        border: pixels cut from each side, by convention the scale.

    Returns:
        -1..1.

    Raises:
        ValueError: if shapes differ, or fewer than 11 x 11 pixels remain inside the border.
    """
    _check_pair("ssim_y", reference, result)
    return ssim(
        luma(crop_border(reference, border)), luma(crop_border(result, border)), data_range=255
    )


def background_near_objects(reference: np.ndarray) -> np.ndarray:
    """Finds the flat background beside objects, where ringing and compression noise are visible.

    Args:
        reference: [H, W, 3], uint8 or float, 0..255: the clean HR image.

    Returns:
        bool [H, W]: flat pixels (luma of their 7 x 7 neighbourhood within 2 grey levels) at most
        12 rows and 12 columns from a pixel that is not flat.
    """
    framed = _framed(luma(reference))
    highest = _sliding(np.max, framed, _FLAT_WINDOW_PX)
    lowest = _sliding(np.min, framed, _FLAT_WINDOW_PX)
    busy = highest - lowest > _FLAT_RANGE
    return ~busy & _sliding(np.any, np.pad(busy, _NEAR_PX), 2 * _NEAR_PX + 1)


def background_noise(reference: np.ndarray, result: np.ndarray, *, border: int) -> float:
    """Measures the noise of a result on the flat background beside objects.

    The true level of a background pixel is the mean of the reference's 7 x 7 pixels around it:
    backgrounds of several colours, soft gradients and the reference's own noise do not count as
    noise, nor does a constant shift of all levels.

    Args:
        reference: [H, W, 3], uint8 or float, 0..255: the clean HR image.
        result: the same shape and range.
        border: pixels cut from each side, by convention the scale.

    Returns:
        Standard deviation of the result's luma from the true level, grey levels, 0 or more; nan
        with fewer than 64 pixels of background, see `background_near_objects`.

    Raises:
        ValueError: if shapes differ or no pixel remains inside the border.
    """
    _check_pair("background_noise", reference, result)
    level = _sliding(np.mean, _framed(luma(reference)), _FLAT_WINDOW_PX)
    inside = crop_border(background_near_objects(reference), border)
    if np.count_nonzero(inside) < _MIN_BACKGROUND_PX:
        return float("nan")
    return float(np.std(crop_border(luma(result) - level, border)[inside]))


def _framed(plane: np.ndarray) -> np.ndarray:
    """Pads [H, W] by repeating its border, so that a window fits around every pixel."""
    return np.pad(plane, _FLAT_WINDOW_PX // 2, mode="edge")


def _sliding(reduce: Callable[..., np.ndarray], plane: np.ndarray, side: int) -> np.ndarray:
    """Reduces each side x side window of [H, W] to one: [H - side + 1, W - side + 1]."""
    for axis in (0, 1):
        plane = reduce(np.lib.stride_tricks.sliding_window_view(plane, side, axis), axis=-1)
    return plane


def _gaussian(plane: np.ndarray) -> np.ndarray:
    """Filters a plane [H, W] by a separable Gaussian, without padding: [H - 10, W - 10]."""
    offsets = np.arange(_SSIM_TAPS) - _SSIM_TAPS // 2
    window = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
    window /= window.sum()
    height, width = plane.shape
    rows = height - _SSIM_TAPS + 1
    columns = width - _SSIM_TAPS + 1
    down = sum(w * plane[i : i + rows] for i, w in enumerate(window))
    return sum(w * down[:, i : i + columns] for i, w in enumerate(window))


def _check_pair(name: str, reference: np.ndarray, result: np.ndarray) -> None:
    """Rejects pairs that numpy would broadcast or average to nan."""
    if reference.shape != result.shape or reference.size == 0:
        raise ValueError(
            f"{name} needs two non-empty arrays of one shape. "
            f"Received: {reference.shape} and {result.shape}"
        )
