"""Selects a part of the catalog: by patterns of paths, the first images, or a spread sample."""

import dataclasses
import functools
import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from pipeline.records import CatalogEntry, Reason
from pipeline.storage import locations


@dataclasses.dataclass(frozen=True)
class Selection:
    """The part of a catalog that a run sees; by default all of it.

    Attributes:
        limit: the first so many images; None for all.
        sample: so many images, spread over the catalog by a hash of their URIs; None for all.
        include: patterns of the paths that are read; empty for all. See `matches`.
        exclude: patterns of the paths that are left out.

    Example:
        >>> part = Selection(limit=20, include=("shoes/**", "*.jpg"))
        >>> str(part)
        '--limit 20 --include shoes/**,*.jpg'
        >>> Selection().covers(part), part.covers(Selection())
        (True, False)
    """

    limit: int | None = None
    sample: int | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The options of the command line; empty for the whole catalog."""
        return " ".join(
            f"--{name} {','.join(value) if isinstance(value, tuple) else value}"
            for name, value in dataclasses.asdict(self).items()
            if value
        )

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> "Selection":
        """Restores a selection from the JSON of `dataclasses.asdict`; a missing key is a default.

        Example:
            >>> Selection.of_json({"limit": 20, "include": ["shoes/**"]}).include
            ('shoes/**',)
        """
        return cls(
            found.get("limit"),
            found.get("sample"),
            tuple(found.get("include") or ()),
            tuple(found.get("exclude") or ()),
        )

    def covers(self, other: "Selection") -> bool:
        """Whether every image of another selection is in this one, as far as that is plain."""
        is_all = self.limit is None and self.sample is None
        if is_all and not (self.include or self.exclude):
            return True
        has_same_paths = (self.include, self.exclude) == (other.include, other.exclude)
        return self == other or (is_all and has_same_paths)


WHOLE_CATALOG = Selection()


def select(
    entries: Iterable[CatalogEntry], selection: Selection, folder: str | None
) -> Iterator[CatalogEntry]:
    """Yields the mentions of the selected images, in the order of the catalog.

    Patterns are applied first. `limit` and `sample` count distinct URIs, and pass over files that
    their names tell to be no images. A sample keeps its images in memory, and stays the same as
    long as they are in the catalog. A broken line has no path: no pattern leaves it out.

    Args:
        entries: the whole catalog.
        selection: see `Selection`.
        folder: the prefix or folder that was listed, to which paths are relative; None for a
            manifest, whose S3 URIs have their keys as paths.
    """
    if selection.include or selection.exclude:
        entries = _matching(entries, selection, folder)
    if selection.limit is not None:
        return _first(entries, selection.limit)
    if selection.sample is not None:
        return _spread(entries, selection.sample)
    return iter(entries)


def path_of(uri: str, folder: str | None) -> str:
    """Returns the path that patterns are compared with.

    Args:
        uri: of an image.
        folder: see `select`.

    Example:
        >>> path_of("s3://shop/images/a.jpg", "s3://shop/images/")
        'a.jpg'
        >>> path_of("s3://shop/images/a.jpg", None)
        'images/a.jpg'
    """
    scheme = locations.scheme_of(uri)
    if folder is not None:
        path = uri.removeprefix(_base(folder))
    else:
        path = locations.split_s3(uri)[1] if scheme == "s3" else uri.removeprefix("file://")
    return (unquote(path) if scheme == "file" else path).removeprefix("./").removeprefix("/")


@functools.lru_cache(maxsize=16)
def _base(folder: str) -> str:
    """What the URIs of a listing begin with."""
    if locations.scheme_of(folder) == "s3":
        return folder
    return f"{locations.local_path(folder).absolute().as_uri()}/"


def matches(path: str, pattern: str) -> bool:
    """Returns whether a pattern matches a path.

    `*` stands for any text without `/`, `?` for one character of it, `**` for any text. A pattern
    without `/` is compared with the path's last part; one that ends in `/` matches all below.

    Example:
        >>> matches("shoes/red/a.jpg", "*.jpg"), matches("shoes/red/a.jpg", "shoes/*.jpg")
        (True, False)
        >>> matches("shoes/red/a.jpg", "shoes/**/*.jpg"), matches("shoes/red/a.jpg", "shoes/")
        (True, True)
    """
    return _compile([pattern]).fullmatch(path) is not None


def _compile(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression for several patterns."""
    return re.compile("|".join(map(_expression, patterns)), re.DOTALL)


def _expression(pattern: str) -> str:
    """A regular expression for one pattern."""
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    pattern = pattern.removeprefix("/") + ("**" if pattern.endswith("/") else "")
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"((?:(?<=/)|^)\*\*/|\*\*|\*|\?)", pattern)
    return anywhere + "".join(meanings.get(part) or re.escape(part) for part in parts)


def _matching(
    entries: Iterable[CatalogEntry], selection: Selection, folder: str | None
) -> Iterator[CatalogEntry]:
    include, exclude = _compile(selection.include), _compile(selection.exclude)
    for entry in entries:
        if entry.reason != Reason.BAD_LINE:
            path = path_of(entry.uri, folder)
            if selection.include and not include.fullmatch(path):
                continue
            if selection.exclude and exclude.fullmatch(path):
                continue
        yield entry


def _images(entries: Iterable[CatalogEntry]) -> Iterator[CatalogEntry]:
    return (entry for entry in entries if entry.reason != Reason.NOT_AN_IMAGE)


def _first(entries: Iterable[CatalogEntry], limit: int) -> Iterator[CatalogEntry]:
    """The mentions of the first images; reads the catalog no further."""
    seen: set[str] = set()
    for entry in _images(entries):
        if entry.uri not in seen and len(seen) == limit:
            return
        seen.add(entry.uri)
        yield entry


def _spread(entries: Iterable[CatalogEntry], sample: int) -> Iterator[CatalogEntry]:
    """The mentions of the images whose URIs have the smallest digests."""
    chosen: dict[str, dict[CatalogEntry, CatalogEntry]] = {}
    ranks: list[tuple[int, str]] = []  # a heap; the digests are negative, so the largest leads
    for entry in _images(entries):
        if entry.uri not in chosen:
            rank = (-_digest(entry.uri), entry.uri)
            if len(ranks) < sample:
                heapq.heappush(ranks, rank)
            elif rank > ranks[0]:
                del chosen[heapq.heapreplace(ranks, rank)[1]]
            else:
                continue
            chosen[entry.uri] = {}
        # Equal mentions as one: a catalog may repeat a line millions of times.
        alike = entry._replace(position=0, mentions=1)
        first = chosen[entry.uri].get(alike)
        more = first.mentions if first else 0
        chosen[entry.uri][alike] = (first or entry)._replace(mentions=more + entry.mentions)
    mentions = [entry for alike in chosen.values() for entry in alike.values()]
    return iter(sorted(mentions, key=lambda entry: entry.position))


def _digest(uri: str) -> int:
    digest = hashlib.blake2b(uri.encode(errors="surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
