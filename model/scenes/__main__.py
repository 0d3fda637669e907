"""Draws product scenes and writes them as PNG files.

python -m model.scenes OUT --count 12 --side 440
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

from model import startup
from model.command_line import CommandParser
from model.scenes.drawing import draw_scene


def main(argv: list[str]) -> int:
    """Writes scenes as `scene-<seed>.png`.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0, or 1 if a file cannot be written or a scene cannot be drawn.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    arguments = _parse(argv)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for seed in range(arguments.first, arguments.first + arguments.count):
            scene = draw_scene(seed, arguments.side, arguments.side)
            Image.fromarray(scene).save(arguments.out / f"scene-{seed}.png")
    except (OSError, ValueError) as error:
        print(f"model.scenes: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("model.scenes", __doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--count", type=int, default=12, help="number of scenes")
    parser.add_argument("--side", type=int, default=440, help="height and width, pixels")
    parser.add_argument("--first", type=int, default=0, help="seed of the first scene")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(startup.run_command("model.scenes", main))
