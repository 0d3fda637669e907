"""Checks the options for Beam before a run, and starts Beam's runner; errors are one line."""

import argparse
import contextlib
import difflib
import logging
import re
import traceback
from collections.abc import Iterable, Iterator
from typing import NoReturn

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.runner import PipelineResult, PipelineRunner, create_runner

from pipeline.records import RunError

_log = logging.getLogger(__name__)
# Beam's packages that start a job. Its others build or pickle the pipeline: their errors come from
# the job's own code.
_STARTS_JOBS = ("apache_beam.runners.", "apache_beam.utils.")
_PACKAGES = ("apache_beam.", "pipeline.", "model.")
# They show a mistake in a program, whoever wrote it: their traceback is needed.
_MISTAKES = (TypeError, AttributeError, LookupError, AssertionError, NameError)
_MISSING = re.compile(r"Missing (?:required|GCS path) option: (\w+)\.?")


class BeamOptionError(ValueError):
    """An option for Beam that is unknown, does not parse, or lacks another one.

    Example:
        try:
            check_values(["--num_workers", "abc"], own_options=())
        except BeamOptionError as error:
            print(error)  # argument --num_workers: invalid int value: 'abc'
    """


class _Parser(argparse.ArgumentParser):
    """Parser of all options of Beam that raises its errors."""

    def error(self, message: str) -> NoReturn:
        """Raises the error, without Beam's usage of 130 lines."""
        raise BeamOptionError(message)


def check_values(arguments: list[str], own_options: Iterable[str]) -> None:
    """Checks each option by itself; Beam would ignore a misspelt one silently.

    Args:
        arguments: of a command line or a file, without the job's own options.
        own_options: names of the job's own, such as `--input`, which may be meant.

    Raises:
        BeamOptionError: if an option is unknown, its value does not parse, or there is no such
            runner.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for options in sorted(PipelineOptions.__subclasses__(), key=lambda one: one.__name__):
        with_arguments = getattr(options, "_add_argparse_args", None)
        if with_arguments is not None:
            with_arguments(parser)
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0]
        known = [*own_options, *re.findall(r"--\w+", parser.format_help())]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BeamOptionError(f"unknown option {name}{hint}")
    _create(given.runner)


def check_together(arguments: list[str]) -> None:
    """Checks what a runner requires of its options, as Beam does once a pipeline is built.

    Args:
        arguments: all that a run gives Beam; `check_values` has taken them.

    Raises:
        BeamOptionError: if an option is missing or contradicts another one.
    """
    options = PipelineOptions(arguments)
    name = options.view_as(StandardOptions).runner
    with _warnings_left_to_beam():
        problems = PipelineOptionsValidator(options, _create(name)).validate()
    if any("temp_location" in problem for problem in problems):  # the other one follows from it
        problems = [problem for problem in problems if "staging_location" not in problem]
    found = [_MISSING.fullmatch(problem) for problem in problems]
    missing = [match[1] for match in found if match]
    if missing:
        names = ", ".join(f"--{option}" for option in missing)
        raise BeamOptionError(f"--runner {name} needs {names}")
    if problems:
        raise BeamOptionError(f"Beam refuses its options: {_one_line('; '.join(problems))}")


@contextlib.contextmanager
def _warnings_left_to_beam() -> Iterator[None]:
    """Beam checks again, and warns, when it builds the pipeline."""
    logger = logging.getLogger("apache_beam.options")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _create(name: str | None) -> PipelineRunner | None:
    """The runner of a name; None for the local one, which the job makes itself."""
    if name in (None, StandardOptions.DEFAULT_RUNNER):
        return None
    try:
        runner = create_runner(name)
    except ValueError as error:
        known = StandardOptions.KNOWN_RUNNER_NAMES
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(known)}"
        raise BeamOptionError(f"--runner {name}: no such runner; {hint}") from error
    except (ImportError, AttributeError) as error:
        raise BeamOptionError(f"--runner {name}: {_one_line(str(error))}") from error
    if not isinstance(runner, PipelineRunner):
        raise BeamOptionError(f"--runner {name}: it is no PipelineRunner of Beam")
    return runner


def start(pipeline: beam.Pipeline, name: str) -> PipelineResult:
    """Hands a pipeline to a runner of other processes or machines.

    Args:
        pipeline: built, with that runner.
        name: of the runner, for messages.

    Raises:
        RunError: if the runner cannot start the job: a download fails, a server does not answer,
            a package is missing. Errors that the job's own code causes pass through.
    """
    portable = pipeline.options.view_as(PortableOptions)
    endpoint, timeout_s = portable.job_endpoint, portable.job_server_timeout
    if endpoint not in (None, "embed"):
        _log.info("hands the job to %s, which has %d seconds to answer", endpoint, timeout_s)
    try:
        return pipeline.run()
    except _MISTAKES:
        raise
    except grpc.FutureTimeoutError as error:
        raise RunError(
            f"--runner {name} could not start the job: no job server answered at {endpoint} "
            f"within {timeout_s} seconds (--job_endpoint, --job_server_timeout)"
        ) from error
    except Exception as error:
        if not _is_of_start(error):
            raise
        cause = _one_line(str(error)) or type(error).__name__
        raise RunError(f"--runner {name} could not start the job: {cause}") from error


def _is_of_start(error: Exception) -> bool:
    """Whether the last frame that is Beam's or the job's belongs to what starts a job."""
    frames = traceback.walk_tb(error.__traceback__)
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in frames]
    known = [module for module in modules if module.startswith(_PACKAGES)]
    return bool(known) and known[-1].startswith(_STARTS_JOBS)


def _one_line(message: str) -> str:
    """Text without line breaks."""
    return " ".join(message.split())
