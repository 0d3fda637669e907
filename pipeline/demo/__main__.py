"""Command line of `python -m pipeline.demo`."""

import sys

from pipeline.demo.sample_run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
