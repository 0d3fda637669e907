"""Measures which share of a run over unchanged images is Beam's, the listing's and each step's.

    python -m benchmarks.shares [--uris 1000000] [--json FILE]

Calls the steps of the pipeline one after the other without Beam, then runs the job twice: over the
same catalog, and over 1,000 images, which shows its start-up. What is left of the first run is
Beam's. All are processor seconds, which other work on the machine changes little.
"""

import argparse
import collections
import contextlib
import dataclasses
import datetime
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import quiet  # noqa: F401 - first, for its effect

# isort: split
import pyarrow as pa

from benchmarks import figures, measured_run
from benchmarks.generated_bucket import BUCKET, Catalog, serve, write_previous_run
from pipeline import cli, columns, conclusion, graph
from pipeline.demo.loopback import made_up_credentials
from pipeline.output.shard_writer import ShardWriter
from pipeline.planning import make_plan
from pipeline.records import Shard
from pipeline.runs.layout import Layout
from pipeline.runtime import spill
from pipeline.settings import RunPlan
from pipeline.storage.routing import open_storage

_FEW = 1000

Groups = dict[int, list[bytes]]


class Timer:
    """Adds up processor seconds by step.

    Example:
        timer = Timer()
        with timer.step("join"):
            ...
        timer.seconds["join"]
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str, clock: Callable[[], float] = time.process_time) -> Iterator[None]:
        """Times the block."""
        started = clock()
        yield
        self.seconds[name] = round(clock() - started, 2)


def time_steps(plan: RunPlan) -> dict[str, float]:
    """Takes the steps of a run of which nothing is new; returns their processor seconds."""
    timer = Timer()
    files = open_storage(plan.settings.storage)
    # The server runs in another thread of this process.
    with timer.step("listing", time.thread_time):
        listed = list(graph.read_input(files, plan))
    with timer.step("split by URI"):
        pieces = columns.split(listed, columns.uri_of, plan.partitions)
        mentions = _grouped(spill.write(pieces, plan.spill_folder))
    del listed
    with timer.step("one mention of each URI"):
        firsts = [_batch(graph.first_mentions(group)) for group in mentions.items()]
    with timer.step("content keys, split by content"):
        entries = _grouped(piece for one in firsts for piece in graph.key_by_content(one, plan))
    del firsts
    with timer.step("previous run's rows"):
        parts = plan.previous_parts
        results = _grouped(
            piece for one in parts for piece in graph.read_previous_results(one, plan)
        )
    with timer.step("join, rows to Parquet"):
        shards = list(_shards(entries, results, plan))
    with timer.step("publish, count, compare URIs"):
        published = conclusion.publish(shards, plan)
        now = _grouped(
            _pieces(piece for one in published for piece in conclusion.count_part(one, plan))
        )
        before = _grouped(
            piece for one in parts for piece in conclusion.read_previous_uris(one, plan)
        )
        for number, uris in now.items():
            conclusion.compare_uris((number, {"now": uris, "before": before[number]}))
    return timer.seconds


def _grouped(pieces: Iterable[tuple[int, bytes]]) -> Groups:
    """As Beam's shuffle."""
    groups: Groups = collections.defaultdict(list)
    for partition, packed in pieces:
        groups[partition].append(packed)
    return groups


def _pieces(outputs: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    """Without the counts, which have a tag."""
    return (one for one in outputs if isinstance(one, tuple))


def _batch(outputs: Iterable[Any]) -> pa.RecordBatch:
    """Without the totals, which have a tag."""
    return next(one for one in outputs if isinstance(one, pa.RecordBatch))


def _shards(entries: Groups, results: Groups, plan: RunPlan) -> Iterator[Shard]:
    writer = ShardWriter(open_storage(plan.settings.storage), Layout.of(plan.settings).staging)
    for number, group in entries.items():
        for rows in graph.divide_work(
            (number, {"entries": group, "previous": results[number]}), plan
        ):
            assert isinstance(rows, pa.RecordBatch), "nothing is new"
            yield from filter(None, [writer.add_batch(rows)])
    yield from filter(None, [writer.close()])


def measure(uris: int, scratch: Path) -> dict[str, Any]:
    """Returns processor seconds of the whole run, its start-up, each step, and Beam.

    And the bytes that crossed shuffles, which the local runner keeps in temporary files.
    """
    found = {"whole run": _run(uris, scratch / "many"), "start-up": _run(_FEW, scratch / "few")}
    output = scratch / "steps"
    catalog = Catalog(uris, 0)
    write_previous_run(catalog, output)
    (scratch / "shuffle").mkdir()
    with made_up_credentials(), serve(catalog) as served:
        now = datetime.datetime.now(datetime.UTC)
        settings, _ = cli.parse(_arguments(served.endpoint, output), now)
        plan = make_plan(settings, now, is_local=True)
        found |= time_steps(dataclasses.replace(plan, spill_folder=str(scratch / "shuffle")))
    others = sum(seconds for name, seconds in found.items() if name != "whole run")
    found["Beam, by difference"] = round(found["whole run"] - others, 2)
    shuffled_bytes = sum(file.stat().st_size for file in (scratch / "shuffle").iterdir())
    return {"uris": uris, "processor_seconds": found, "shuffled_bytes": shuffled_bytes}


def _run(uris: int, output: Path) -> float:
    """Processor seconds of the job over a catalog of which nothing is new."""
    catalog = Catalog(uris, 0)
    write_previous_run(catalog, output)
    with made_up_credentials(), serve(catalog) as served:
        options = ["--s3_endpoint_url", served.endpoint, "--report", "no"]
        measured = measured_run.run(f"s3://{BUCKET}/images/", output, "tonight", *options)
    return round(measured.cpu_seconds, 2)


def _arguments(endpoint: str, output: Path) -> list[str]:
    arguments = ["--input", f"s3://{BUCKET}/images/", "--output", str(output)]
    return [*arguments, "--s3_endpoint_url", endpoint, "--run_id", "tonight"]


def main(argv: list[str]) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shares")
    parser.add_argument("--uris", type=int, default=1_000_000)
    figures.add_json_option(parser)
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(asked.uris, Path(scratch))
    seconds = found["processor_seconds"]
    print(f"processor seconds of {asked.uris:,} unchanged URIs")
    for name, one in seconds.items():
        print(f"{one:8.2f}  {one / seconds['whole run']:4.0%}  {name}")
    print(f"{found['shuffled_bytes'] / asked.uris:.0f} bytes a URI crossed shuffles")
    figures.write_json(asked.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
