"""Notes at the top of a report: what to worry about in a run, and what went well."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import text
from pipeline.catalog.selection import Selection
from pipeline.records import Reason, Status
from pipeline.report.aggregate import PUBLISHED

# A share of rejected results, and a loss of median gain, that somebody should look at.
_MANY_FALLBACKS = 0.02
_GAIN_LOSS_DB = 0.2
_LEVELS = ("bad", "watch", "good")


@dataclass(frozen=True)
class Note:
    """One fact about the run.

    Attributes:
        level: `bad`, `watch` or `good`.
        text: one line.

    Example:
        Note("watch", "3 images failed, within the limit")
    """

    level: str
    text: str


def write_notes(summary: Mapping[str, Any], previous: Mapping[str, Any] | None) -> list[Note]:
    """Writes the notes about a run.

    Args:
        summary: content of the run's summary.json.
        previous: content of the previous run's summary.json; None if there is none.

    Returns:
        The notes, the worst first.
    """
    statuses = summary["by_status"]
    published = sum(statuses.get(status, 0) for status in PUBLISHED)
    rejected = statuses.get(Status.FALLBACK, 0)
    notes = [_failures(summary), *_gain(summary, previous)]
    if rejected > _MANY_FALLBACKS * published:
        results = text.count(published, "result")
        notes.append(Note("watch", f"the quality gate rejected {rejected:,} of {results}"))
    elif published and not rejected:
        notes.append(Note("good", "the quality gate rejected no result"))
    if summary.get("selection"):
        part = Selection.of_json(summary["selection"])
        notes.append(Note("watch", f"the run saw a part of the catalog: {part}"))
    if summary.get("disappeared"):
        images = text.count(summary["disappeared"], "image")
        of_run = summary["previous_run"]
        notes.append(Note("watch", f"{images} of {of_run} disappeared from the catalog"))
    if previous is not None:
        new = set(summary["by_reason"]) - set(previous["by_reason"]) - {Reason.SAME_CONTENT}
        if new:
            names = ", ".join(sorted(new))
            notes.append(Note("watch", f"new since the previous run: {names}"))
    return sorted(notes, key=lambda note: _LEVELS.index(note.level))


def _failures(summary: Mapping[str, Any]) -> Note:
    allowed = summary["settings"].get("max_failure_rate", 1.0)
    failed = summary["by_status"].get(Status.FAILED, 0)
    if summary["failure_rate"] > allowed:
        rate = f"{summary['failure_rate']:.1%}"
        return Note("bad", f"{rate} of the images failed, the limit is {allowed:.1%}")
    if failed:
        return Note("watch", f"{text.count(failed, 'image')} failed, within the limit")
    return Note("good", "no image failed")


def _gain(summary: Mapping[str, Any], previous: Mapping[str, Any] | None) -> list[Note]:
    gain = _median_gain(summary)
    if gain is None:
        return []
    if previous is None:
        return [Note("good" if gain > 0 else "watch", f"median gain {gain:+.2f} dB")]
    gain_before = _median_gain(previous)
    if gain_before is None:
        return []
    change = gain - gain_before
    level = "watch" if change < -_GAIN_LOSS_DB else "good"
    change_text = f"{change:+.2f} against the previous run"
    return [Note(level, f"median gain {gain:+.2f} dB, {change_text}")]


def _median_gain(summary: Mapping[str, Any]) -> float | None:
    return summary["percentiles"].get("self_gain_db", {}).get("p50")
