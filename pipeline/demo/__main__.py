"""Runs the whole job on a catalog that this project draws, from s3:// to s3:// on loopback.

    python -m pipeline.demo

An S3 server (moto's, over real HTTP) runs for the length of the demo. Its content is then copied
to `demo-output/`, with a sheet of some images before and after.
"""

import argparse
import datetime
import sys
from pathlib import Path

from model.startup import import_tensorflow
from model.version import add_version
from pipeline.demo.options import job_arguments
from pipeline.runtime import startup

OUTPUT = Path("demo-output")
_ANY_ENDPOINT = "http://127.0.0.1"


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: see `pipeline.job.run`.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    options = _parse(argv)
    import_tensorflow()
    from pipeline.demo.sample_run import run_demo  # noqa: PLC0415 - imports Beam

    return run_demo(options, OUTPUT)


def _parse(argv: list[str]) -> list[str]:
    """The options for the job, checked before the output of the last demo is deleted."""
    from pipeline import cli  # noqa: PLC0415 - after `run_command` has prepared numpy

    parser = argparse.ArgumentParser(
        prog="python -m pipeline.demo",
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"Replaces {OUTPUT}/. All options of run_pipeline.py may be given too, such as "
        "--max_side 200.",
        allow_abbrev=False,
    )
    add_version(parser)
    _, options = parser.parse_known_args(argv)
    cli.parse(job_arguments(_ANY_ENDPOINT, options), datetime.datetime.now(datetime.UTC))
    return options


if __name__ == "__main__":
    sys.exit(startup.run_command("pipeline.demo", main))
