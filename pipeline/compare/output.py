"""Output of a comparison: lines for a terminal and an HTML report with images."""

import os

from model.imaging.sandbox import DecoderPool
from pipeline import text
from pipeline.catalog import manifest
from pipeline.compare.differences import Difference
from pipeline.compare.finished_run import FinishedRun, read_located_rows
from pipeline.report import html
from pipeline.report.examples import MAX_PIXELS, ExampleReader
from pipeline.storage.base import Storage

_MAX_PRINTED = 10
_MAX_EXAMPLES = 24


def describe(difference: Difference) -> str:
    """Formats a difference as lines for a terminal."""
    d = difference
    lines = [
        f"{d.a} -> {d.b}: {text.count(d.common, 'image')} in both, {d.appeared:,} new, "
        f"{d.disappeared:,} gone, {d.rewritten:,} rewritten; "
        f"{text.count(d.identical, 'result')} identical to the last byte",
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
            f"{text.clean(drift.group)[-30:]:<30} {drift.measure:<18} {drift.images:>7} "
            f"{drift.before:>8.2f} {drift.after:>8.2f} {drift.change:>+8.2f} {drift.error:>7.2f}"
        )
    lines += ["", f"{text.count(len(d.worse), 'image')} got worse ({d.worse_share:.1%})"]
    lines += [f"  {text.clean(one.uri)}: {text.clean(one.why)}" for one in d.worse[:_MAX_PRINTED]]
    return "\n".join(lines)


def make_report(
    files: Storage, runs: tuple[FinishedRun, FinishedRun], difference: Difference
) -> str:
    """Returns the comparison as HTML, with the images that got worse: A left, B right.

    Args:
        files: storage of the runs.
        runs: A and B.
        difference: of their rows.

    Raises:
        RunError: if the rows cannot be read.
    """
    wanted = {one.uri: one.why for one in difference.worse[:_MAX_EXAMPLES]}
    rows_a, rows_b = (read_located_rows(files, run, wanted) for run in runs)
    place = manifest.Place(runs[1].summary["input"])
    with DecoderPool(os.cpu_count() or 1, max_pixels=MAX_PIXELS) as decoders:
        reader = ExampleReader(files, decoders, place)
        names = (difference.a, difference.b)
        examples = [
            (reader.read_pair(rows_b[uri], rows_a[uri], names=names), why)
            for uri, why in wanted.items()
        ]
    return html.render("compare.html.j2", difference=difference, examples=examples)
