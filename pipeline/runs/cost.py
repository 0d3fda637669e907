"""What the expected hours and requests of a run cost, at the user's prices."""

import math
from collections.abc import Mapping

from pipeline.output.shard_writer import count_shards
from pipeline.settings import Settings
from pipeline.storage.locations import scheme_of

# S3 bills these like writes; DELETE, which is free, is counted with them.
_WRITES = ("list", "put_copy_delete")
_READS = ("head", "get")


def count_requests(settings: Settings, *, images: int, gets: int, uris: int) -> dict[str, int]:
    """Returns about how many requests a run sends, by kind.

    Left out are retries, rewritten images, reads of rows (this run's, the previous run's), the
    look at each written object on other servers than AWS, and some dozens that every run sends.

    Args:
        settings: of the run.
        images: to upscale.
        gets: requests for sources.
        uris: of the catalog.
    """
    reads_s3, writes_s3 = (scheme_of(one) == "s3" for one in (settings.input, settings.output))
    is_listed = settings.input.endswith("/")
    shards = 3 * count_shards(images + 0.02 * uris)  # staged, copied, deleted
    written = images if settings.images in ("files", "both") else 0
    return {
        "list": math.ceil(uris / 1000) if reads_s3 and is_listed else 0,
        "head": uris if reads_s3 and not is_listed else 0,
        "get": gets if reads_s3 else 0,
        "put_copy_delete": written + shards if writes_s3 else 0,
    }


def cost_of(
    settings: Settings,
    *,
    core_hours: float | None,
    gpu_hours: float | None,
    requests: Mapping[str, int],
) -> dict[str, float | None] | None:
    """Returns the cost of a run, in the currency of the prices.

    Args:
        settings: with the prices.
        core_hours, gpu_hours: of the run; None if unknown.
        requests: by kind, as in estimate.json.

    Returns:
        `cores`, `gpus`, `reads` and `writes`, None where a price or an amount is missing, and
        `total`, the sum of what has a price, None if one of its amounts is unknown. None without
        any price.

    Example:
        >>> settings = Settings(input="", output="", run_id="", price_core_hour=0.05)
        >>> cost_of(settings, core_hours=30.0, gpu_hours=0.0, requests={})["total"]
        1.5
    """
    counts = {
        "reads": sum(requests.get(kind, 0) for kind in _READS) / 1000,
        "writes": sum(requests.get(kind, 0) for kind in _WRITES) / 1000,
    }
    priced = {
        "cores": (settings.price_core_hour, core_hours),
        "gpus": (settings.price_gpu_hour, gpu_hours),
        "reads": (settings.price_1000_reads, counts["reads"]),
        "writes": (settings.price_1000_writes, counts["writes"]),
    }
    given = [amount for price, amount in priced.values() if price is not None]
    if not given:
        return None
    costs = {
        name: None if price is None or amount is None else round(price * amount, 6)
        for name, (price, amount) in priced.items()
    }
    known = [cost for cost in costs.values() if cost is not None]
    return costs | {"total": None if None in given else round(sum(known), 6)}


def describe(cost: Mapping[str, float | None]) -> str:
    """Describes a cost in one line for people.

    Args:
        cost: of `cost_of`.
    """
    if cost["total"] is None:
        return "cost: unknown, because the hours are"
    parts = ", ".join(
        f"{name} {_money(value)}"
        for name, value in cost.items()
        if value is not None and name != "total"
    )
    return f"cost: {_money(cost['total'])} ({parts}), in the currency of the prices"


def _money(value: float) -> str:
    """Two decimals, or the first two digits of a smaller amount."""
    return f"{value:,.2f}" if value == 0 or value >= 0.01 else f"{value:.2g}"
