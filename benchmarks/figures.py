"""Option `--json FILE` of the benchmarks: keeps a benchmark's figures in a file."""

import argparse
import json
from pathlib import Path


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option; its value is `arguments.json`, a path or None."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")


def write_json(path: Path | None, figures: object) -> None:
    """Writes figures as indented JSON.

    Args:
        path: the file; None writes nothing.
        figures: anything that JSON can hold.

    Raises:
        OSError: if the file cannot be written.
    """
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")
