"""Settings of one run, made of all options, and the plan that the run resolves from them.

The parser, the content key, the check of a resumed run, the report's replay command and the tests
of docs/reference.md and of Dataflow's template all read the declarations. Imports no framework.
"""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from model.inference.target import TargetSize
from pipeline.catalog.manifests.columns import ManifestColumns
from pipeline.catalog.selection import WHOLE_CATALOG, Selection
from pipeline.catalog.sharpening_table import NO_TABLE, SharpeningTable
from pipeline.catalog.size_filter import SizeLimits
from pipeline.options.catalog import CatalogOptions
from pipeline.options.declaration import Option, options_of
from pipeline.options.machine import MachineOptions
from pipeline.options.operation import OperationOptions
from pipeline.options.output import OutputOptions
from pipeline.options.result import ResultOptions
from pipeline.options.s3 import S3Options
from pipeline.records import Shard
from pipeline.storage.base import StorageConfig

# Raise it when the same image and settings give another result than before.
RESULT_VERSION = 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(
    CatalogOptions, ResultOptions, OutputOptions, MachineOptions, S3Options, OperationOptions
):
    """Everything the user asked for; a field for each option. Picklable, travels to the workers.

    Example:
        >>> settings = Settings(input="s3://shop/m.csv", output="s3://shop/out", run_id="night1")
        >>> settings.max_side, settings.limits.max_side_px
        (1000, 1000)
    """

    @property
    def limits(self) -> SizeLimits:
        """Limits of the size filter."""
        return SizeLimits(self.min_side, self.max_side, self.max_pixels, self.target_side)

    @property
    def target(self) -> TargetSize:
        """The size that results shall have."""
        return TargetSize(self.scale, self.target_side)

    @property
    def selection(self) -> Selection:
        """The part of the catalog that the run reads."""
        return Selection(self.limit, self.sample, self.include, self.exclude)

    @property
    def columns(self) -> ManifestColumns:
        """The columns of the manifest that the run reads."""
        return ManifestColumns(self.uri_column, self.id_column, kept=self.keep_columns)

    @property
    def max_bytes(self) -> int:
        """Largest file accepted: more than the pixels of any format, and its metadata."""
        return 8 * self.max_pixels + (64 << 20)

    @property
    def storage(self) -> StorageConfig:
        """How to reach the storages."""
        return StorageConfig(
            self.s3_endpoint_url,
            connections=2 * self.look_ahead,
            requester_pays=self.s3_requester_pays == "yes",
            unsigned=self.s3_unsigned == "yes",
            can_continue=not self.dry_run,
        )

    def without_secrets(self) -> "Settings":
        """Returns the settings that files and workers get: without the address of `--notify`."""
        return dataclasses.replace(self, notify=None)

    @property
    def links_may_leave(self) -> bool:
        """Whether links in a local `--input` folder may lead out of it."""
        return self.follow_links == "anywhere"


# By name, under the title of their group, in the order of `--help`.
OPTION_GROUPS: Mapping[str, Mapping[str, Option]] = {
    "catalog": options_of(CatalogOptions),
    "results": options_of(ResultOptions),
    "output": options_of(OutputOptions),
    "machine": options_of(MachineOptions),
    "S3": options_of(S3Options),
    "operation": options_of(OperationOptions),
}
OPTIONS: Mapping[str, Option] = {
    name: option for group in OPTION_GROUPS.values() for name, option in group.items()
}


def replay_arguments(given: Mapping[str, Any]) -> list[str]:
    """Writes settings as arguments of a command line that repeats them.

    Args:
        given: values by option, as in JSON: a list for a tuple.

    Returns:
        `--name value` for each option that a replay repeats and whose value is not the default.
    """
    arguments = []
    for option in OPTIONS.values():
        value = given.get(option.name, option.default)
        value = tuple(value) if isinstance(value, list) else value
        if option.is_replayed and value is not None and value != option.default:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            arguments += [f"--{option.name}", text]
    return arguments


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """Everything the run resolved before it began to work. Picklable, travels to the workers.

    Attributes:
        settings: the user's.
        started_at: UTC.
        model_sha256: of the saved model.
        network_scale: of one pass of the model.
        workers: processes that upscale, on each machine.
        compute_dtype: of the network, one of `COMPUTE_DTYPES`.
        previous_run: id of the run whose results are reused; None without one.
        previous_parts: URIs of its Parquet files.
        partial_parts: URIs of the Parquet files of newer runs on parts of the catalog, whose
            results are reused too.
        selection: the part of the catalog that the run sees; in a replay, that of the previous
            run.
        sharpening_table: how the images below each prefix were sharpened.
        counts_disappeared: whether URIs that only the previous run has left the catalog.
        kept: shards that an earlier attempt of this run has finished.
        partitions: into which URIs and contents are divided: more than fit a worker's memory make
            a run slow, never wrong.
        lock_token: of the lock that the run holds; empty for a dry run, which holds none.
        spill_folder: for what crosses shuffles, where all workers are on this machine.

    Example:
        >>> now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        >>> settings = Settings(input="s3://shop/m.csv", output="s3://shop/out", run_id="night1")
        >>> plan = RunPlan(settings, now, "0" * 64, workers=1, compute_dtype="float32")
        >>> len(plan.fingerprint)
        64
    """

    settings: Settings
    started_at: datetime.datetime
    model_sha256: str
    workers: int
    compute_dtype: str
    network_scale: int = 2
    previous_run: str | None = None
    previous_parts: tuple[str, ...] = ()
    partial_parts: tuple[str, ...] = ()
    selection: Selection = WHOLE_CATALOG
    sharpening_table: SharpeningTable = NO_TABLE
    counts_disappeared: bool = True
    kept: tuple[Shard, ...] = ()
    partitions: int = 16
    lock_token: str = ""
    spill_folder: str | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of what decides the result of a content in all of a run; part of its key.

        An option with its default adds nothing, so that a new option keeps the results of before.
        """
        chosen = {
            name: getattr(self.settings, name)
            for name, option in sorted(OPTIONS.items())
            if option.in_content_key and getattr(self.settings, name) != option.default
        }
        decisive = [RESULT_VERSION, self.model_sha256, chosen]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
