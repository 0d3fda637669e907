"""How the commands about finished runs reach S3: by their options, or as the run did."""

import argparse
from collections.abc import Mapping
from typing import Any

from pipeline.options.declaration import options_of
from pipeline.options.s3 import S3Options
from pipeline.records import Reason, RunError
from pipeline.storage.base import Readable, Storage, StorageConfig, StorageError
from pipeline.storage.locations import scheme_of
from pipeline.storage.routing import open_storage

_OPTIONS = options_of(S3Options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the job's options about S3, without a value unless they are given.

    Args:
        parser: of a command about finished runs.
    """
    for option in _OPTIONS.values():
        parser.add_argument(
            f"--{option.name}",
            type=option.parse or str,
            choices=option.choices or None,
            help=option.help,
        )


def open_runs(options: argparse.Namespace) -> Storage:
    """Opens the storage of runs and their images, as the options say.

    Args:
        options: of a parser with `add_options`.
    """
    return _open({name: getattr(options, name) for name in _OPTIONS})


def open_sources(options: argparse.Namespace, summary: Mapping[str, Any]) -> "Sources":
    """Opens the storage of a run's sources: as the run did, where no option says otherwise.

    Args:
        options: of a parser with `add_options`.
        summary: content of the run's summary.json.
    """
    given = {name: getattr(options, name) for name in _OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    return Sources(_open(summary["settings"] | given))


def arguments(output: str, settings: Mapping[str, Any]) -> list[str]:
    """Returns the options with which a command finds the runs of an output.

    A local output needs none: the run's summary.json says where the sources are.

    Args:
        output: the run's `--output`.
        settings: of the run, by option.
    """
    words = []
    for name, option in _OPTIONS.items():
        value = settings.get(name, option.default)
        if scheme_of(output) == "s3" and value != option.default:
            words += [f"--{name}", value]
    return words


class Sources:
    """Reads sources. What would stop a run costs only their images.

    Args:
        files: their storage.

    Attributes:
        problem: why no source on S3 can be read, such as missing credentials; empty if none was
            met. They are not asked for again then.

    Example:
        sources = open_sources(options, summary)
        data = sources.read("s3://shop/a.jpg")
    """

    def __init__(self, files: Readable) -> None:
        self._files = files
        self.problem = ""

    def read(
        self, uri: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> bytes:
        """Reads a source; see `Storage.read`.

        Raises:
            StorageError: if it cannot be read.
        """
        if self.problem and scheme_of(uri) == "s3":
            raise StorageError(Reason.STORAGE_ERROR, self.problem)
        try:
            return self._files.read(uri, start, stop, etag)
        except RunError as error:
            self.problem = str(error)
            raise StorageError(Reason.STORAGE_ERROR, self.problem) from error


def _open(chosen: Mapping[str, Any]) -> Storage:
    """The storage for values of the options, which may be missing."""
    config = StorageConfig(
        chosen.get("s3_endpoint_url"),
        requester_pays=chosen.get("s3_requester_pays") == "yes",
        unsigned=chosen.get("s3_unsigned") == "yes",
    )
    return open_storage(config.at_start())
