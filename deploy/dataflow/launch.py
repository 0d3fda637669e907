"""Starts the job on Dataflow, with what every such run needs; what the Flex Template calls.

    python -m deploy.dataflow.launch --input s3://... --output s3://... --project ... --region ...

Takes the options of `run_pipeline.py`; those below can be given otherwise. The template starts
this file by its path, which needs the package to be installed.
"""

import sys

import run_pipeline
from pipeline.runtime import startup

DEFAULTS = (
    "--runner=DataflowRunner",
    # The template's launcher has to end; a scheduler looks at summary.json and _SUCCESS.
    "--no_wait_until_finish",
    # One process for each machine: several would each claim the GPU's memory.
    "--experiments=no_use_multiple_sdk_containers",
    # A bundle has threads of its own for fetching; a second one fills the first one's gaps.
    "--number_of_worker_harness_threads=2",
    # The image is complete.
    "--sdk_location=container",
)


def with_defaults(argv: list[str]) -> list[str]:
    """The command line, after the defaults that it may replace."""
    return [*DEFAULTS, *argv]


def main(argv: list[str]) -> int:
    """Starts the job; returns the exit status: see `pipeline.job.run`."""
    return run_pipeline.main(with_defaults(argv))


if __name__ == "__main__":
    sys.exit(startup.run_command("launch.py", main))
