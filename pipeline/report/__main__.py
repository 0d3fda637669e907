"""Writes the report of a finished run again, or shows all of its images.

    python -m pipeline.report upscaled/
    python -m pipeline.report s3://shop/upscaled --run_id night7
    python -m pipeline.report upscaled/ --gallery pages/ --status fallback
    python -m pipeline.report upscaled/ --serve

`run_pipeline.py` writes the report at the end of a run, as `OUT/runs/<run_id>/report.html`.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from model.command_line import CommandParser
from model.imaging.sandbox import DecoderPool
from pipeline import text
from pipeline.options.declaration import place
from pipeline.read import s3_access
from pipeline.records import RunError
from pipeline.redaction import redact
from pipeline.report.gallery import MAX_PIXELS, RunGallery, write_gallery
from pipeline.report.html import write_report
from pipeline.report.selection import SORTS, STATUSES, WITH_RESULT, Query
from pipeline.report.server import PORT, GalleryServer, query_address
from pipeline.runs import finished
from pipeline.runtime import startup
from pipeline.storage.base import Readable, Storage, StorageError

# Rows of static pages; a server has no such limit.
_LIMIT = 10_000


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0, or 1 if there is no such run.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    options = _parse(argv)
    try:
        files = s3_access.open_runs(options)
        run_id, summary = finished.find_summary(files, options.output, options.run_id)
        sources = s3_access.open_sources(options, summary)
        if options.serve:
            _serve(files, sources, options, run_id)
        elif options.gallery:
            _write_gallery(files, sources, options, run_id)
        else:
            print(write_report(files, options.output, run_id, sources=sources))
    except (RunError, StorageError, OSError) as error:
        print(f"pipeline.report: {error}", file=sys.stderr)
        return 1
    if sources.problem:
        print(f"pipeline.report: no source is shown: {sources.problem}", file=sys.stderr)
    return 0


def _write_gallery(
    files: Storage, sources: Readable, options: argparse.Namespace, run_id: str
) -> None:
    page, written, found = write_gallery(
        *(files, options.output, run_id, options.gallery, _query(options)),
        max_rows=options.limit,
        sources=sources,
    )
    left_out = f" of {found:,}; --limit raises it" if written < found else ""
    print(f"{text.count(written, 'row')}{left_out}: {page}")


def _serve(files: Storage, sources: Readable, options: argparse.Namespace, run_id: str) -> None:
    """Serves until Ctrl-C."""
    with DecoderPool(os.cpu_count() or 1, max_pixels=MAX_PIXELS) as decoders:
        gallery = RunGallery(files, options.output, run_id, decoders, sources=sources)
        try:
            server = GalleryServer(gallery, options.port)
        except OSError as error:
            raise RunError(
                f"cannot serve on port {options.port}: {error}; try --port 0"
            ) from error
        with server, contextlib.suppress(KeyboardInterrupt):
            path = query_address(_query(options)).removeprefix("/").removesuffix("?")
            print(f"run {run_id}: {server.address}{path} (Ctrl-C ends it)", flush=True)
            server.serve_forever()


def _query(options: argparse.Namespace) -> Query:
    return Query(
        *(options.search, options.status, options.reason, options.sort),
        ascending=options.ascending,
    )


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("pipeline.report", __doc__, clean=redact)
    parser.add_argument("output", type=place, help="the --output of the runs")
    parser.add_argument(
        "--run_id",
        help="default: as latest.json says: the newest finished run that is no trial (--limit, "
        "--sample), if there is one",
    )
    s3_access.add_options(parser)
    add = parser.add_argument
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--gallery", type=Path, metavar="FOLDER", help="write pages of all images")
    shown.add_argument("--serve", action="store_true", help="show all images in a browser")
    add("--port", type=int, default=PORT, help=f"of --serve (default: {PORT}; 0: any free one)")
    add("--limit", type=int, default=_LIMIT, help=f"most rows of --gallery (default: {_LIMIT})")
    add("--search", default="", metavar="TEXT", help="only rows with this in product id or URI")
    add("--status", choices=STATUSES, default=WITH_RESULT, help="default: rows with a result")
    add("--reason", default="", help="only rows with this reason; gate: takes all that begin so")
    add("--sort", choices=tuple(SORTS), default="", help="by a measure, the largest first")
    add("--ascending", action="store_true", help="the smallest first")
    options = parser.parse_args(argv)
    if options.limit < 1:
        parser.error(f"--limit is at least 1: {options.limit}")
    if not 0 <= options.port <= 65535:
        parser.error(f"--port is 0..65535: {options.port}")
    return options


if __name__ == "__main__":
    sys.exit(startup.run_command("pipeline.report", main))
