"""Plans a run: checks within seconds that it can work, resolves what its settings leave open."""

import dataclasses
import datetime
import itertools
import logging
from collections.abc import Mapping
from typing import Any

from model.imaging.encode import check_format
from model.network.presets import SavedModel
from pipeline import text
from pipeline.catalog import manifest
from pipeline.catalog.manifests.files import is_prefix
from pipeline.catalog.partitions import choose_partitions
from pipeline.catalog.seen import Seen
from pipeline.catalog.selection import path_of
from pipeline.catalog.sharpening_table import NO_TABLE, SharpeningTable, read_table
from pipeline.records import CatalogEntry, RunError
from pipeline.redaction import redact
from pipeline.runs import finished, reader
from pipeline.runs.finished import PreviousRuns, find_previous
from pipeline.runs.layout import Layout
from pipeline.runs.replay import NEVER_REPEATED
from pipeline.settings import OPTIONS, RunPlan, Settings
from pipeline.storage.base import Storage
from pipeline.storage.routing import open_storage
from pipeline.upscale.machine import WORTH_PROCESSES, choose_dtype, choose_workers
from pipeline.upscale.saved_model import read_model

_log = logging.getLogger(__name__)


def make_plan(settings: Settings, started_at: datetime.datetime, *, is_local: bool) -> RunPlan:
    """Checks within seconds that the run can work, and resolves settings that are left open.

    Args:
        settings: as parsed.
        started_at: UTC.
        is_local: whether Beam's local runner will run the job.

    Returns:
        The model's digest, the number of processes, the compute dtype, and the previous run whose
        results are reused.

    Raises:
        RunError: if the input is missing or empty, the model is unknown, cannot reach the
            scale or cannot be told how sources were sharpened, the table that says so cannot be
            read, or this machine cannot write the format of the results.
    """
    try:
        check_format(settings.image_format)
    except ValueError as error:
        raise RunError(f"--image_format {settings.image_format}: {error}") from error
    files = open_storage(settings.storage.at_start())
    images = _first_images(files, settings)
    table = _read_sharpening_table(files, settings)
    sharpenings = {
        "--source_sharpening": [settings.source_sharpening],
        "the manifest's source_sharpening": [one.source_sharpening for one in images],
        "--sharpening_table": [number for _, number in table.numbers],
    }
    saved, result_side = _read_network(files, settings, sharpenings)
    plan = RunPlan(
        settings,
        started_at,
        model_sha256=saved.sha256,
        network_scale=saved.scale,
        workers=choose_workers(
            settings.workers,
            is_local=is_local,
            uris=len(images),
            result_px=min(result_side**2, settings.max_pixels * saved.scale**2),
        ),
        compute_dtype=choose_dtype(settings.precision, is_local=is_local),
        selection=settings.selection,
        sharpening_table=table,
    )
    previous = find_previous(files, settings)
    partitions = choose_partitions(
        files,
        settings.input,
        wanted=settings.partitions,
        known_uris=_uris_of(files, settings, previous),
    )
    plan = dataclasses.replace(plan, partitions=partitions)
    if previous is None:
        return plan
    _warn(plan, previous.run_id, _summary_of(files, settings, previous.run_id))
    return dataclasses.replace(
        plan,
        previous_run=previous.run_id,
        previous_parts=_parts_of(files, settings, previous.run_id),
        partial_parts=tuple(
            part for run_id in previous.partial for part in _parts_of(files, settings, run_id)
        ),
        selection=previous.seen.selection if settings.retry else settings.selection,
        counts_disappeared=_seen_by(settings).misses_what_is_gone(previous.seen),
    )


def _uris_of(files: Storage, settings: Settings, previous: PreviousRuns | None) -> int | None:
    """URIs of the previous run; None if nobody knows, or it saw less than this run."""
    if previous is None or not previous.seen.covers(_seen_by(settings)):
        return None
    return _summary_of(files, settings, previous.run_id).get("uris")


def _summary_of(files: Storage, settings: Settings, run_id: str) -> dict[str, Any]:
    """The summary of a previous run; empty if it is damaged, which `find_previous` has said."""
    try:
        return finished.read_summary(files, Layout(settings.output, run_id)) or {}
    except RunError:
        return {}


def _seen_by(settings: Settings) -> Seen:
    """What this run sees."""
    return Seen.of(settings.input, settings.selection)


def _first_images(files: Storage, settings: Settings) -> list[CatalogEntry]:
    """The first images of the catalog, up to a number that is worth several processes.

    Raises:
        RunError: if there are none.
    """
    most = min(filter(None, (WORTH_PROCESSES, settings.limit, settings.sample)))
    # A sample needs the whole catalog, which is read once, by the run.
    catalog = manifest.read_catalog(
        files,
        settings.input,
        settings.allow_schemes,
        may_leave=settings.links_may_leave,
        columns=settings.columns,
        selection=dataclasses.replace(settings.selection, limit=most, sample=None),
        tell=_log.info,
    )
    images = list(itertools.islice(catalog, most))
    if not images:
        raise RunError(f"--input {settings.input} names no images{_why_none(files, settings)}")
    return images


def _read_network(
    files: Storage, settings: Settings, sharpenings: Mapping[str, list[float | None]]
) -> tuple[SavedModel, int]:
    """Reads the saved model, and checks that it can do what the run wants of it.

    Args:
        files: where it lies.
        settings: of the run.
        sharpenings: what it will be told, log2, by the source.

    Returns:
        The model, and the longest side of its results in pixels.

    Raises:
        RunError: if it is unknown, or cannot do that.
    """
    saved = read_model(files, settings.model)
    for source, numbers in sharpenings.items():
        for number in set(numbers):
            try:
                saved.check_sharpening(number)
            except ValueError as error:
                raise RunError(f"--model {settings.model}, {source}: {error}") from error
    try:
        return saved, settings.target.max_result_side(settings.max_side, saved.scale)
    except ValueError as error:
        raise RunError(f"--model {settings.model}: {error}") from error


def _read_sharpening_table(files: Storage, settings: Settings) -> SharpeningTable:
    """Reads `--sharpening_table`; an empty one if it is not given.

    Raises:
        RunError: if it cannot be read, or is no such table.
    """
    if settings.sharpening_table is None:
        return NO_TABLE
    table = read_table(files, settings.sharpening_table)
    if is_prefix(settings.input) and not table.overlaps(settings.input):
        _log.warning(
            "--sharpening_table %s has no prefix below --input: it gives no image a number",
            redact(settings.sharpening_table),
        )
    return table


def _why_none(files: Storage, settings: Settings) -> str:
    """What the catalog has instead of images, as the end of a sentence."""
    everything = manifest.read_catalog(
        files, settings.input, settings.allow_schemes, columns=settings.columns
    )
    first = next(everything, None)
    if first is None:
        return ""
    path = path_of(first.uri, settings.input if is_prefix(settings.input) else None)
    if str(settings.selection):
        return (
            f" that {settings.selection} chooses; the first path that patterns are compared with "
            f"is {path}"
        )
    return f": all its files have names like {path}, {first.detail}"


def _parts_of(files: Storage, settings: Settings, run_id: str) -> tuple[str, ...]:
    """The Parquet files of a previous run."""
    parts = reader.parts_of(files, Layout(settings.output, run_id))
    if not parts:
        _log.warning("run %s has no rows any more: nothing of it is reused", run_id)
    return tuple(parts)


def _warn(plan: RunPlan, previous: str, summary: dict[str, Any]) -> None:
    """Warns of options that the previous run makes useless or expensive.

    Reasons of `--retry` that none of its rows has, or that stay; images in its rows, which serve
    no run whose images shall be files; results of another network, or of other options.
    """
    settings, found = plan.settings, summary.get("by_reason", {})
    for reason in settings.retry:
        if reason in NEVER_REPEATED:
            _log.warning(
                "--retry %s repeats nothing: correct what the details of these rows name, and "
                "run without --retry",
                reason,
            )
        elif reason not in found:
            _log.warning(
                "--retry %s: no row of run %s has this reason; its reasons: %s",
                reason,
                previous,
                ", ".join(found) or "none",
            )
    in_rows = summary.get("settings", {}).get("images") == "parquet"
    if in_rows and settings.images != "parquet":
        _log.warning(
            "run %s has its images in its rows: with --images %s they are upscaled again",
            previous,
            settings.images,
        )
    changes = _changes(plan, summary)
    if changes:
        _log.warning(
            "run %s was made with %s: its results do not fit, and all images are upscaled again; "
            "--previous RUN reuses those of an older run",
            previous,
            ", ".join(changes),
        )


def _changes(plan: RunPlan, summary: dict[str, Any]) -> list[str]:
    """How another run's network and options made other images than this plan's will.

    Nothing where its summary is damaged: nobody knows.
    """
    theirs, model = summary.get("settings"), summary.get("model", {})
    if theirs is None:
        return []
    changes = []
    for name, option in OPTIONS.items():
        before, now = theirs.get(name, option.default), getattr(plan.settings, name)
        if option.in_content_key and before != now:
            changes.append(f"--{name} {text.option(before)} (now {text.option(now)})")
    if model.get("sha256", plan.model_sha256) != plan.model_sha256:
        now = plan.settings.model
        now = "other weights of that name" if model.get("name") == now else now
        changes.append(f"--model {model.get('name')} (now {now})")
    return changes
