"""What a run saw of which catalog, and whether that is all that another run saw."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.catalog.manifests.files import is_parquet_folder
from pipeline.catalog.selection import WHOLE_CATALOG, Selection

# 2026-11-26, 2026/11, 20261126T030000Z, year=2026/month=11/day=26, 2026-W48, 26.11.2026. A number
# that may name a shop, such as 20012345, is none.
_MARK = r"(?:[-_./]|/?[a-z]+=)"
_MONTH, _DAY = r"(?:0[1-9]|1[0-2])", r"(?:[0-2]\d|3[01])"
_TIME = r"(?:(?:[-_.:T]|/?[a-z]+=)?[0-5]\d)*Z?"
_DATE = re.compile(
    rf"(?<!\d)(?:20\d\d{_MARK}{_MONTH}(?:{_MARK}{_DAY}{_TIME})?|20\d\d{_MONTH}{_DAY}{_TIME}"
    r"|20\d\d-?W[0-5]\d|\d\d(?P<mark>[-_.])\d\d(?P=mark)20\d\d)(?!\d)"
)


@dataclass(frozen=True)
class Seen:
    """The part of a catalog that a run saw.

    Two prefixes are one catalog if they are equal, two manifests if their places differ only in a
    date: a nightly export has a new name each night. What else two manifests share, or a manifest
    and a prefix, their names do not tell.

    Attributes:
        catalog: `--input`, of a manifest with `*` for each date; empty if unknown.
        selection: the part of it.

    Example:
        >>> shop = Seen.of("s3://shop/images/")
        >>> shop.covers(Seen.of("s3://shop/images/shoes/")), shop.covers(Seen.of("s3://b/images/"))
        (True, False)
        >>> Seen.of("s3://shop/2026-11-26.csv").covers(Seen.of("s3://shop/2026-11-27.csv"))
        True
    """

    catalog: str
    selection: Selection = WHOLE_CATALOG

    @classmethod
    def of(cls, source: str, selection: Selection = WHOLE_CATALOG) -> "Seen":
        """Returns what a run with this `--input`, as its settings have it, and selection sees."""
        return cls(source if _is_prefix(source) else _DATE.sub("*", source), selection)

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any] | None) -> "Seen":
        """Returns what a run saw, by its summary.json; None for a run without one.

        Runs of older versions saw all of their catalogs.
        """
        summary = summary or {}
        source, selection = summary.get("input"), summary.get("selection")
        return cls.of(
            source if isinstance(source, str) else "", Selection.of_json(selection or {})
        )

    def covers(self, other: "Seen") -> bool:
        """Whether every image that another run saw is in this part, as far as that is plain."""
        if self.catalog == other.catalog:
            return self.selection.covers(other.selection)
        return self.selection == WHOLE_CATALOG and _contains(self.catalog, other.catalog)

    def misses_what_is_gone(self, other: "Seen") -> bool:
        """Whether an image that another run saw and this one did not is not there any more."""
        is_trial = self.selection.limit is not None or self.selection.sample is not None
        return not is_trial and self.covers(other)

    def overlaps(self, other: "Seen") -> bool:
        """Whether both are of one catalog, or one is a prefix within the other."""
        a, b = self.catalog, other.catalog
        return a == b or _contains(a, b) or _contains(b, a)

    def is_apart_from(self, other: "Seen") -> bool:
        """Whether no image can be in both: two prefixes, neither within the other."""
        are_prefixes = _is_prefix(self.catalog) and _is_prefix(other.catalog)
        return are_prefixes and not self.overlaps(other)


# Of a run whose summary cannot be read.
NOT_KNOWN = Seen("")


def _contains(a: str, b: str) -> bool:
    """Whether catalog `a` is a prefix, and `b` a prefix within it."""
    return _is_prefix(a) and _is_prefix(b) and b.startswith(a)


def _is_prefix(source: str) -> bool:
    """As `is_prefix`, of an absolute `--input`, without a look at the disk."""
    return source.endswith("/") and not is_parquet_folder(source)
