"""Command line of `python -m pipeline.read`."""

import sys

from pipeline.read.images import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
