"""Runs the job from a command line: checks everything first, then lets Beam work."""

import contextlib
import dataclasses
import datetime
import itertools
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable
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

from pipeline import cli
from pipeline.catalog import manifest
from pipeline.graph import build
from pipeline.output import publishing
from pipeline.records import RunError, Status
from pipeline.report import html
from pipeline.runs import estimation, resume, reuse
from pipeline.runs.lock import RunLock
from pipeline.runs.summary import add_metrics
from pipeline.runtime import progress
from pipeline.settings import Settings
from pipeline.storage import locations
from pipeline.storage.base import StorageError
from pipeline.storage.routing import list_if_any, open_storage
from pipeline.upscale.machine import WORTH_PROCESSES, choose_dtype, choose_workers
from pipeline.upscale.saved_model import read_model

DONE, FAILED, TOO_MANY_FAILURES, INTERRUPTED = 0, 1, 3, 130

_log = logging.getLogger(__name__)


def run(argv: list[str], *, on_start: Callable[[str], None] | None = None) -> int:
    """Runs the nightly job.

    Args:
        argv: the command line without the program's name.
        on_start: is told the run's id before anything is logged.

    Returns:
        The exit status: 0 done; 1 the run itself failed; 3 done, but with more failed rows than
        allowed. Errors are one line on standard error.

    Raises:
        SystemExit: with status 2 for a wrong command line.
    """
    settings, beam_arguments = cli.parse(argv, datetime.datetime.now(datetime.UTC))
    if on_start is not None:
        on_start(settings.run_id)
    try:
        settings = check_before_start(settings, is_local=_runner(beam_arguments) is None)
        if settings.dry_run:
            return _estimate(settings, beam_arguments)
        _log.info(
            "started: %s to %s, model %s, reusable results of %s",
            settings.input,
            settings.output,
            settings.model,
            f"run {settings.previous_run}" if settings.previous_run else "no run",
        )
        summary = _run_locked(settings, beam_arguments)
    except RunError as error:
        print(f"run_pipeline.py: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(
            f"run_pipeline.py: interrupted; --run_id {settings.run_id} goes on with it",
            file=sys.stderr,
        )
        return INTERRUPTED
    if summary is None:
        print(f"started; results will be under {settings.output}")
        return DONE
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


def check_before_start(settings: Settings, *, is_local: bool) -> Settings:
    """Finds in seconds what would otherwise stop the run later.

    Args:
        settings: as parsed.
        is_local: whether Beam's local runner will run the job.

    Returns:
        The settings with the model's digest, the number of processes, the precision, and the
        previous run in which reusable results are found.

    Raises:
        RunError: if the input is missing or empty, the output cannot be written, the model is
            unknown, or the id belongs to a run with other settings.
    """
    # Few attempts: a wrong endpoint shall be told at once.
    files = open_storage(dataclasses.replace(settings.storage, attempts=2))
    catalog = manifest.read_catalog(files, settings.input, settings.allow_schemes)
    uris = len(list(itertools.islice(catalog, WORTH_PROCESSES)))
    if not uris:
        raise RunError(f"--input {settings.input} names no images at all")
    settings = dataclasses.replace(
        settings,
        model_sha256=read_model(files, settings.model).sha256,
        workers=choose_workers(settings.workers, is_local=is_local, uris=uris),
        precision=choose_dtype(settings.precision, is_local=is_local),
    )
    if not settings.dry_run:
        resume.claim(files, settings)
    run_id = reuse.find_run(files, settings)
    if run_id is None:
        return settings
    parts = list_if_any(files, settings.rows_of_run(run_id))
    return dataclasses.replace(settings, previous_run=run_id, previous_parts=tuple(parts))


def _run_locked(settings: Settings, beam_arguments: list[str]) -> dict[str, Any] | None:
    """Runs what is left of a run while no other process can; returns its summary."""
    files = open_storage(settings.storage)
    with RunLock(files, locations.join(settings.run_folder, "lock.json"), settings.run_id):
        finished = resume.finished_summary(files, settings)
        if finished is not None:
            publishing.clear(
                files, settings.staging_folder
            )  # of a run killed right after _SUCCESS
            print(f"run {settings.run_id} is finished already; another --run_id starts a new one")
            return finished
        kept = resume.recover(files, settings)
        return _run_beam(dataclasses.replace(settings, kept=kept), beam_arguments)


def _estimate(settings: Settings, beam_arguments: list[str]) -> int:
    """A dry run; returns the exit status."""
    if _execute(settings, beam_arguments) is None:
        print(f"started; the estimate will be in {settings.run_folder}")
        return DONE
    files = open_storage(settings.storage)
    estimate = json.loads(files.read(locations.join(settings.run_folder, "estimate.json")))
    print(estimation.describe(estimate, settings))
    return DONE


def _run_beam(settings: Settings, beam_arguments: list[str]) -> dict[str, Any] | None:
    """Runs the pipeline; returns the summary, or None if the runner does not wait for the end."""
    result = _execute(settings, beam_arguments)
    if result is None:
        return None
    files = open_storage(settings.storage)
    try:
        text = files.read(locations.join(settings.run_folder, "summary.json"))
    except StorageError:
        return None
    return add_metrics(files, settings, json.loads(text), result.metrics())


def _execute(settings: Settings, beam_arguments: list[str]) -> PipelineResult | None:
    """Lets Beam work; returns its result, or None if the runner does not wait for the end."""
    beam_options = PipelineOptions(beam_arguments)
    runner = _runner(beam_arguments) or _local_runner(beam_options)
    _name_job(beam_options, settings)
    pipeline = beam.Pipeline(runner=runner, options=beam_options)
    build(pipeline, settings)
    is_here = isinstance(runner, FnApiRunner)
    try:
        with progress.shown() if is_here else contextlib.nullcontext():
            result = pipeline.run()
            if beam_options.view_as(StandardOptions).no_wait_until_finish:
                return None
            state = result.wait_until_finish()
    except Exception as error:
        # Beam adds the step to the text, and wraps what some workers raise in RuntimeErrors of
        # its own, with the traceback as text.
        told = re.findall(r"(?m)^pipeline\.records\.RunError: (.*)$", str(error))
        if isinstance(error, RunError):
            told = [str(error)]
        if str(error).startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt from error
        if not told:
            raise
        raise RunError(re.sub(r" \[while running .*", "", told[-1])) from error
    if state not in (None, "DONE"):
        raise RunError(f"the pipeline ended as {state}; see the runner's log")
    return result


def _runner(beam_arguments: list[str]) -> str | None:
    """The name of Beam's runner; None for the local one."""
    name = PipelineOptions(beam_arguments).view_as(StandardOptions).runner
    return None if name == "DirectRunner" else name


def _local_runner(beam_options: PipelineOptions) -> FnApiRunner:
    """Beam's local runner; its processes, if the options ask for some, are `local_worker`s."""
    # DirectRunner would first look for another local runner, and fall back to this one silently.
    direct = beam_options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return FnApiRunner()
    direct.direct_running_mode = None  # stands for a command of Beam's
    command = f"{shlex.quote(sys.executable)} -m pipeline.runtime.local_worker"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))


def _name_job(beam_options: PipelineOptions, settings: Settings) -> None:
    """Names the runner's job after the run: whoever reads its logs finds the run's rows.

    Dataflow takes small letters, digits and hyphens, and refuses a second job of the same name.
    """
    named = beam_options.view_as(GoogleCloudOptions)
    if named.job_name is None:
        plain = re.sub(r"[^a-z0-9]+", "-", settings.run_id.lower()).strip("-")
        named.job_name = f"catalog-magnifier-{plain}"


def _write_report(settings: Settings) -> None:
    """Writes the page about a finished run, which no trouble with the page shall fail."""
    files = open_storage(settings.storage)
    try:
        print(f"report:  {html.write_report(files, settings.output, settings.run_id)}")
    except Exception as error:  # whatever it is: the images are made
        _log.warning("the report could not be written: %s", error, exc_info=True)


def describe(summary: dict[str, Any], settings: Settings) -> str:
    """A run in a few lines for people."""
    statuses = ", ".join(
        f"{count} {status}" for status, count in summary["by_status"].items() if count
    )
    lines = [
        f"{summary['uris']} images: {statuses}",
        *(f"  {count:>7} {reason}" for reason, count in summary["by_reason"].items()),
    ]
    if summary["disappeared"]:
        gone = f"{summary['disappeared']:>9} of run {summary['previous_run']} disappeared"
        lines.append(gone)
    gain = summary["percentiles"].get("self_gain_db")
    roundtrip = summary["percentiles"].get("roundtrip_psnr_db")
    if gain:
        lines.append(
            f"self gain over bicubic: median {gain['p50']:.2f} dB, least {gain['p0']:.2f}"
        )
    if roundtrip:
        lines.append(
            f"round-trip PSNR: median {roundtrip['p50']:.1f} dB, least {roundtrip['p0']:.1f}"
        )
    made = summary["by_status"][Status.UPSCALED]
    lines += [
        f"{made} upscaled in {summary['wall_seconds']:.1f} s, "
        f"{summary['pictures_per_second']:.2f} images a second, start-up included",
        f"rows:    {settings.rows_folder}/",
        f"summary: {settings.run_folder}/summary.json",
    ]
    if settings.images != "parquet":
        lines.append(f"images:  {settings.images_folder}/")
    return "\n".join(lines)
