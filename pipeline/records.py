"""The small records that travel between the steps, and the words that rows use."""

import enum
import hashlib
import json
import re
from typing import Any, NamedTuple

from pipeline.redaction import redact


class Status(enum.StrEnum):
    """What became of a URI. Each URI of the catalog ends in exactly one row with one of these."""

    UPSCALED = "upscaled"
    FALLBACK = "fallback"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


class Reason(enum.StrEnum):
    """Why a URI is not `upscaled`: stable codes for scripts and alerts."""

    TOO_SMALL = "too_small"
    LARGE_ENOUGH = "large_enough"
    ANIMATED = "animated"
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
        """Skipped is what needs no work; failed is what an operator should look at."""
        if self == Reason.SAME_CONTENT:
            return Status.UNCHANGED
        return Status.SKIPPED if self in _SKIPPED else Status.FAILED


_SKIPPED = {Reason.TOO_SMALL, Reason.LARGE_ENOUGH, Reason.ANIMATED}


class CatalogEntry(NamedTuple):
    """One image of the catalog, before its pixels are touched. Crosses shuffles.

    Attributes:
        uri: as the manifest spells it: the identity of the row.
        location: where to fetch it: an absolute path or an s3:// URI. Empty if `reason` is set.
        position: in the manifest; of several mentions of a URI the first counts.
        product_id: from the manifest.
        reference_uri: of a true HR image, as the manifest spells it.
        reference_location: where to fetch that.
        etag: identity of the content, from the storage: the same etag and size, the same image.
        size_bytes: of the file.
        reference_etag: identity of the reference's content; None if there is none to be had.
        reason: a `Reason` once the entry can become nothing but a row.
        detail: one line for people about `reason`.
        mentions: how many lines of the catalog the entry stands for.
    """

    uri: str
    location: str
    position: int
    product_id: str | None = None
    reference_uri: str | None = None
    reference_location: str | None = None
    etag: str | None = None
    size_bytes: int | None = None
    reference_etag: str | None = None
    reason: str | None = None
    detail: str | None = None
    mentions: int = 1

    def rejected(self, reason: Reason, detail: str) -> "CatalogEntry":
        """This entry, on its way straight to its row."""
        return self._replace(reason=str(reason), detail=detail)


def content_key(entry: CatalogEntry, fingerprint: str) -> str:
    """Identity of an image's content together with what will be done to it.

    Args:
        entry: identified or rejected.
        fingerprint: see `Settings.fingerprint`.

    Returns:
        32 hexadecimal digits; for a rejected entry `uri:` and its URI, a key of its own.
    """
    if entry.reason is not None:
        return f"uri:{entry.uri}"
    identity = f"{entry.etag}\n{entry.size_bytes}\n{fingerprint}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


class PreviousResult(NamedTuple):
    """What a previous run's row says of a content, for the rows of this one. Crosses a shuffle.

    Attributes:
        content_key: see `Job`; equal keys, equal results.
        reference_etag: of the reference that it was compared with.
        status, reason: of the earlier row.
        source_height, source_width: as displayed; None if they were never found.
        columns: values of `reuse.REUSED_COLUMNS`, in that order.
    """

    content_key: str
    reference_etag: str | None
    status: str
    reason: str | None
    source_height: int | None
    source_width: int | None
    columns: tuple[Any, ...]


class Job(NamedTuple):
    """The URIs whose content is the same: one upscaling, a row for each. Crosses a shuffle.

    Attributes:
        content_key: identity of the content together with model and settings.
        entries: at least one, by position, all with ETag and size.
    """

    content_key: str
    entries: tuple[CatalogEntry, ...]


class Totals(NamedTuple):
    """What the catalog holds.

    Attributes:
        mentions: of URIs, repeats included.
        named: distinct URIs.
        rows: distinct URIs with those that lost their place in the catalog between two tries of
            this run, after the first had made their rows.
    """

    mentions: int
    named: int
    rows: int


class Shard(NamedTuple):
    """A complete Parquet file in the staging folder, not yet part of the run's rows.

    Attributes:
        uri: where it lies.
        rows: how many it holds.
        size_bytes: of the file.
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
