"""Runs the job from a command line: checks, lock, Beam, exit status."""

import contextlib
import dataclasses
import datetime
import itertools
import json
import logging
import re
import shlex
import sys
import traceback
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipeline import cli, text
from pipeline.catalog import manifest
from pipeline.graph import build
from pipeline.output import publishing
from pipeline.records import RunError, Status
from pipeline.report import html
from pipeline.runs import estimation, finished, reader, resume, reuse
from pipeline.runs.interruption import Ending
from pipeline.runs.layout import Layout
from pipeline.runs.lock import RunLock, remove_if_dead
from pipeline.runs.summary import add_metrics
from pipeline.runtime import progress, scratch
from pipeline.runtime.metrics import plain_metrics
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import Storage
from pipeline.storage.routing import open_storage
from pipeline.upscale.machine import WORTH_PROCESSES, choose_dtype, choose_workers
from pipeline.upscale.saved_model import read_model

DONE, FAILED, TOO_MANY_FAILURES = 0, 1, 3

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Submitted:
    """The runner has the job and works on it without this process.

    Example:
        if isinstance(outcome, Submitted):
            ...  # look at the runner
    """


@dataclasses.dataclass(frozen=True)
class Finished:
    """The run has ended, with `_SUCCESS`; `summary` is the content of summary.json.

    Example:
        if isinstance(outcome, Finished):
            print(outcome.summary["by_status"])
    """

    summary: dict[str, Any]


def run(argv: list[str]) -> int:
    """Runs the nightly job from a command line.

    Args:
        argv: the command line without the program's name.

    Returns:
        See `run_parsed`.

    Raises:
        SystemExit: with status 2 for a wrong command line.
    """
    started_at = datetime.datetime.now(datetime.UTC)
    settings, beam_arguments = cli.parse(argv, started_at)
    return run_parsed(settings, beam_arguments, started_at)


def run_parsed(
    settings: Settings, beam_arguments: list[str], started_at: datetime.datetime
) -> int:
    """Runs the nightly job; ends the whole process on Ctrl-C or SIGTERM.

    Args:
        settings: see `cli.parse`.
        beam_arguments: options for Beam.
        started_at: UTC.

    Returns:
        The exit status: 0 done; 1 the run itself failed; 3 done, but with more failed rows than
        allowed. Errors are one line on standard error.
    """
    ending = Ending(settings.run_id)
    ending.before(scratch.remove_own_folder)
    with ending.on_signals():
        try:
            plan = make_plan(settings, started_at, is_local=_runner(beam_arguments) is None)
            if settings.dry_run:
                return _estimate(plan, beam_arguments, ending)
            _log.info(
                "started: %s to %s, model %s, %s",
                settings.input,
                settings.output,
                settings.model,
                f"previous run {plan.previous_run}" if plan.previous_run else "no previous run",
            )
            outcome = _run_locked(plan, beam_arguments, ending)
        except RunError as error:
            print(f"run_pipeline.py: {error}", file=sys.stderr)
            return FAILED
        if isinstance(outcome, Submitted):
            print(f"started; results will be under {settings.output}")
            return DONE
        return _conclude(outcome.summary, settings)


def _conclude(summary: dict[str, Any], settings: Settings) -> int:
    """Prints a finished run's outcome and writes its report; returns the exit status."""
    _log.info("done: %s", json.dumps(summary["by_status"] | summary["by_reason"]))
    print(describe(summary, settings))
    if settings.report == "yes":
        _write_report(settings)
    if summary["failure_rate"] > settings.max_failure_rate:
        print(
            f"run_pipeline.py: {summary['failure_rate']:.1%} of the images failed, "
            f"--max_failure_rate allows {settings.max_failure_rate:.1%}",
            file=sys.stderr,
        )
        return TOO_MANY_FAILURES
    return DONE


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
        RunError: if the input is missing or empty, or the model is unknown.
    """
    files = open_storage(settings.storage.at_start())
    catalog = manifest.read_catalog(
        files, settings.input, settings.allow_schemes, may_leave=settings.links_may_leave
    )
    uris = len(list(itertools.islice(catalog, WORTH_PROCESSES)))
    if not uris:
        raise RunError(f"--input {settings.input} names no images")
    saved = read_model(files, settings.model)
    try:
        result_side = settings.target.max_result_side(settings.max_side, saved.scale)
    except ValueError as error:
        raise RunError(f"--model {settings.model}: {error}") from error
    plan = RunPlan(
        settings,
        started_at,
        model_sha256=saved.sha256,
        network_scale=saved.scale,
        workers=choose_workers(
            settings.workers,
            is_local=is_local,
            uris=uris,
            result_px=min(result_side**2, settings.max_pixels * saved.scale**2),
        ),
        compute_dtype=choose_dtype(settings.precision, is_local=is_local),
    )
    run_id = reuse.find_run(files, settings)
    if run_id is None:
        return plan
    _warn_of_idle_retry(files, settings, Layout(settings.output, run_id))
    parts = reader.parts_of(files, Layout(settings.output, run_id))
    if not parts:
        _log.warning("run %s has no rows any more: nothing is reused", run_id)
    return dataclasses.replace(plan, previous_run=run_id, previous_parts=tuple(parts))


def _warn_of_idle_retry(files: Storage, settings: Settings, previous: Layout) -> None:
    """Warns of reasons of `--retry` that no row of the previous run has."""
    summary = finished.read_summary(files, previous) if settings.retry else None
    found = (summary or {}).get("by_reason", {})
    for reason in settings.retry:
        if reason not in found:
            _log.warning(
                "--retry %s: no row of run %s has this reason; its reasons: %s",
                reason,
                previous.run_id,
                ", ".join(found) or "none",
            )


def _run_locked(plan: RunPlan, beam_arguments: list[str], ending: Ending) -> Submitted | Finished:
    """Does the work that a run still needs, while no other process works on it."""
    files, layout = open_storage(plan.settings.storage), Layout.of(plan.settings)
    summary = resume.finished_summary(files, plan)
    if summary is None:
        with RunLock(files, layout, on_lost=ending.lost) as lock:
            ending.before(lock.release)
            summary = resume.finished_summary(files, plan)  # meanwhile, by another process
            if summary is None:
                kept = resume.begin(files, plan)
                plan = dataclasses.replace(plan, kept=kept, lock_token=lock.token)
                return _run_beam(plan, beam_arguments, ending, lock)
    # Of a run killed right after _SUCCESS:
    publishing.clear(files, layout.staging)
    remove_if_dead(files, layout)
    print(f"run {layout.run_id} is finished already; another --run_id starts a new one")
    return Finished(summary)


def _estimate(plan: RunPlan, beam_arguments: list[str], ending: Ending) -> int:
    """Does a dry run; returns the exit status."""
    layout = Layout.of(plan.settings)
    if _execute(plan, beam_arguments, ending) is None:
        print(f"started; the estimate will be {layout.estimate}")
        return DONE
    estimate = estimation.read(open_storage(plan.settings.storage), plan.settings)
    print(estimation.describe(estimate, plan.settings))
    return DONE


def _run_beam(
    plan: RunPlan, beam_arguments: list[str], ending: Ending, lock: RunLock
) -> Submitted | Finished:
    """Runs the pipeline; the lock stays with a job that goes on without this process."""
    result = _execute(plan, beam_arguments, ending)
    if result is None:
        lock.leave()
        return Submitted()
    files, layout = open_storage(plan.settings.storage), Layout.of(plan.settings)
    summary = finished.read_summary(files, layout)
    if summary is None:
        raise RunError(f"the pipeline ended, but {layout.success} is not there")
    return Finished(add_metrics(files, layout, summary, plain_metrics(result.metrics())))


def _execute(plan: RunPlan, beam_arguments: list[str], ending: Ending) -> PipelineResult | None:
    """Lets Beam work; returns its result, or None if the runner does not wait for the end."""
    beam_options = PipelineOptions(beam_arguments)
    runner = _runner(beam_arguments) or _local_runner(beam_options)
    _name_job(beam_options, plan.settings.run_id)
    pipeline = beam.Pipeline(runner=runner, options=beam_options)
    build(pipeline, plan)
    is_here = isinstance(runner, FnApiRunner)
    try:
        with progress.shown() if is_here else contextlib.nullcontext():
            result = pipeline.run()
            if beam_options.view_as(StandardOptions).no_wait_until_finish:
                return None
            if not is_here:
                ending.before(result.cancel)
            state = result.wait_until_finish()
    except Exception as error:
        # Beam raises a RuntimeError of its own, with the worker's traceback as text.
        found = RunError.find_in("".join(traceback.format_exception(error)))
        if found is None:
            raise
        raise found from error
    if state not in (None, "DONE"):
        raise RunError(f"the pipeline ended as {state}; see the runner's log")
    return result


def _runner(beam_arguments: list[str]) -> str | None:
    """The name of Beam's runner; None for the local one."""
    name = PipelineOptions(beam_arguments).view_as(StandardOptions).runner
    return None if name == "DirectRunner" else name


def _local_runner(beam_options: PipelineOptions) -> FnApiRunner:
    """Beam's local runner; processes that the options ask for are `local_worker`s."""
    # DirectRunner would first try another local runner and fall back to this one silently.
    direct = beam_options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    direct.direct_running_mode = None  # it would start Beam's own command
    command = f"{shlex.quote(sys.executable)} -m pipeline.runtime.local_worker"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))


def _name_job(beam_options: PipelineOptions, run_id: str) -> None:
    """Names the runner's job after the run, so that its logs lead to the run's rows.

    Dataflow takes small letters, digits and hyphens, and refuses a second job of the same name.
    """
    named = beam_options.view_as(GoogleCloudOptions)
    if named.job_name is None:
        plain = re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")
        named.job_name = f"catalog-magnifier-{plain}"


def _write_report(settings: Settings) -> None:
    """Writes the report of a finished run; if that fails, the run does not."""
    files = open_storage(settings.storage)
    try:
        print(f"report:  {html.write_report(files, settings.output, settings.run_id)}")
    except Exception as error:  # the images and rows are complete
        _log.warning("the report could not be written: %s", error, exc_info=True)


def describe(summary: dict[str, Any], settings: Settings) -> str:
    """Describes a finished run in a few lines for people."""
    layout = Layout.of(settings)
    statuses = ", ".join(
        f"{count:,} {status}" for status, count in summary["by_status"].items() if count
    )
    lines = [
        f"{text.count(summary['uris'], 'image')}: {statuses}",
        *(f"  {count:>7,} {reason}" for reason, count in summary["by_reason"].items()),
    ]
    if summary["disappeared"]:
        gone = f"{summary['disappeared']:>9,} of run {summary['previous_run']} disappeared"
        lines.append(gone)
    gain = summary["percentiles"].get("self_gain_db")
    roundtrip = summary["percentiles"].get("roundtrip_psnr_db")
    if gain:
        lines.append(f"self gain over bicubic: median {gain['p50']:.2f} dB, min {gain['p0']:.2f}")
    if roundtrip:
        lines.append(
            f"round-trip PSNR: median {roundtrip['p50']:.1f} dB, min {roundtrip['p0']:.1f}"
        )
    lasted = f"{text.duration(summary['wall_seconds'])}, start-up included"
    if summary["by_status"][Status.UPSCALED] + summary["by_status"][Status.FALLBACK]:
        lasted += f"; {summary['pictures_per_second']:.2f} images a second upscaled"
    lines += [
        f"time:    {lasted}",
        f"rows:    {layout.rows}/",
        f"summary: {layout.summary}",
    ]
    if settings.images != "parquet":
        lines.append(f"images:  {layout.images}/")
    return "\n".join(lines)
