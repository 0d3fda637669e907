"""The end of a run as Beam transforms: publishes and counts the rows, or estimates the cost."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from model.imaging.sandbox import DecoderPool
from pipeline import columns
from pipeline.dofns import ProbeDoFn, join_run
from pipeline.records import Job, RunError, Shard, Totals
from pipeline.runs import counting, estimation
from pipeline.runs.counting import RowCounts, UriCounts
from pipeline.runs.reader import RowsError
from pipeline.runs.summary import finish_run, publish_shards
from pipeline.runtime import spill
from pipeline.settings import RunPlan
from pipeline.storage.base import StorageError
from pipeline.upscale.processes import open_upscaler
from pipeline.upscale.source import SourceReader

_log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class Summarise(beam.PTransform):
    """Publishes the shards, reconciles rows with URIs, writes the summary.

    One worker renames the shards; all count what the files hold.

    Example:
        shards | Summarise(plan, catalog.totals)
    """

    plan: RunPlan
    totals: beam.PCollection[Totals]

    def expand(self, pcoll: beam.PCollection[Shard]) -> beam.PCollection[dict[str, Any]]:
        """Beam: shards to the one summary."""
        parts_before = self.plan.previous_parts if self.plan.counts_disappeared else ()
        counted = (
            pcoll
            | "ToOne" >> beam.combiners.ToList()
            | "Publish" >> beam.FlatMap(publish, self.plan)
            | "SpreadParts" >> beam.Reshuffle()
            | "Count" >> beam.FlatMap(count_part, self.plan).with_outputs("counts", main="uris")
        )
        before = (
            pcoll.pipeline
            | "PreviousParts" >> beam.Create(list(parts_before))
            | "ReadUris" >> beam.FlatMap(read_previous_uris, self.plan)
        )
        uris = (
            {"now": counted["uris"], "before": before}
            | "SameUri" >> beam.CoGroupByKey()
            | "Compare" >> beam.Map(compare_uris)
        )
        # Together: each collection that is added up alone is a dozen more steps for the runner.
        return (
            (counted["counts"], uris, self.totals)
            | "AllCounts" >> beam.Flatten()
            | "AddUp" >> beam.CombineGlobally(add_up).without_defaults()  # a run has rows
            | "Finish" >> beam.Map(finish, self.plan)
        )


class Counted(NamedTuple):
    """What `summary.finish_run` compares.

    Attributes:
        rows: of the run, as its files hold them.
        uris: in these rows.
        totals: of the catalog.

    Example:
        >>> add_up([Totals(5, 4, 4), Totals(1, 1, 1)]).totals
        Totals(mentions=6, named=5, rows=5)
    """

    rows: RowCounts
    uris: UriCounts
    totals: Totals


def add_up(parts: Iterable[RowCounts | UriCounts | Totals | Counted]) -> Counted:
    """Adds up counts of each kind."""
    rows: list[RowCounts] = []
    uris: list[UriCounts] = []
    totals: list[Totals] = []
    for part in parts:
        for one in part if isinstance(part, Counted) else (part,):
            if isinstance(one, RowCounts):
                rows.append(one)
            elif isinstance(one, UriCounts):
                uris.append(one)
            else:
                totals.append(one)
    return Counted(counting.add_counts(rows), counting.add_uri_counts(uris), add_totals(totals))


def add_totals(parts: Iterable[Totals]) -> Totals:
    """Sums all fields."""
    return Totals(*(sum(column) for column in zip(Totals(0, 0, 0), *parts, strict=True)))


def publish(shards: list[Shard], plan: RunPlan) -> list[str]:
    """See `summary.publish_shards`; a storage that fails here stops the run."""
    with _finishing(plan):
        return publish_shards(join_run(plan.settings), plan, [*plan.kept, *shards])


def count_part(
    part: str, plan: RunPlan
) -> Iterator[tuple[int, bytes] | TaggedOutput[Literal["counts"], RowCounts]]:
    """Counts a part's rows, and packs its URIs by their partition."""
    counts = RowCounts()
    with _finishing(plan):
        uris = counting.count_part(join_run(plan.settings), part, counts)
        yield from spill.split(uris, columns.uri_of, plan)
    yield TaggedOutput("counts", counts)


def read_previous_uris(part: str, plan: RunPlan) -> Iterator[tuple[int, bytes]]:
    """Packs the URIs of a previous run's file by their partition; none if it cannot be read."""
    uris = counting.read_uris(join_run(plan.settings), part)
    try:
        yield from spill.split(uris, columns.uri_of, plan)
    except RowsError as error:
        _log.warning("%s; its URIs that disappeared are not counted", error)


def compare_uris(group: tuple[int, dict[str, Iterable[bytes]]]) -> UriCounts:
    """See `counting.compare_uris`."""
    return counting.compare_uris(spill.read(group[1]["now"]), spill.read(group[1]["before"]))


def finish(counted: Counted, plan: RunPlan) -> dict[str, Any]:
    """See `summary.finish_run`; a storage that fails here stops the run."""
    with _finishing(plan):
        return finish_run(join_run(plan.settings), plan, *counted)


@contextlib.contextmanager
def _finishing(plan: RunPlan) -> Iterator[None]:
    """Turns the error of a storage into one that ends the run."""
    try:
        yield
    except StorageError as error:
        raise RunError(
            f"cannot finish the run in {plan.settings.output}: {error.detail}"
        ) from error


@dataclasses.dataclass(eq=False)
class Estimate(beam.PTransform):
    """Estimates what the run would cost, instead of the run; see `pipeline.runs.estimation`.

    Example:
        estimate = jobs | Estimate(plan, work.rows)
    """

    plan: RunPlan
    rows: beam.PCollection[pa.RecordBatch]

    def expand(self, pcoll: beam.PCollection[Job]) -> beam.PCollection[dict[str, Any]]:
        """Beam: jobs to the estimate of them and of the finished rows."""
        counted = self.rows | "CountRows" >> beam.Map(estimation.of_rows)
        probed = pcoll | "Probe" >> beam.ParDo(ProbeDoFn(self.plan))
        return (
            (counted, probed)
            | "All" >> beam.Flatten()
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
