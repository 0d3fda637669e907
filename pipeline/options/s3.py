"""Options about S3: server, payment, signatures."""

import dataclasses

from pipeline.options.declaration import declare, endpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class S3Options:
    """How to reach S3.

    Example:
        settings.s3_unsigned  # each option is a field of `pipeline.settings.Settings`
    """

    s3_endpoint_url: str | None = declare(
        "another S3 server than AWS",
        None,
        parse=endpoint,
        default_name="AWS",
        is_replayed=True,
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
