"""The nightly job as an installed command.

    catalog-magnifier --input s3://shop/manifest.csv --output s3://shop/upscaled

Takes the options of `run_pipeline.py`, which the checkout has for the same job.
"""

import multiprocessing

import run_pipeline
from pipeline.runtime import logs, startup


def main() -> int:
    """Runs the job with the arguments of this process; returns its exit status."""
    logs.name_program("catalog-magnifier")
    return startup.run_command(logs.program(), run_pipeline.main)


if multiprocessing.parent_process() is not None:  # a process of --workers imports the script
    startup.join_parent()
