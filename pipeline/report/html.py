"""Writes `report.html`: one file about a finished run, without network or server."""

import base64
import datetime
import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from typing import Any

import jinja2

from model import startup
from model.evaluate import heatmap
from model.imaging.sandbox import DecoderPool
from pipeline import text
from pipeline.catalog.places import Place
from pipeline.read import s3_access
from pipeline.records import RunError, Status
from pipeline.report import charts, notes
from pipeline.report.aggregate import MAX_VALUES, PUBLISHED, RunAggregate, aggregate
from pipeline.report.before_after import Example
from pipeline.report.examples import MAX_BYTES, MAX_PIXELS, ExampleReader, UpscalesRejected
from pipeline.runs import finished, reader
from pipeline.runs.layout import Layout
from pipeline.settings import replay_arguments
from pipeline.storage.base import Readable, Storage

_MAX_COMMAND_CHARS = 2000
_SEE_ALL = ["python", "-m", "pipeline.report"]


def write_report(
    files: Storage, output: str, run_id: str, *, sources: Readable | None = None
) -> str:
    """Writes the report of a finished run.

    Args:
        files: storage of the run.
        output: the run's `--output`.
        run_id: id of a finished run.
        sources: storage of its sources; None for the same.

    Returns:
        The report's URI or path.

    Raises:
        RunError: if the run is not finished or its rows cannot be read.
        StorageError: if the report cannot be written.
    """
    layout = Layout(output, run_id)
    summary = finished.read_summary(files, layout, finished.WHOLE)
    if summary is None:
        raise RunError(f"there is no finished run {run_id} under {output}")
    report = make_report(files, output, summary, sources=sources)
    files.write(layout.report, report.encode())
    return layout.report


def make_report(
    files: Storage,
    output: str,
    summary: Mapping[str, Any],
    *,
    sources: Readable | None = None,
    max_bytes: int = MAX_BYTES,
) -> str:
    """Reads a run's rows and returns its report as HTML.

    Args:
        files: storage of the run.
        output: the run's `--output`.
        summary: content of its summary.json.
        sources: storage of its sources; None for the same.
        max_bytes: of all images in the report.

    Raises:
        RunError: if the rows cannot be read.
    """
    published = sum(summary["by_status"].get(status, 0) for status in PUBLISHED)
    found = aggregate(
        files,
        reader.parts_of(files, Layout(output, summary["run_id"])),
        statuses=PUBLISHED if published else (Status.UNCHANGED,),
        window=(_timestamp(summary["started_at"]), _timestamp(summary["finished_at"])),
        seed=summary["run_id"],
    )
    previous = _read_previous(files, output, summary)
    return render(
        "report.html.j2",
        summary=summary,
        previous=previous,
        published=published,
        found=found,
        max_values=MAX_VALUES,
        notes=notes.write_notes(summary, previous),
        reasons=_reasons(found),
        gallery=_gallery(files, sources or files, summary, found, max_bytes),
        measure_charts=_measure_charts(found),
        timeline=_timeline(found),
        replay=replay_command,
        see_all=_see_all_command(output, summary),
        now=datetime.datetime.now(datetime.UTC),
    )


def render(template: str, **context: Any) -> str:
    """Fills a template of `pipeline/report/templates` and escapes all data.

    The Content-Security-Policy allows the report's own script only, by its digest: even a mistake
    in escaping could not run another script.

    Args:
        template: file name.
        context: the template's variables.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": lambda number: f"{number:,}",
        "count": text.count,
        "size": text.size,
        "duration": text.duration,
        "clean": text.clean,
        "clean_command": lambda command: text.clean(command, _MAX_COMMAND_CHARS),
        "name": lambda uri: text.clean(uri).rstrip("/").rpartition("/")[2] or text.clean(uri),
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


def replay_command(summary: Mapping[str, Any], *reasons: str) -> str:
    """Returns the command line that repeats the rows with some reasons, with the run's settings.

    Args:
        summary: content of the run's summary.json.
        reasons: codes.
    """
    arguments = ["--input", summary["input"], "--output", summary["output"]]
    arguments += ["--previous", summary["run_id"], "--retry", ",".join(reasons)]
    given = {"model": summary["model"]["name"]} | dict(summary["settings"])
    arguments += replay_arguments(given)
    return shlex.join(["python", "run_pipeline.py", *arguments])


def _see_all_command(output: str, summary: Mapping[str, Any]) -> str:
    """The command that shows all images of the run in a browser."""
    words = [*_SEE_ALL, output, "--run_id", summary["run_id"], "--serve"]
    return shlex.join([*words, *s3_access.arguments(output, summary["settings"])])


def _read_previous(
    files: Storage, output: str, summary: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The previous run's summary; None without one, or where it is damaged."""
    if not summary.get("previous_run"):
        return None
    try:
        return finished.read_summary(files, Layout(output, summary["previous_run"]))
    except RunError:
        return None


def _gallery(
    files: Storage,
    sources: Readable,
    summary: Mapping[str, Any],
    found: RunAggregate,
    max_bytes: int,
) -> list[tuple[str, str, list[Example]]]:
    """(title, subtitle, examples) of each section."""

    def load_rejected() -> UpscalesRejected:
        # Most runs have no rejected result to show.
        startup.import_tensorflow()
        from pipeline.report.rejected import RejectedResults  # noqa: PLC0415

        return RejectedResults(sources, summary)

    sections = (
        ("Worst", "the smallest gain over bicubic on the image itself", found.worst),
        ("Fallbacks", "rejected by the quality gate: bicubic was published", found.fallbacks),
        ("Best", "the largest gain over bicubic on the image itself", found.best),
        ("Random", "what a customer is likely to see", found.random),
    )
    place = Place(summary["input"], summary["settings"].get("allow_schemes", ()))
    with DecoderPool(os.cpu_count() or 1, max_pixels=MAX_PIXELS) as decoders:
        reader = ExampleReader(
            *(files, decoders, place, load_rejected), sources=sources, max_bytes=max_bytes
        )
        return [
            (title, subtitle, list(reader.read_all(rows.rows())))
            for title, subtitle, rows in sections
        ]


def _reasons(found: RunAggregate) -> list[dict[str, Any]]:
    """Counts by status and reason with examples: first what needs attention."""
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


def _measure_charts(found: RunAggregate) -> list[tuple[str, str, list[str], charts.Histogram]]:
    """(title, unit, names of the series, histogram) of each measure that has values."""
    values = {name: sample.values() for name, sample in found.measures.items()}
    noise = (values["background_noise"], values["background_noise_source"])
    drawn = (
        ("Gain over bicubic", "dB", ["self gain"], charts.histogram(values["self_gain_db"])),
        ("Round trip", "dB", ["PSNR"], charts.histogram(values["roundtrip_psnr_db"])),
        ("Sharpness over bicubic's", "×", ["ratio"], charts.histogram(values["sharpness_ratio"])),
        ("Noise of flat blocks", "grey levels", ["result", "source"], charts.histogram(*noise)),
    )
    return [(title, unit, names, one) for title, unit, names, one in drawn if one is not None]


def _timeline(found: RunAggregate) -> dict[str, Any] | None:
    """Images a second over the run; None where it published nothing."""
    if not found.published_at.any():
        return None
    start, end = found.window
    rates = found.published_at / (max(end - start, 1e-3) / len(found.published_at))
    return {"rates": rates.tolist(), "max_rate": float(rates.max()), "seconds": end - start}


def _timestamp(isoformat: str) -> float:
    return datetime.datetime.fromisoformat(isoformat).timestamp()
