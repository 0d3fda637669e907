"""Finds and reads the two finished runs of a comparison."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.compare.differences import COLUMNS
from pipeline.records import RunError
from pipeline.report import aggregate
from pipeline.report.aggregate import LocatedRow
from pipeline.runs import finished, reader
from pipeline.runs.layout import Layout
from pipeline.storage.base import Storage


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        output: its `--output`.
        run_id: its id.
        summary: content of its summary.json.

    Example:
        run = find_run(files, "s3://shop/upscaled/runs/night1")
        rows = read_rows(files, run)
    """

    output: str
    run_id: str
    summary: Mapping[str, Any]

    def parts(self, files: Storage) -> list[str]:
        """Lists the URIs of its Parquet files."""
        return reader.parts_of(files, Layout(self.output, self.run_id))


def find_run(files: Storage, folder: str) -> FinishedRun:
    """Finds a finished run by its folder.

    Args:
        files: storage of the run.
        folder: `OUT/runs/<run_id>`.

    Raises:
        RunError: if there is none.
    """
    try:
        layout = Layout.of_folder(folder)
    except ValueError as error:
        raise RunError(f"{folder} is not the folder of a run: give OUT/runs/<run_id>") from error
    summary = finished.read_summary(files, layout, finished.WHOLE)
    if summary is None:
        raise RunError(f"there is no finished run in {folder}")
    return FinishedRun(layout.output, layout.run_id, summary)


def read_rows(files: Storage, run: FinishedRun) -> pa.Table:
    """Reads the columns that `differences.compare` needs; about 200 bytes of memory a row.

    Raises:
        RunError: if the run has no rows, or they cannot be read.
    """
    rows = reader.read_columns(files, run.parts(files), COLUMNS)
    if not rows.num_rows:
        raise RunError(f"the run {run.run_id} under {run.output} has no rows")
    return rows


def read_located_rows(
    files: Storage, run: FinishedRun, uris: Collection[str]
) -> dict[str, LocatedRow]:
    """Reads the rows of some URIs, by URI, with the URIs of their images.

    Raises:
        RunError: if the rows cannot be read.
    """
    found = {}
    wanted = pa.array(list(uris), pa.string())
    batches = reader.read_batches(files, run.parts(files), aggregate.COLUMNS)
    for part, first, batch in batches:
        is_wanted = pc.is_in(batch["uri"], value_set=wanted).to_numpy(zero_copy_only=False)
        for index in np.flatnonzero(is_wanted):
            row = aggregate.located_row(batch, int(index), part, first)
            found[row.columns["uri"]] = row
    return found


def display_names(a: FinishedRun, b: FinishedRun) -> tuple[str, str]:
    """Returns short names of two runs: their ids, or their models if the ids are equal."""
    if a.run_id != b.run_id:
        return a.run_id, b.run_id
    models = [run.summary["model"]["name"].rpartition("/")[2] for run in (a, b)]
    return f"A {models[0]}", f"B {models[1]}"
