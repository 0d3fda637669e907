"""The sharpening table of a run: how the images below each prefix were sharpened."""

import dataclasses
import functools
import os
from collections.abc import Mapping

from model.sharpening import table
from pipeline.catalog.places import BUCKET
from pipeline.records import RunError
from pipeline.redaction import redact
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError


@dataclasses.dataclass(frozen=True)
class SharpeningTable:
    """How the images below each prefix were sharpened. Picklable, travels to the workers.

    Attributes:
        numbers: (prefix, log2) for each prefix, as `folder_of` gives it; None where it is
            unknown.

    Example:
        >>> shops = SharpeningTable((("s3://shop/a/", 0.75), ("s3://shop/a/old/", None)))
        >>> shops.number_of("s3://shop/a/red/1.jpg"), shops.number_of("s3://shop/a/old/2.jpg")
        (0.75, None)
    """

    numbers: tuple[tuple[str, float | None], ...] = ()

    def number_of(self, location: str) -> float | None:
        """Returns the number of the longest prefix of a location; None if it has none.

        Args:
            location: see `CatalogEntry`.
        """
        folder = folder_of(location)
        while folder:
            if folder in self._by_prefix:
                return self._by_prefix[folder]
            folder = folder[: folder.rfind("/", 0, -1) + 1]
        return None

    def overlaps(self, folder: str) -> bool:
        """Returns whether a prefix lies below a folder or S3 prefix, or above it."""
        folder = folder_of(f"{folder.rstrip('/')}/")
        return any(
            prefix.startswith(folder) or folder.startswith(prefix) for prefix, _ in self.numbers
        )

    @functools.cached_property
    def _by_prefix(self) -> Mapping[str, float | None]:
        return dict(self.numbers)


NO_TABLE = SharpeningTable()


def folder_of(location: str) -> str:
    """Returns the folder that a location lies in, spelled in one way, ending in `/`.

    Args:
        location: an S3 URI, an absolute path or a file URI; what follows its last `/` is left
            out. Of other texts the result is empty.

    Raises:
        ValueError: if it is a file URI of no path on this machine.

    Example:
        >>> folder_of("/shop/a/../b/1.jpg"), folder_of("file:///shop/b/"), folder_of("S3://s/a/")
        ('/shop/b/', '/shop/b/', 's3://s/a/')
    """
    folder = location[: location.rfind("/") + 1]
    scheme = locations.scheme_of(folder)
    if scheme == "s3":
        bucket, key = locations.split_s3(folder)
        return f"s3://{bucket}/{key}"
    path = str(locations.local_path(folder)) if folder and scheme in ("file", "") else ""
    return f"{os.path.normpath(path).rstrip('/')}/" if path.startswith("/") else ""


def read_table(files: Storage, place: str) -> SharpeningTable:
    """Reads the table of `--sharpening_table`.

    Args:
        files: where it lies.
        place: its path or S3 URI.

    Raises:
        RunError: if it cannot be read or is no table of `model.sharpening`.
    """
    name = f"--sharpening_table {redact(place)}"
    numbers: dict[str, float | None] = {}
    try:
        for prefix, number in table.parse(files.read(place)).items():
            folder = folder_of(prefix)
            _check(prefix, folder)
            if folder in numbers:
                raise ValueError(f"it names {folder} in two ways, also as {prefix}")
            numbers[folder] = number
    except StorageError as error:
        raise RunError(f"{name}: {error.detail}") from error
    except ValueError as error:
        raise RunError(f"{name}: {redact(str(error))}") from error
    return SharpeningTable(tuple(numbers.items()))


def _check(prefix: str, folder: str) -> None:
    """Raises ValueError if a prefix is none of S3 and no absolute folder."""
    is_s3 = folder.startswith("s3://")
    if not folder or (is_s3 and not BUCKET.fullmatch(locations.split_s3(folder)[0])):
        raise ValueError(f"a prefix is s3://bucket/prefix/ or an absolute folder: {prefix}")
