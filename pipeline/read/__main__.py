"""Exports the images of a run to a folder, from its rows, previous runs' rows or files.

    python -m pipeline.read upscaled/ exported/ --names source
    python -m pipeline.read s3://shop/upscaled s3://shop/by-product --names product
    python -m pipeline.read s3://shop/upscaled exported/ --run_id night7 --uri s3://shop/a.jpg

Writes `images.csv` beside the images, with URI, product ids and file of each, and `pictures.csv`
with URI and file; a cell that a spreadsheet would take for a formula begins with `'`.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from model.command_line import CommandParser
from pipeline import text
from pipeline.options.declaration import place
from pipeline.read import export, images, names, s3_access
from pipeline.read.names import Naming
from pipeline.records import RunError
from pipeline.redaction import redact
from pipeline.runs import finished
from pipeline.runtime import startup
from pipeline.storage import locations
from pipeline.storage.base import StorageError


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0, or 1 if there is no such run or an image is missing.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    options = _parse(argv)
    try:
        files = s3_access.open_runs(options)
        run_id, summary = finished.find_summary(files, options.output, options.run_id)
        base = str(summary.get("input", ""))
        # All are named, so that a part of them gets the same names.
        all_images = list(images.list_images(files, options.output, run_id))
        naming = names.name_images(all_images, options.names, base)
        wanted = {uri: _spellings(uri, base) for uri in options.uri}
        uris = set().union(*wanted.values())
        chosen = [one for one in naming.images if not wanted or one.image.uri in uris]
        sources = images.list_sources(files, options.output, run_id)
        export.check_sources(chosen, options.folder, sources, base)
        failed = export.export(files, chosen, options.folder)
    except (RunError, StorageError, OSError, ValueError) as error:
        print(f"pipeline.read: {error}", file=sys.stderr)
        return 1
    for image, problem in failed:
        print(f"pipeline.read: {text.clean(image.uri)}: {problem.detail}", file=sys.stderr)
    found = {one.image.uri for one in chosen}
    missing = sorted(uri for uri, spellings in wanted.items() if found.isdisjoint(spellings))
    for uri in missing:
        print(f"pipeline.read: run {run_id} has no image of {text.clean(uri)}", file=sys.stderr)
    exported = text.count(len(chosen) - len(failed), "image")
    print(f"{exported} of run {run_id} in {options.folder.rstrip('/')}/")
    for note in _notes(naming):
        print(note)
    return 1 if failed or missing else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("pipeline.read", __doc__, clean=redact)
    parser.add_argument("output", type=place, help="the --output of the runs")
    parser.add_argument("folder", type=place, help="folder or S3 prefix for the images")
    parser.add_argument(
        "--names",
        choices=names.SCHEMES,
        default="content",
        help="file names: the URI's last part and a digest of the content (content, the default), "
        "folder and name of the source, or product id and number",
    )
    parser.add_argument(
        "--run_id",
        help="default: as latest.json says: the newest finished run that is no trial (--limit, "
        "--sample), if there is one",
    )
    uris = "only the images of these URIs or local paths"
    parser.add_argument("--uri", nargs="*", default=[], help=uris)
    s3_access.add_options(parser)
    return parser.parse_args(argv)


def _spellings(uri: str, base: str) -> set[str]:
    """The URIs by which rows may name an image: this one, or those of its local file.

    Args:
        uri: that the user gave, perhaps a path.
        base: the run's input; a manifest names files below its folder without it.
    """
    spellings = {uri}
    with contextlib.suppress(ValueError):  # no path can be it: no row has it
        if locations.scheme_of(uri) in ("", "file"):
            path = Path(os.path.abspath(locations.local_path(uri)))  # noqa: PTH100 - links stay
            for one in (path, path.parent.resolve() / path.name):
                spellings |= {one.as_uri(), str(one)}
                if one.is_relative_to(Path(base).parent):
                    spellings.add(str(one.relative_to(Path(base).parent)))
    return spellings


def _notes(naming: Naming) -> Iterator[str]:
    """Lines about names that differ from what was asked for."""
    if naming.without_product:
        those = text.count(naming.without_product, "image")
        yield f"{those} of the run without a product id: named by source"
    if naming.taken:
        those = text.count(naming.taken, "file")
        yield (
            f"{those} of the run would have had the name of another: those names end in a digest; "
            f"{export.INDEX} lists all"
        )


if __name__ == "__main__":
    sys.exit(startup.run_command("pipeline.read", main))
