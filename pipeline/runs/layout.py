"""Paths of a run: the only module that knows where its files lie.

OUT/rows/run_id=<run_id>/part-*.parquet    rows, complete when _SUCCESS is there
OUT/images/                                encoded images with --images files or both
OUT/runs/latest.json                       names the newest finished run
OUT/runs/<run_id>/run.json                 settings that the run began with
OUT/runs/<run_id>/lock.json                only while it runs
OUT/runs/<run_id>/images/                  images that pipeline.prune copied from older runs
OUT/runs/<run_id>/staging/                 finished shards, until all are finished
OUT/runs/<run_id>/{summary.json,_SUCCESS,report.html,estimate.json}
"""

import dataclasses
import functools
import re

from pipeline.settings import Settings
from pipeline.storage import locations

# The folders of an output that the job writes to.
OWN_FOLDERS = ("images", "rows", "runs")
# Local listings spell the equals sign as %3D.
_PART = re.compile(r"(.+)/rows/run_id(?:=|%3D)[^/]+/[^/]+", re.DOTALL)


@functools.lru_cache(maxsize=1024)  # each row of a part asks for it
def output_of(part: str) -> str | None:
    """Returns the output folder of a Parquet file of rows; None for a file that lies elsewhere.

    Example:
        >>> output_of("s3://shop/out/rows/run_id=night1/part-0.parquet")
        's3://shop/out'
    """
    match = _PART.fullmatch(part)
    return match[1] if match else None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where one run's files lie.

    Attributes:
        output: URI or absolute path of the folder that holds all runs.
        run_id: names the run.

    Example:
        >>> Layout("s3://shop/out", "night1").rows
        's3://shop/out/rows/run_id=night1'
    """

    output: str
    run_id: str

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        """The run with these settings."""
        return cls(settings.output, settings.run_id)

    @classmethod
    def of_folder(cls, folder: str) -> "Layout":
        """The run with this folder, `OUT/runs/<run_id>`.

        Raises:
            ValueError: if the text does not end like that.
        """
        match = re.fullmatch(r"(.+)/runs/([^/]+)/?", folder)
        if match is None:
            raise ValueError(f"a run's folder is OUT/runs/<run_id>. Received: {folder!r}")
        return cls(match[1], match[2])

    @property
    def rows(self) -> str:
        """Folder of the Parquet files."""
        return locations.join(self.output, f"rows/run_id={self.run_id}")

    @property
    def images(self) -> str:
        """Folder of encoded images, shared by all runs."""
        return locations.join(self.output, "images")

    @property
    def runs(self) -> str:
        """Folder of all runs' folders."""
        return locations.join(self.output, "runs")

    @property
    def latest(self) -> str:
        """File that names the newest finished run of the output."""
        return locations.join(self.runs, "latest.json")

    @property
    def folder(self) -> str:
        """The run's own folder."""
        return locations.join(self.runs, self.run_id)

    @property
    def staging(self) -> str:
        """Folder of finished shards that are not yet published."""
        return locations.join(self.folder, "staging")

    @property
    def copied_images(self) -> str:
        """Folder of Parquet files with images that `pipeline.prune` copied from older runs."""
        return locations.join(self.folder, "images")

    @property
    def started(self) -> str:
        """File with the settings that the run began with."""
        return locations.join(self.folder, "run.json")

    @property
    def lock(self) -> str:
        """File that exists while a process works on the run."""
        return locations.join(self.folder, "lock.json")

    @property
    def summary(self) -> str:
        """File with counts, percentiles, settings and versions."""
        return locations.join(self.folder, "summary.json")

    @property
    def success(self) -> str:
        """Empty file, written last."""
        return locations.join(self.folder, "_SUCCESS")

    @property
    def estimate(self) -> str:
        """File that a dry run writes."""
        return locations.join(self.folder, "estimate.json")

    @property
    def report(self) -> str:
        """The report."""
        return locations.join(self.folder, "report.html")
