"""Runs the job from a command line: checks, lock, Beam, exit status."""

import contextlib
import dataclasses
import datetime
import json
import logging
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
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
from pipeline.catalog.selection import WHOLE_CATALOG, Selection
from pipeline.graph import build
from pipeline.output import publishing
from pipeline.planning import make_plan
from pipeline.prune.lock import refuse_while_pruning
from pipeline.read import export
from pipeline.records import RunError, Status
from pipeline.report import html
from pipeline.runs import estimation, finished, resume
from pipeline.runs.interruption import Ending
from pipeline.runs.layout import Layout
from pipeline.runs.lock import RunLock, remove_if_dead
from pipeline.runs.summary import add_metrics
from pipeline.runtime import logs, progress, scratch
from pipeline.runtime.metrics import plain_metrics
from pipeline.runtime.runner import start
from pipeline.settings import RunPlan, Settings
from pipeline.signals import outcome
from pipeline.signals.announcer import Announcer
from pipeline.storage.routing import open_storage
from pipeline.storage.temporary import temporary_file_errors

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


class _Options(PipelineOptions):
    """Beam's options, each view parsed once: to build a pipeline Beam asks for views 700 times."""

    def view_as(self, cls: type[PipelineOptions]) -> PipelineOptions:
        """Beam: the options of one class; all views share their values."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


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
    ending = Ending(settings.run_id, can_continue=not settings.dry_run)
    announcer = Announcer(settings, started_at)
    ending.before(lambda: announcer.stopped(ending.status))
    ending.before(scratch.remove_own_folder)
    settings = settings.without_secrets()
    with ending.on_signals(), announcer.failures():
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
            ended = _run_locked(plan, beam_arguments, ending)
        except RunError as error:
            logs.complain(str(error))
            announcer.tell(outcome.FAILED, FAILED, error=str(error))
            return FAILED
        if isinstance(ended, Submitted):
            logs.say(f"started; results will be under {settings.output}")
            announcer.tell(outcome.SUBMITTED, DONE)
            return DONE
        status = _conclude(ended.summary, settings)
        name = outcome.DONE if status == DONE else outcome.TOO_MANY_FAILURES
        announcer.tell(name, status, summary=ended.summary)
        return status


def _conclude(summary: dict[str, Any], settings: Settings) -> int:
    """Prints a finished run's outcome and writes its report; returns the exit status."""
    _log.info("done: %s", json.dumps(summary["by_status"] | summary["by_reason"]))
    logs.say(describe(summary, settings))
    if settings.report == "yes":
        _write_report(settings)
    if summary["failure_rate"] > settings.max_failure_rate:
        logs.complain(
            f"{summary['failure_rate']:.1%} of the images failed, "
            f"--max_failure_rate allows {settings.max_failure_rate:.1%}"
        )
        return TOO_MANY_FAILURES
    return DONE


def _run_locked(plan: RunPlan, beam_arguments: list[str], ending: Ending) -> Submitted | Finished:
    """Does the work that a run still needs, while no other process works on it."""
    files, layout = open_storage(plan.settings.storage), Layout.of(plan.settings)
    summary = resume.finished_summary(files, plan)
    if summary is None:
        with RunLock(files, layout, on_lost=ending.lost) as lock:
            ending.before(lock.release)
            refuse_while_pruning(files, layout.output)
            summary = resume.finished_summary(files, plan)  # meanwhile, by another process
            if summary is None:
                kept = resume.begin(files, plan)
                plan = dataclasses.replace(plan, kept=kept, lock_token=lock.token)
                return _run_beam(plan, beam_arguments, ending, lock)
    # Of a run killed right after _SUCCESS:
    finished.name_latest(files, layout.output)
    publishing.clear(files, layout.staging)
    remove_if_dead(files, layout)
    logs.say(f"run {layout.run_id} is finished already; another --run_id starts a new one")
    return Finished(summary)


def _estimate(plan: RunPlan, beam_arguments: list[str], ending: Ending) -> int:
    """Does a dry run; returns the exit status."""
    layout = Layout.of(plan.settings)
    if _execute(plan, beam_arguments, ending) is None:
        logs.say(f"started; the estimate will be {layout.estimate}")
        return DONE
    estimate = estimation.read(open_storage(plan.settings.storage), plan.settings)
    for line in describe_selection(plan.selection):
        logs.say(line)
    logs.say(estimation.describe(estimate, plan.settings))
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
    beam_options = _Options(beam_arguments)
    runner = _runner(beam_arguments) or _local_runner(beam_options)
    _name_job(beam_options, plan.settings.run_id)
    is_here = isinstance(runner, FnApiRunner)
    try:
        with _local_means() if is_here else contextlib.nullcontext() as spill_folder:
            pipeline = beam.Pipeline(runner=runner, options=beam_options)
            build(pipeline, dataclasses.replace(plan, spill_folder=spill_folder))
            result = pipeline.run() if is_here else start(pipeline, str(runner))
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


@contextlib.contextmanager
def _local_means() -> Iterator[str]:
    """Shows the progress of this machine's run; yields a folder for what crosses its shuffles."""
    with temporary_file_errors():
        folder = tempfile.TemporaryDirectory(prefix="shuffle-")
    with folder as path, progress.shown():
        yield path


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
        logs.say(f"report:  {html.write_report(files, settings.output, settings.run_id)}")
    except Exception as error:  # the images and rows are complete
        _log.warning("the report could not be written: %s", error, exc_info=True)


def describe_selection(selection: Selection) -> list[str]:
    """A line about the part of the catalog that a run saw; none if it saw all of it."""
    if selection == WHOLE_CATALOG:
        return []
    return [f"a part of the catalog: {selection}; all other images have no rows"]


def describe(summary: dict[str, Any], settings: Settings) -> str:
    """Describes a finished run in a few lines for people."""
    layout = Layout.of(settings)
    statuses = ", ".join(
        f"{count:,} {status}" for status, count in summary["by_status"].items() if count
    )
    lines = [
        *describe_selection(Selection.of_json(summary.get("selection") or {})),
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
    if summary["pictures_per_second"] is None:
        lasted = f"{text.duration(summary['wall_seconds'])} since the start of the first attempt"
    elif summary["by_status"][Status.UPSCALED] + summary["by_status"][Status.FALLBACK]:
        lasted += f"; {summary['pictures_per_second']:.2f} images a second upscaled"
    lines += [
        f"time:    {lasted}",
        f"rows:    {layout.rows}/",
        f"summary: {layout.summary}",
    ]
    where = "in the rows" if settings.images == "parquet" else f"{layout.images}/"
    if settings.images == "parquet" and summary["by_status"][Status.UNCHANGED]:
        where += ", those of unchanged rows where image_uri says"
    lines += [
        f"images:  {where}",
        f"by name: {export.command(settings)}",
        f"look at: {export.for_run(settings, 'pipeline.report', '--serve')}",
    ]
    return "\n".join(lines)
