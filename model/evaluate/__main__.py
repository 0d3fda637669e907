"""Command line of `python -m model.evaluate`."""

import sys

from model.evaluate.evaluation import main

if __name__ == "__main__":
    sys.exit(main())
