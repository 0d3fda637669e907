"""Command line of `python -m model.train`."""

import sys

from model.train.training import main

if __name__ == "__main__":
    sys.exit(main())
