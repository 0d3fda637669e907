"""The flow of a run as Beam transforms, thin wrappers around functions that know no Beam.

The catalog crosses shuffles as Arrow batches, a partition of the URIs or of the contents at a
time; what must be upscaled leaves them as one small `Job` for each content. From there to the file
runs one fused stage, in which no step looks anything up beside it: a side input or outputs merged
again would break it, and send images through the runner's memory.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from pipeline import columns
from pipeline.catalog import batches, manifest
from pipeline.catalog.distinct import one_per_uri
from pipeline.catalog.sharpening_table import NO_TABLE
from pipeline.conclusion import Estimate, Summarise
from pipeline.dofns import LookUpDoFn, UpscaleDoFn, WriteRowsDoFn, join_run
from pipeline.records import Job, Shard, Totals
from pipeline.runs import replay, resume, reuse
from pipeline.runs.join import KEYED, join, key_or_uri, with_content_keys
from pipeline.runtime import progress, spill
from pipeline.settings import RunPlan
from pipeline.storage.base import Storage


def build(pipeline: beam.Pipeline, plan: RunPlan) -> None:
    """Puts the whole run on a pipeline.

    Args:
        pipeline: of any runner.
        plan: of the run.
    """
    catalog = pipeline | "ReadCatalog" >> ReadCatalog(plan) | "OnePerUri" >> OnePerUri()
    work = (
        catalog.entries | "LookUpETags" >> LookUpETags(plan) | "JoinPrevious" >> JoinPrevious(plan)
    )
    # However many partitions there are, each worker gets its share of the work.
    jobs = work.jobs | "SpreadJobs" >> beam.Reshuffle()
    if plan.settings.dry_run:
        _ = jobs | "Estimate" >> Estimate(plan, work.rows)
        return
    finished = work.rows | "WriteFinished" >> beam.ParDo(WriteRowsDoFn(plan))
    upscaled = jobs | "UpscaleAndWrite" >> UpscaleAndWrite(plan).with_hint()
    shards = (finished, upscaled) | "AllShards" >> beam.Flatten()
    _ = shards | "Summarise" >> Summarise(plan, catalog.totals)


@dataclasses.dataclass(eq=False)
class ReadCatalog(beam.PTransform):
    """Reads every mention of an image, packed by a partition of the URIs.

    Each row that an earlier attempt of this run has finished is a mention at `batches.KEPT`.

    Example:
        mentions = pipeline | ReadCatalog(plan)
    """

    plan: RunPlan

    def expand(self, pcoll: beam.pvalue.PBegin) -> beam.PCollection[tuple[int, bytes]]:
        """Beam: from the pipeline's begin."""
        return (
            pcoll
            | "Sources" >> beam.Create(_catalog_sources(self.plan))
            | "Alone" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(read_source, self.plan)
        )


def _catalog_sources(plan: RunPlan) -> list[tuple[str, str]]:
    """(kind, URI) of each file or prefix to read."""
    sources = [("catalog", plan.settings.input)]
    if plan.settings.retry:
        sources = [("replay", part) for part in plan.previous_parts]
    return sources + [("kept", shard.uri) for shard in plan.kept]


def read_source(kind_and_uri: tuple[str, str], plan: RunPlan) -> Iterator[tuple[int, bytes]]:
    """Reads mentions of the catalog, of a previous run to replay, or of rows that are kept."""
    kind, uri = kind_and_uri
    files = join_run(plan.settings)
    if kind == "kept":
        found = resume.read_kept(uri, files)
    elif kind == "replay":
        found = batches.from_entries(replay.read_replay(uri, files, plan.settings))
    else:
        found = read_input(files, plan)
    return spill.split(found, columns.uri_of, plan)


def read_input(files: Storage, plan: RunPlan) -> Iterator[pa.RecordBatch]:
    """Reads `--input`, by columns where it has columns, and `--sharpening_table` beside it."""
    settings = plan.settings
    found = manifest.read_batches(
        files,
        settings.input,
        settings.allow_schemes,
        may_leave=settings.links_may_leave,
        columns=settings.columns,
        selection=settings.selection,
    )
    if plan.sharpening_table == NO_TABLE:
        return found
    number_of = plan.sharpening_table.number_of
    return (batches.fill_sharpening(batch, number_of) for batch in found)


class OnePerUri(beam.PTransform):
    """Keeps the first mention of each URI, and counts all of them.

    Its outputs: `entries`, batches of `batches.SCHEMA`; `totals`, one of each partition.

    Example:
        catalog = mentions | OnePerUri()
        catalog.entries | LookUpETags(plan)
    """

    def expand(self, pcoll: beam.PCollection[tuple[int, bytes]]) -> Any:
        """Beam: packed mentions by partition to entries and totals."""
        return (
            pcoll
            | "SameUri" >> beam.GroupByKey()
            | "First" >> beam.FlatMap(first_mentions).with_outputs("totals", main="entries")
        )


def first_mentions(
    group: tuple[int, Iterable[bytes]],
) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["totals"], Totals]]:
    """See `one_per_uri`."""
    found, totals = one_per_uri(spill.unpack(group[1], batches.SCHEMA))
    progress.HERE.found(found.num_rows)
    yield TaggedOutput("totals", totals)
    if found.num_rows:
        yield found


@dataclasses.dataclass(eq=False)
class LookUpETags(beam.PTransform):
    """Adds ETag and size where the catalog did not give them; see `etags.identify_all`.

    Example:
        entries = catalog.entries | LookUpETags(plan)
    """

    plan: RunPlan

    def expand(self, pcoll: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[pa.RecordBatch]:
        """Beam: entries to entries, in batches."""
        return pcoll | "LookUp" >> beam.ParDo(LookUpDoFn(self.plan))


@dataclasses.dataclass(eq=False)
class JoinPrevious(beam.PTransform):
    """Joins URIs of equal content with each other and with a previous run's results.

    Its outputs: `rows`, batches of `schema.SCHEMA` that need no image; `jobs`, one for each
    content to upscale.

    Example:
        work = entries | JoinPrevious(plan)
        work.jobs | beam.Reshuffle() | UpscaleAndWrite(plan)
    """

    plan: RunPlan

    def expand(self, pcoll: beam.PCollection[pa.RecordBatch]) -> Any:
        """Beam: entries in batches to finished rows and jobs."""
        previous = (
            pcoll.pipeline
            | "PreviousParts" >> beam.Create([*self.plan.previous_parts, *self.plan.partial_parts])
            | "PartsAlone" >> beam.Reshuffle()
            | "ReadPrevious" >> beam.FlatMap(read_previous_results, self.plan)
        )
        entries = pcoll | "KeyByContent" >> beam.FlatMap(key_by_content, self.plan)
        return (
            {"entries": entries, "previous": previous}
            | "SameContent" >> beam.CoGroupByKey()
            | "Divide" >> beam.FlatMap(divide_work, self.plan).with_outputs("jobs", main="rows")
        )


def key_by_content(entries: pa.RecordBatch, plan: RunPlan) -> Iterator[tuple[int, bytes]]:
    """Packs entries by a partition of the contents."""
    keyed = with_content_keys(entries, plan.fingerprint)
    return spill.split([keyed], key_or_uri, plan)


def read_previous_results(part: str, plan: RunPlan) -> Iterator[tuple[int, bytes]]:
    """Packs results of a previous run's file by a partition of the contents."""
    found = reuse.read_previous_results(part, join_run(plan.settings))
    return spill.split(found, reuse.key_of, plan)


def divide_work(
    group: tuple[int, dict[str, Iterable[bytes]]], plan: RunPlan
) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["jobs"], Job]]:
    """See `pipeline.runs.join.join`."""
    entries = spill.unpack(group[1]["entries"], KEYED)
    results = spill.unpack(group[1]["previous"], reuse.RESULTS)
    for one in join(entries, results, plan.settings):
        yield TaggedOutput("jobs", one) if isinstance(one, Job) else one


@dataclasses.dataclass(eq=False)
class UpscaleAndWrite(beam.PTransform):
    """Turns jobs into staged shards in one fused stage: image bytes cross no shuffle.

    An accelerator hint belongs here, on the whole composite: on one step inside it would make
    the runner cut the stage, and the images cross the cut.

    Example:
        shards = work.jobs | UpscaleAndWrite(plan).with_hint()
    """

    plan: RunPlan

    def expand(self, pcoll: beam.PCollection[Job]) -> beam.PCollection[Shard]:
        """Beam: jobs to shards."""
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
