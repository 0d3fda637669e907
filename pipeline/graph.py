"""The job as Beam transforms: thin wrappers around functions that know no Beam.

Every outcome is a record on one output, and nothing is looked up beside it: tagged outputs merged
again, or a side input from the same entries, would break the fusion of the last stage and send
images through the runner's memory.
"""

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, cast

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from model.imaging.sandbox import DecoderPool
from model.network import presets
from pipeline.catalog import etags, manifest
from pipeline.output.schema import TIMED_STAGES, Row
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import (
    CatalogEntry,
    Job,
    PreviousResult,
    RunError,
    Shard,
    Status,
    Totals,
    content_key,
)
from pipeline.runs import estimation, replay, resume, reuse
from pipeline.runs.layout import Layout
from pipeline.runs.summary import finish_run
from pipeline.runtime import logs, progress
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.routing import open_storage
from pipeline.upscale import upscaling
from pipeline.upscale.image_worker import ImageWorker
from pipeline.upscale.saved_model import read_model
from pipeline.upscale.upscaling import MakerProcesses, MakesImages

# Entries that are identified at a time: what a listing's pages are worth depends on them. 40 MB.
_IDENTIFIED_TOGETHER = 100_000


def build(pipeline: beam.Pipeline, plan: RunPlan) -> None:
    """Puts the whole job on a pipeline; the same image's way as drawn in the README.

    Args:
        pipeline: of any runner.
        plan: of the run.
    """
    by_uri = pipeline | "ReadCatalog" >> ReadCatalog(plan) | "OnePerUri" >> OnePerUri()
    jobs = (
        by_uri
        | "ToDo" >> beam.FlatMap(first_mention)
        | "Identify" >> Identify(plan)
        | "JoinPrevious" >> JoinPrevious(plan)
    )
    if plan.settings.dry_run:
        _ = jobs | "Estimate" >> Estimate(plan)
        return
    shards = jobs | "UpscaleAndWrite" >> UpscaleAndWrite(plan).with_hint()
    _ = shards | "Summarise" >> Summarise(plan, by_uri)


def join_run(settings: Settings) -> Storage:
    """The run's storage, for a step; what its process logs names the run from here."""
    logs.join_run(settings.run_id)
    return open_storage(settings.storage)


class ReadCatalog(beam.PTransform):
    """Every mention of an image, as `CatalogEntry`s.

    An entry at position `resume.KEPT` stands for each row that an earlier attempt of this run
    has finished.
    """

    def __init__(self, plan: RunPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, pcoll: Any) -> Any:
        """Beam: from the pipeline's begin."""
        plan = self._plan
        places = [("catalog", plan.settings.input)]
        if plan.settings.retry:
            places = [("replay", part) for part in plan.previous_parts]
        places += [("kept", shard.uri) for shard in plan.kept]
        return (
            pcoll
            | "Places" >> beam.Create(places)
            | "Alone" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(read_place, plan.settings)
        )


def read_place(kind_and_place: tuple[str, str], settings: Settings) -> Iterator[CatalogEntry]:
    """Entries of the catalog, of a previous run's rows to replay, or of rows that are kept."""
    kind, place = kind_and_place
    files = join_run(settings)
    if kind == "kept":
        return resume.read_kept(place, files)
    if kind == "replay":
        return replay.read_replay(place, files, settings)
    return manifest.read_catalog(files, place, settings.allow_schemes)


class OnePerUri(beam.PTransform):
    """Groups the mentions of each URI."""

    def expand(self, pcoll: Any) -> Any:
        """Beam: entries to (URI, entries)."""
        return (
            pcoll
            | "KeyByUri" >> beam.WithKeys(lambda entry: entry.uri)
            | "SameUri" >> beam.GroupByKey()
        )


def first_mention(group: tuple[str, Iterable[CatalogEntry]]) -> Iterator[CatalogEntry]:
    """The mention that comes first in the catalog; none if the URI's row is finished already."""
    entry = min(group[1], key=lambda entry: entry.position)
    if entry.position != resume.KEPT:
        progress.HERE.found()
        yield entry


def count_group(group: tuple[str, Iterable[CatalogEntry]]) -> Totals:
    """What one URI adds to the totals."""
    mentions = sum(entry.position != resume.KEPT for entry in group[1])
    return Totals(mentions=mentions, named=int(mentions > 0), rows=1)


def add_totals(parts: Iterable[Totals]) -> Totals:
    """Sums of all fields."""
    return Totals(*(sum(column) for column in zip(Totals(0, 0, 0), *parts, strict=True)))


class Identify(beam.PTransform):
    """Adds etag and size where the catalog did not give them; see `etags.identify_all`."""

    def __init__(self, plan: RunPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, pcoll: Any) -> Any:
        """Beam: entries to entries."""
        return pcoll | "Ask" >> beam.ParDo(_IdentifyDoFn(self._plan))


class _IdentifyDoFn(beam.DoFn):
    """Collects many entries, so that folders which hold many of them are listed instead."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        self._files = join_run(self._plan.settings)
        self._threads = concurrent.futures.ThreadPoolExecutor(2 * self._plan.settings.look_ahead)

    def start_bundle(self) -> None:
        self._waiting: list[CatalogEntry] = []

    def process(self, entry: CatalogEntry) -> Iterator[CatalogEntry]:
        if entry.reason is not None or entry.etag is not None:
            yield entry
            return
        self._waiting.append(entry)
        if len(self._waiting) >= _IDENTIFIED_TOGETHER:
            yield from self._identified()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(_global, self._identified())

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _identified(self) -> Iterator[CatalogEntry]:
        waiting, self._waiting = self._waiting, []
        return etags.identify_all(self._files, waiting, self._threads)


class JoinPrevious(beam.PTransform):
    """Joins, by content key, URIs of equal content and the reusable results of a previous run.

    The last shuffle: small records only. What follows runs fused, from the URI to the file.
    """

    def __init__(self, plan: RunPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, pcoll: Any) -> Any:
        """Beam: entries to jobs."""
        plan = self._plan
        earlier = (
            pcoll.pipeline
            | "PreviousParts" >> beam.Create(list(plan.previous_parts))
            | "ReadPrevious" >> beam.FlatMap(read_previous_results, plan.settings)
            | "KeyEarlier" >> beam.WithKeys(lambda earlier: earlier.content_key)
        )
        entries = pcoll | "KeyByContent" >> beam.WithKeys(content_key, plan.fingerprint)
        return (
            {"entries": entries, "earlier": earlier}
            | "SameContent" >> beam.CoGroupByKey()
            | "Job" >> beam.FlatMap(make_jobs, plan.settings)
        )


def read_previous_results(part: str, settings: Settings) -> Iterator[PreviousResult]:
    """See `reuse.read_previous_results`."""
    return reuse.read_previous_results(part, join_run(settings))


def make_jobs(
    key_and_group: tuple[str, dict[str, Iterable[Any]]], settings: Settings
) -> Iterator[Job]:
    """The entries of one content key, those apart that a previous run's work serves.

    An earlier row serves an entry that is compared with the same reference.
    """
    key, group = key_and_group
    ordered = sorted(group["entries"], key=lambda entry: entry.position)
    if ordered and ordered[0].reason is not None:
        yield Job(None, tuple(ordered))
        return
    usable = {
        earlier.reference_etag: earlier
        for earlier in group["earlier"]
        if reuse.reuse_result(earlier, settings) is not None
    }
    to_do = []
    for entry in ordered:
        if entry.reference_etag in usable:
            yield Job(key, (entry,), usable[entry.reference_etag])
        else:
            to_do.append(entry)
    if to_do:
        yield Job(key, tuple(to_do))


class UpscaleAndWrite(beam.PTransform):
    """Jobs to staged shards, in one fused stage: no image's bytes leave it but into a file.

    An accelerator hint belongs here, on the whole composite: on one step inside it would make
    the runner cut the stage, and the images cross the cut.
    """

    def __init__(self, plan: RunPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, pcoll: Any) -> Any:
        """Beam: jobs to shards."""
        return (
            pcoll
            | "Upscale" >> beam.ParDo(_UpscaleDoFn(self._plan))
            | "WriteRows" >> beam.ParDo(_WriteRowsDoFn(self._plan))
        )

    def with_hint(self) -> "UpscaleAndWrite":
        """This transform with the run's accelerator hint, if it has one."""
        if self._plan.settings.accelerator:
            return self.with_resource_hints(accelerator=self._plan.settings.accelerator)
        return self


class _JobsDoFn(beam.DoFn):
    """Keeps threads busy, each with a job on its way."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._shared_decoders = Shared()

    def setup(self) -> None:
        plan, files = self._plan, join_run(self._plan.settings)
        # One set of decoders, and one network, for all threads of a process.
        decoders = self._shared_decoders.acquire(
            lambda: DecoderPool(os.cpu_count() or 1, max_pixels=plan.settings.max_pixels)
        )
        self._worker = ImageWorker(files, decoders, self._open_maker(files), plan)
        # As many images are fetched ahead as wait for the network, beside those within it.
        self._threads = concurrent.futures.ThreadPoolExecutor(
            plan.settings.look_ahead + plan.workers
        )

    def start_bundle(self) -> None:
        self._on_their_way: set[Future[list[Any]]] = set()

    def process(self, job: Job) -> Iterator[Any]:
        self._on_their_way.add(self._threads.submit(self._do, job))
        # What is ready goes on to the file at once: a kill would lose it.
        is_full = len(self._on_their_way) > self._plan.settings.look_ahead
        yield from self._ready(timeout_s=None if is_full else 0)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._on_their_way:
            yield from map(_global, self._ready(timeout_s=None))

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _ready(self, timeout_s: float | None) -> Iterator[Any]:
        """Results of all jobs that are done; waits for the first one."""
        done, self._on_their_way = concurrent.futures.wait(
            self._on_their_way, timeout_s, concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            for result in future.result():
                self._count(result)
                yield result

    def _open_maker(self, files: Storage) -> MakesImages:
        raise NotImplementedError

    def _do(self, job: Job) -> list[Any]:
        raise NotImplementedError

    def _count(self, result: Any) -> None:
        raise NotImplementedError


class _UpscaleDoFn(_JobsDoFn):
    """Each job's image from its URI to its rows."""

    def __init__(self, plan: RunPlan) -> None:
        super().__init__(plan)
        self._shared_maker = Shared()

    def _open_maker(self, files: Storage) -> MakesImages:
        maker = self._shared_maker.acquire(lambda: load_maker(files, self._plan))
        return cast(MakesImages, maker)

    def _do(self, job: Job) -> list[Row]:
        return self._worker.process(job)

    def _count(self, result: Row) -> None:
        _count(result)
        progress.HERE.done(failed=result.status == Status.FAILED)


class _ProbeDoFn(_JobsDoFn):
    """Each job's first bytes: what would become of it."""

    def _open_maker(self, files: Storage) -> MakesImages:
        return cast(MakesImages, None)  # nothing is made

    def _do(self, job: Job) -> list[estimation.Probed]:
        return [estimation.probe(self._worker, job)]

    def _count(self, result: estimation.Probed) -> None:
        progress.HERE.done(result.uris)


class Estimate(beam.PTransform):
    """What the run would cost, instead of the run; see `pipeline.runs.estimation`."""

    def __init__(self, plan: RunPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, pcoll: Any) -> Any:
        """Beam: jobs to the estimate."""
        return (
            pcoll
            | "Probe" >> beam.ParDo(_ProbeDoFn(self._plan))
            | "Add" >> beam.CombineGlobally(estimation.add_up)
            | "Calibrate" >> beam.Map(write_estimate, self._plan)
        )


def write_estimate(counted: estimation.Counted, plan: RunPlan) -> dict[str, Any]:
    """Upscales a few images where this runs, for the rate; writes and returns the estimate."""
    files = join_run(plan.settings)
    rate = None
    if counted.sample:
        one_process = dataclasses.replace(plan, workers=1)
        maker = load_maker(files, one_process)
        decoders = DecoderPool(1, max_pixels=plan.settings.max_pixels)
        worker = ImageWorker(files, decoders, maker, one_process)
        rate = estimation.calibrate(worker, counted.sample)
    return estimation.write(files, plan.settings, counted, rate)


def _count(row: Row) -> None:
    """Adds a row to Beam's metrics."""
    Metrics.counter("rows", str(row.status)).inc()
    if row.reason is not None:
        Metrics.counter("reasons", row.reason).inc()
    for stage in TIMED_STAGES:
        taken_ms = getattr(row, stage)
        if taken_ms is not None:
            Metrics.distribution("stages", stage).update(round(taken_ms))


def load_maker(files: Storage, plan: RunPlan) -> MakesImages:
    """Loads the run's network in a worker, or starts the processes that do.

    Raises:
        RunError: if it cannot be read, or is not the one with which the run began.
    """
    saved = read_model(files, plan.settings.model)
    if saved.sha256 != plan.model_sha256:
        raise RunError(f"the model {plan.settings.model} changed since the run began")
    try:
        if plan.workers > 1:
            return MakerProcesses(saved, plan, plan.workers)
        return upscaling.load(saved, plan)
    except presets.ModelError as error:
        raise RunError(str(error)) from error


class _WriteRowsDoFn(beam.DoFn):
    """Rows to staged shards; only small records leave it."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        files = join_run(self._plan.settings)
        self._writer = ShardWriter(files, Layout.of(self._plan.settings).staging)

    def start_bundle(self) -> None:
        self._writer.abandon()  # what a failed bundle left

    def process(self, row: Row) -> Iterator[Shard]:
        shard = self._writer.add(row)
        if shard is not None:
            yield shard

    def finish_bundle(self) -> Iterator[WindowedValue]:
        shard = self._writer.close()
        if shard is not None:
            yield _global(shard)

    def teardown(self) -> None:
        self._writer.abandon()


class Summarise(beam.PTransform):
    """Publishes the shards, reconciles rows with URIs, writes the summary."""

    def __init__(self, plan: RunPlan, by_uri: Any) -> None:
        super().__init__()
        self._plan = plan
        self._by_uri = by_uri

    def expand(self, pcoll: Any) -> Any:
        """Beam: shards to the one summary."""
        totals = (
            self._by_uri
            | "CountGroups" >> beam.Map(count_group)
            | "Totals" >> beam.CombineGlobally(add_totals)
        )
        return (
            pcoll
            | "AllShards" >> beam.combiners.ToList()
            | "Finish" >> beam.Map(summarise_shards, self._plan, beam.pvalue.AsSingleton(totals))
        )


def summarise_shards(shards: list[Shard], plan: RunPlan, totals: Totals) -> dict[str, Any]:
    """See `summary.finish_run`; what it cannot read or write stops the run."""
    files = join_run(plan.settings)
    try:
        return finish_run(files, plan, [*plan.kept, *shards], totals)
    except StorageError as error:
        raise RunError(
            f"cannot finish the run in {plan.settings.output}: {error.detail}"
        ) from error


def _global(value: Any) -> WindowedValue:
    """A value that leaves a bundle at its end."""
    return WindowedValue(value, GlobalWindow().max_timestamp(), [GlobalWindow()])
