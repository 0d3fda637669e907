"""Settings of one run."""

import dataclasses
import datetime
import hashlib
import json

from model.network import presets
from pipeline.catalog.size_filter import SizeLimits
from pipeline.records import Shard
from pipeline.storage import locations
from pipeline.storage.base import StorageConfig

# Raise it when the same image and settings give another result than before.
RESULT_VERSION = 2
# What `--previous` takes beside a run's id.
NEWEST, NONE = "newest", "none"


@dataclasses.dataclass(frozen=True)
class Settings:
    """One run's settings; picklable, travels to the workers. See `--help` for the options.

    Attributes:
        input: manifest or prefix, absolute.
        output: folder or prefix without the final `/`, absolute.
        started_at: when the run began, UTC.
        model_sha256: of the saved model; empty until the run has read it.
        previous_run: the run in which reusable results are looked up, once that is decided.
        previous_parts: its Parquet files.
        kept: shards that an earlier attempt of this run has finished.
        workers: processes that upscale; None until the run has chosen.
        precision: in which the network computes; None until the run has chosen.
    """

    input: str
    output: str
    run_id: str
    started_at: datetime.datetime
    min_side: int = 32
    max_side: int = 1000
    max_pixels: int = 40_000_000
    model: str = presets.DEFAULT
    model_sha256: str = ""
    images: str = "parquet"
    image_format: str = "auto"
    animated: str = "skip"
    previous: str = NEWEST
    retry: tuple[str, ...] = ()
    max_failure_rate: float = 0.05
    s3_endpoint_url: str | None = None
    allow_schemes: tuple[str, ...] = ()
    look_ahead: int = 16
    workers: int | None = None
    precision: str | None = None
    blank: str = "skip"
    self_psnr: str = "window"
    accelerator: str | None = None
    report: str = "yes"
    dry_run: bool = False
    previous_run: str | None = None
    previous_parts: tuple[str, ...] = ()
    kept: tuple[Shard, ...] = ()

    @property
    def limits(self) -> SizeLimits:
        """The size gate's part."""
        return SizeLimits(self.min_side, self.max_side, self.max_pixels)

    @property
    def max_bytes(self) -> int:
        """A file beyond this is refused: more than the pixels of any format, and its metadata."""
        return 8 * self.max_pixels + (64 << 20)

    @property
    def storage(self) -> StorageConfig:
        """The storages' part."""
        return StorageConfig(self.s3_endpoint_url, connections=2 * self.look_ahead)

    @property
    def rows_folder(self) -> str:
        """Where the run's Parquet files lie."""
        return self.rows_of_run(self.run_id)

    @property
    def run_folder(self) -> str:
        """Where summary.json and _SUCCESS lie."""
        return self.folder_of_run(self.run_id)

    @property
    def staging_folder(self) -> str:
        """Where finished shards wait until all are finished."""
        return locations.join(self.run_folder, "staging")

    @property
    def images_folder(self) -> str:
        """Where encoded images lie with `--images files` or `both`."""
        return locations.join(self.output, "images")

    def rows_of_run(self, run_id: str) -> str:
        """Where the Parquet files of any run under the same output lie."""
        return locations.join(self.output, f"rows/run_id={run_id}")

    def folder_of_run(self, run_id: str) -> str:
        """Where summary.json and _SUCCESS of any run under the same output lie."""
        return locations.join(self.output, f"runs/{run_id}")

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides what a given content becomes; part of the content key."""
        deciding = [
            RESULT_VERSION,
            self.model_sha256,
            self.image_format,
            self.animated,
            self.blank,
        ]
        return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()
