"""Differences between the rows of two runs: counts, drifts of measures, images that got worse."""

import collections
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import Status
from pipeline.report.aggregate import to_floats

# Measures that decide, and how much less of one is a loss. The reference is the truth, the source
# carries its own noise: where both runs have a reference, it alone decides.
_LOSS_DB = {"reference_psnr_db": 0.2, "self_gain_db": 0.5}
_MEASURES = ("self_gain_db", "roundtrip_psnr_db", "reference_psnr_db", "sharpness_ratio")
COLUMNS = ("uri", "product_id", "status", "reason", "source_etag", "image_sha256", *_MEASURES)
GROUPS = {
    "folder": "the URI's folder",
    "product": "product_id up to the first digit or '-', '_', '/', ':'",
    "format": "the URI's suffix",
}
# Losses that only order the list: beyond any measure's.
_LOST, _FELL_BACK = 2000.0, 1000.0
_MAX_GROUPS = 20


@dataclass(frozen=True)
class Drift:
    """How a measure moved in a group of images, over the images that both runs measured.

    Attributes:
        group: name of the group.
        measure: column.
        images: number of images.
        before, after: means.
        change: mean of the differences.
        error: standard error of `change`; 0 for a single image.

    Example:
        Drift("all", "self_gain_db", images=8, before=1.0, after=2.5, change=1.5, error=0.2)
    """

    group: str
    measure: str
    images: int
    before: float
    after: float
    change: float
    error: float


@dataclass(frozen=True)
class WorseImage:
    """An image that got worse.

    Attributes:
        uri: of the image.
        why: one line.
        loss: orders the images; those without a result any more come first.

    Example:
        WorseImage("s3://shop/a.jpg", "self_gain_db 2.00 to 1.40", 0.6)
    """

    uri: str
    why: str
    loss: float


@dataclass(frozen=True)
class Difference:
    """Difference from run A to run B.

    Attributes:
        a, b: names of the runs.
        counts: (status, reason, number in A, number in B); the largest change first.
        appeared, disappeared: URIs in one run only.
        common: URIs in both runs with the same content; the next attributes are about them.
        rewritten: URIs whose content changed.
        identical: common URIs whose results are identical to the last byte.
        drifts: by group and measure; the group "all" first.
        worse: the largest loss first.

    Example:
        difference = compare(rows_a, rows_b, names=("night1", "night2"))
        difference.worse_share
    """

    a: str
    b: str
    counts: list[tuple[str, str | None, int, int]]
    appeared: int
    disappeared: int
    common: int
    rewritten: int
    identical: int
    drifts: list[Drift]
    worse: list[WorseImage]

    @property
    def worse_share(self) -> float:
        """Share of the common images that got worse."""
        return len(self.worse) / self.common if self.common else 0.0


def compare(
    a: pa.Table, b: pa.Table, *, group_by: str = "folder", names: tuple[str, str] = ("A", "B")
) -> Difference:
    """Compares the rows of two runs.

    Args:
        a, b: rows with `COLUMNS`, one per URI.
        group_by: key of `GROUPS`.
        names: of the runs.
    """
    joined = a.join(b, keys="uri", join_type="inner", left_suffix="_a", right_suffix="_b")
    same = pc.fill_null(pc.equal(joined["source_etag_a"], joined["source_etag_b"]), False)
    # Without an etag, as of an image that was not found, there is no content to differ.
    either = pc.and_(pc.is_valid(joined["source_etag_a"]), pc.is_valid(joined["source_etag_b"]))
    rewritten = pc.and_(either, pc.invert(same))
    common = joined.filter(pc.invert(rewritten))
    equal = pc.fill_null(pc.equal(common["image_sha256_a"], common["image_sha256_b"]), False)
    return Difference(
        *names,
        counts=_counts(a, b),
        appeared=b.num_rows - joined.num_rows,
        disappeared=a.num_rows - joined.num_rows,
        common=common.num_rows,
        rewritten=pc.sum(rewritten).as_py() or 0,
        identical=pc.sum(equal).as_py() or 0,
        drifts=_drifts(common, group_by),
        worse=_worse(common),
    )


def _counts(a: pa.Table, b: pa.Table) -> list[tuple[str, str | None, int, int]]:
    found: dict[tuple[str, str | None], tuple[int, int]] = {}
    for side, table in enumerate((a, b)):
        grouped = table.group_by(["status", "reason"]).aggregate([([], "count_all")])
        for row in grouped.to_pylist():
            kind, count = (row["status"], row["reason"]), row["count_all"]
            before = found.get(kind, (0, 0))[0]
            found[kind] = (before, count) if side else (count, 0)
    ordered = sorted(found.items(), key=lambda item: (-abs(item[1][1] - item[1][0]), str(item[0])))
    return [(status, reason, *pair) for (status, reason), pair in ordered]


def group_of(uri: str, product_id: str | None, group_by: str) -> str:
    """Returns the group of an image.

    Args:
        uri: of the image.
        product_id: of its row.
        group_by: key of `GROUPS`.
    """
    if group_by == "product":
        return re.split(r"[0-9\-_/:]", product_id or "", maxsplit=1)[0] or "(none)"
    if group_by == "format":
        name = uri.rpartition("/")[2]
        return name.rpartition(".")[2].lower() if "." in name else "(none)"
    return uri.rpartition("/")[0] or "(none)"


def _drifts(common: pa.Table, group_by: str) -> list[Drift]:
    groups: np.ndarray = np.array(
        [
            group_of(uri, product_id, group_by)
            for uri, product_id in zip(
                common["uri"].to_pylist(), common["product_id_b"].to_pylist(), strict=True
            )
        ],
        dtype=object,
    )
    largest = [name for name, _ in collections.Counter(groups).most_common(_MAX_GROUPS)]
    drifts = []
    for measure in _MEASURES:
        before, after = (to_floats(common[f"{measure}_{side}"]) for side in "ab")
        both = ~np.isnan(before) & ~np.isnan(after)
        masks = {"all": both} | {name: both & (groups == name) for name in largest}
        for name, mask in masks.items():
            if mask.any() and (name == "all" or len(largest) > 1):
                drifts.append(_drift(name, measure, before[mask], after[mask]))
    return sorted(drifts, key=lambda drift: (drift.group != "all", -drift.images, drift.group))


def _drift(group: str, measure: str, before: np.ndarray, after: np.ndarray) -> Drift:
    change = after - before
    error = float(change.std(ddof=1) / len(change) ** 0.5) if len(change) > 1 else 0.0
    return Drift(
        *(group, measure, len(change)),
        before=float(before.mean()),
        after=float(after.mean()),
        change=float(change.mean()),
        error=error,
    )


def _worse(common: pa.Table) -> list[WorseImage]:
    """Images that lost their result, fell back to bicubic, or lost more than `_LOSS_DB`."""
    has_image = pa.array([Status.UPSCALED, Status.FALLBACK, Status.UNCHANGED])
    had, has = (pc.is_in(common[f"status_{side}"], value_set=has_image) for side in "ab")
    rejected_a, rejected_b = (
        pc.fill_null(pc.starts_with(common[f"reason_{side}"], "gate:"), False) for side in "ab"
    )
    lost = {
        name: to_floats(common[f"{name}_a"]) - to_floats(common[f"{name}_b"]) for name in _LOSS_DB
    }
    has_reference = ~np.isnan(lost["reference_psnr_db"])
    lost["self_gain_db"][has_reference] = np.nan
    by_measure = np.zeros(common.num_rows, bool)
    for name, allowed in _LOSS_DB.items():
        by_measure |= lost[name] > allowed
    gone = pc.and_(had, pc.equal(common["status_b"], Status.FAILED)).to_numpy()
    falls = pc.and_(pc.and_(had, has), pc.and_(rejected_b, pc.invert(rejected_a))).to_numpy()
    worse = []
    for i in np.flatnonzero(gone | falls | by_measure):
        row = common.slice(i, 1).to_pylist()[0]
        losses = {n: float(values[i]) for n, values in lost.items() if values[i] > _LOSS_DB[n]}
        if gone[i]:
            worse.append(WorseImage(row["uri"], f"failed now: {row['reason_b']}", _LOST))
        elif falls[i]:
            worse.append(WorseImage(row["uri"], f"bicubic now: {row['reason_b']}", _FELL_BACK))
        else:
            name, loss = max(losses.items(), key=lambda item: item[1])
            why = f"{name} {row[name + '_a']:.2f} to {row[name + '_b']:.2f}"
            worse.append(WorseImage(row["uri"], why, loss))
    return sorted(worse, key=lambda one: (-one.loss, one.uri))
