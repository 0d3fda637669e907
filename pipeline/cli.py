"""The command line of the job, checked before anything starts."""

import argparse
import datetime
import difflib
import re
import sys
from typing import NoReturn
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import PipelineOptions

from model.imaging.encode import IMAGE_FORMATS
from model.inference.dtypes import COMPUTE_DTYPES
from model.network import presets
from pipeline.catalog import manifest
from pipeline.records import Reason
from pipeline.settings import NEWEST, NONE, Settings
from pipeline.storage import locations


class _Parser(argparse.ArgumentParser):
    """Errors end in exit status 2 with one line and no wall of usage."""

    def error(self, message: str) -> NoReturn:
        print(f"run_pipeline.py: {message} (--help shows all options)", file=sys.stderr)
        raise SystemExit(2)


def parse(argv: list[str], now: datetime.datetime) -> tuple[Settings, list[str]]:
    """Parses and checks a command line.

    Args:
        argv: without the program's name.
        now: the run's start, which names it by default.

    Returns:
        The settings, and the options that are left for Beam.

    Raises:
        SystemExit: with status 2 after one line on standard error; with 0 after `--help`.
    """
    parser = _parser(now)
    ours, rest = parser.parse_known_args(argv)
    _check_beam_options(parser, rest)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", ours.run_id):
        parser.error(f"--run_id takes letters, digits, '.', '_' and '-': {ours.run_id!r}")
    if ours.max_side < ours.min_side:
        parser.error(f"--max_side {ours.max_side} is below --min_side {ours.min_side}")
    if not 0 <= ours.max_failure_rate <= 1:
        parser.error(f"--max_failure_rate is 0..1: {ours.max_failure_rate}")
    retry = tuple(filter(None, ours.retry.split(",")))
    for reason in retry:
        if reason not in list(Reason) and not reason.startswith("gate:"):
            parser.error(f"--retry {reason}: no such reason; they are {', '.join(Reason)}")
    if retry and ours.previous == NONE:
        parser.error("--retry replays a previous run: it cannot go with --previous none")
    source, output = _check_places(parser, ours.input, ours.output)
    if ours.s3_endpoint_url is not None:
        _check_endpoint(parser, ours.s3_endpoint_url)
    fields = vars(ours) | {
        "input": source,
        "output": output,
        "retry": retry,
        "precision": None if ours.precision == "auto" else ours.precision,
        "allow_schemes": tuple(filter(None, ours.allow_schemes.split(","))),
    }
    return Settings(started_at=now, **fields), rest


def _parser(now: datetime.datetime) -> _Parser:
    parser = _Parser(
        prog="run_pipeline.py",
        description="Upscales the small images of a catalog and writes them, with measures of "
        "their quality, to Parquet.",
        epilog="All other options go to Apache Beam (--runner, ...). Exit status: 0 done; 1 the "
        "run failed; 2 usage; 3 done, but more images failed than allowed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--input", required=True, help="manifest (.csv .jsonl .parquet .txt) or prefix ending in /"
    )
    add("--output", required=True, help="S3 prefix or local folder")
    add(
        "--run_id",
        default=now.strftime("%Y%m%dT%H%M%SZ"),
        help="names the run; the same id again goes on with it (default: the UTC time)",
    )
    add("--min_side", type=_positive, default=32, help="shorter side below: too_small")
    add("--max_side", type=_positive, default=1000, help="longer side above: large_enough")
    add("--max_pixels", type=_positive, default=40_000_000, help="refuse to decode more")
    add(
        "--model",
        default=presets.DEFAULT,
        help=f"{', '.join(presets.PRESETS)}, or path or S3 URI of a .keras file of model.train",
    )
    add("--images", choices=("parquet", "files", "both"), default="parquet")
    add("--image_format", choices=("auto", *IMAGE_FORMATS), default="auto")
    add(
        "--animated",
        choices=("skip", "first_frame"),
        default="skip",
        help="what becomes of images with several frames",
    )
    add(
        "--previous",
        default=NEWEST,
        help="id of the run in which reusable results are looked up; none does all again "
        "(default: the newest finished run under --output)",
    )
    add(
        "--retry",
        default="",
        metavar="REASONS",
        help="replay only the rows of the previous run with these reasons, as timeout,not_found",
    )
    add("--max_failure_rate", type=float, default=0.05, help="above it the exit status is 3")
    add("--s3_endpoint_url", help="another S3 server than AWS")
    add(
        "--allow_schemes", default="", help="comma list: what a manifest may name besides, as file"
    )
    add("--look_ahead", type=_positive, default=16, help="images fetched ahead of the network")
    add(
        "--workers",
        type=_workers,
        default="auto",
        help="processes that upscale (default: auto, one for each core of a machine without GPU)",
    )
    add(
        "--precision",
        choices=("auto", *COMPUTE_DTYPES),
        default="auto",
        help="in which the network computes; results differ by one grey level at most",
    )
    add(
        "--blank",
        choices=("skip", "magnify"),
        default="skip",
        help="whether exactly white background is skipped, or upscaled like all else",
    )
    add(
        "--self_psnr",
        choices=("window", "full", "off"),
        default="window",
        help="measured on the place with most detail, or all of the image",
    )
    add(
        "--accelerator",
        help="Beam's accelerator hint for the step that upscales, such as "
        "type:nvidia-tesla-t4;count:1;install-nvidia-driver",
    )
    add("--report", choices=("yes", "no"), default="yes", help="write report.html at the end")
    add(
        "--dry_run",
        action="store_true",
        help="probe and count only: what the run would cost; writes nothing but estimate.json",
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {text}")
    return value


def _workers(text: str) -> int | None:
    return None if text == "auto" else _positive(text)


def _check_beam_options(parser: _Parser, rest: list[str]) -> None:
    """Refuses what Beam would ignore silently: a misspelt option is not an option."""
    beam = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in sorted(PipelineOptions.__subclasses__(), key=lambda one: one.__name__):
        with_arguments = getattr(options, "_add_argparse_args", None)
        if with_arguments is not None:
            with_arguments(beam)
    _, unknown = beam.parse_known_args(rest)
    if unknown:
        known = [name for one in (parser, beam) for name in one._option_string_actions]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"unknown option {unknown[0]}{hint}")


def _check_places(parser: _Parser, source: str, output: str) -> tuple[str, str]:
    """Returns both places absolute; refuses what can be seen to be wrong without looking."""
    for option, place in (("--input", source), ("--output", output)):
        scheme = locations.scheme_of(place)
        if scheme not in ("s3", "file", ""):
            parser.error(f"{option} {place}: {scheme}:// is not supported, use s3:// or a path")
        if scheme == "s3" and not locations.split_s3(place)[0]:
            parser.error(f"{option} {place}: an S3 URI is s3://bucket/key")
    absolute_output = _absolute(output)
    if manifest.is_prefix(source):
        folder = manifest.input_folder(source)
        if f"{absolute_output}/".startswith(folder):
            parser.error("--output lies below --input: its images would be upscaled again")
        return folder, absolute_output
    if source.rpartition(".")[2].lower() not in manifest.FORMATS:
        suffixes = ", ".join(f".{suffix}" for suffix in manifest.FORMATS)
        parser.error(
            f"--input {source} is neither a manifest ({suffixes}) nor a prefix ending in / "
            "nor a local folder"
        )
    return _absolute(source), absolute_output


def _absolute(place: str) -> str:
    """A place without a final `/` that means the same in any working directory."""
    if locations.scheme_of(place) == "s3":
        return place.rstrip("/")
    return str(locations.local_path(place).resolve())


def _check_endpoint(parser: _Parser, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        parser.error("--s3_endpoint_url is http://host:port or https://host")
    if parts.username or parts.password or parts.query:
        parser.error(
            "--s3_endpoint_url may not carry credentials: give them in the environment or profile"
        )
