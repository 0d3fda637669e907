"""Options about the output: where results go, and how the run ends."""

import dataclasses

from pipeline.options.declaration import declare, place, share


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where results go, and how the run ends.

    Example:
        settings.images  # each option is a field of `pipeline.settings.Settings`
    """

    output: str = declare("S3 prefix or local folder", parse=place)
    run_id: str = declare("names the run; the same id again continues it", default_name="UTC time")
    images: str = declare(
        "where images go: into the rows, into files of their own, or both",
        "parquet",
        choices=("parquet", "files", "both"),
        resume_must_match=True,
        is_replayed=True,
    )
    max_failure_rate: float = declare(
        "share of failed rows, 0 to 1, above which the exit status is 3",
        0.05,
        parse=share,
        is_replayed=True,
    )
    report: str = declare("write report.html at the end", "yes", choices=("yes", "no"))
    dry_run: bool = declare(
        "estimate the cost: probe and count only; writes nothing but estimate.json",
        False,
        parse=None,
    )
