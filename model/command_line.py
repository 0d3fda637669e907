"""Command lines whose errors are one line that names the nearest option."""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from model.version import add_version


def printable(name: str) -> str:
    r"""Returns a name as any standard output takes it: bytes that are no UTF-8 as `\udce9`."""
    return name.encode(errors="backslashreplace").decode()


class CommandParser(argparse.ArgumentParser):
    """Parser of a command, with `--version`; a wrong command line ends in exit status 2.

    Args:
        command: its name, for messages: the module or the program's file.
        doc: its first line describes the command.
        clean: takes credentials out of messages, which may quote arguments.
        options: of `argparse.ArgumentParser`.

    Example:
        parser = CommandParser("model.scenes", __doc__)
        parser.add_argument("--count", type=int)
        parser.parse_args(["--cuont", "2"])
        # model.scenes: unknown option --cuont; did you mean --count? (--help shows all options)
    """

    def __init__(
        self,
        command: str,
        doc: str | None,
        *,
        clean: Callable[[str], str] = str,
        **options: Any,
    ) -> None:
        prog = command if command.endswith(".py") else f"python -m {command}"
        description = (doc or "").partition("\n")[0]
        super().__init__(prog=prog, description=description, **options)
        self._command = command
        self._clean = clean
        add_version(self)

    def error(self, message: str) -> NoReturn:
        """Prints one line and no usage, then exits with status 2."""
        line = f"{self._command}: {self._clean(message)} (--help shows all options)"
        print(line, file=sys.stderr)
        raise SystemExit(2)

    def parse_args(  # type: ignore[override]  # without the overloads for other namespaces
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parses; looks for misspelt options first, because argparse misses arguments before."""
        args = sys.argv[1:] if args is None else args
        for argument in args:
            name = argument.partition("=")[0]
            if argument == "--":
                break
            if name.startswith("--"):
                self._check_option(name)
        return super().parse_args(args, namespace)

    def _check_option(self, name: str) -> None:
        """Refuses a name that neither is nor begins an option."""
        known = list(self._option_string_actions)
        if not any(option.startswith(name) for option in known):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unknown option {name}{hint}")
