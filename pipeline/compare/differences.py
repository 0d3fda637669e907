"""Compares two runs image by image: nights of one catalog, or two networks on it.

    python -m pipeline.compare upscaled/runs/night1 upscaled/runs/night2
    python -m pipeline.compare s3://shop/old/runs/a s3://shop/new/runs/b --page worse.html

Prints what changed in counts, how the measures moved in each group of images, and which
images got worse. Exit status: 0; 1 if a run cannot be read; 2 usage; 3 if a larger share of the
images got worse than `--max_worse` allows.
"""

import argparse
import collections
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import pipeline.runtime.startup  # noqa: F401 - first, for its effect
from model.imaging.sandbox import DecoderPool
from pipeline.catalog import manifest
from pipeline.records import RunError, Status
from pipeline.report import aggregate, html
from pipeline.report.aggregate import FoundRow
from pipeline.report.examples import MAX_PIXELS, Exhibitor
from pipeline.runs import finished
from pipeline.runs.layout import Layout
from pipeline.storage.base import Storage, StorageConfig, StorageError
from pipeline.storage.routing import list_if_any, open_storage

DONE, FAILED, WORSE = 0, 1, 3

# What is compared, and how much less of it is a loss. The reference knows the truth, the source
# carries its own noise: where both runs have a reference, it alone decides.
_LOSS_DB = {"reference_psnr_db": 0.2, "self_gain_db": 0.5}
_MEASURES = ("self_gain_db", "roundtrip_psnr_db", "reference_psnr_db", "sharpness_ratio")
_COLUMNS = ("uri", "product_id", "status", "reason", "source_etag", "image_sha256", *_MEASURES)
_GROUPS = {
    "folder": "the URI's folder",
    "product": "product_id up to the first digit or '-', '_', '/', ':'",
    "format": "the URI's suffix",
}
# Losses for the order alone: beyond any measure's.
_LOST, _FELL_BACK = 2000.0, 1000.0
_MAX_GROUPS = 20
_MAX_SHOWN = 24


@dataclass(frozen=True)
class Drift:
    """How a measure moved in a group of images, over those that both runs have it of.

    Attributes:
        group: its name.
        measure: column.
        images: how many.
        before, after: means.
        change: mean of the differences.
        error: its standard error; 0 for a single image.
    """

    group: str
    measure: str
    images: int
    before: float
    after: float
    change: float
    error: float


@dataclass(frozen=True)
class Worse:
    """An image that got worse.

    Attributes:
        uri: of the image.
        why: one line.
        loss: for the order; what has no result any more comes first.
    """

    uri: str
    why: str
    loss: float


@dataclass(frozen=True)
class Difference:
    """What changed from run A to run B.

    Attributes:
        a, b: the runs' names.
        counts: (status, reason) with the number in A and in B; the largest change first.
        appeared, disappeared: URIs in one run only.
        common: URIs in both whose content is the same: what follows is about them.
        rewritten: URIs whose content changed.
        identical: of the common ones, results that are the same to the last byte.
        drifts: by group and measure; the group "all" first.
        worse: the greatest loss first.
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
    worse: list[Worse]

    @property
    def worse_share(self) -> float:
        """Of the common images."""
        return len(self.worse) / self.common if self.common else 0.0


@dataclass(frozen=True)
class RunPlace:
    """A finished run.

    Attributes:
        output: as given to it.
        run_id: its id.
        summary: content of its summary.json.
    """

    output: str
    run_id: str
    summary: Mapping[str, Any]

    def parts(self, files: Storage) -> list[str]:
        """Its Parquet files."""
        return list_if_any(files, Layout(self.output, self.run_id).rows)


def find(files: Storage, run: str) -> RunPlace:
    """Finds a finished run by its folder, `OUT/runs/<run_id>`.

    Raises:
        RunError: if there is none.
    """
    try:
        layout = Layout.of_folder(run)
    except ValueError as error:
        raise RunError(f"{run} is not the folder of a run: give OUT/runs/<run_id>") from error
    summary = finished.read_summary(files, layout)
    if summary is None:
        raise RunError(f"there is no finished run in {run}")
    return RunPlace(layout.output, layout.run_id, summary)


def read_rows(files: Storage, run: RunPlace) -> pa.Table:
    """The small columns of a run's rows; about 200 bytes of memory a row."""
    batches = [batch for *_, batch in aggregate.read_batches(files, run.parts(files), _COLUMNS)]
    if not batches:
        raise RunError(f"the run {run.run_id} under {run.output} has no rows")
    return pa.Table.from_batches(batches)


def compare(
    a: pa.Table, b: pa.Table, *, group_by: str = "folder", names: tuple[str, str] = ("A", "B")
) -> Difference:
    """Compares the rows of two runs.

    Args:
        a, b: see `read_rows`.
        group_by: one of `folder`, `product`, `format`.
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
    """The group of an image: see `--group_by`."""
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
        before, after = (_floats(common[f"{measure}_{side}"]) for side in "ab")
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


def _worse(common: pa.Table) -> list[Worse]:
    """Images that lost their result, fell back to bicubic, or lost more than a measure's due."""
    made = pa.array([Status.UPSCALED, Status.FALLBACK, Status.UNCHANGED])
    had, has = (pc.is_in(common[f"status_{side}"], value_set=made) for side in "ab")
    doubted_a, doubted_b = (
        pc.fill_null(pc.starts_with(common[f"reason_{side}"], "gate:"), False) for side in "ab"
    )
    lost = {name: _floats(common[f"{name}_a"]) - _floats(common[f"{name}_b"]) for name in _LOSS_DB}
    has_reference = ~np.isnan(lost["reference_psnr_db"])
    lost["self_gain_db"][has_reference] = np.nan
    by_measure = np.zeros(common.num_rows, bool)
    for name, allowed in _LOSS_DB.items():
        by_measure |= lost[name] > allowed
    gone = pc.and_(had, pc.equal(common["status_b"], Status.FAILED)).to_numpy()
    falls = pc.and_(pc.and_(had, has), pc.and_(doubted_b, pc.invert(doubted_a))).to_numpy()
    worse = []
    for i in np.flatnonzero(gone | falls | by_measure):
        row = common.slice(i, 1).to_pylist()[0]
        losses = {n: float(values[i]) for n, values in lost.items() if values[i] > _LOSS_DB[n]}
        if gone[i]:
            worse.append(Worse(row["uri"], f"failed now: {row['reason_b']}", _LOST))
        elif falls[i]:
            worse.append(Worse(row["uri"], f"bicubic now: {row['reason_b']}", _FELL_BACK))
        else:
            name, loss = max(losses.items(), key=lambda item: item[1])
            told = f"{name} {row[name + '_a']:.2f} to {row[name + '_b']:.2f}"
            worse.append(Worse(row["uri"], told, loss))
    return sorted(worse, key=lambda one: (-one.loss, one.uri))


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy()


def describe(difference: Difference) -> str:
    """The comparison in lines for people."""
    d = difference
    lines = [
        f"{d.a} -> {d.b}: {d.common} images in both, {d.appeared} new, {d.disappeared} gone, "
        f"{d.rewritten} rewritten; {d.identical} results are the same to the last byte",
        "",
        f"{'status':<10} {'reason':<22} {'before':>9} {'after':>9} {'change':>9}",
    ]
    for status, reason, before, after in d.counts:
        change = f"{after - before:+d}" if after != before else "="
        lines.append(f"{status:<10} {reason or '':<22} {before:>9} {after:>9} {change:>9}")
    if d.drifts:
        head = f"{'group':<30} {'measure':<18} {'n':>7} {'before':>8} {'after':>8}"
        lines += ["", f"{head} {'change':>8} {'error':>7}"]
    for drift in d.drifts:
        lines.append(
            f"{html.clean_text(drift.group)[-30:]:<30} {drift.measure:<18} {drift.images:>7} "
            f"{drift.before:>8.2f} {drift.after:>8.2f} {drift.change:>+8.2f} {drift.error:>7.2f}"
        )
    lines += ["", f"{len(d.worse)} images got worse ({d.worse_share:.1%})"]
    lines += [f"  {html.clean_text(one.uri)}: {html.clean_text(one.why)}" for one in d.worse[:10]]
    return "\n".join(lines)


def make_page(files: Storage, runs: tuple[RunPlace, RunPlace], difference: Difference) -> str:
    """The comparison as a page, with the images that got worse: A on the left, B on the right.

    Args:
        files: where the runs lie.
        runs: A and B.
        difference: of their rows.
    """
    wanted = {one.uri: one.why for one in difference.worse[:_MAX_SHOWN]}
    before, after = (_rows_of(files, run, wanted) for run in runs)
    place = manifest.Place(runs[1].summary["input"])
    with DecoderPool(os.cpu_count() or 1, max_pixels=MAX_PIXELS) as decoders:
        exhibitor = Exhibitor(files, decoders, place, _no_network)
        exhibits = [
            (exhibitor.show_pair(after[uri], before[uri], names=(difference.a, difference.b)), why)
            for uri, why in wanted.items()
        ]
    return html.render("compare.html.j2", difference=difference, exhibits=exhibits)


def _no_network() -> Any:
    raise RunError("a comparison makes no images")


def _rows_of(files: Storage, run: RunPlace, uris: Mapping[str, str]) -> dict[str, FoundRow]:
    """The rows of some URIs, with the places of their images."""
    found = {}
    batches = aggregate.read_batches(files, run.parts(files), aggregate.COLUMNS)
    for part, first, batch in batches:
        there = pc.is_in(batch["uri"], value_set=pa.array(list(uris), pa.string()))
        for i in np.flatnonzero(there.to_numpy(zero_copy_only=False)):
            row = aggregate.found_row(batch, int(i), part, first)
            found[row.columns["uri"]] = row
    return found


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.compare", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("run_a", metavar="RUN_A", help="OUT/runs/<run_id> of the one before")
    add("run_b", metavar="RUN_B", help="OUT/runs/<run_id> of the other")
    groups = "; ".join(f"{name}: {about}" for name, about in _GROUPS.items())
    add("--group_by", choices=tuple(_GROUPS), default="folder", help=groups)
    add("--max_worse", type=float, default=0.01, help="share that may get worse (default: 0.01)")
    add("--page", type=Path, help="write the comparison with images to this HTML file")
    add("--json", type=Path, help="write all figures to this file")
    add("--s3_endpoint_url", help="another S3 server than AWS")
    options = parser.parse_args(argv)
    if not 0 <= options.max_worse <= 1:
        parser.error(f"--max_worse is 0..1: {options.max_worse}")
    files = open_storage(StorageConfig(options.s3_endpoint_url))
    try:
        runs = find(files, options.run_a), find(files, options.run_b)
        tables = [read_rows(files, run) for run in runs]
        names = _names(*runs)
        difference = compare(tables[0], tables[1], group_by=options.group_by, names=names)
        print(describe(difference))
        if options.json:
            figures = asdict(difference) | {"worse_share": difference.worse_share}
            options.json.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        if options.page:
            options.page.write_text(make_page(files, runs, difference))
            print(f"page: {options.page}")
    except (RunError, StorageError, OSError) as error:
        print(f"pipeline.compare: {error}", file=sys.stderr)
        return FAILED
    if difference.worse_share > options.max_worse:
        print(
            f"pipeline.compare: {difference.worse_share:.1%} of the images got worse, "
            f"--max_worse allows {options.max_worse:.1%}",
            file=sys.stderr,
        )
        return WORSE
    return DONE


def _names(a: RunPlace, b: RunPlace) -> tuple[str, str]:
    """Short names: the ids, or the models where the ids are the same."""
    if a.run_id != b.run_id:
        return a.run_id, b.run_id
    models = [run.summary["model"]["name"].rpartition("/")[2] for run in (a, b)]
    return f"A {models[0]}", f"B {models[1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
