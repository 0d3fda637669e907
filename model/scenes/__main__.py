"""Command line of `python -m model.scenes`."""

import sys

from model.scenes.drawing import main

if __name__ == "__main__":
    sys.exit(main())
