"""The nightly job as an installed command.

    catalog-magnifier --input s3://shop/manifest.csv --output s3://shop/upscaled

Takes the options of `run_pipeline.py`, which the checkout has for the same job.
"""

import sys

import run_pipeline
from pipeline.runtime import logs, startup


def main() -> int:
    """Runs the job with the arguments of this process; returns its exit status."""
    logs.name_program("catalog-magnifier")
    return startup.run_command(logs.program(), run_pipeline.main)


# A process of --workers imports the installed script under this name, before anything else.
if "__mp_main__" in sys.modules:
    startup.join_parent()
