"""Writes the report of a finished run again.

    python -m pipeline.report upscaled/
    python -m pipeline.report s3://shop/upscaled --run_id night7

`run_pipeline.py` writes it at the end of a run, as `OUT/runs/<run_id>/report.html`.
"""

import argparse
import sys

from pipeline.records import RunError
from pipeline.report.html import write_report
from pipeline.runs import finished
from pipeline.runtime import startup
from pipeline.storage.base import StorageConfig, StorageError
from pipeline.storage.routing import open_storage


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
        files = open_storage(StorageConfig(options.s3_endpoint_url).at_start())
        run_id = options.run_id or finished.newest_finished(files, options.output)
        if run_id is None:
            raise RunError(f"there is no finished run under {options.output}")
        print(write_report(files, options.output, run_id))
    except (RunError, StorageError) as error:
        print(f"pipeline.report: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = startup.Parser("pipeline.report", __doc__)
    parser.add_argument("output", help="the --output of the runs")
    parser.add_argument("--run_id", help="default: the newest finished run")
    parser.add_argument("--s3_endpoint_url", help="another S3 server than AWS")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(startup.run_command("pipeline.report", main))
