"""The flow of a run as Beam transforms, thin wrappers around functions that know no Beam.

Every outcome is a record on one output, and no step looks anything up beside it: tagged outputs
merged again, or a side input from the same entries, would break the fusion of the last stage and
send images through the runner's memory.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from model.imaging.sandbox import DecoderPool
from pipeline.catalog import manifest
from pipeline.dofns import LookUpDoFn, ProbeDoFn, UpscaleDoFn, WriteRowsDoFn, join_run
from pipeline.records import (
    CatalogEntry,
    Job,
    PreviousResult,
    Reason,
    RunError,
    Shard,
    Totals,
    content_key,
)
from pipeline.row import Row
from pipeline.runs import estimation, replay, resume, reuse
from pipeline.runs.summary import finish_run
from pipeline.runtime import progress
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import StorageError
from pipeline.upscale.job_rows import rejected_row
from pipeline.upscale.processes import open_upscaler
from pipeline.upscale.source import SourceReader
from pipeline.upscale.steps import Rejected


def build(pipeline: beam.Pipeline, plan: RunPlan) -> None:
    """Puts the whole run on a pipeline.

    Args:
        pipeline: of any runner.
        plan: of the run.
    """
    by_uri = pipeline | "ReadCatalog" >> ReadCatalog(plan) | "OnePerUri" >> OnePerUri()
    work = (
        by_uri
        | "FirstMention" >> beam.FlatMap(first_mention)
        | "LookUpETags" >> LookUpETags(plan)
        | "JoinPrevious" >> JoinPrevious(plan)
    )
    if plan.settings.dry_run:
        _ = work | "Estimate" >> Estimate(plan)
        return
    shards = work | "UpscaleAndWrite" >> UpscaleAndWrite(plan).with_hint()
    _ = shards | "Summarise" >> Summarise(plan, by_uri)


@dataclasses.dataclass(eq=False)
class ReadCatalog(beam.PTransform):
    """Reads every mention of an image as a `CatalogEntry`.

    Each row that an earlier attempt of this run has finished is an entry at `resume.KEPT`.

    Example:
        mentions = pipeline | ReadCatalog(plan)
    """

    plan: RunPlan

    def expand(self, pcoll: beam.pvalue.PBegin) -> beam.PCollection[CatalogEntry]:
        """Beam: from the pipeline's begin."""
        return (
            pcoll
            | "Sources" >> beam.Create(_catalog_sources(self.plan))
            | "Alone" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(read_source, self.plan.settings)
        )


def _catalog_sources(plan: RunPlan) -> list[tuple[str, str]]:
    """(kind, URI) of each file or prefix to read."""
    sources = [("catalog", plan.settings.input)]
    if plan.settings.retry:
        sources = [("replay", part) for part in plan.previous_parts]
    return sources + [("kept", shard.uri) for shard in plan.kept]


def read_source(kind_and_uri: tuple[str, str], settings: Settings) -> Iterator[CatalogEntry]:
    """Reads entries of the catalog, of a previous run to replay, or of rows that are kept."""
    kind, uri = kind_and_uri
    files = join_run(settings)
    if kind == "kept":
        return resume.read_kept(uri, files)
    if kind == "replay":
        return replay.read_replay(uri, files, settings)
    return manifest.read_catalog(
        files,
        uri,
        settings.allow_schemes,
        may_leave=settings.links_may_leave,
        columns=settings.columns,
        selection=settings.selection,
    )


class OnePerUri(beam.PTransform):
    """Groups the mentions of each URI.

    Example:
        by_uri = mentions | OnePerUri()
    """

    def expand(
        self, pcoll: beam.PCollection[CatalogEntry]
    ) -> beam.PCollection[tuple[str, Iterable[CatalogEntry]]]:
        """Beam: entries to (URI, entries)."""
        return (
            pcoll
            | "KeyByUri" >> beam.WithKeys(lambda entry: entry.uri)
            | "SameUri" >> beam.GroupByKey()
        )


def first_mention(group: tuple[str, Iterable[CatalogEntry]]) -> Iterator[CatalogEntry]:
    """Yields the first mention in the catalog; nothing if the URI's row is finished already."""
    entry = min(group[1], key=lambda entry: entry.position)
    if entry.position != resume.KEPT:
        progress.HERE.found()
        yield entry


def count_group(group: tuple[str, Iterable[CatalogEntry]]) -> Totals:
    """Counts the mentions of one URI."""
    mentions = sum(entry.mentions for entry in group[1] if entry.position != resume.KEPT)
    return Totals(mentions=mentions, named=int(mentions > 0), rows=1)


def add_totals(parts: Iterable[Totals]) -> Totals:
    """Sums all fields."""
    return Totals(*(sum(column) for column in zip(Totals(0, 0, 0), *parts, strict=True)))


@dataclasses.dataclass(eq=False)
class LookUpETags(beam.PTransform):
    """Adds ETag and size where the catalog did not give them; see `etags.identify_all`.

    Example:
        entries = by_uri | beam.FlatMap(first_mention) | LookUpETags(plan)
    """

    plan: RunPlan

    def expand(self, pcoll: beam.PCollection[CatalogEntry]) -> beam.PCollection[CatalogEntry]:
        """Beam: entries to entries."""
        return pcoll | "LookUp" >> beam.ParDo(LookUpDoFn(self.plan))


@dataclasses.dataclass(eq=False)
class JoinPrevious(beam.PTransform):
    """Joins URIs of equal content with each other and with a previous run's results.

    Finished rows come out for what needs no image, jobs for the rest. The last shuffle, of small
    records only: all that follows runs fused, from the URI to the file.

    Example:
        rows_and_jobs = entries | JoinPrevious(plan)
    """

    plan: RunPlan

    def expand(self, pcoll: beam.PCollection[CatalogEntry]) -> beam.PCollection[Job | Row]:
        """Beam: entries to jobs and rows."""
        plan = self.plan
        previous = (
            pcoll.pipeline
            | "PreviousParts" >> beam.Create([*plan.previous_parts, *plan.partial_parts])
            | "ReadPrevious" >> beam.FlatMap(read_previous_results, plan.settings)
            | "KeyPrevious" >> beam.WithKeys(lambda previous: previous.content_key)
        )
        entries = pcoll | "KeyByContent" >> beam.WithKeys(content_key, plan.fingerprint)
        return (
            {"entries": entries, "previous": previous}
            | "SameContent" >> beam.CoGroupByKey()
            | "Work" >> beam.FlatMap(divide_work, plan.settings)
        )


def read_previous_results(part: str, settings: Settings) -> Iterator[PreviousResult]:
    """See `reuse.read_previous_results`."""
    return reuse.read_previous_results(part, join_run(settings))


def divide_work(
    key_and_group: tuple[str, dict[str, Iterable[Any]]], settings: Settings
) -> Iterator[Job | Row]:
    """Yields rows of rejected entries and of reused results, and one job of all other entries.

    A previous result serves the entries that are compared with the same reference.
    """
    key, group = key_and_group
    reusable = {
        previous.reference_etag: result
        for previous in group["previous"]
        if (result := reuse.reuse_result(previous, settings)) is not None
    }
    to_upscale = []
    for entry in sorted(group["entries"], key=lambda entry: entry.position):
        if entry.reason is not None:
            yield rejected_row(entry, None, Rejected(Reason(entry.reason), entry.detail))
        elif entry.reference_etag in reusable:
            yield reuse.reused_row(reusable[entry.reference_etag], entry, key)
        else:
            to_upscale.append(entry)
    if to_upscale:
        yield Job(key, tuple(to_upscale))


@dataclasses.dataclass(eq=False)
class UpscaleAndWrite(beam.PTransform):
    """Turns jobs and rows into staged shards in one fused stage: image bytes cross no shuffle.

    An accelerator hint belongs here, on the whole composite: on one step inside it would make
    the runner cut the stage, and the images cross the cut.

    Example:
        shards = rows_and_jobs | UpscaleAndWrite(plan).with_hint()
    """

    plan: RunPlan

    def expand(self, pcoll: beam.PCollection[Job | Row]) -> beam.PCollection[Shard]:
        """Beam: jobs and rows to shards."""
        return (
            pcoll
            | "Upscale" >> beam.ParDo(UpscaleDoFn(self.plan))
            | "WriteRows" >> beam.ParDo(WriteRowsDoFn(self.plan))
        )

    def with_hint(self) -> "UpscaleAndWrite":
        """Returns this transform with the run's accelerator hint, if it has one."""
        if self.plan.settings.accelerator:
            return self.with_resource_hints(accelerator=self.plan.settings.accelerator)
        return self


@dataclasses.dataclass(eq=False)
class Summarise(beam.PTransform):
    """Publishes the shards, reconciles rows with URIs, writes the summary.

    Example:
        shards | Summarise(plan, by_uri)
    """

    plan: RunPlan
    by_uri: beam.PCollection

    def expand(self, pcoll: beam.PCollection[Shard]) -> beam.PCollection[dict[str, Any]]:
        """Beam: shards to the one summary."""
        totals = (
            self.by_uri
            | "CountGroups" >> beam.Map(count_group)
            | "Totals" >> beam.CombineGlobally(add_totals)
        )
        return (
            pcoll
            | "AllShards" >> beam.combiners.ToList()
            | "Finish" >> beam.Map(summarise_shards, self.plan, beam.pvalue.AsSingleton(totals))
        )


def summarise_shards(shards: list[Shard], plan: RunPlan, totals: Totals) -> dict[str, Any]:
    """See `summary.finish_run`; a storage that fails here stops the run."""
    files = join_run(plan.settings)
    try:
        return finish_run(files, plan, [*plan.kept, *shards], totals)
    except StorageError as error:
        raise RunError(
            f"cannot finish the run in {plan.settings.output}: {error.detail}"
        ) from error


@dataclasses.dataclass(eq=False)
class Estimate(beam.PTransform):
    """Estimates what the run would cost, instead of the run; see `pipeline.runs.estimation`.

    Example:
        estimate = rows_and_jobs | Estimate(plan)
    """

    plan: RunPlan

    def expand(self, pcoll: beam.PCollection[Job | Row]) -> beam.PCollection[dict[str, Any]]:
        """Beam: jobs and rows to the estimate."""
        return (
            pcoll
            | "Probe" >> beam.ParDo(ProbeDoFn(self.plan))
            | "Add" >> beam.CombineGlobally(estimation.add_up)
            | "Calibrate" >> beam.Map(write_estimate, self.plan)
        )


def write_estimate(counted: estimation.Counted, plan: RunPlan) -> dict[str, Any]:
    """Upscales a few images where this runs, for the rate; writes and returns the estimate."""
    files = join_run(plan.settings)
    rate = None
    if counted.sample:
        one_process = dataclasses.replace(plan, workers=1)
        upscaler = open_upscaler(files, one_process)
        decoders = DecoderPool(1, max_pixels=plan.settings.max_pixels)
        reader = SourceReader(files, decoders, plan)
        rate = estimation.calibrate(reader, upscaler, counted.sample, plan)
    return estimation.write(files, plan.settings, counted, rate)
