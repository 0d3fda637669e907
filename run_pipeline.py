"""Magnifies the small pictures of a catalog.

python run_pipeline.py --input s3://shop/manifest.csv --output s3://shop/magnified
python run_pipeline.py --input pictures/ --output magnified/
"""

import logging
import os
import sys

# TensorFlow's start-up chatter; its real errors still appear.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pipeline.job import run

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(run(sys.argv[1:]))
