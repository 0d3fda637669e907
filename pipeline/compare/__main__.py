"""Command line of `python -m pipeline.compare`."""

import sys

from pipeline.compare.differences import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
