"""One image's way from its URI to its row, without Beam: prepare, make, finish.

`prepare` and `finish` wait for storage; what happens between them is in
`pipeline.upscale.upscaling`.
"""

import dataclasses
import datetime
import threading
import time
from typing import Any

from model.files import RangedFile
from model.imaging.decode import Header, ImageError
from model.imaging.encode import Encoded
from model.imaging.formats import EXTENSIONS
from model.imaging.image import RasterImage
from model.imaging.sandbox import DecoderPool, DecoderUnavailableError
from model.inference.upscaler import OutOfMemoryError
from model.metrics import quality
from pipeline.catalog.size_filter import reject_size
from pipeline.output.schema import Row
from pipeline.records import CatalogEntry, Job, PreviousResult, Reason, RunError, content_key
from pipeline.runs import reuse
from pipeline.runs.layout import Layout
from pipeline.settings import RunPlan
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_object
from pipeline.upscale.upscaling import Made, MakesImages

# Larger images are not decoded ahead but one at a time: memory then depends on the look-ahead
# and one image, not on sixteen large ones.
_AHEAD_MAX_PIXELS = 4_000_000
_AHEAD_MAX_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class Work:
    """A job between two steps; each step fills in more of it.

    Attributes:
        entries: the URIs that still wait for a row.
        rows: the rows that are finished already.
        was_rewritten: the source changed since it was identified, and was identified again.
        columns: of `Row`, found so far, the same for all entries.
        file: the source, opened; None once it is decoded or the job is finished.
        header, source: the decoded source.
        made: the new image.
    """

    content_key: str | None
    entries: tuple[CatalogEntry, ...]
    rows: tuple[Row, ...] = ()
    was_rewritten: bool = False
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)
    file: RangedFile | None = None
    header: Header | None = None
    source: RasterImage | None = None
    made: Made | None = None


class ImageWorker:
    """Turns jobs into rows. Keeps nothing between jobs; its methods may run in any thread.

    Args:
        files: where images are read and written.
        decoders: processes that open files nobody has vetted.
        maker: has the network.
        plan: of the run.
    """

    def __init__(
        self, files: Storage, decoders: DecoderPool, maker: MakesImages, plan: RunPlan
    ) -> None:
        self._files = files
        self._decoders = decoders
        self._maker = maker
        self._plan = plan
        self._settings = plan.settings
        self._one_large = threading.Lock()

    def process(self, job: Job) -> list[Row]:
        """The whole way; returns a row for each URI of the job."""
        work = self.prepare(job)
        if work.file is None:
            return self.finish(self.make(work))
        with self._one_large:
            while work.file is not None:  # again where its first URI failed and a twin took over
                work = self._decode(work)
            return self.finish(self.make(work))

    def prepare(self, job: Job) -> Work:
        """Probes, asks the size gate, fetches the rest and decodes.

        Of several URIs with the same content the first that can be read serves all; one that
        cannot gets its own row. What a previous run has finished passes straight to its row.
        """
        return self._decode_unless_large(self.probe(job))

    def probe(self, job: Job) -> Work:
        """Asks the size gate with the file's first bytes; `Work.file` is open if all is well."""
        work = Work(job.content_key, job.entries)
        if job.earlier is not None:
            return self._reuse(work, job.earlier)
        return self._find_readable(work)

    def _find_readable(self, work: Work) -> Work:
        while work.entries and work.file is None:
            entry = work.entries[0]
            if entry.reason is not None:
                work = self._finish_first(work, Reason(entry.reason), entry.detail)
                continue
            try:
                work = self._probe(work)
            except StorageError as error:
                work = self._go_on_after(work, error)
            except ImageError as error:
                work = self._finish_all(work, Reason(error.reason), str(error))
        return work

    def _decode_unless_large(self, work: Work) -> Work:
        return self._decode(work) if work.file is not None and not _is_large(work) else work

    def make(self, work: Work) -> Work:
        """Makes the new image, if there is one to make."""
        if work.source is None or work.header is None:
            return work
        has_reference = any(entry.reference_location for entry in work.entries)
        try:
            made = self._maker.make(work.source, work.header, keep_result=has_reference)
        except OutOfMemoryError as error:
            return self._finish_all(work, Reason.OUT_OF_MEMORY, str(error))
        return dataclasses.replace(work, source=work.source if has_reference else None, made=made)

    def finish(self, work: Work) -> list[Row]:
        """Publishes the new image, compares it with references; a row for each URI."""
        if work.made is None:
            return list(work.rows)
        started = time.perf_counter()
        try:
            image = self._publish(work, work.made.encoded)
        except StorageError as error:
            told = f"the result could not be written: {error.detail}"
            return list(self._finish_all(work, error.reason, told).rows)
        columns = work.made.columns | image
        columns["encode_ms"] += _ms_since(started)
        rows = []
        for entry in work.entries:
            extra = self._measure_reference(work, entry)
            details = [one["detail"] for one in (columns, extra) if "detail" in one]
            extra["detail"] = "; ".join(details) or None
            rows.append(self._row(work, entry, **(columns | extra)))
        return [*work.rows, *rows]

    def _go_on_after(self, work: Work, error: StorageError) -> Work:
        """The first entry failed: its row says so, and the others wait for their turn.

        An image that was rewritten since it was identified is taken as it is now, once.
        """
        entry = work.entries[0]
        is_alone = len(work.entries) == 1 and not work.rows
        if error.reason != Reason.CHANGED or not is_alone or work.was_rewritten:
            return self._finish_first(work, error.reason, error.detail)
        try:
            found = self._files.identify(entry.location)
        except StorageError as gone:
            return self._finish_first(work, gone.reason, gone.detail)
        now = entry._replace(etag=found.etag, size_bytes=found.size_bytes)
        key = content_key(now, self._plan.fingerprint)
        return Work(key, (now,), was_rewritten=True)

    def _reuse(self, work: Work, earlier: PreviousResult) -> Work:
        """Every entry gets the row of the reusable results."""
        carried = reuse.reuse_result(earlier, self._settings)
        assert carried is not None  # as whoever made the job has found
        status, reason, columns = carried
        columns |= {"status": status, "reason": reason}
        rows = [self._row(work, entry, **columns) for entry in work.entries]
        return dataclasses.replace(work, entries=(), rows=tuple(rows))

    def _probe(self, work: Work) -> Work:
        """Reads format and size from the file's first bytes; finishes what the gate rejects."""
        entry = work.entries[0]
        started = time.perf_counter()
        if not entry.size_bytes:
            return self._finish_all(work, Reason.UNREADABLE, "the file is empty")
        if entry.size_bytes > self._settings.max_bytes:
            detail = f"{entry.size_bytes} bytes, more than {self._settings.max_bytes}"
            return self._finish_all(work, Reason.TOO_MANY_BYTES, detail)
        file = open_object(self._files, entry.location, entry.size_bytes, entry.etag)
        header = self._read_header(file)
        columns = {
            "fetch_ms": _ms_since(started),
            "source_format": header.format,
            "source_mode": header.mode,
            "source_height": header.height,
            "source_width": header.width,
            "source_jpeg_quality": header.jpeg_quality,
        }
        work = dataclasses.replace(work, header=header, columns=columns)
        rejection = reject_size(header.height, header.width, self._settings.limits)
        if rejection is not None:
            return self._finish_all(work, *rejection)
        return dataclasses.replace(work, file=file)

    def _decode(self, work: Work) -> Work:
        """Fetches what the probe left and decodes it."""
        assert work.file is not None
        try:
            started = time.perf_counter()
            data = work.file.whole()
            fetch_ms = work.columns["fetch_ms"] + _ms_since(started)
            started = time.perf_counter()
            header, image = self._decode_bytes(data)
        except StorageError as error:
            work = self._go_on_after(work, error)
            # Its twins, if any, start again from their own URI.
            again = self._find_readable(dataclasses.replace(work, columns={}))
            return self._decode_unless_large(again)
        except ImageError as error:
            return self._finish_all(work, Reason(error.reason), str(error))
        columns = {
            "fetch_ms": fetch_ms,
            "decode_ms": _ms_since(started),
            "source_mode": header.mode,
            "source_height": header.height,
            "source_width": header.width,
        }
        return dataclasses.replace(
            work, file=None, header=header, source=image, columns=work.columns | columns
        )

    def _read_header(self, file: RangedFile) -> Header:
        try:
            return self._decoders.read_header(file)
        except DecoderUnavailableError as error:
            raise RunError(str(error)) from error

    def _decode_bytes(self, data: bytes) -> tuple[Header, RasterImage]:
        try:
            return self._decoders.decode(
                data,
                max_pixels=self._settings.max_pixels,
                first_frame=self._settings.animated == "first_frame",
            )
        except DecoderUnavailableError as error:
            raise RunError(str(error)) from error

    def _measure_reference(self, work: Work, entry: CatalogEntry) -> dict[str, Any]:
        """The measures against the entry's own reference; what prevents them goes to `detail`."""
        if entry.reference_location is None:
            return {}
        assert work.source is not None and work.made is not None and work.made.result is not None
        try:
            found = self._files.identify(entry.reference_location)
            if found.size_bytes > self._settings.max_bytes:
                raise ValueError(f"{found.size_bytes} bytes, more than {self._settings.max_bytes}")
            data = self._files.read(entry.reference_location, etag=found.etag)
            _, reference = self._decode_bytes(data)
            measures = quality.measure_against_reference(
                work.source, work.made.result, reference, scale=self._maker.scale
            )
        except (StorageError, ValueError) as error:
            return {"detail": f"not compared with the reference: {error}"}
        return dataclasses.asdict(measures)

    def _publish(self, work: Work, encoded: Encoded) -> dict[str, Any]:
        """Columns about the encoded image; writes it to its own file if the run wants that."""
        name = f"{work.content_key}.{EXTENSIONS[encoded.image_format]}"
        columns: dict[str, Any] = {
            "image_format": encoded.image_format,
            "image_bytes": len(encoded.data),
            "image_sha256": encoded.sha256,
        }
        if self._settings.images in ("files", "both"):
            # Folders of at most 1/256 of the images each. The name comes from the content key
            # alone: a URI's text can name nothing outside, and a retry writes the same file.
            uri = locations.join(Layout.of(self._settings).images, f"{name[:2]}/{name}")
            self._files.write(uri, encoded.data)
            columns["image_uri"] = uri
        if self._settings.images in ("parquet", "both"):
            columns["image"] = {"bytes": encoded.data, "path": name}
        return columns

    def _finish_all(self, work: Work, reason: Reason, detail: str | None) -> Work:
        """Every entry that still waits ends with this reason."""
        while work.entries:
            work = self._finish_first(work, reason, detail)
        return work

    def _finish_first(self, work: Work, reason: Reason, detail: str | None) -> Work:
        """The first entry ends with this reason."""
        row = self._row(
            work, work.entries[0], status=reason.status, reason=str(reason), detail=detail
        )
        return dataclasses.replace(
            work,
            entries=work.entries[1:],
            rows=(*work.rows, row),
            file=None,
            source=None,
            made=None,
        )

    def _row(self, work: Work, entry: CatalogEntry, **columns: Any) -> Row:
        now = {"processed_at": datetime.datetime.now(datetime.UTC)}
        return Row(
            uri=entry.uri,
            product_id=entry.product_id,
            content_key=work.content_key,
            source_etag=entry.etag,
            source_bytes=entry.size_bytes,
            reference_uri=entry.reference_uri,
            reference_etag=entry.reference_etag,
            **{**now, **work.columns, **columns},
        )


def _is_large(work: Work) -> bool:
    header, size_bytes = work.header, work.entries[0].size_bytes
    assert header is not None and size_bytes is not None
    return header.height * header.width > _AHEAD_MAX_PIXELS or size_bytes > _AHEAD_MAX_BYTES


def _ms_since(started: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return (time.perf_counter() - started) * 1000
