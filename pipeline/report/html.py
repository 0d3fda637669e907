"""The page that people read in the morning: one file, no network, no server."""

import base64
import datetime
import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from model.evaluate import heatmap
from model.imaging.sandbox import DecoderPool
from model.inference.upscaler import Upscaler
from model.network import loading, presets
from pipeline.catalog import manifest
from pipeline.records import Reason, RunError, Status
from pipeline.report import aggregate as surveys
from pipeline.report import charts
from pipeline.report.aggregate import Survey
from pipeline.report.examples import MAX_BYTES, MAX_PIXELS, Exhibitor
from pipeline.runs import reuse
from pipeline.settings import Settings
from pipeline.storage import locations
from pipeline.storage.base import Storage
from pipeline.storage.routing import list_if_any
from pipeline.upscale.saved_model import read_model

# A share of doubted results, and a fall of the median gain, that somebody should look at.
_MANY_FALLBACKS = 0.02
_GAIN_FELL_DB = 0.2
# What presigned URIs and web addresses carry; rows have digests in their place.
_CREDENTIAL = re.compile(
    r"(?i)\b((?:X-(?:Amz|Goog)-\w+|Signature|AWSAccessKeyId|sig|token)=)[^&\s\"']+"
)
_LOGIN = re.compile(r"//[^/@\s]*@")
# Longer texts of a row are cut.
_MAX_TEXT_CHARS = 300


@dataclass(frozen=True)
class Note:
    """One thing to know about the night; `level` is `bad`, `watch` or `good`."""

    level: str
    text: str


def write_report(files: Storage, output: str, run_id: str) -> str:
    """Writes the report of a finished run.

    Args:
        files: where the run lies.
        output: as given to the run.
        run_id: of a finished run.

    Returns:
        Where the page lies.

    Raises:
        RunError: if the run is not finished.
        StorageError: if its rows cannot be read, or the page not be written.
    """
    folder = locations.join(output, f"runs/{run_id}")
    summary = reuse.read_summary(files, folder)
    if summary is None:
        raise RunError(f"there is no finished run {run_id} under {output}")
    uri = locations.join(folder, "report.html")
    files.write(uri, make_page(files, output, summary).encode())
    return uri


def make_page(
    files: Storage, output: str, summary: Mapping[str, Any], *, max_bytes: int = MAX_BYTES
) -> str:
    """The report as HTML.

    Args:
        files: where the run lies.
        output: as given to the run.
        summary: content of its summary.json.
        max_bytes: of all images on the page.
    """
    made = sum(summary["by_status"].get(status, 0) for status in surveys.MADE)
    found = surveys.survey(
        files,
        list_if_any(files, locations.join(output, f"rows/run_id={summary['run_id']}")),
        statuses=surveys.MADE if made else (Status.UNCHANGED,),
        window=(_timestamp(summary["started_at"]), _timestamp(summary["finished_at"])),
        seed=summary["run_id"],
    )
    before = None
    if summary.get("previous_run"):
        before = reuse.read_summary(
            files, locations.join(output, f"runs/{summary['previous_run']}")
        )
    place = manifest.Place(summary["input"], summary["settings"].get("allow_schemes", ()))
    with DecoderPool(os.cpu_count() or 1, max_pixels=MAX_PIXELS) as decoders:
        exhibitor = Exhibitor(
            files, decoders, place, lambda: _load_upscaler(files, summary), max_bytes=max_bytes
        )
        gallery = [
            (title, about, list(exhibitor.show_all(kept.rows())))
            for title, about, kept in (
                ("Worst", "the least gain over bicubic on the image itself", found.worst),
                ("Fallbacks", "doubted by the gate: bicubic was published", found.fallbacks),
                ("Best", "the largest gain over bicubic on the image itself", found.best),
                ("Random", "what a customer is likely to see", found.random),
            )
        ]
    return render(
        "report.html.j2",
        summary=summary,
        before=before,
        made=made,
        found=found,
        notes=notes_on(summary, before, found),
        reasons=_reasons(found),
        gallery=gallery,
        measure_charts=_measure_charts(found),
        timeline=_timeline(found),
        replay=replay_command,
        now=datetime.datetime.now(datetime.UTC),
    )


def render(template: str, **context: Any) -> str:
    """Fills a template of `pipeline/report/templates`; all that comes from data is escaped.

    The page's policy allows one script, its own, by digest: not even a mistake in escaping could
    run another.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "size": _size,
        "duration": _duration,
        "clean": clean_text,
        "clean_command": lambda command: clean_text(command, most=2000),
        "name": lambda uri: clean_text(uri).rstrip("/").rpartition("/")[2] or clean_text(uri),
    }
    loader = environment.loader
    assert loader is not None
    script = loader.get_source(environment, "report.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        script=script,
        script_digest=digest,
        style=loader.get_source(environment, "report.css")[0],
        heat_colours=json.dumps(heatmap.COLOURS.tolist()),
        **context,
    )


def notes_on(
    summary: Mapping[str, Any], before: Mapping[str, Any] | None, found: Survey
) -> list[Note]:
    """What to worry about, the worst first; then what went well.

    Args:
        summary: of the run.
        before: of the run before; None if there is none.
        found: of its rows.
    """
    notes = []
    allowed = summary["settings"].get("max_failure_rate", 1.0)
    failed = summary["by_status"].get(Status.FAILED, 0)
    if summary["failure_rate"] > allowed:
        notes.append(
            Note(
                "bad",
                f"{summary['failure_rate']:.1%} of the images failed, {allowed:.1%} are allowed",
            )
        )
    elif failed:
        notes.append(Note("watch", f"{failed:,} images failed, within what is allowed"))
    made = sum(summary["by_status"].get(status, 0) for status in surveys.MADE)
    doubted = summary["by_status"].get(Status.FALLBACK, 0)
    if doubted > _MANY_FALLBACKS * made:
        notes.append(Note("watch", f"the gate doubted {doubted:,} of {made:,} results"))
    if summary.get("disappeared"):
        told = f"{summary['disappeared']:,} images of {summary['previous_run']} disappeared"
        notes.append(Note("watch", f"{told} from the catalog"))
    gain = _median(summary, "self_gain_db")
    if before is not None:
        new = sorted(set(summary["by_reason"]) - set(before["by_reason"]) - {Reason.SAME_CONTENT})
        if new:
            notes.append(Note("watch", f"not seen in the run before: {', '.join(new)}"))
        gain_before = _median(before, "self_gain_db")
        if gain is not None and gain_before is not None:
            change = gain - gain_before
            level = "watch" if change < -_GAIN_FELL_DB else "good"
            notes.append(
                Note(level, f"median gain {gain:+.2f} dB, {change:+.2f} against the run before")
            )
    elif gain is not None:
        notes.append(Note("good" if gain > 0 else "watch", f"median gain {gain:+.2f} dB"))
    if not failed:
        notes.append(Note("good", "no image failed"))
    if made and not doubted:
        notes.append(Note("good", "the gate doubted nothing"))
    return sorted(notes, key=lambda note: ("bad", "watch", "good").index(note.level))


def replay_command(summary: Mapping[str, Any], *reasons: str) -> str:
    """The command line that does the rows with these reasons again, with the run's own settings.

    Args:
        summary: of the run.
        reasons: codes.
    """
    arguments = ["--input", summary["input"], "--output", summary["output"]]
    arguments += ["--previous", summary["run_id"], "--retry", ",".join(reasons)]
    given = {"model": summary["model"]["name"]} | dict(summary["settings"])
    defaults = {name: one.default for name, one in Settings.__dataclass_fields__.items()}
    for name in (
        *("model", "min_side", "max_side", "max_pixels", "images", "image_format", "animated"),
        *("max_failure_rate", "s3_endpoint_url", "allow_schemes"),
    ):
        value = given.get(name, defaults[name])
        value = ",".join(value) if isinstance(value, list) else value
        if value not in (defaults[name], "", None):
            arguments += [f"--{name}", str(value)]
    return shlex.join(["python", "run_pipeline.py", *arguments])


def clean_text(text: str | None, most: int = _MAX_TEXT_CHARS) -> str:
    """A row's text for the page: without credentials, control characters and endless length."""
    cleaned = _LOGIN.sub("//", _CREDENTIAL.sub(r"\1…", text or ""))
    cleaned = "".join(letter if letter.isprintable() else "�" for letter in cleaned)
    return cleaned if len(cleaned) <= most else f"{cleaned[:most]}…"


def _load_upscaler(files: Storage, summary: Mapping[str, Any]) -> Upscaler:
    """The run's network; RunError if it is not to be had any more."""
    saved = read_model(files, summary["model"]["name"])
    if saved.sha256 != summary["model"]["sha256"]:
        raise RunError("the network was replaced since")
    try:
        return Upscaler(loading.load(saved))
    except presets.ModelError as error:
        raise RunError(str(error)) from error


def _reasons(found: Survey) -> list[dict[str, Any]]:
    """Tallies by status and reason with examples: first what to look at."""
    order = [Status.FAILED, Status.FALLBACK, Status.UPSCALED, Status.UNCHANGED, Status.SKIPPED]
    return [
        {
            "status": status,
            "reason": reason,
            "count": count,
            "examples": found.examples[status, reason].rows(),
        }
        for (status, reason), count in sorted(
            found.counts.items(), key=lambda item: (order.index(item[0][0]), -item[1])
        )
        if (status, reason) in found.examples
    ]


def _measure_charts(found: Survey) -> list[tuple[str, str, list[str], charts.Histogram]]:
    """(title, unit, names of the series, histogram) of the measures that there are."""
    values = {name: sample.values() for name, sample in found.measures.items()}
    noise = (values["background_noise"], values["background_noise_source"])
    made = (
        ("Gain over bicubic", "dB", ["self gain"], charts.histogram(values["self_gain_db"])),
        ("Round trip", "dB", ["PSNR"], charts.histogram(values["roundtrip_psnr_db"])),
        ("Sharpness over bicubic's", "×", ["ratio"], charts.histogram(values["sharpness_ratio"])),
        (
            "Noise of flat places",
            "grey levels",
            ["result", "source"],
            charts.histogram(*noise),
        ),
    )
    return [(title, unit, names, one) for title, unit, names, one in made if one is not None]


def _timeline(found: Survey) -> dict[str, Any] | None:
    """Images a second over the run; None where nothing was made in it."""
    if not found.made_at.any():
        return None
    start, end = found.window
    rates = found.made_at / (max(end - start, 1e-3) / len(found.made_at))
    return {"rates": rates.tolist(), "highest": float(rates.max()), "seconds": end - start}


def _median(summary: Mapping[str, Any], name: str) -> float | None:
    return summary["percentiles"].get(name, {}).get("p50")


def _timestamp(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _size(size_bytes: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def _duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
