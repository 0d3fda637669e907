"""Reads the source of a job: of several URIs with equal content the first that can be read."""

import dataclasses

from model.imaging.sandbox import DecoderPool
from pipeline.records import Reason, content_key
from pipeline.settings import RunPlan
from pipeline.storage.base import Storage, StorageError
from pipeline.upscale.decode import decode
from pipeline.upscale.job_rows import JobRows
from pipeline.upscale.probe import probe
from pipeline.upscale.steps import Decoded, Probed, Rejected


class SourceReader:
    """Probes and decodes the sources of jobs. Keeps nothing between jobs; threads may share it.

    Args:
        files: where the sources lie.
        decoders: processes that open files nobody has vetted.
        plan: of the run.

    Example:
        rows = JobRows(job)
        decoded = reader.read(rows)  # None: all URIs of the job have got their rows
    """

    def __init__(self, files: Storage, decoders: DecoderPool, plan: RunPlan) -> None:
        self._files = files
        self._decoders = decoders
        self._settings = plan.settings
        self._fingerprint = plan.fingerprint

    def probe(self, rows: JobRows) -> Probed | None:
        """Probes the first URI that can be read.

        Args:
            rows: get a row for each URI that cannot be read, and for all if the image is
                rejected.

        Returns:
            The source; None if no URI waits for it any more.
        """
        while rows.waiting or rows.turn_to_rewritten():
            try:
                probed = probe(
                    rows.waiting[0],
                    self._files,
                    self._decoders,
                    limits=self._settings.limits,
                    max_bytes=self._settings.max_bytes,
                )
            except StorageError as error:
                self._give_up_first(rows, error)
                continue
            if isinstance(probed, Probed):
                return probed
            rows.reject_all(probed)
        return None

    def decode(self, rows: JobRows, probed: Probed) -> Decoded | None:
        """Decodes a source.

        Args:
            rows: of its job; see `probe`.
            probed: of the first URI that waits.

        Returns:
            The pixels; None if the first URI has got its row instead, or all have: those that
            still wait are probed afresh.
        """
        try:
            decoded = decode(
                probed,
                self._decoders,
                limits=self._settings.limits,
                first_frame=self._settings.animated == "first_frame",
            )
        except StorageError as error:
            self._give_up_first(rows, error, probed)
            return None
        if isinstance(decoded, Rejected):
            rows.reject_all(decoded)
            return None
        return dataclasses.replace(decoded, sharpening=rows.sharpening)

    def read(self, rows: JobRows) -> Decoded | None:
        """Probes and decodes; returns None if all URIs have got their rows instead."""
        while (probed := self.probe(rows)) is not None:
            decoded = self.decode(rows, probed)
            if decoded is not None:
                return decoded
        return None

    def _give_up_first(
        self, rows: JobRows, error: StorageError, probed: Probed | None = None
    ) -> None:
        """The first URI cannot be read: its row says so, and the others wait for their turn.

        An image that was rewritten since its ETag was looked up, or that listings give another
        ETag than HEAD, is taken as it is now, once.
        """
        if error.reason == Reason.CHANGED and not rows.was_rewritten:
            entry = rows.waiting[0]
            try:
                found = self._files.identify(entry.location)
            except StorageError as gone:
                error = gone
            else:
                now = entry._replace(etag=found.etag, size_bytes=found.size_bytes)
                rows.rewrite_first(now, content_key(now, self._fingerprint))
                return
        rejected = Rejected(error.reason, error.detail)
        if probed is not None:
            rejected = dataclasses.replace(rejected, header=probed.header, timings=probed.timings)
        rows.reject_first(rejected)
