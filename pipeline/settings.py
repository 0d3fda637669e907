"""Settings of one run: each option declared once, and the plan that the run resolves from them.

The parser, the content key, the check of a resumed run, the report's replay command and the tests
of docs/reference.md and of Dataflow's template all read the declarations. Imports no framework.
"""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from model.imaging.formats import IMAGE_FORMATS
from model.inference.dtypes import COMPUTE_DTYPES
from model.network import presets
from pipeline.catalog.size_filter import SizeLimits
from pipeline.options import (
    AUTO,
    Option,
    comma_list,
    declare,
    options_of,
    positive,
    positive_or_auto,
    share,
)
from pipeline.records import Shard
from pipeline.storage.base import StorageConfig

# Raise it when the same image and settings give another result than before.
RESULT_VERSION = 3
# Values of `--previous` beside a run's id.
NEWEST, NONE = "newest", "none"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything the user asked for; a field for each option. Picklable, travels to the workers.

    Example:
        >>> settings = Settings(input="s3://shop/m.csv", output="s3://shop/out", run_id="night1")
        >>> settings.max_side, settings.limits.max_side_px
        (1000, 1000)
    """

    input: str = declare(
        "manifest (.csv .jsonl .parquet .txt) or prefix ending in /", resume_must_match=True
    )
    output: str = declare("S3 prefix or local folder")
    run_id: str = declare("names the run; the same id again continues it", default_name="UTC time")
    min_side: int = declare(
        "shorter side below: too_small",
        32,
        parse=positive,
        resume_must_match=True,
        is_replayed=True,
    )
    max_side: int = declare(
        "longer side above: large_enough",
        1000,
        parse=positive,
        resume_must_match=True,
        is_replayed=True,
    )
    max_pixels: int = declare(
        "refuse to decode more",
        40_000_000,
        parse=positive,
        resume_must_match=True,
        is_replayed=True,
    )
    # The content key has the model's digest instead of its name.
    model: str = declare(
        f"{', '.join(presets.PRESETS)}, or path or S3 URI of a .keras file of model.train",
        presets.DEFAULT,
        resume_must_match=True,
        is_replayed=True,
    )
    images: str = declare(
        "where images go: into the rows, into files of their own, or both",
        "parquet",
        choices=("parquet", "files", "both"),
        resume_must_match=True,
        is_replayed=True,
    )
    image_format: str = declare(
        "format of the results; auto: as the source, lossless stays lossless",
        AUTO,
        choices=(AUTO, *IMAGE_FORMATS),
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    animated: str = declare(
        "skip images with several frames, or upscale the first frame",
        "skip",
        choices=("skip", "first_frame"),
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    previous: str = declare(
        "previous run whose results are reused: newest (the newest finished run under --output), "
        "the id of one, or none",
        NEWEST,
        resume_must_match=True,
    )
    retry: tuple[str, ...] = declare(
        "replay only the rows of the previous run with these reasons, e.g. timeout,not_found",
        (),
        parse=comma_list,
        metavar="REASONS",
        resume_must_match=True,
    )
    max_failure_rate: float = declare(
        "share of failed rows, 0 to 1, above which the exit status is 3",
        0.05,
        parse=share,
        is_replayed=True,
    )
    s3_endpoint_url: str | None = declare(
        "another S3 server than AWS", None, default_name="AWS", is_replayed=True
    )
    s3_requester_pays: str = declare(
        "pay for requests to buckets whose owner asks for it",
        "no",
        choices=("yes", "no"),
        is_replayed=True,
    )
    s3_unsigned: str = declare(
        "send S3 requests without credentials, to public buckets",
        "no",
        choices=("yes", "no"),
        is_replayed=True,
    )
    allow_schemes: tuple[str, ...] = declare(
        "additional URI schemes allowed in the manifest, comma-separated (e.g. file)",
        (),
        parse=comma_list,
        metavar="SCHEMES",
        resume_must_match=True,
        is_replayed=True,
    )
    follow_links: str = declare(
        "where links in a local --input folder may lead",
        "inside",
        choices=("inside", "anywhere"),
        resume_must_match=True,
        is_replayed=True,
    )
    look_ahead: int = declare("images fetched ahead of the network", 16, parse=positive)
    workers: int | None = declare(
        "processes that upscale; auto: one for each core of a machine without GPU",
        None,
        parse=positive_or_auto,
        default_name=AUTO,
    )
    # Not in the content key: results differ by one grey level at most.
    precision: str = declare(
        "dtype that the network computes in; results differ by one grey level at most",
        AUTO,
        choices=(AUTO, *COMPUTE_DTYPES),
        is_replayed=True,
    )
    blank: str = declare(
        "skip exactly white background, or upscale it like all else",
        "skip",
        choices=("skip", "magnify"),
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    self_psnr: str = declare(
        "measure the self PSNR on the block with most detail, on the full image, or not at all",
        "window",
        choices=("window", "full", "off"),
        resume_must_match=True,
        is_replayed=True,
    )
    accelerator: str | None = declare(
        "Beam's accelerator hint for the step that upscales, e.g. "
        "type:nvidia-tesla-t4;count:1;install-nvidia-driver",
        None,
    )
    report: str = declare("write report.html at the end", "yes", choices=("yes", "no"))
    dry_run: bool = declare(
        "estimate the cost: probe and count only; writes nothing but estimate.json",
        False,
        parse=None,
    )

    @property
    def limits(self) -> SizeLimits:
        """Limits of the size filter."""
        return SizeLimits(self.min_side, self.max_side, self.max_pixels)

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
        )

    @property
    def links_may_leave(self) -> bool:
        """Whether links in a local `--input` folder may lead out of it."""
        return self.follow_links == "anywhere"


# By name, in the order of `--help`.
OPTIONS: Mapping[str, Option] = options_of(Settings)


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
        workers: processes that upscale, on each machine.
        compute_dtype: of the network, one of `COMPUTE_DTYPES`.
        previous_run: id of the run whose results are reused; None without one.
        previous_parts: URIs of its Parquet files.
        kept: shards that an earlier attempt of this run has finished.
        lock_token: of the lock that the run holds; empty for a dry run, which holds none.

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
    previous_run: str | None = None
    previous_parts: tuple[str, ...] = ()
    kept: tuple[Shard, ...] = ()
    lock_token: str = ""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the result of a content; part of the content key."""
        decisive = [RESULT_VERSION, self.model_sha256]
        decisive += [
            getattr(self.settings, option.name)
            for option in OPTIONS.values()
            if option.in_content_key
        ]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
