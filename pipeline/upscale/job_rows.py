"""Collects the rows of a job, whose URIs have equal content and wait for one image."""

import datetime

from pipeline.records import CatalogEntry, Job
from pipeline.row.parts import EncodedImage, Reference, SourceInfo
from pipeline.row.row import Row
from pipeline.upscale.publish import Comparison
from pipeline.upscale.steps import Decoded, Rejected, Upscaled


class JobRows:
    """The rows of one job that are finished, and the URIs that still wait for theirs.

    Args:
        job: see `Job`.

    Example:
        rows = JobRows(job)
        rows.reject_first(Rejected(Reason.NOT_FOUND, "S3 answered 404"))
        rows.finished[0].status  # failed; rows.waiting has the others
    """

    def __init__(self, job: Job) -> None:
        self.content_key = job.content_key
        self.waiting = list(job.entries)
        self.finished: list[Row] = []
        self.was_rewritten = False
        self._rewritten: list[tuple[CatalogEntry, str]] = []

    @property
    def has_reference(self) -> bool:
        """Whether the result is compared with a reference."""
        return any(entry.reference_location for entry in self.waiting)

    @property
    def sharpening(self) -> float | None:
        """Of the source, from the manifest: equal for all that wait, as their content key is."""
        return self.waiting[0].source_sharpening

    @property
    def set_aside(self) -> int:
        """How many URIs wait with a content of their own."""
        return len(self._rewritten)

    def rewrite_first(self, entry: CatalogEntry, content_key: str) -> None:
        """Sets the first URI aside: its content is not that of the others any more.

        Args:
            entry: the URI with its new ETag and size.
            content_key: of its new content.
        """
        self.waiting.pop(0)
        self._rewritten.append((entry, content_key))

    def turn_to_rewritten(self) -> bool:
        """Lets a URI that was set aside wait, alone; returns False if there is none."""
        if not self._rewritten:
            return False
        entry, self.content_key = self._rewritten.pop(0)
        self.waiting, self.was_rewritten = [entry], True
        return True

    def reject_first(self, rejected: Rejected) -> None:
        """The first URI that waits gets its row; the others go on waiting."""
        entry = self.waiting.pop(0)
        self.finished.append(rejected_row(entry, self.content_key, rejected))

    def reject_all(self, rejected: Rejected) -> None:
        """All URIs that wait get their rows."""
        while self.waiting:
            self.reject_first(rejected)

    def finish(self, rows: list[Row]) -> None:
        """All URIs that wait have got these rows."""
        self.finished += rows
        self.waiting = []


def rejected_row(entry: CatalogEntry, content_key: str | None, rejected: Rejected) -> Row:
    """Returns the row of a URI whose image is not upscaled.

    Args:
        entry: the URI.
        content_key: of its content; None if that was never identified.
        rejected: why.
    """
    return Row(
        uri=entry.uri,
        product_id=entry.product_id,
        product_ids=entry.product_ids or None,
        catalog=entry.catalog,
        status=rejected.reason.status,
        reason=str(rejected.reason),
        detail=rejected.detail,
        content_key=content_key,
        source=SourceInfo.of(entry, rejected.header),
        reference=Reference.of(entry),
        timings=rejected.timings,
        processed_at=datetime.datetime.now(datetime.UTC),
    )


def upscaled_row(
    entry: CatalogEntry,
    content_key: str,
    *,
    decoded: Decoded,
    upscaled: Upscaled,
    encoded: EncodedImage,
    comparison: Comparison,
) -> Row:
    """Returns the row of a URI whose image is published.

    Args:
        entry: the URI.
        content_key: of its content.
        decoded: the source.
        upscaled: the result.
        encoded: the result as it was published.
        comparison: of the result with the URI's own reference.
    """
    details = (decoded.header.note, upscaled.detail, comparison.trouble)
    if comparison.may_pass:  # the next run does not find this result for the reference
        entry = entry._replace(reference_etag=None)
    return Row(
        uri=entry.uri,
        product_id=entry.product_id,
        product_ids=entry.product_ids or None,
        catalog=entry.catalog,
        status=upscaled.status,
        reason=upscaled.reason,
        detail="; ".join(filter(None, details)) or None,
        content_key=content_key,
        source=SourceInfo.of(entry, decoded.header),
        encoded=encoded,
        measures=upscaled.measures,
        reference=Reference.of(entry, comparison.measures),
        timings=upscaled.timings,
        processed_at=datetime.datetime.now(datetime.UTC),
    )
