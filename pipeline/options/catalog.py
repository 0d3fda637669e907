"""Options about the catalog: which images are read, and what a previous run already did."""

import dataclasses

from pipeline.options.declaration import comma_list, declare, place, positive

# Values of `--previous` beside a run's id.
NEWEST, NONE = "newest", "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CatalogOptions:
    """Which images are read, and what a previous run already did.

    Example:
        settings.max_side  # each option is a field of `pipeline.settings.Settings`
    """

    input: str = declare(
        "manifest (.csv .tsv .jsonl .txt, also with .gz, or .parquet), pattern of several such "
        "files, or prefix ending in /",
        parse=place,
        resume_must_match=True,
    )
    limit: int | None = declare(
        "read only the first so many images of the catalog",
        None,
        parse=positive,
        metavar="IMAGES",
        resume_must_match=True,
    )
    sample: int | None = declare(
        "read only so many images, spread over the catalog, the same every time",
        None,
        parse=positive,
        metavar="IMAGES",
        resume_must_match=True,
    )
    include: tuple[str, ...] = declare(
        "read only images whose paths match, comma-separated, e.g. shoes/**,*.jpg",
        (),
        parse=comma_list,
        metavar="PATTERNS",
        resume_must_match=True,
    )
    exclude: tuple[str, ...] = declare(
        "leave out images whose paths match, comma-separated, e.g. thumbs/",
        (),
        parse=comma_list,
        metavar="PATTERNS",
        resume_must_match=True,
    )
    uri_column: str = declare(
        "column or key of the manifest that names the image",
        "uri",
        metavar="NAME",
        resume_must_match=True,
        is_replayed=True,
    )
    id_column: str = declare(
        "column or key of the manifest that names the product",
        "product_id",
        metavar="NAME",
        resume_must_match=True,
        is_replayed=True,
    )
    keep_columns: tuple[str, ...] = declare(
        "other columns or keys of the manifest that the rows carry, comma-separated",
        (),
        parse=comma_list,
        metavar="NAMES",
        resume_must_match=True,
        is_replayed=True,
    )
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
    animated: str = declare(
        "skip images with several frames, or upscale the first frame",
        "skip",
        choices=("skip", "first_frame"),
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
