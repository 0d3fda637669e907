"""Judges each image of two runs by measures that rank networks: better, worse or not decided.

The reference decides where both runs have one. Without it, noise, grain, blocks, overshoot and the
sharpness of edges decide; the self PSNR and the round trip, which reward a network for keeping
compression noise, do not. The margins were chosen on shop images; see docs/measures.md.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import Status
from pipeline.report.aggregate import to_floats

# A result with edges clearly softer than bicubic's is a blur, and a blur removes noise as well.
# Removing compression noise from bicubic's edges alone costs them up to 5 %.
_SOFT = 0.92
# Losses that only order the list: beyond any measure's.
_LOST, _FELL_BACK, _BLURRED = 4e6, 3e6, 2e6
_BLUR_UNKNOWN = "edges were not compared, so this may be a blur"


class Verdict(enum.StrEnum):
    """What a comparison says of an image, or of a run.

    Example:
        >>> f"{Verdict.NOT_DECIDED}"
        'not decided'
    """

    BETTER = "better"
    WORSE = "worse"
    NOT_DECIDED = "not decided"
    SAME = "same"


@dataclass(frozen=True)
class JudgedMeasure:
    """A measure that ranks results, and how much of a change counts.

    Attributes:
        name: column, or a measure of the pixels.
        title: for people.
        sign: 1 if more is better, -1 if less is.
        margin: smallest change that counts, in the measure's unit.
        share: smallest change that counts, as a share of the larger value; both must be exceeded.
        floor: values below count as this one.

    Example:
        JudgedMeasure("background_noise", "noise", sign=-1, margin=0.1, share=0.1)
    """

    name: str
    title: str
    sign: int
    margin: float
    share: float = 0.0
    floor: float = -np.inf

    def change(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Returns the gain in margins, float [N]: above 1 it counts, below -1 it is a loss."""
        before, after = np.maximum(before, self.floor), np.maximum(after, self.floor)
        margin = np.maximum(self.margin, self.share * np.maximum(before, after))
        return self.sign * (after - before) / np.maximum(margin, 1e-9)


REFERENCES = (
    JudgedMeasure("reference_psnr_db", "PSNR to the reference", 1, 0.2),
    JudgedMeasure("reference_ssim", "SSIM to the reference", 1, 0.005),
)
_NOISE = JudgedMeasure("background_noise", "noise", -1, 0.1, share=0.1)
_GRAIN = JudgedMeasure("background_grain", "grain", -1, 0.1)
_BLOCKS = JudgedMeasure("blockiness", "blocks", -1, 0.15, floor=1.0)
_OVERSHOOT = JudgedMeasure("overshoot", "overshoot", -1, 0.1)
_EDGES = JudgedMeasure("edge_sharpness", "edge sharpness", 1, 0.0, share=0.1)
ROW_MEASURES = (*REFERENCES, _NOISE, _GRAIN, _BLOCKS)
PIXEL_MEASURES = (_OVERSHOOT, _EDGES)
_MEASURES = (*ROW_MEASURES, *PIXEL_MEASURES)


@dataclass(frozen=True)
class PixelMeasures:
    """Measures of one image's two results against its source; nan where undefined.

    Attributes:
        overshoot_a, overshoot_b: grey levels; see `edges.overshoot`.
        edge_sharpness_a, edge_sharpness_b: ratios; see `edges.edge_sharpness`.

    Example:
        PixelMeasures(0.05, 0.44, 1.05, 1.37)
    """

    overshoot_a: float
    overshoot_b: float
    edge_sharpness_a: float
    edge_sharpness_b: float


@dataclass(frozen=True)
class JudgedImage:
    """An image whose two results differ.

    Attributes:
        uri: of the image.
        verdict: of run B's result against run A's.
        why: one line.
        strength: orders the images of a verdict, the clearest first.

    Example:
        JudgedImage("s3://shop/a.jpg", Verdict.WORSE, "noise 0.74 to 1.24", 4.1)
    """

    uri: str
    verdict: Verdict
    why: str
    strength: float


class Judge:
    """Judges the rows of two runs side by side.

    Args:
        common: rows of both runs, joined by URI, with the suffixes `_a` and `_b`.
        pixels: float [N] by name, `overshoot_a` and so on; nan where no pixels were compared.

    Attributes:
        values: float [N] of each measure and side, nan without.
        has_reference: bool [N], images with a reference in both runs, which alone decides.

    Example:
        judge = Judge(common, {})
        [judge.image(i) for i in judge.indices(Verdict.WORSE)]
    """

    def __init__(self, common: pa.Table, pixels: Mapping[str, np.ndarray]) -> None:
        self._common = common
        nothing = np.full(common.num_rows, np.nan)
        self.values = {
            f"{one.name}_{side}": pixels.get(f"{one.name}_{side}", nothing)
            for one in PIXEL_MEASURES
            for side in "ab"
        } | {
            f"{one.name}_{side}": to_floats(common[f"{one.name}_{side}"])
            for one in ROW_MEASURES
            for side in "ab"
        }
        self.has_reference = ~np.isnan(
            self.values["reference_psnr_db_a"] + self.values["reference_psnr_db_b"]
        )
        self._gains = self._counted_gains()
        self._looked = ~np.isnan(self.values["edge_sharpness_a"])
        self._hard = self._result_changes()
        self._verdicts = self._judge()

    def indices(self, verdict: Verdict) -> np.ndarray:
        """Returns the numbers of the rows with a verdict, in order."""
        return np.flatnonzero(self._verdicts == verdict)

    def image(self, i: int) -> JudgedImage:
        """Returns the judgement of a row by its number."""
        row = self._common.slice(i, 1)
        uri, verdict = row["uri"][0].as_py(), Verdict(self._verdicts[i])
        why, strength = self._why(i, row)
        return JudgedImage(uri, verdict, why, strength)

    def _counted_gains(self) -> np.ndarray:
        """Gains in margins, float [M, N], 0 where a measure does not count."""
        changes = {
            one.name: np.nan_to_num(
                one.change(self.values[f"{one.name}_a"], self.values[f"{one.name}_b"])
            )
            for one in _MEASURES
        }
        noise = np.minimum(changes["background_noise"], changes["background_grain"])
        cleaner = np.maximum(changes["background_noise"], changes["background_grain"])
        # Noise hides blocks, and less noise uncovers them.
        blocks = changes["blockiness"]
        blocks[((blocks > 1) & (noise < -1)) | ((blocks < -1) & (cleaner > 1))] = 0
        # Strong compression replaces grain by coarser noise.
        grain = changes["background_grain"]
        grain[(grain > 1) & (changes["background_noise"] < -1)] = 0
        # Sharpening and overshoot go together: what a smaller overshoot explains is no loss.
        edges, overshoot = changes["edge_sharpness"], changes["overshoot"]
        edges[((edges > 1) & (overshoot < -1)) | ((edges < -1) & (overshoot > 1))] = 0
        gains = np.stack([changes[one.name] for one in _MEASURES])
        gains[np.abs(gains) <= 1] = 0
        gains[len(REFERENCES) :, self.has_reference] = 0
        return gains

    def _result_changes(self) -> np.ndarray:
        """What changed more than a measure, float [N]: above 0 for a gain, below for a loss."""
        has_image = pa.array([Status.UPSCALED, Status.FALLBACK, Status.UNCHANGED])

        def is_(side: str, test: str) -> np.ndarray:
            if test == "gate:":
                found = pc.starts_with(self._common[f"reason_{side}"], test)
            elif test == "failed":
                found = pc.equal(self._common[f"status_{side}"], Status.FAILED)
            else:
                found = pc.is_in(self._common[f"status_{side}"], value_set=has_image)
            return np.asarray(pc.fill_null(found, False).to_numpy(), bool)

        had, has = is_("a", "image"), is_("b", "image")
        rejected_a, rejected_b = is_("a", "gate:"), is_("b", "gate:")
        soft_a, soft_b = (
            (self.values[f"edge_sharpness_{side}"] < _SOFT) & ~self.has_reference for side in "ab"
        )
        changes = (  # the later ones count more
            (_BLURRED, soft_a & ~soft_b, soft_b & ~soft_a),
            (
                _FELL_BACK,
                had & has & rejected_a & ~rejected_b,
                had & has & rejected_b & ~rejected_a,
            ),
            (_LOST, is_("a", "failed") & has, had & is_("b", "failed")),
        )
        hard = np.zeros(self._common.num_rows)
        for size, better, worse in changes:
            hard[better], hard[worse] = size, -size
        return hard

    def _judge(self) -> np.ndarray:
        """Verdicts, object [N]."""
        better, worse = (self._gains > 0).any(axis=0), (self._gains < 0).any(axis=0)
        verdicts = np.full(self._common.num_rows, Verdict.SAME, dtype=object)
        # Without the pixels nothing excludes a blur.
        sure = self._looked | self.has_reference
        verdicts[better & ~worse] = Verdict.BETTER
        verdicts[better & (worse | ~sure)] = Verdict.NOT_DECIDED
        verdicts[worse & ~better] = Verdict.WORSE
        verdicts[self._hard > 0], verdicts[self._hard < 0] = Verdict.BETTER, Verdict.WORSE
        return verdicts

    def _why(self, i: int, row: pa.Table) -> tuple[str, float]:
        """One line, and the strength of the reason."""
        hard, reason = self._hard[i], {side: row[f"reason_{side}"][0].as_py() for side in "ab"}
        edges = {side: f"edges ×{self.values[f'edge_sharpness_{side}'][i]:.2f}" for side in "ab"}
        texts = {
            -_LOST: f"failed now: {reason['b']}",
            _LOST: f"failed before: {reason['a']}",
            -_FELL_BACK: f"bicubic now: {reason['b']}",
            _FELL_BACK: f"bicubic before: {reason['a']}",
            -_BLURRED: f"softer than bicubic: {edges['b']}",
            _BLURRED: f"softer than bicubic before: {edges['a']}",
        }
        if hard:
            return texts[hard], abs(hard)
        gains = self._gains[:, i]
        parts = [
            f"{one.title} {self.values[one.name + '_a'][i]:.2f} to "
            f"{self.values[one.name + '_b'][i]:.2f}"
            for one, gain in sorted(zip(_MEASURES, gains, strict=True), key=lambda p: -abs(p[1]))
            if gain
        ]
        if self._verdicts[i] == Verdict.NOT_DECIDED and not (gains < 0).any():
            parts.append(_BLUR_UNKNOWN)
        return "; ".join(parts) or "no measure moved beyond its margin", float(np.abs(gains).max())
