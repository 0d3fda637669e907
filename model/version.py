"""The product's version, for `--version` of every command and for `setup.py`."""

import argparse

VERSION = "0.1.0"


def add_version(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--version`, which prints `catalog-magnifier 0.1.0` and exits."""
    parser.add_argument("--version", action="version", version=f"catalog-magnifier {VERSION}")
