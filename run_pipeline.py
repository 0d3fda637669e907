"""Upscales the small images of a catalog.

    python run_pipeline.py --input s3://shop/manifest.csv --output s3://shop/upscaled
    python run_pipeline.py --input images/ --output upscaled/

`--help` shows all options; the README describes what is written.
"""

import sys

import pipeline.runtime.startup  # noqa: F401 - first, for its effect
from pipeline.job import run
from pipeline.runtime.logs import name_run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], on_start=name_run))
