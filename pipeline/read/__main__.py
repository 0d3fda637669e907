"""Exports the images of a run to a folder, from its rows, previous runs' rows or files.

    python -m pipeline.read upscaled/ images/
    python -m pipeline.read s3://shop/upscaled images/ --run_id night7 --uri s3://shop/a.jpg

Writes `pictures.csv` beside the images, with the URI of each; a cell that a spreadsheet would take
for a formula begins with `'`.
"""

import argparse
import sys
from pathlib import Path

from pipeline import text
from pipeline.read import images
from pipeline.records import RunError
from pipeline.runs import finished
from pipeline.runs.layout import Layout
from pipeline.runtime import startup
from pipeline.storage.base import Storage, StorageConfig, StorageError
from pipeline.storage.routing import open_storage


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
        files = open_storage(StorageConfig(options.s3_endpoint_url).at_start())
        run_id = _find_run(files, options.output, options.run_id)
        wanted = set(options.uri)
        found = [
            image
            for image in images.list_images(files, options.output, run_id)
            if not wanted or image.uri in wanted
        ]
        failed = images.export(files, found, options.folder)
    except (RunError, StorageError, OSError) as error:
        print(f"pipeline.read: {error}", file=sys.stderr)
        return 1
    for image, problem in failed:
        print(f"pipeline.read: {text.clean(image.uri)}: {problem.detail}", file=sys.stderr)
    missing = sorted(wanted - {image.uri for image in found})
    for uri in missing:
        print(f"pipeline.read: run {run_id} has no image of {text.clean(uri)}", file=sys.stderr)
    exported = text.count(len(found) - len(failed), "image")
    print(f"{exported} of run {run_id} in {options.folder}/")
    return 1 if failed or missing else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = startup.Parser("pipeline.read", __doc__)
    parser.add_argument("output", help="the --output of the runs")
    parser.add_argument("folder", type=Path, help="folder for the images")
    parser.add_argument("--run_id", help="default: the newest finished run")
    parser.add_argument("--uri", nargs="*", default=[], help="only the images of these URIs")
    parser.add_argument("--s3_endpoint_url", help="another S3 server than AWS")
    return parser.parse_args(argv)


def _find_run(files: Storage, output: str, run_id: str | None) -> str:
    """The id of the run to export; raises `RunError` if it is not finished."""
    if run_id is None:
        newest = finished.newest_finished(files, output)
        if newest is None:
            raise RunError(f"there is no finished run under {output}")
        return newest
    if finished.read_summary(files, Layout(output, run_id)) is None:
        raise RunError(f"there is no finished run {run_id} under {output}")
    return run_id


if __name__ == "__main__":
    sys.exit(startup.run_command("pipeline.read", main))
