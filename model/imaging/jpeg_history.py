"""Finds the JPEG compression that pixels went through, whatever their file states. Numpy only.

The 8 x 8 DCT coefficients of a decoded JPEG sit on multiples of its quantisation steps, up to the
rounding of pixels to 8 bits. So they do in a PNG that was made of it, and nearly so in a second
JPEG of higher quality. After a crop the blocks begin elsewhere; after a resize nothing is left.
"""

import functools
from dataclasses import dataclass

import numpy as np

_BLOCK_PX = 8
# JPEG's luma (ITU-T T.871, section 7), in full range, unlike `metrics.luma`.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# ITU-T T.81, table K.1: libjpeg's luma steps at quality 50.
BASE_STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
# Above it the steps are hardly larger than what rounding moves.
_QUALITIES = np.arange(10, 98)
# Frequencies, vertical plus horizontal index, whose coefficients often are not 0.
_MAX_FREQUENCY, _MAX_SEARCH_FREQUENCY = 8, 4
# Coefficients are counted in bins of this width; those beyond the last bin are left out.
_BIN = 0.25
_BINS = 400
_MAX_STEP = 100
# Noise of the coefficients around the multiples: of rounding to 8 bits; of a second JPEG.
_SIGMAS = (0.3, 0.9)
# Share of the coefficients that sit anywhere: clipped, retouched or pasted pixels.
_STRAY_SHARE = 0.05
_MAX_SEARCH_WINDOWS = 96
_MAX_BLOCKS = 2000
# Of a larger image the middle is looked at: enough blocks, and bounded memory.
_MAX_SIDE_PX = 1024


@dataclass(frozen=True)
class JpegTrace:
    """A JPEG compression that shows in the pixels.

    Attributes:
        quality: libjpeg's setting whose luma steps fit best, 10..97.
        grid: rows and columns above and left of the first whole block, 0..7 each; (0, 0) unless
            the image was cropped after that compression.
        evidence: logarithm of how much better these steps explain the coefficients than no
            compression does, nats.
        mean_evidence: the same for each coefficient that is not rounded to 0, nats.

    Example:
        >>> find_jpeg(np.zeros((64, 64, 3), np.uint8)) is None
        True
    """

    quality: int
    grid: tuple[int, int]
    evidence: float
    mean_evidence: float


def find_jpeg(
    rgb: np.ndarray, *, min_evidence: float = 40.0, min_mean_evidence: float = 0.1
) -> JpegTrace | None:
    """Finds the strongest JPEG compression that the pixels show.

    Args:
        rgb: uint8 [H, W, 3], of any size.
        min_evidence, min_mean_evidence: with less, see `JpegTrace`, nothing was found.

    Returns:
        None where there is too little evidence: no compression, one of a quality above 97, a
        resize since then, a flat or a small image.

    Source:
        Fan and de Queiroz, "Identification of bitmap compression history: JPEG detection and
        quantizer estimation", IEEE TIP 2003, section IV (the idea); the likelihood is ours.
    """
    rgb = _middle(rgb)
    luma = rgb.astype(np.float32) @ _LUMA - 128
    is_clipped = _is_clipped(rgb)
    traces = [
        _estimate(luma[top:, left:], is_clipped[top:, left:], (top, left))
        for top, left in ((0, 0), _find_other_grid(luma, is_clipped))
    ]
    found = [
        trace
        for trace in traces
        if trace is not None
        and trace.evidence >= min_evidence
        and trace.mean_evidence >= min_mean_evidence
    ]
    return min(found, key=lambda trace: trace.quality, default=None)


def quality_steps(quality: int) -> np.ndarray:
    """libjpeg's luma quantisation steps.

    Args:
        quality: 1..100.

    Returns:
        int [8, 8], vertical frequency first.

    Source:
        libjpeg, `jpeg_quality_scaling` and `jpeg_add_quant_table`.
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((BASE_STEPS * scale + 50) // 100, 1, 255)


def _middle(rgb: np.ndarray) -> np.ndarray:
    """At most `_MAX_SIDE_PX` rows and columns, from a multiple of the block size on."""
    rows, columns = (
        slice(start, start + _MAX_SIDE_PX)
        for start in ((max(0, side - _MAX_SIDE_PX) // 2) & -_BLOCK_PX for side in rgb.shape[:2])
    )
    return rgb[rows, columns]


def _is_clipped(rgb: np.ndarray) -> np.ndarray:
    """Pixels with a channel at 0 or 255: uint8 [H, W, 3] to bool [H, W]."""
    # Channel by channel: numpy is slow along an axis of three.
    planes = [rgb[..., k] for k in range(3)]
    low, high = (functools.reduce(best, planes) for best in (np.minimum, np.maximum))
    return (low == 0) | (high == 255)


def _find_other_grid(luma: np.ndarray, is_clipped: np.ndarray) -> tuple[int, int]:
    """The grid with the most evidence among the 63 others, in some windows of 15 x 15 pixels."""
    side, stride = 2 * _BLOCK_PX - 1, 2 * _BLOCK_PX
    windows = _windows(luma, side, stride)
    at = _textured(windows, _MAX_SEARCH_WINDOWS)
    blocks = _blocks_at_all_offsets(windows[at])
    clipped = _clipped_at_all_offsets(_windows(is_clipped, side, stride)[at])
    if clipped.any():
        blocks = np.where(clipped[..., None], np.float32(0), blocks)
    counts = _count(blocks, _MAX_SEARCH_FREQUENCY)
    evidence = _evidence(counts, _MAX_SEARCH_FREQUENCY).max(axis=(1, 2))  # [64]
    top, left = divmod(1 + int(evidence[1:].argmax()), _BLOCK_PX)
    return top, left


def _estimate(luma: np.ndarray, is_clipped: np.ndarray, grid: tuple[int, int]) -> JpegTrace | None:
    """The quality that fits best if the blocks begin at the upper left corner."""
    blocks = _windows(luma, _BLOCK_PX, _BLOCK_PX)
    usable = blocks[~_clipped_blocks(is_clipped)]
    if not len(usable):
        return None
    chosen = usable[:: max(1, len(usable) // _MAX_BLOCKS)]
    # Blocks that are equal but for their brightness, as drawings and gradients have them, are no
    # independent evidence.
    flat = chosen.reshape(-1, _BLOCK_PX**2)
    flat = np.round(flat - flat.mean(axis=-1, keepdims=True), 1)
    counts = _count(_without_repeats(flat)[None], _MAX_FREQUENCY)
    evidence = _evidence(counts, _MAX_FREQUENCY)[0].max(axis=0)
    best = int(evidence.argmax())
    steps = quality_steps(int(_QUALITIES[best]))[_frequencies(_MAX_FREQUENCY)]
    is_used = (np.arange(_BINS) + 0.5) * _BIN >= steps[:, None] / 2
    used = int(counts[0][is_used & (steps[:, None] <= _MAX_STEP)].sum())
    return JpegTrace(
        int(_QUALITIES[best]), grid, float(evidence[best]), float(evidence[best] / max(1, used))
    )


def _without_repeats(blocks: np.ndarray) -> np.ndarray:
    """The different ones of float32 [N, K], in the order of their first appearance."""
    # Bytes in a dictionary take a tenth of the time of `np.unique` by rows. A zero has no sign.
    rows = (blocks + np.float32(0)).view(np.dtype((np.void, blocks[0].nbytes)))
    kept = b"".join(dict.fromkeys(row.tobytes() for row in rows.ravel()))
    return np.frombuffer(kept, np.float32).reshape(-1, blocks.shape[1])


def _clipped_blocks(is_clipped: np.ndarray) -> np.ndarray:
    """Whether each whole block holds a clipped pixel: bool [H, W] to [N], row by row."""
    rows, columns = (side // _BLOCK_PX for side in is_clipped.shape)
    whole = is_clipped[: rows * _BLOCK_PX, : columns * _BLOCK_PX]
    by_row = whole.reshape(rows, _BLOCK_PX, columns * _BLOCK_PX).any(axis=1)
    return np.asarray(by_row.reshape(-1, _BLOCK_PX).any(axis=1))


def _windows(plane: np.ndarray, side: int, stride: int) -> np.ndarray:
    """[H, W] to windows [N, side, side], row by row; none where they do not fit."""
    if min(plane.shape) < side:
        return np.empty((0, side, side), plane.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(plane, (side, side))[::stride, ::stride]
    return windows.reshape(-1, side, side)


def _textured(windows: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` windows with the largest steps between rows."""
    steps = np.abs(np.diff(windows, axis=1)).mean(axis=(1, 2))
    return np.argsort(steps)[::-1][:count]


def _blocks_at_all_offsets(windows: np.ndarray) -> np.ndarray:
    """Windows [N, 15, 15] to the blocks at each of 64 offsets in them, [64, N, 64]."""
    view = np.lib.stride_tricks.sliding_window_view(windows, (_BLOCK_PX, _BLOCK_PX), (1, 2))
    return view.transpose(1, 2, 0, 3, 4).reshape(_BLOCK_PX**2, -1, _BLOCK_PX**2)


def _clipped_at_all_offsets(windows: np.ndarray) -> np.ndarray:
    """Blocks at each of 64 offsets with a clipped pixel: bool [N, 15, 15] to [64, N]."""
    for axis in (1, 2):
        view = np.lib.stride_tricks.sliding_window_view(windows, _BLOCK_PX, axis)
        windows = np.asarray(view.any(axis=-1))
    return windows.reshape(-1, _BLOCK_PX**2).T


def _count(blocks: np.ndarray, max_frequency: int) -> np.ndarray:
    """Histograms of the coefficients' absolute values: [P, N, 64] to float32 [P, K, bins]."""
    coefficients = blocks @ _dct(max_frequency)  # [P, N, K]
    offsets, _, frequencies = coefficients.shape
    np.abs(coefficients, out=coefficients)
    coefficients *= 1 / _BIN
    np.minimum(coefficients, _BINS, out=coefficients)  # one more bin, which is dropped
    index = coefficients.astype(np.intp)
    row = np.arange(offsets)[:, None, None] * frequencies + np.arange(frequencies)
    index += row * (_BINS + 1)
    counted = np.bincount(index.ravel(), minlength=offsets * frequencies * (_BINS + 1))
    return counted.reshape(offsets, frequencies, -1)[..., :_BINS].astype(np.float32)


def _evidence(counts: np.ndarray, max_frequency: int) -> np.ndarray:
    """Evidence for every quality: [P, K, bins] to [P, sigmas, qualities]."""
    offsets, frequencies, _ = counts.shape
    by_step = counts.reshape(-1, _BINS) @ _log_ratios()  # [P * K, sigmas * (steps + 1)]
    by_step = by_step.reshape(offsets, frequencies, len(_SIGMAS), -1)
    # Whole rows of offsets and sigmas are picked faster than single values.
    by_step = np.ascontiguousarray(by_step.transpose(1, 3, 0, 2))
    picked = by_step[np.arange(frequencies)[:, None], _steps(max_frequency)]
    return picked.sum(axis=0).transpose(1, 2, 0)


@functools.cache
def _frequencies(max_frequency: int) -> np.ndarray:
    """bool [8, 8]: those that are looked at, without the mean."""
    total = np.add.outer(np.arange(_BLOCK_PX), np.arange(_BLOCK_PX))
    return (total <= max_frequency) & (total > 0)


@functools.cache
def _steps(max_frequency: int) -> np.ndarray:
    """int [K, qualities]: the steps, 0 for those that are too large to be seen."""
    steps = np.stack(
        [quality_steps(int(q))[_frequencies(max_frequency)] for q in _QUALITIES], axis=1
    )
    return np.where(steps <= _MAX_STEP, steps, 0)


@functools.cache
def _dct(max_frequency: int) -> np.ndarray:
    """float32 [64, K]: what gives the coefficients of a flattened block."""
    at, k = np.arange(_BLOCK_PX), np.arange(_BLOCK_PX)[:, None]
    basis = np.cos((2 * at + 1) * k * np.pi / (2 * _BLOCK_PX)) / 2
    basis[0] /= np.sqrt(2)
    both = np.einsum("ui,vj->uvij", basis, basis)  # [8, 8, 8, 8]
    return both[_frequencies(max_frequency)].reshape(-1, _BLOCK_PX**2).T.astype(np.float32)


@functools.cache
def _log_ratios() -> np.ndarray:
    """float32 [bins, sigmas * (steps + 1)]: evidence of one coefficient for each step.

    The density around the multiples, over an even one between them. Step 0 stands for none. What
    a step rounds to 0 may lie there of itself: it speaks against the step only where it is far
    from 0.
    """
    values = ((np.arange(_BINS) + 0.5) * _BIN)[:, None]
    table = np.zeros((_BINS, len(_SIGMAS), _MAX_STEP + 1))
    steps = np.arange(1, _MAX_STEP + 1)
    distance = values - np.rint(values / steps) * steps
    for i, sigma in enumerate(_SIGMAS):
        # Of its neighbours too, where the multiples are as near as the noise is wide.
        density = sum(
            np.exp(-0.5 * ((distance + m * steps) / sigma) ** 2) for m in range(-4, 5)
        ) / (sigma * np.sqrt(2 * np.pi))
        ratio = np.log((1 - _STRAY_SHARE) * steps * density + _STRAY_SHARE)
        table[:, i, 1:] = np.where(values < steps / 2, np.minimum(ratio, 0), ratio)
    return table.reshape(_BINS, -1).astype(np.float32)
