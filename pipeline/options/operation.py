"""Options about operating a run: its configuration, signals and prices."""

import dataclasses

from pipeline.options.declaration import declare, place, price

LOG_FORMATS = ("text", "json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperationOptions:
    """How a run is configured, watched and paid for. None changes a result.

    Example:
        settings.log_format  # each option is a field of `pipeline.settings.Settings`
    """

    config: str | None = declare(
        "file of options, .toml or .yaml; the command line wins", None, metavar="FILE"
    )
    notify: str | None = declare(
        "address that gets the outcome as JSON, by POST, when the run ends or fails",
        None,
        metavar="URL",
    )
    metrics_file: str | None = declare(
        "local file that gets the outcome as Prometheus metrics",
        None,
        parse=place,
        metavar="FILE",
    )
    log_format: str = declare("form of the lines that the job prints", "text", choices=LOG_FORMATS)
    price_core_hour: float | None = declare(
        "price of a core for an hour: --dry_run estimates the cost", None, parse=price
    )
    price_gpu_hour: float | None = declare(
        "price of a GPU for an hour, on top of its machine's cores", None, parse=price
    )
    price_1000_reads: float | None = declare(
        "price of 1000 GET or HEAD requests", None, parse=price
    )
    price_1000_writes: float | None = declare(
        "price of 1000 LIST, PUT or COPY requests", None, parse=price
    )
