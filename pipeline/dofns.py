"""The steps of the flow that keep something between elements: threads, processes, open files.

Each is a thin shell around a function or class that knows no Beam.
"""

import concurrent.futures
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from model.imaging.sandbox import DecoderPool
from pipeline.catalog import etags
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import CatalogEntry, Job, Shard, Status
from pipeline.row import TIMED_STAGES, Row
from pipeline.runs import estimation
from pipeline.runs.layout import Layout
from pipeline.runtime import logs, progress
from pipeline.runtime.look_ahead import LookAhead
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import Storage
from pipeline.storage.routing import open_storage
from pipeline.upscale.image_worker import ImageWorker
from pipeline.upscale.processes import open_upscaler
from pipeline.upscale.source import SourceReader

# Entries whose ETags are looked up at a time: a listing pays for many in a folder. 40 MB.
ENTRIES_TOGETHER = 100_000


def join_run(settings: Settings) -> Storage:
    """Opens the run's storage for a step, and names the run in the log of its process."""
    logs.join_run(settings.run_id)
    return open_storage(settings.storage)


class LookUpDoFn(beam.DoFn):
    """Collects many entries, so that folders which hold many of them are listed instead.

    Example:
        entries | beam.ParDo(LookUpDoFn(plan))
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        """Beam: once a process."""
        self._files = join_run(self._plan.settings)
        self._threads = concurrent.futures.ThreadPoolExecutor(2 * self._plan.settings.look_ahead)

    def start_bundle(self) -> None:
        """Beam: before the first element of a bundle."""
        self._waiting: list[CatalogEntry] = []

    def process(self, entry: CatalogEntry) -> Iterator[CatalogEntry]:
        """Beam: each element."""
        if entry.reason is not None or entry.etag is not None:
            yield entry
            return
        self._waiting.append(entry)
        if len(self._waiting) >= ENTRIES_TOGETHER:
            yield from self._look_up()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Beam: after the last element of a bundle."""
        yield from map(_global, self._look_up())

    def teardown(self) -> None:
        """Beam: at the process's end."""
        self._threads.shutdown(cancel_futures=True)

    def _look_up(self) -> Iterator[CatalogEntry]:
        waiting, self._waiting = self._waiting, []
        return etags.identify_all(self._files, waiting, self._threads)


class UpscaleDoFn(beam.DoFn):
    """Takes each job's image from its URI to its rows; rows pass.

    Example:
        jobs | beam.ParDo(UpscaleDoFn(plan))
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._shared_decoders = Shared()
        self._shared_upscaler = Shared()

    def setup(self) -> None:
        """Beam: once a process."""
        plan, files = self._plan, join_run(self._plan.settings)
        # One set of decoders, and one network, for all threads of a process.
        decoders = self._shared_decoders.acquire(lambda: _open_decoders(plan.settings))
        upscaler = self._shared_upscaler.acquire(lambda: open_upscaler(files, plan))
        images_folder = Layout.of(plan.settings).images
        worker = ImageWorker(files, decoders, upscaler, plan, images_folder=images_folder)
        # As many images are fetched ahead as wait for the network, beside those within it.
        threads = plan.settings.look_ahead + plan.workers
        self._ahead = LookAhead(worker.process, items=plan.settings.look_ahead, threads=threads)

    def start_bundle(self) -> None:
        """Beam: before the first element of a bundle."""
        self._ahead.forget()

    def process(self, work: Job | Row) -> Iterator[Row]:
        """Beam: each element."""
        # Finished rows go on to the file at once: a kill would lose them.
        ready = [[work]] if isinstance(work, Row) else self._ahead.submit(work)
        for rows in ready:
            yield from map(_counted, rows)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Beam: after the last element of a bundle."""
        for rows in self._ahead.drain():
            yield from map(_global, map(_counted, rows))

    def teardown(self) -> None:
        """Beam: at the process's end."""
        self._ahead.close()


def _open_decoders(settings: Settings) -> DecoderPool:
    return DecoderPool(os.cpu_count() or 1, max_pixels=settings.max_pixels)


def _counted(row: Row) -> Row:
    """The row, counted in Beam's metrics and in the progress that the user sees."""
    Metrics.counter("rows", str(row.status)).inc()
    if row.reason is not None:
        Metrics.counter("reasons", row.reason).inc()
    for stage in TIMED_STAGES:
        taken_ms = getattr(row.timings, stage)
        if taken_ms is not None:
            Metrics.distribution("stages", stage).update(round(taken_ms))
    progress.HERE.done(failed=row.status == Status.FAILED)
    return row


class WriteRowsDoFn(beam.DoFn):
    """Writes rows to staged shards; only small records leave it.

    Example:
        rows | beam.ParDo(WriteRowsDoFn(plan))
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        """Beam: once a process."""
        files = join_run(self._plan.settings)
        self._writer = ShardWriter(files, Layout.of(self._plan.settings).staging)

    def start_bundle(self) -> None:
        """Beam: before the first element of a bundle."""
        self._writer.abandon()  # what a failed bundle left

    def process(self, row: Row) -> Iterator[Shard]:
        """Beam: each element."""
        shard = self._writer.add(row)
        if shard is not None:
            yield shard

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Beam: after the last element of a bundle."""
        shard = self._writer.close()
        if shard is not None:
            yield _global(shard)

    def teardown(self) -> None:
        """Beam: at the process's end."""
        self._writer.abandon()


class ProbeDoFn(beam.DoFn):
    """Reads each job's header: what would become of it.

    Example:
        jobs | beam.ParDo(ProbeDoFn(plan))
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._shared_decoders = Shared()

    def setup(self) -> None:
        """Beam: once a process."""
        plan, files = self._plan, join_run(self._plan.settings)
        decoders = self._shared_decoders.acquire(lambda: _open_decoders(plan.settings))
        reader = SourceReader(files, decoders, plan)
        self._ahead: LookAhead[Job, estimation.ProbedJob] = LookAhead(
            lambda job: estimation.probe(reader, job, plan),
            items=plan.settings.look_ahead,
            threads=plan.settings.look_ahead,
        )

    def start_bundle(self) -> None:
        """Beam: before the first element of a bundle."""
        self._ahead.forget()

    def process(self, work: Job | Row) -> Iterator[estimation.ProbedJob]:
        """Beam: each element."""
        if isinstance(work, Row):
            yield self._counted(estimation.of_row(work))
        else:
            yield from map(self._counted, self._ahead.submit(work))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Beam: after the last element of a bundle."""
        yield from map(_global, map(self._counted, self._ahead.drain()))

    def teardown(self) -> None:
        """Beam: at the process's end."""
        self._ahead.close()

    def _counted(self, probed: estimation.ProbedJob) -> estimation.ProbedJob:
        progress.HERE.done(probed.uris)
        return probed


def _global(value: Any) -> WindowedValue:
    """A value that leaves a bundle at its end."""
    return WindowedValue(value, GlobalWindow().max_timestamp(), [GlobalWindow()])
