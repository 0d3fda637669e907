"""Output of a comparison: lines for a terminal and an HTML report with images."""

import os
import shlex
from collections.abc import Iterator

from model.imaging.sandbox import DecoderPool
from pipeline import text
from pipeline.compare.differences import NOT_RANKING, Difference
from pipeline.compare.finished_run import FinishedRun, read_located_rows
from pipeline.compare.judging import JudgedImage, Verdict
from pipeline.compare.looking import place_of
from pipeline.report import html
from pipeline.report.examples import MAX_PIXELS, ExampleReader
from pipeline.storage.base import Readable, Storage

_MAX_PRINTED = 10
# Examples of a page, by verdict.
_EXAMPLES = {Verdict.WORSE: 12, Verdict.BETTER: 8, Verdict.NOT_DECIDED: 6, Verdict.SAME: 2}


def describe(difference: Difference, runs: tuple[FinishedRun, FinishedRun]) -> str:
    """Formats a difference as lines for a terminal, the verdict first.

    Args:
        difference: of the runs' rows.
        runs: A and B.
    """
    d = difference
    lines = [
        f"{d.b} against {d.a}: {d.verdict.verdict}",
        f"  {d.verdict.why}",
        *(f"  {limit}" for limit in limits(d, runs)),
        "",
        f"{d.a} -> {d.b}: {text.count(d.common, 'image')} in both, {d.appeared:,} new, "
        f"{d.disappeared:,} gone, {d.rewritten:,} rewritten; "
        f"{text.count(d.identical, 'result')} identical to the last byte",
        "",
        f"{'status':<10} {'reason':<22} {'before':>9} {'after':>9} {'change':>9}",
    ]
    for status, reason, before, after in d.counts:
        change = f"{after - before:+d}" if after != before else "="
        lines.append(f"{status:<10} {reason or '':<22} {before:>9} {after:>9} {change:>9}")
    lines += [*_measures(d), *_groups(d)]
    lines += ["", f"{text.count(len(d.worse), 'image')} got worse ({d.worse_share:.1%})"]
    lines += [f"  {text.clean(one.uri)}: {text.clean(one.why)}" for one in d.worse[:_MAX_PRINTED]]
    return "\n".join(lines)


def limits(difference: Difference, runs: tuple[FinishedRun, FinishedRun]) -> list[str]:
    """Returns what the verdict cannot tell, in whole sentences.

    Args:
        difference: of the runs' rows.
        runs: A and B, for their networks.
    """
    found, judged = [], difference.verdict
    total = judged.better + judged.worse + judged.not_decided + judged.same
    if total < difference.common - difference.identical:
        changed = text.count(difference.common - difference.identical, "image")
        found.append(f"Judged by {total:,} of {changed} in both whose row or result differs.")
    if judged.not_decided:
        undecided = text.count(judged.not_decided, "image")
        found.append(f"{undecided} moved both ways or could not be compared: look at them.")
    if total > difference.referenced:
        found.append(
            "Without a reference image nobody can tell fine texture of the product from "
            "compression noise, or true detail from invented detail: look at the images."
        )
        models = dict.fromkeys(run.summary["model"]["name"] for run in runs)
        if len(models) > 1:
            named = shlex.join(text.clean(name) for name in models)
            command = f"python -m benchmarks.degradations HR_FOLDER --model {named}"
            found.append(f"With large originals at hand: {command}")
    return found


def _measures(d: Difference) -> Iterator[str]:
    """The measures over all images: those that judge, then the others."""
    if d.drifts:
        yield ""
        yield f"{'measure':<20} {'n':>7} {'before':>8} {'after':>8} {'change':>8} {'error':>7}"
    for drift in d.drifts:
        if drift.group == "all":
            yield (
                f"{drift.measure:<20} {drift.images:>7} {drift.before:>8.2f} {drift.after:>8.2f} "
                f"{drift.change:>+8.2f} {drift.error:>7.2f}"
                f"{'  does not rank networks' if drift.measure in NOT_RANKING else ''}"
            )


def _groups(d: Difference) -> Iterator[str]:
    if len(d.groups) > 1:
        yield ""
        yield f"{'group':<40} {'better':>7} {'worse':>7} {'other':>7}"
        for one in d.groups:
            group = text.clean(one.group)[-40:]
            yield f"{group:<40} {one.better:>7} {one.worse:>7} {one.other:>7}"


def make_report(
    files: Storage,
    runs: tuple[FinishedRun, FinishedRun],
    difference: Difference,
    *,
    sources: Readable | None = None,
) -> str:
    """Returns the comparison as HTML, with source, A and B side by side where they differ most.

    Args:
        files: storage of the runs.
        runs: A and B.
        difference: of their rows.
        sources: storage of the sources; None for the same.

    Raises:
        RunError: if the rows cannot be read.
    """
    shown = {
        verdict: [one for one in images if one.verdict == verdict][:most]
        for verdict, most in _EXAMPLES.items()
        for images in ([*difference.worse, *difference.judged],)
    }
    uris = [one.uri for images in shown.values() for one in images]
    rows_a, rows_b = (read_located_rows(files, run, uris) for run in runs)
    names = (text.clean(difference.a), text.clean(difference.b))
    with DecoderPool(os.cpu_count() or 1, max_pixels=MAX_PIXELS) as decoders:
        reader = ExampleReader(files, decoders, place_of(runs[1]), sources=sources)

        def example(one: JudgedImage) -> html.Example:
            return reader.read_pair(rows_b[one.uri], rows_a[one.uri], names=names)

        sections = [
            (verdict, [(example(one), one.why) for one in images])
            for verdict, images in shown.items()
            if images
        ]
    return html.render(
        "compare.html.j2",
        difference=difference,
        sections=sections,
        limits=limits(difference, runs),
        not_ranking=NOT_RANKING,
    )
