"""Parses and checks the job's command line before anything starts."""

import argparse
import dataclasses
import datetime
import difflib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from model.command_line import CommandParser
from pipeline import config_file
from pipeline.catalog import manifest, places
from pipeline.catalog.manifests.files import is_parquet_folder, is_prefix, manifest_format
from pipeline.options.catalog import NONE
from pipeline.options.declaration import Option
from pipeline.records import Reason, RunError
from pipeline.redaction import redact
from pipeline.runs.layout import OWN_FOLDERS
from pipeline.runtime import logs
from pipeline.settings import OPTION_GROUPS, OPTIONS, Settings
from pipeline.storage import locations


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
    argv = [*_configured(parser, argv, now), *argv]
    ours, rest = parser.parse_known_args(argv)
    _check_required(parser, ours, rest)
    _check_beam_options(parser, rest)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", ours.run_id):
        parser.error(f"--run_id takes letters, digits, '.', '_' and '-': {ours.run_id!r}")
    _settle_sizes(parser, ours)
    for scheme in ours.allow_schemes:
        if scheme not in places.SCHEMES:
            parser.error(
                f"--allow_schemes {scheme}: images are read from {' and '.join(places.SCHEMES)} "
                "only"
            )
    for reason in ours.retry:
        if reason not in list(Reason) and not reason.startswith("gate:"):
            parser.error(f"--retry {reason}: no such reason; they are {', '.join(Reason)}")
    if ours.limit and ours.sample:
        parser.error("--limit takes the first images, --sample others: give one of them")
    for name in ("limit", "sample", "include", "exclude", "sharpening_table"):
        if ours.retry and getattr(ours, name):
            parser.error(f"--retry replays a previous run's rows: it cannot go with --{name}")
    if ours.retry and ours.previous == NONE:
        parser.error("--retry replays a previous run: it cannot go with --previous none")
    source, output = _check_places(parser, ours.input, ours.output)
    _check_manifest_options(parser, ours, source)
    _check_secrets(parser, "--model", ours.model)
    _check_signals(parser, ours)
    return Settings(**vars(ours) | {"input": source, "output": output}), rest


def _check_manifest_options(parser: CommandParser, ours: argparse.Namespace, source: str) -> None:
    """Refuses options about a manifest that would have no effect on this input."""
    names = ["uri_column", "id_column", "keep_columns"]
    if is_prefix(source):
        names, kind = [*names, "allow_schemes"], "prefix or folder"
    elif manifest_format(source) == "txt":
        kind = "list of URIs, without columns"
    else:
        return
    for name in names:
        if getattr(ours, name) != OPTIONS[name].default:
            parser.error(
                f"--{name} is about a manifest: --input names a {kind}; leave the option out"
            )


def _settle_sizes(parser: CommandParser, ours: argparse.Namespace) -> None:
    """Checks the limits of sizes; `--max_side`, if not given, follows the target side."""
    if ours.max_side is None:  # who wants larger results than that takes larger images, too
        ours.max_side = max(OPTIONS["max_side"].default, ours.target_side or 0)
    if ours.max_side < ours.min_side:
        parser.error(f"--max_side {ours.max_side} is below --min_side {ours.min_side}")
    if ours.target_side is not None and ours.target_side <= ours.min_side:
        parser.error(
            f"--target_side {ours.target_side} leaves no image: --min_side is {ours.min_side}"
        )


def _configured(parser: CommandParser, argv: list[str], now: datetime.datetime) -> list[str]:
    """The arguments of the file of `--config`, checked; errors name the file."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config")
    try:
        path = finder.parse_known_args(argv)[0].config
    except argparse.ArgumentError:  # without its argument, as `parser` will say
        return []
    if path is None:
        return []
    try:
        arguments = config_file.read_arguments(path)
    except config_file.ConfigError as error:
        parser.error(f"--config {error}")
    of_file = _parser(now, where=f"--config {path}: ")
    _, rest = of_file.parse_known_args(arguments)
    _check_beam_options(of_file, rest, is_all=False)
    return arguments


def _parser(now: datetime.datetime, where: str = "") -> CommandParser:
    """Parser of all declared options; `where` begins its messages."""
    parser = CommandParser(
        logs.program(),
        "Upscales the small images of a catalog and writes them, with measures of their quality, "
        "to Parquet.",
        clean=lambda message: redact(where + message),
        usage=f"{logs.program()} --input MANIFEST_OR_PREFIX --output FOLDER_OR_PREFIX [options]",
        epilog="All other options go to Apache Beam (--runner, ...). Exit status: 0 done; 1 the "
        "run failed; 2 usage; 3 done, but more images failed than allowed.",
        allow_abbrev=False,
    )
    for title, options in OPTION_GROUPS.items():
        group = parser.add_argument_group(title)
        for option in options.values():
            _add(group, option)
    parser.set_defaults(run_id=now.strftime("%Y%m%dT%H%M%SZ"), max_side=None)
    return parser


class _Extend(argparse.Action):
    """Adds the values of each occurrence of an option to those before."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is self.default else before + values)


def _add(parser: argparse._ArgumentGroup, option: Option) -> None:
    """Adds one declared option."""
    name = f"--{option.name}"
    if option.parse is None:
        parser.add_argument(name, action="store_true", help=option.help)
        return
    default = f" (default: {option.default_name})" if option.default_name else ""
    parser.add_argument(
        name,
        action=_Extend if option.default == () else "store",
        type=option.parse,
        default=None if option.default is dataclasses.MISSING else option.default,
        choices=option.choices or None,
        metavar=option.metavar,
        help=option.help + default,
    )


def _check_required(parser: CommandParser, given: argparse.Namespace, rest: list[str]) -> None:
    """Refuses a command line without a required option; suggests it for a misspelt one."""
    for option in OPTIONS.values():
        if option.is_required and not getattr(given, option.name):
            near = difflib.get_close_matches(f"--{option.name}", map(_name_of, rest), n=1)
            if near:
                parser.error(f"unknown option {near[0]}; did you mean --{option.name}?")
            parser.error(f"--{option.name} is required: {option.help}")


def _check_beam_options(parser: CommandParser, rest: list[str], *, is_all: bool = True) -> None:
    """Refuses options that Beam would ignore silently or refuse only in the middle of a run.

    Args:
        parser: prints the error.
        rest: the options that are not the job's own.
        is_all: whether they are all that Beam gets, so that none may be missing.
    """
    if not rest:
        return
    # Beam takes seconds to import: only a command line with options for it pays.
    from pipeline.runtime import runner  # noqa: PLC0415

    try:
        runner.check_values(rest, [f"--{name}" for name in OPTIONS])
        if is_all:
            runner.check_together(rest)
    except runner.BeamOptionError as error:
        parser.error(str(error))


def _name_of(argument: str) -> str:
    """The option in `--option=value`."""
    return argument.partition("=")[0]


def _check_places(parser: CommandParser, source: str, output: str) -> tuple[str, str]:
    """Makes both places absolute; refuses those that cannot work, without asking a storage."""
    for option, place in (("--input", source), ("--output", output)):
        _check_secrets(parser, option, place)
        scheme = locations.scheme_of(place)
        if scheme not in ("s3", "file", ""):
            parser.error(f"{option} {place}: {scheme}:// is not supported, use s3:// or a path")
        if scheme == "s3" and not locations.split_s3(place)[0]:
            parser.error(f"{option} {place}: an S3 URI is s3://bucket/key")
    absolute_output = _absolute(output)
    if locations.scheme_of(output) != "s3" and Path(absolute_output).is_file():
        parser.error(f"--output {output} is a file, not a folder")
    if is_prefix(source):
        folder = manifest.input_folder(source)
        if f"{absolute_output}/".startswith(folder):
            parser.error("--output is below --input: its images would be upscaled again")
        for own in OWN_FOLDERS:
            if folder.startswith(f"{locations.join(absolute_output, own)}/"):
                parser.error(
                    f"--input is in a folder that the job writes to, {own}/ of --output: its "
                    "results would lie among your images; give another --output"
                )
        return folder, absolute_output
    try:
        manifest_format(source)
    except RunError as error:
        may_be_one = locations.scheme_of(source) == "s3" and "." not in source.rpartition("/")[2]
        parser.error(f"{error}" + (f"; did you mean {source}/?" if may_be_one else ""))
    final = "/" if is_parquet_folder(source) else ""
    return f"{_absolute(source)}{final}", absolute_output


def _check_secrets(parser: CommandParser, option: str, place: str) -> None:
    """Refuses a place that carries credentials: they would be kept with the run."""
    if redact(place) != place:
        parser.error(
            f"{option} {redact(place)} may not carry credentials: give s3://bucket/key, and "
            "credentials in the environment or profile"
        )


def _check_signals(parser: CommandParser, ours: argparse.Namespace) -> None:
    """Refuses places that the outcome cannot go to; makes the local one absolute."""
    if ours.notify is not None:
        try:
            address = urlsplit(ours.notify)
            is_web = address.scheme in ("http", "https") and bool(address.hostname)
            is_web = is_web and ours.notify.isascii()
        except ValueError:
            is_web = False
        if not is_web:  # the address may be a secret: no message repeats it
            parser.error("--notify is an address, https://host/path")
    if ours.metrics_file is not None:
        if locations.scheme_of(ours.metrics_file) not in ("", "file"):
            parser.error(f"--metrics_file {ours.metrics_file} is not a local file")
        path = Path(_absolute(ours.metrics_file))
        if not path.parent.is_dir() or path.is_dir():
            parser.error(f"--metrics_file {path} is not a file in a folder that exists")
        ours.metrics_file = str(path)


def _absolute(place: str) -> str:
    """A place without a final `/` that means the same in any working directory."""
    if locations.scheme_of(place) == "s3":
        return place.rstrip("/")
    return str(locations.local_path(place).resolve())
