"""Takes a job's image from its URI to its rows: probe, decode, upscaling, publish."""

import contextlib
import dataclasses
import threading
import time
from typing import TYPE_CHECKING

from model.imaging.sandbox import DecoderPool
from model.inference.errors import OutOfMemoryError
from pipeline.records import CatalogEntry, Job, Reason
from pipeline.row.row import Row
from pipeline.settings import RunPlan
from pipeline.storage.base import Storage, StorageError
from pipeline.upscale.job_rows import JobRows, upscaled_row
from pipeline.upscale.publish import Comparison, compare_with_reference, publish
from pipeline.upscale.source import SourceReader
from pipeline.upscale.steps import Decoded, Probed, Rejected, Upscaled, ms_since

if TYPE_CHECKING:  # it imports TensorFlow
    from pipeline.upscale.upscaling import ImageUpscaler

# Larger images are not decoded ahead but one at a time: memory then depends on the look-ahead
# and one image, not on sixteen large ones. Pixels of the network's result.
AHEAD_MAX_PIXELS = 16_000_000
AHEAD_MAX_BYTES = 16 << 20


class ImageWorker:
    """Turns jobs into rows. Keeps nothing between jobs; threads may share it.

    Args:
        files: where images are read and written.
        decoders: processes that open files nobody has vetted.
        upscaler: has the network.
        plan: of the run.
        images_folder: for images in files of their own.

    Example:
        worker = ImageWorker(files, decoders, upscaler, plan, images_folder="s3://shop/images")
        rows = worker.process(Job(content_key, entries))  # a row for each entry
    """

    def __init__(
        self,
        files: Storage,
        decoders: DecoderPool,
        upscaler: "ImageUpscaler",
        plan: RunPlan,
        *,
        images_folder: str,
    ) -> None:
        self._files = files
        self._decoders = decoders
        self._upscaler = upscaler
        self._plan = plan
        self._settings = plan.settings
        self._images_folder = images_folder
        self._reader = SourceReader(files, decoders, plan)
        self._one_large = threading.Lock()

    def process(self, job: Job) -> list[Row]:
        """Upscales the image of a job and publishes it.

        Args:
            job: see `Job`.

        Returns:
            A row for each URI of the job.

        Raises:
            RunError: if no image can be processed any more.
        """
        rows = JobRows(job)
        while (probed := self._reader.probe(rows)) is not None:
            with self._one_large if self._is_large(probed) else contextlib.nullcontext():
                decoded = self._reader.decode(rows, probed)
                if decoded is not None:
                    self._finish(rows, decoded)
        return rows.finished

    def _finish(self, rows: JobRows, decoded: Decoded) -> None:
        """All URIs that wait get rows with the upscaled image, or with what prevented it."""
        try:
            upscaled = self._upscaler.upscale(decoded, keep_result=rows.has_reference)
        except OutOfMemoryError as error:
            reason, detail = Reason.OUT_OF_MEMORY, str(error)
            rows.reject_all(Rejected(reason, detail, decoded.header, decoded.timings))
            return
        started = time.perf_counter()
        try:
            encoded = publish(
                upscaled,
                rows.content_key,
                self._files,
                images=self._settings.images,
                folder=self._images_folder,
            )
        except StorageError as error:
            detail = f"the result could not be written: {error.detail}"
            rows.reject_all(Rejected(error.reason, detail, decoded.header, upscaled.timings))
            return
        encode_ms = (upscaled.timings.encode_ms or 0.0) + ms_since(started)
        timings = dataclasses.replace(upscaled.timings, encode_ms=encode_ms)
        upscaled = dataclasses.replace(upscaled, timings=timings)
        finished = []
        for entry in rows.waiting:
            comparison = self._compare(entry, decoded, upscaled)
            finished.append(
                upscaled_row(
                    entry,
                    rows.content_key,
                    decoded=decoded,
                    upscaled=upscaled,
                    encoded=encoded,
                    comparison=comparison,
                )
            )
        rows.finish(finished)

    def _compare(self, entry: CatalogEntry, decoded: Decoded, upscaled: Upscaled) -> Comparison:
        """Compares the result with the entry's own reference, if it has one."""
        if entry.reference_location is None:
            return Comparison(trouble=entry.detail)
        return compare_with_reference(
            decoded,
            upscaled,
            entry.reference_location,
            files=self._files,
            decoders=self._decoders,
            settings=self._settings,
        )

    def _is_large(self, probed: Probed) -> bool:
        """Whether the image would take so much memory that no other large one may be in work."""
        height, width = probed.header.height, probed.header.width
        enlargement = self._settings.target.plan(height, width, self._plan.network_scale)
        pixels = height * width * enlargement.network_total**2
        return pixels > AHEAD_MAX_PIXELS or probed.size_bytes > AHEAD_MAX_BYTES
