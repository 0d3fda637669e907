"""Magnifies the small pictures of a catalog.

    python run_pipeline.py --input s3://shop/manifest.csv --output s3://shop/magnified
    python run_pipeline.py --input pictures/ --output magnified/

`--help` shows all options; the README describes what is written.
"""

import logging
import os
import sys


def _concerns_the_user(record: logging.LogRecord) -> bool:
    """Beam warns at import about a client for BigQuery, which this job does not use."""
    return "bigquery client libraries are not available" not in record.getMessage()


# Before the imports below, which log: TensorFlow's start-up chatter off, its errors on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
logging.getLogger().addFilter(_concerns_the_user)

from pipeline.job import run  # noqa: E402

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
