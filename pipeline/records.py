"""Small records that cross shuffles; statuses and reasons of rows; the error that ends a run."""

import enum
import hashlib
import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.redaction import redact

# Before the reason why a result has no measures against its reference, in a row's `detail`.
NOT_COMPARED = "not compared with the reference: "


class Status(enum.StrEnum):
    """Outcome of a URI: each URI of the catalog ends in exactly one row, with one status.

    Example:
        >>> str(Status.UPSCALED)
        'upscaled'
    """

    UPSCALED = "upscaled"
    FALLBACK = "fallback"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


class Reason(enum.StrEnum):
    """Why a URI is not `upscaled`: stable codes for scripts and alerts.

    Example:
        >>> Reason.TOO_SMALL.status, Reason.NOT_FOUND.status
        (<Status.SKIPPED: 'skipped'>, <Status.FAILED: 'failed'>)
    """

    TOO_SMALL = "too_small"
    LARGE_ENOUGH = "large_enough"
    ANIMATED = "animated"
    NOT_AN_IMAGE = "not_an_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_BYTES = "too_many_bytes"
    UNREADABLE = "unreadable"
    UNSUPPORTED_FORMAT = "unsupported_format"
    NOT_FOUND = "not_found"
    ACCESS_DENIED = "access_denied"
    TIMEOUT = "timeout"
    STORAGE_ERROR = "storage_error"
    CHANGED = "changed"
    OUT_OF_MEMORY = "out_of_memory"
    DECODE_TIMEOUT = "decode_timeout"
    SAME_CONTENT = "same_content"
    BAD_LINE = "bad_line"
    BAD_URI = "bad_uri"
    SCHEME_NOT_ALLOWED = "scheme_not_allowed"

    @property
    def status(self) -> Status:
        """The row's status: skipped needs no work, failed needs an operator's attention."""
        if self == Reason.SAME_CONTENT:
            return Status.UNCHANGED
        return Status.SKIPPED if self in _SKIPPED else Status.FAILED

    @property
    def may_pass(self) -> bool:
        """Whether the same file may be fine another night, though nobody changes anything.

        Failed rows are repeated all the same, unless their content is broken; this decides where
        a repetition costs the work on an image that has its result.
        """
        return self in _PASSING


_SKIPPED = {Reason.TOO_SMALL, Reason.LARGE_ENOUGH, Reason.ANIMATED, Reason.NOT_AN_IMAGE}
_PASSING = {Reason.TIMEOUT, Reason.STORAGE_ERROR, Reason.OUT_OF_MEMORY, Reason.DECODE_TIMEOUT}


class CatalogEntry(NamedTuple):
    """One image of the catalog, before its pixels are touched. Crosses shuffles.

    Attributes:
        uri: as the manifest spells it: the identity of the row.
        location: where to read it, an absolute path or an s3:// URI; empty if `reason` is set.
        position: in the manifest; of several mentions of a URI the first counts.
        product_ids: from the manifest, distinct, in the order of its lines.
        catalog: columns of the manifest that the row carries, as JSON.
        reference_uri: of a true HR image, as the manifest spells it.
        reference_location: where to read that.
        source_sharpening: how the source was sharpened, log2, from the manifest or the
            sharpening table; None where the option of the run holds.
        etag: identity of the content, from the storage: equal ETag and size, equal image.
        size_bytes: of the file.
        reference_etag: identity of the reference's content; None if it cannot be looked up.
        reason: a `Reason` once the entry is rejected.
        detail: one line for people about `reason`, or about a reference that cannot be fetched.
        mentions: how many lines of the catalog the entry stands for.

    Example:
        >>> entry = CatalogEntry("a.jpg", "/shop/a.jpg", 0)
        >>> entry.rejected(Reason.NOT_FOUND, "no such file").reason
        'not_found'
    """

    uri: str
    location: str
    position: int
    product_ids: tuple[str, ...] = ()
    catalog: str | None = None
    reference_uri: str | None = None
    reference_location: str | None = None
    source_sharpening: float | None = None
    etag: str | None = None
    size_bytes: int | None = None
    reference_etag: str | None = None
    reason: str | None = None
    detail: str | None = None
    mentions: int = 1

    @property
    def product_id(self) -> str | None:
        """The first of the product ids; None without any."""
        return self.product_ids[0] if self.product_ids else None

    def rejected(self, reason: Reason, detail: str) -> "CatalogEntry":
        """Returns this entry with the reason why its image is not upscaled."""
        return self._replace(reason=str(reason), detail=detail)


def content_key(entry: CatalogEntry, fingerprint: str) -> str:
    """Identifies an image's content together with everything that decides its result.

    Args:
        entry: with ETag and size.
        fingerprint: see `RunPlan.fingerprint`.

    Returns:
        32 hexadecimal digits.
    """
    values = ([entry.etag], [entry.size_bytes], [entry.source_sharpening])
    return content_keys(*values, fingerprint)[0]


def content_keys(
    etags: Iterable[str | None],
    sizes_bytes: Iterable[int | None],
    sharpenings: Iterable[float | None],
    fingerprint: str,
) -> list[str]:
    """Returns the content keys of many images; see `content_key`."""
    return [
        hashlib.sha256(
            f"{etag}\n{size}\n{fingerprint}{_own_settings(sharpening)}".encode()
        ).hexdigest()[:32]
        for etag, size, sharpening in zip(etags, sizes_bytes, sharpenings, strict=True)
    ]


def _own_settings(sharpening: float | None) -> str:
    """What an image has of its own beside the settings of the run; float32 gives the same."""
    return "" if sharpening is None else f"\n{sharpening:.4f}"


class Job(NamedTuple):
    """The URIs whose content is the same: one upscaling, a row for each. Crosses a shuffle.

    Attributes:
        content_key: identity of the content together with model and settings.
        entries: at least one, by position, all with ETag and size.

    Example:
        >>> entry = CatalogEntry("a.jpg", "/shop/a.jpg", 0, etag="5d41", size_bytes=2048)
        >>> job = Job(content_key(entry, fingerprint="0" * 64), (entry,))
    """

    content_key: str
    entries: tuple[CatalogEntry, ...]


class Totals(NamedTuple):
    """Counts of the catalog, which the rows must match.

    Attributes:
        mentions: of URIs, repeats included.
        named: distinct URIs.
        rows: distinct URIs, those included that left the catalog between two attempts of this run
            after the first attempt had finished their rows.

    Example:
        >>> Totals(mentions=5, named=4, rows=4).mentions - 4  # repeats
        1
    """

    mentions: int
    named: int
    rows: int


class Shard(NamedTuple):
    """A complete Parquet file in the staging folder, not yet part of the run's rows.

    Attributes:
        uri: of the file.
        rows: how many it holds.
        size_bytes: of the file.

    Example:
        >>> Shard("s3://shop/out/runs/night1/staging/5d41.parquet", rows=12, size_bytes=4096).rows
        12
    """

    uri: str
    rows: int
    size_bytes: int


class RunError(Exception):
    """Stops the whole run; its text is the one line that the user reads.

    A runner reports what a worker raised as a traceback in text. The note that each error carries
    is a line of that text, from which `find_in` restores it.

    No RuntimeError: where a decoder reads from S3, one would count as a broken file.

    Example:
        >>> import traceback
        >>> RunError.find_in("".join(traceback.format_exception(RunError("no such bucket"))))
        RunError('no such bucket')
    """

    _MARK = "stops the run: "

    def __init__(self, text: str) -> None:
        text = redact(text)
        super().__init__(text)
        self.add_note(self._MARK + json.dumps(text))

    @classmethod
    def find_in(cls, traceback_text: str) -> "RunError | None":
        """The last run error in a traceback; None if another error was raised."""
        _, mark, rest = traceback_text.rpartition(cls._MARK)
        if not mark:
            return None
        text, _ = json.JSONDecoder().raw_decode(rest)
        return cls(re.sub(r" \[while running '[^']*'\]$", "", text))  # which Beam appends
