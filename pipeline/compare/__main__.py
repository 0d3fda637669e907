"""Compares two runs image by image: nights of one catalog, or two networks on it.

    python -m pipeline.compare upscaled/runs/night1 upscaled/runs/night2
    python -m pipeline.compare s3://shop/old/runs/a s3://shop/new/runs/b --page worse.html

Prints a verdict (`better`, `worse` or `not decided`) with its reasons, changed counts, how the
measures moved, and which images got worse. Judges by measures that rank networks: the reference
where there is one, else noise, grain, blocks, overshoot and edges. Exit status: 0; 1 if a run
cannot be read, or the runs have no image with the same content in common; 2 usage; 3 if a larger
share of the images got worse than `--max_worse` allows.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from model.command_line import CommandParser
from pipeline.compare.differences import GROUPS, MAX_LOOKED_AT, Difference, compare
from pipeline.compare.finished_run import display_names, find_run, read_rows
from pipeline.compare.looking import measure_images
from pipeline.compare.output import describe, make_report
from pipeline.options.declaration import place
from pipeline.read import s3_access
from pipeline.records import RunError
from pipeline.redaction import redact
from pipeline.runtime import startup
from pipeline.storage.base import StorageError
from pipeline.storage.local import writing

DONE, FAILED, WORSE = 0, 1, 3


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0; 1 if a run cannot be read, or the runs have nothing in common; 3 if
        too many images got worse.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    options = _parse(argv)
    try:
        difference = _compare(options)
    except (RunError, StorageError, OSError) as error:
        print(f"pipeline.compare: {error}", file=sys.stderr)
        return FAILED
    if difference.worse_share > options.max_worse:
        print(
            f"pipeline.compare: {difference.worse_share:.1%} of the images got worse, "
            f"--max_worse allows {options.max_worse:.1%}",
            file=sys.stderr,
        )
        return WORSE
    return DONE


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("pipeline.compare", __doc__, clean=redact)
    add = parser.add_argument
    add("run_a", type=place, metavar="RUN_A", help="folder of the first run, OUT/runs/<run_id>")
    add("run_b", type=place, metavar="RUN_B", help="folder of the second run, OUT/runs/<run_id>")
    groups = "; ".join(f"{name}: {meaning}" for name, meaning in GROUPS.items())
    add("--group_by", choices=tuple(GROUPS), default="folder", help=groups)
    add("--max_worse", type=float, default=0.01, help="share that may get worse (default: 0.01)")
    looked_at = f"most changed images whose pixels decide the verdict (default: {MAX_LOOKED_AT})"
    add("--max_looked_at", type=int, default=MAX_LOOKED_AT, metavar="N", help=looked_at)
    add("--page", type=Path, help="write the comparison with images to this HTML file")
    add("--json", type=Path, help="write all figures to this file")
    s3_access.add_options(parser)
    options = parser.parse_args(argv)
    if not 0 <= options.max_worse <= 1:
        parser.error(f"--max_worse is 0..1: {options.max_worse}")
    if options.max_looked_at < 1:
        parser.error(f"--max_looked_at is at least 1: {options.max_looked_at}")
    return options


def _compare(options: argparse.Namespace) -> Difference:
    """Compares the runs, prints the difference and writes the files of the options."""
    files = s3_access.open_runs(options)
    runs = find_run(files, options.run_a), find_run(files, options.run_b)
    sources = s3_access.open_sources(options, runs[1].summary)
    tables = [read_rows(files, run) for run in runs]
    difference = compare(
        *tables,
        group_by=options.group_by,
        names=display_names(*runs),
        look=lambda uris: measure_images(files, runs, uris, sources=sources),
        max_looked_at=options.max_looked_at,
    )
    print(describe(difference, runs))
    if options.json:
        figures = asdict(difference) | {"worse_share": difference.worse_share}
        with writing(options.json):
            options.json.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
    if options.page:
        page = make_report(files, runs, difference, sources=sources)
        with writing(options.page):
            options.page.write_text(page, encoding="utf-8")
        print(f"report with images side by side: {options.page}")
    if sources.problem:
        print(f"pipeline.compare: no source is looked at: {sources.problem}", file=sys.stderr)
    return difference


if __name__ == "__main__":
    sys.exit(startup.run_command("pipeline.compare", main))
