"""Declaration of one option of the command line, as metadata of a dataclass field."""

import argparse
import dataclasses
import math
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pipeline.storage import locations

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of the command line.

    Attributes:
        name: without the hyphens; also the name of the field of `Settings`.
        default: value without the option; `dataclasses.MISSING` if it is required.
        help: one line for `--help`.
        parse: turns the argument into the value; None for a flag without an argument.
        choices: values allowed; empty if any is.
        metavar: stands for the argument in `--help`.
        default_name: of the default, for `--help` and docs/reference.md; empty without one.
        in_content_key: whether another value gives another image, which is then upscaled again.
        resume_must_match: whether a run that goes on must have the value it began with.
        is_replayed: whether the report's replay command repeats it.

    Example:
        OPTIONS["max_side"].default  # 1000; see `pipeline.settings`
    """

    name: str
    default: Any
    help: str
    parse: Callable[[str], Any] | None
    choices: tuple[str, ...]
    metavar: str | None
    default_name: str
    in_content_key: bool
    resume_must_match: bool
    is_replayed: bool

    @property
    def is_required(self) -> bool:
        """Whether a command line must give it."""
        return self.default is dataclasses.MISSING and not self.default_name


def declare(
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    parse: Callable[[str], Any] | None = str,
    choices: tuple[str, ...] = (),
    metavar: str | None = None,
    default_name: str | None = None,
    in_content_key: bool = False,
    resume_must_match: bool = False,
    is_replayed: bool = False,
) -> Any:
    """Declares an option as a field of a dataclass.

    Args:
        help, default, parse, choices, metavar, in_content_key, resume_must_match, is_replayed:
            see `Option`.
        default_name: see `Option`; the default as text if None.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Settings:
        ...     max_side: int = declare("longer side above: large_enough", 1000, parse=positive)
        >>> options_of(Settings)["max_side"].default_name
        '1000'
    """
    if default_name is None:
        default_name = "" if default in (dataclasses.MISSING, None, (), False) else str(default)
    declared = {
        "help": help,
        "parse": parse,
        "choices": choices,
        "metavar": metavar,
        "default_name": default_name,
        "in_content_key": in_content_key,
        "resume_must_match": resume_must_match,
        "is_replayed": is_replayed,
    }
    return dataclasses.field(default=default, metadata=declared)


def options_of(settings: type) -> dict[str, Option]:
    """The options that a dataclass declares, by name, in the order of its fields."""
    return {
        field.name: Option(name=field.name, default=field.default, **field.metadata)
        for field in dataclasses.fields(settings)
    }


def positive(text: str) -> int:
    """Parses a whole number of at least 1."""
    value = int(text) if text.strip().lstrip("+-").isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1: {text}")
    return value


def positive_or_auto(text: str) -> int | None:
    """Parses a whole number of at least 1; None for `auto`."""
    return None if text == AUTO else positive(text)


def scale_or_auto(text: str) -> int | None:
    """Parses an enlargement of 2, 3 or 4; None for `auto`."""
    if text in ("2", "3", "4", AUTO):
        return positive_or_auto(text)
    raise argparse.ArgumentTypeError(f"must be 2, 3, 4 or {AUTO}: {text}")


def percent_or_auto(text: str) -> int | None:
    """Parses a whole number from 1 to 100; None for `auto`."""
    if text == AUTO:
        return None
    value = int(text) if text.strip().isdecimal() else 0
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 100: {text}")
    return value


def share(text: str) -> float:
    """Parses a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1: {text}")
    return value


def price(text: str) -> float:
    """Parses a price of at least 0, in the user's currency."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0: {text}")
    return value


def comma_list(text: str) -> tuple[str, ...]:
    """Parses words between commas; empty ones do not count, but one is needed."""
    words = tuple(filter(None, text.split(",")))
    if not words:  # an empty variable of a shell must not turn a part of a run into a full one
        raise argparse.ArgumentTypeError(f"leave the option out, or name something: {text!r}")
    return words


def place(text: str) -> str:
    """Parses a path or URI; its scheme gets small letters, which all comparisons expect."""
    scheme = locations.scheme_of(text)
    try:
        if scheme in ("", "file"):
            locations.local_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: {text!r}") from error
    return scheme + text[len(scheme) :]


def endpoint(text: str) -> str:
    """Parses the address of a server; messages do not repeat it, as it may hold a secret."""
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise argparse.ArgumentTypeError("must be http://host:port or https://host")
    if parts.username or parts.password or parts.query:
        raise argparse.ArgumentTypeError(
            "may not carry credentials: give them in the environment or profile"
        )
    return text
