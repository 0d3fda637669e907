"""The steps of the flow that keep something between elements: threads, processes, open files.

Each is a thin shell around a function or class that knows no Beam.
"""

import concurrent.futures
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from model.imaging.sandbox import DecoderPool
from pipeline.catalog import etags
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import Job, Shard, Status
from pipeline.row.parts import TIMED_STAGES
from pipeline.row.row import Row
from pipeline.runs import estimation
from pipeline.runs.counting import tally
from pipeline.runs.layout import Layout
from pipeline.runtime import logs, memory, progress
from pipeline.runtime.look_ahead import LookAhead
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import Storage
from pipeline.storage.routing import open_storage
from pipeline.upscale.image_worker import ImageWorker
from pipeline.upscale.processes import open_upscaler
from pipeline.upscale.source import SourceReader

# Entries whose ETags are looked up at a time: a listing pays for many in a folder. 200 MB.
ENTRIES_TOGETHER = 1_000_000


def join_run(settings: Settings) -> Storage:
    """Opens the run's storage for a step, and names the run in the log of its process."""
    logs.join_run(settings.run_id)
    return open_storage(settings.storage)


class LookUpDoFn(beam.DoFn):
    """Collects many entries, so that folders which hold many of them are listed instead.

    Example:
        batches | beam.ParDo(LookUpDoFn(plan))
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        """Beam: once a process."""
        self._files = join_run(self._plan.settings)
        self._threads = concurrent.futures.ThreadPoolExecutor(2 * self._plan.settings.look_ahead)

    def start_bundle(self) -> None:
        """Beam: before the first element of a bundle."""
        self._waiting: list[pa.RecordBatch] = []
        self._unknown = 0

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Beam: each element."""
        unknown = pc.sum(etags.needs_lookup(batch)).as_py()
        if not unknown:
            yield batch
            return
        self._waiting.append(batch)
        self._unknown += unknown
        if self._unknown >= ENTRIES_TOGETHER:
            yield from self._look_up()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Beam: after the last element of a bundle."""
        yield from map(_global, self._look_up())

    def teardown(self) -> None:
        """Beam: at the process's end."""
        self._threads.shutdown(cancel_futures=True)

    def _look_up(self) -> Iterator[pa.RecordBatch]:
        waiting, self._waiting, self._unknown = self._waiting, [], 0
        return etags.identify_batches(self._files, waiting, self._threads)


class UpscaleDoFn(beam.DoFn):
    """Takes each job's image from its URI to its rows.

    Example:
        jobs | beam.ParDo(UpscaleDoFn(plan))
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._shared_decoders = Shared()
        self._shared_upscaler = Shared()

    def setup(self) -> None:
        """Beam: once a process."""
        self._ahead: LookAhead[Job, list[Row]] | None = None

    def start_bundle(self) -> None:
        """Beam: before the first element of a bundle."""
        if self._ahead is not None:
            self._ahead.forget()

    def process(self, job: Job) -> Iterator[Row]:
        """Beam: each element."""
        # Not before: a run without work neither loads the network nor starts processes.
        if self._ahead is None:
            self._ahead = self._open()
        for rows in self._ahead.submit(job):
            yield from map(_counted, rows)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Beam: after the last element of a bundle."""
        if self._ahead is not None:
            for rows in self._ahead.drain():
                yield from map(_global, map(_counted, rows))

    def teardown(self) -> None:
        """Beam: at the process's end."""
        if self._ahead is not None:
            self._ahead.close()

    def _open(self) -> LookAhead[Job, list[Row]]:
        plan, files = self._plan, join_run(self._plan.settings)
        memory.give_back()  # the network needs as much as the steps before it took
        # One set of decoders, and one network, for all threads of a process.
        decoders = self._shared_decoders.acquire(lambda: open_decoders(plan.settings.max_pixels))
        upscaler = self._shared_upscaler.acquire(lambda: open_upscaler(files, plan))
        images_folder = Layout.of(plan.settings).images
        worker = ImageWorker(files, decoders, upscaler, plan, images_folder=images_folder)
        # As many images are fetched ahead as wait for the network, beside those within it.
        threads = plan.settings.look_ahead + plan.workers
        return LookAhead(worker.process, items=plan.settings.look_ahead, threads=threads)


def open_decoders(max_pixels: int) -> DecoderPool:
    """Opens a pool of as many decoders as this machine has cores; see `DecoderPool`."""
    return DecoderPool(os.cpu_count() or 1, max_pixels=max_pixels)


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

    def process(self, rows: Row | pa.RecordBatch) -> Iterator[Shard]:
        """Beam: each element."""
        if isinstance(rows, Row):
            shard = self._writer.add(rows)
        else:
            _count_batch(rows)
            shard = self._writer.add_batch(rows)
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


def _count_batch(rows: pa.RecordBatch) -> None:
    """Counts finished rows in Beam's metrics and in the progress that the user sees."""
    by_status = tally(rows["status"])
    for status, count in by_status.items():
        Metrics.counter("rows", status).inc(count)
    for reason, count in tally(rows["reason"]).items():
        Metrics.counter("reasons", reason).inc(count)
    progress.HERE.done(rows.num_rows, failed=by_status.get(Status.FAILED, 0))


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
        decoders = self._shared_decoders.acquire(lambda: open_decoders(plan.settings.max_pixels))
        reader = SourceReader(files, decoders, plan)
        self._ahead: LookAhead[Job, estimation.ProbedJob] = LookAhead(
            lambda job: estimation.probe(reader, job, plan),
            items=plan.settings.look_ahead,
            threads=plan.settings.look_ahead,
        )

    def start_bundle(self) -> None:
        """Beam: before the first element of a bundle."""
        self._ahead.forget()

    def process(self, job: Job) -> Iterator[estimation.ProbedJob]:
        """Beam: each element."""
        yield from map(self._counted, self._ahead.submit(job))

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
