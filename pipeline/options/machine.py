"""Options about the machine: processes, threads, accelerators."""

import dataclasses

from pipeline.options.declaration import AUTO, declare, positive, positive_or_auto


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """How the work is spread over a machine.

    Example:
        settings.look_ahead  # each option is a field of `pipeline.settings.Settings`
    """

    look_ahead: int = declare("images fetched ahead of the network", 16, parse=positive)
    workers: int | None = declare(
        "processes that upscale; auto: one for each core of a machine without GPU",
        None,
        parse=positive_or_auto,
        default_name=AUTO,
    )
    partitions: int | None = declare(
        "parts into which the catalog is divided for the joins; auto: one for each 20,000 URIs",
        None,
        parse=positive_or_auto,
        default_name=AUTO,
    )
    accelerator: str | None = declare(
        "Beam's accelerator hint for the step that upscales, e.g. "
        "type:nvidia-tesla-t4;count:1;install-nvidia-driver",
        None,
    )
