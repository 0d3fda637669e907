"""Measures a run over a million images of which nearly all are unchanged.

    python -m benchmarks.million [--uris 1000000] [--new 100] [--manifest] [--flink] [--json FILE]

The previous run is generated, by the job's own writer: half of its images were upscaled, half were
too large. `--new` images are drawn, and the previous run has no row for them. The catalog is a
prefix; with `--manifest` a Parquet manifest, whose ETags the job looks up. With `--flink` the job
runs a second time, on a Flink cluster of its own (Java 17 or newer, Maven), and the rows must be
the same.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from benchmarks import figures, measured_run
from benchmarks.generated_bucket import (
    BUCKET,
    Catalog,
    Served,
    serve,
    write_manifest,
    write_previous_run,
)
from deploy.flink.local_cluster import LocalCluster
from pipeline.demo.loopback import made_up_credentials
from pipeline.row.parts import TIMED_STAGES

_RUN = "tonight"
# What may differ between two runs of the same work.
_TIMES = {*TIMED_STAGES, "processed_at"}


def measure(uris: int, new: int, scratch: Path, *, manifest: bool, flink: bool) -> list[dict]:
    """Runs the pipeline over a catalog.

    Args:
        uris: number of images.
        new: number of new ones among them.
        scratch: folder for outputs.
        manifest: whether the catalog is a Parquet manifest.
        flink: whether to run it on Flink too.

    Returns:
        The figures of each run by name: the local one, then that on Flink.

    Raises:
        SystemExit: if the rows of the two differ.
    """
    catalog = Catalog(uris, new)
    source = f"s3://{BUCKET}/images/"
    if manifest:
        source = str(scratch / "catalog.parquet")
        write_manifest(catalog, Path(source))
    with made_up_credentials(), serve(catalog) as served:
        night = _Night(catalog, served, source)
        if not flink:
            return [night.run("local", scratch)]
        same = ["--precision", "float32"]  # the default where others do the work
        found = [night.run("local", scratch, *same)]
        (scratch / "cluster").mkdir()
        with LocalCluster(scratch / "cluster") as cluster:
            beside = [one.pid for one in cluster.processes]
            found.append(
                night.run("flink", scratch, *same, *cluster.beam_options(), beside=beside)
            )
    _check_same(*(_rows(scratch / one["runner"]) for one in found))
    return found


@dataclasses.dataclass(frozen=True)
class _Night:
    """Tonight's run over a catalog, which any runner can do."""

    catalog: Catalog
    served: Served
    source: str

    def run(self, runner: str, scratch: Path, *options: str, beside: Sequence[int] = ()) -> dict:
        """Writes the previous run into a folder of the runner; returns tonight's figures."""
        output, requests = scratch / runner, self.served.requests()
        write_previous_run(self.catalog, output)
        options = ("--s3_endpoint_url", self.served.endpoint, *options)
        measured = measured_run.run(self.source, output, _RUN, *options, beside=beside)
        return {
            "runner": runner,
            "uris": self.catalog.uris,
            "new": self.catalog.uris - self.catalog.known,
            "seconds": round(measured.seconds, 1),
            # A cluster's is not known while it runs.
            "cpu_seconds": None if beside else round(measured.cpu_seconds, 1),
            "uris_per_s": round(self.catalog.uris / measured.seconds),
            "peak_mb": round(measured.peak_mb),
            "requests": self.served.requests() - requests,
            "by_status": measured.summary["by_status"],
        }


def _rows(output: Path) -> pa.Table:
    """The rows of tonight's run by URI, without times."""
    data = ds.dataset(output / f"rows/run_id={_RUN}")
    names = [name for name in data.schema.names if name not in _TIMES]
    return data.to_table(columns=names).sort_by("uri")


def _check_same(rows: pa.Table, others: pa.Table) -> None:
    """Compares the rows of two runs.

    Raises:
        SystemExit: if they differ.
    """
    different = [name for name in rows.column_names if not rows[name].equals(others[name])]
    if different:
        raise SystemExit(
            f"{rows.num_rows:,} rows of the local run and {others.num_rows:,} of Flink's differ "
            f"in {', '.join(different)}"
        )
    print(f"the {rows.num_rows:,} rows of Flink's run are those of the local run")


def describe(found: dict[str, Any]) -> str:
    """Describes the figures of a run in two lines."""
    cpu_seconds = found["cpu_seconds"]
    processor = "" if cpu_seconds is None else f"{cpu_seconds:.0f} processor seconds, "
    return (
        f"{found['runner']}: {found['uris']:,} URIs, {found['new']} of them new: "
        f"{found['seconds']:.0f} s, {processor}"
        f"{found['uris_per_s']:,} URIs/s, at most {found['peak_mb'] / 1e3:.2f} GB of memory, "
        f"{found['requests']:,} requests\n{found['by_status']}"
    )


def main(argv: list[str]) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million")
    parser.add_argument("--uris", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=100)
    parser.add_argument("--manifest", action="store_true", help="a Parquet manifest, no prefix")
    parser.add_argument("--flink", action="store_true", help="also on a Flink cluster of its own")
    figures.add_json_option(parser)
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        results = measure(
            asked.uris, asked.new, Path(scratch), manifest=asked.manifest, flink=asked.flink
        )
    for found in results:
        print(describe(found))
    figures.write_json(asked.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
