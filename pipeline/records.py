"""The small records that travel between the steps, and the words that rows use."""

import enum
from typing import NamedTuple


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
    UNREADABLE = "unreadable"
    UNSUPPORTED_FORMAT = "unsupported_format"
    NOT_FOUND = "not_found"
    ACCESS_DENIED = "access_denied"
    TIMEOUT = "timeout"
    STORAGE_ERROR = "storage_error"
    CHANGED = "changed"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_LINE = "bad_line"
    BAD_URI = "bad_uri"
    SCHEME_NOT_ALLOWED = "scheme_not_allowed"

    @property
    def status(self) -> Status:
        """Skipped is what needs no work; failed is what an operator should look at."""
        return Status.SKIPPED if self in _SKIPPED else Status.FAILED


_SKIPPED = {Reason.TOO_SMALL, Reason.LARGE_ENOUGH, Reason.ANIMATED}


class CatalogEntry(NamedTuple):
    """One picture of the catalog, before its pixels are touched. Crosses shuffles.

    Attributes:
        uri: as the manifest spells it: the identity of the row.
        location: where to fetch it: an absolute path or an s3:// URI. Empty if `reason` is set.
        position: in the manifest; of several mentions of a URI the first counts.
        product_id: from the manifest.
        reference_location: where a true HR picture lies, if the manifest names one.
        etag: identity of the content, from the storage: the same etag and size, the same picture.
        size_bytes: of the file.
        reason: a `Reason` once the entry can become nothing but a row.
        detail: one line for people about `reason`.
    """

    uri: str
    location: str
    position: int
    product_id: str | None = None
    reference_location: str | None = None
    etag: str | None = None
    size_bytes: int | None = None
    reason: str | None = None
    detail: str | None = None

    def rejected(self, reason: Reason, detail: str) -> "CatalogEntry":
        """This entry, on its way straight to its row."""
        return self._replace(reason=str(reason), detail=detail)


class Job(NamedTuple):
    """The URIs whose content is the same: one magnification, a row for each.

    Attributes:
        content_key: identity of the content together with model and settings; None for an entry
            that was rejected before its content was identified.
        entries: at least one, by position.
    """

    content_key: str | None
    entries: tuple[CatalogEntry, ...]


class Shard(NamedTuple):
    """A complete Parquet file in the staging folder, not yet part of the run's rows.

    Attributes:
        uri: where it lies.
        first_uri: of its rows, which gives shards a stable order.
        rows: how many it holds.
    """

    uri: str
    first_uri: str
    rows: int


class RunError(RuntimeError):
    """Stops the whole run: its text is the one line that the user reads."""
