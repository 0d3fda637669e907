"""Gives each image the sharpening of its shop, from a table of prefixes."""

import dataclasses
import functools
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from model.sharpening import table
from pipeline.catalog.places import BUCKET
from pipeline.records import RunError
from pipeline.redaction import redact
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError

_FILE_NAME = r"[^/]*\z"


@dataclasses.dataclass(frozen=True)
class SharpeningTable:
    """How the images below each prefix were sharpened. Picklable, travels to the workers.

    Attributes:
        numbers: (prefix, log2) for each prefix, which ends in `/`; None where it is unknown.

    Example:
        >>> shops = SharpeningTable((("s3://shop/a/", 0.75), ("s3://shop/a/old/", None)))
        >>> shops.number_of("s3://shop/a/red/1.jpg"), shops.number_of("s3://shop/a/old/2.jpg")
        (0.75, None)
    """

    numbers: tuple[tuple[str, float | None], ...] = ()

    def number_of(self, location: str) -> float | None:
        """Returns the number of the longest prefix of a location; None if it has none."""
        folder = location[: location.rfind("/") + 1]
        while folder:
            if folder in self._by_prefix:
                return self._by_prefix[folder]
            folder = folder[: folder.rfind("/", 0, -1) + 1]
        return None

    def overlaps(self, folder: str) -> bool:
        """Whether a prefix lies below an `--input` that ends in `/`, or holds it."""
        if locations.scheme_of(folder) != "s3":
            folder = f"{locations.local_path(folder).absolute()}/"
        return any(
            prefix.startswith(folder) or folder.startswith(prefix) for prefix, _ in self.numbers
        )

    @functools.cached_property
    def _by_prefix(self) -> Mapping[str, float | None]:
        return dict(self.numbers)

    def fill(self, entries: pa.RecordBatch) -> pa.RecordBatch:
        """Gives entries of `batches.SCHEMA` that have no number that of their prefix."""
        if not self.numbers:
            return entries
        locations = pc.coalesce(entries["location"], entries["uri"])
        folders = pc.replace_substring_regex(locations, _FILE_NAME, "").dictionary_encode()
        numbers = [self.number_of(folder) for folder in folders.dictionary.to_pylist()]
        told = pc.take(pa.array(numbers, pa.float64()), folders.indices)
        at = entries.schema.get_field_index("source_sharpening")
        told = pc.coalesce(entries.column(at), told)
        return entries.set_column(at, entries.schema.field(at), told)


def read_table(files: Storage, place: str) -> SharpeningTable:
    """Reads the table of `--sharpening_table`.

    Args:
        files: where it lies.
        place: its path or S3 URI.

    Raises:
        RunError: if it cannot be read or is no table of `model.sharpening`.
    """
    name = f"--sharpening_table {redact(place)}"
    try:
        found = table.parse(files.read(place).decode())
        numbers = {spelled: n for prefix, n in found.items() for spelled in _spelled(prefix)}
    except StorageError as error:
        raise RunError(f"{name}: {error.detail}") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{name}: is not UTF-8") from error
    except ValueError as error:
        raise RunError(f"{name}: {redact(str(error))}") from error
    return SharpeningTable(tuple(numbers.items()))


def _spelled(prefix: str) -> list[str]:
    """A prefix as the locations of the catalog begin.

    Raises:
        ValueError: if it is no prefix of S3 and no folder.
    """
    scheme = locations.scheme_of(prefix)
    if scheme == "s3":
        bucket, key = locations.split_s3(prefix)
        if not BUCKET.fullmatch(bucket):
            raise ValueError(f"a prefix on S3 is s3://bucket/prefix/: {prefix}")
        return [f"s3://{bucket}/{key}"]
    if scheme not in ("file", ""):
        raise ValueError(f"a prefix is s3://bucket/prefix/ or a folder: {prefix}")
    folder = locations.local_path(prefix)
    if not folder.is_absolute():
        raise ValueError(f"the path of a folder must be absolute: {prefix}")
    return [f"{folder.as_posix().rstrip('/')}/", f"{folder.as_uri().rstrip('/')}/"]
