"""Differences between the rows of two runs: counts, drifts of measures, judged images."""

import collections
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import text
from pipeline.compare.judging import (
    PIXEL_MEASURES,
    ROW_MEASURES,
    Judge,
    JudgedImage,
    PixelMeasures,
    Verdict,
)
from pipeline.compare.verdict import RunVerdict, decide
from pipeline.records import RunError
from pipeline.report.aggregate import to_floats

JUDGED = tuple(one.name for one in (*ROW_MEASURES, *PIXEL_MEASURES))
# They detect mistakes and do not rank networks: see docs/measures.md.
NOT_RANKING = ("self_gain_db", "roundtrip_psnr_db", "sharpness_ratio")
_STORED = (*(one.name for one in ROW_MEASURES), *NOT_RANKING)
COLUMNS = ("uri", "product_id", "status", "reason", "source_etag", "image_sha256", *_STORED)
MAX_LOOKED_AT = 100
GROUPS = {
    "folder": "the URI's folder",
    "product": "product_id up to the first digit or '-', '_', '/', ':'",
    "format": "the URI's suffix",
}
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
class GroupCount:
    """How many judged images of a group got better and worse.

    Attributes:
        group: name of the group.
        better, worse, other: number of images; `other` are not decided or the same.

    Example:
        GroupCount("s3://shop/shoes", better=40, worse=2, other=7)
    """

    group: str
    better: int
    worse: int
    other: int


@dataclass(frozen=True)
class Difference:
    """Difference from run A to run B.

    Attributes:
        a, b: names of the runs.
        verdict: of B against A.
        counts: (status, reason, number in A, number in B); the largest change first.
        appeared, disappeared: URIs in one run only.
        common: URIs in both runs with the same content; the next attributes are about them.
        rewritten: URIs whose content changed.
        identical: common URIs whose results are identical to the last byte.
        looked_at: images whose pixels were compared.
        referenced: judged images that have a reference in both runs.
        drifts: by group and measure; the group "all" first.
        groups: the largest groups of judged images.
        judged: the judged images that did not get worse, the clearest of each verdict first.
        worse: every image that got worse, judged for the verdict or not, the clearest first.

    Example:
        difference = compare(rows_a, rows_b, names=("night1", "night2"))
        difference.verdict.verdict, difference.worse_share
    """

    a: str
    b: str
    verdict: RunVerdict
    counts: list[tuple[str, str | None, int, int]]
    appeared: int
    disappeared: int
    common: int
    rewritten: int
    identical: int
    looked_at: int
    referenced: int
    drifts: list[Drift]
    groups: list[GroupCount]
    judged: list[JudgedImage]
    worse: list[JudgedImage]

    @property
    def worse_share(self) -> float:
        """Share of the common images that got worse."""
        return len(self.worse) / self.common


Look = Callable[[Sequence[str]], Mapping[str, PixelMeasures]]


def compare(
    a: pa.Table,
    b: pa.Table,
    *,
    group_by: str = "folder",
    names: tuple[str, str] = ("A", "B"),
    look: Look | None = None,
    max_looked_at: int = MAX_LOOKED_AT,
) -> Difference:
    """Compares the rows of two runs and judges the images whose results differ.

    Args:
        a, b: rows with `COLUMNS`, one per URI.
        group_by: key of `GROUPS`.
        names: of the runs.
        look: measures the pixels of images by their URIs, as `looking.measure_images` does; None:
            nobody looks, and no image without a reference gets better.
        max_looked_at: most images that it measures, and that count for the verdict: a sample of
            those that differ, the same every time.

    Raises:
        RunError: if the runs have no image with the same content in common.
    """
    joined = a.join(b, keys="uri", join_type="inner", left_suffix="_a", right_suffix="_b")
    same = pc.fill_null(pc.equal(joined["source_etag_a"], joined["source_etag_b"]), False)
    # Without an etag, as of an image that was not found, there is no content to differ.
    either = pc.and_(pc.is_valid(joined["source_etag_a"]), pc.is_valid(joined["source_etag_b"]))
    rewritten = pc.and_(either, pc.invert(same))
    # In the order of the URIs: the join's order varies.
    common = joined.filter(pc.invert(rewritten)).sort_by("uri")
    if not common.num_rows:
        raise RunError(_nothing_in_common(a, b, joined.num_rows))
    equal = pc.fill_null(pc.equal(common["image_sha256_a"], common["image_sha256_b"]), False)
    sample = _sample(common, equal, max_looked_at)
    pixels, looked_at = _pixels(common, look, sample)
    judge = Judge(common, pixels)
    by_verdict = {one: np.intersect1d(judge.indices(one), sample) for one in Verdict}
    counted = {one.replace(" ", "_"): len(found) for one, found in by_verdict.items()}
    groups = _groups(common, group_by)
    worse = judge.indices(Verdict.WORSE)
    others = [i for one in Verdict if one != Verdict.WORSE for i in by_verdict[one]]
    return Difference(
        *names,
        verdict=decide(**counted),
        counts=_counts(a, b),
        appeared=b.num_rows - joined.num_rows,
        disappeared=a.num_rows - joined.num_rows,
        common=common.num_rows,
        rewritten=pc.sum(rewritten).as_py() or 0,
        identical=pc.sum(equal).as_py() or 0,
        looked_at=looked_at,
        referenced=int(judge.has_reference[sample].sum()),
        drifts=_drifts(common, judge.values, groups),
        groups=_group_counts(groups, by_verdict),
        judged=_ordered(judge.image(i) for i in others),
        worse=_ordered(judge.image(i) for i in np.intersect1d(worse, _differing(equal))),
    )


def _nothing_in_common(a: pa.Table, b: pa.Table, in_both: int) -> str:
    """The error, with its remedy."""
    if in_both:
        return (
            f"the runs have nothing in common: all {text.count(in_both, 'image')} in both changed "
            "between them; give two runs on the same content"
        )
    examples = " and ".join(text.clean(table["uri"][0].as_py()) for table in (a, b))
    return (
        f"the runs have nothing in common: no URI is in both, as {examples}; "
        "run both with the same --input (URIs match as they are spelled)"
    )


def _sample(common: pa.Table, equal: pa.ChunkedArray, size: int) -> np.ndarray:
    """Numbers of the rows to judge, int [n]: those that differ and have a result in a run."""
    has_result = pc.or_(
        pc.is_valid(common["image_sha256_a"]), pc.is_valid(common["image_sha256_b"])
    )
    found = np.intersect1d(np.flatnonzero(has_result.to_numpy()), _differing(equal))
    if len(found) > size:
        uris = common["uri"].take(pa.array(found)).to_pylist()
        order = np.argsort([zlib.crc32(uri.encode()) for uri in uris], kind="stable")
        found = np.sort(found[order[:size]])
    return found


def _differing(equal: pa.ChunkedArray) -> np.ndarray:
    """Numbers of the rows whose results are not identical; others cannot be worse."""
    return np.flatnonzero(pc.invert(equal).to_numpy())


def _pixels(
    common: pa.Table, look: Look | None, sample: np.ndarray
) -> tuple[dict[str, np.ndarray], int]:
    """Measures of the pixels as float [N], nan without, and the number of measured images."""
    chosen = common.take(pa.array(sample))
    has_both = pc.and_(
        pc.is_valid(chosen["image_sha256_a"]), pc.is_valid(chosen["image_sha256_b"])
    )
    uris = common["uri"].to_pylist()
    measured = look(chosen.filter(has_both)["uri"].to_pylist()) if look is not None else {}
    names = [f"{one.name}_{side}" for one in PIXEL_MEASURES for side in "ab"]
    values = {name: np.full(common.num_rows, np.nan) for name in names}
    for i in sample:
        one = measured.get(uris[i])
        for name in names if one is not None else ():
            values[name][i] = getattr(one, name)
    return values, len(measured)


def _ordered(images: Iterable[JudgedImage]) -> list[JudgedImage]:
    return sorted(images, key=lambda one: (one.verdict, -one.strength, one.uri))


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


def _groups(common: pa.Table, group_by: str) -> np.ndarray:
    """The group of each row, object [N]."""
    uris, products = (common[name].to_pylist() for name in ("uri", "product_id_b"))
    named = [group_of(*one, group_by) for one in zip(uris, products, strict=True)]
    return np.array(named, dtype=object)


def _group_counts(
    groups: np.ndarray, by_verdict: Mapping[Verdict, np.ndarray]
) -> list[GroupCount]:
    """Counts of the largest groups of judged images."""
    judged = {verdict: collections.Counter(groups[found]) for verdict, found in by_verdict.items()}
    sizes = sum(judged.values(), collections.Counter())
    counts = []
    for name, size in sizes.most_common(_MAX_GROUPS):
        better, worse = judged[Verdict.BETTER][name], judged[Verdict.WORSE][name]
        counts.append(GroupCount(name, better, worse, size - better - worse))
    return counts


def _drifts(common: pa.Table, judged: Mapping[str, np.ndarray], groups: np.ndarray) -> list[Drift]:
    """How each measure moved, over all images and over those of the largest groups."""
    largest = [name for name, _ in collections.Counter(groups).most_common(_MAX_GROUPS)]
    drifts = []
    for measure in (*JUDGED, *NOT_RANKING):
        before, after = (
            judged[name] if name in judged else to_floats(common[name])
            for name in (f"{measure}_a", f"{measure}_b")
        )
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
