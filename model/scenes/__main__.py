"""Draws product images and writes them as `scene-<seed>.png`.

python -m model.scenes OUT --count 12 --side 440
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

from model.scenes import drawing


def main(argv: list[str] | None = None) -> int:
    """Command line; exits with status 2 for a wrong one.

    Args:
        argv: options; None for those of this process.

    Returns:
        The exit status: 0 done, 1 cannot draw or write.
    """
    parser = argparse.ArgumentParser(
        prog="python -m model.scenes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--count", type=int, default=12, help="number of scenes")
    parser.add_argument("--side", type=int, default=440, help="height and width, pixels")
    parser.add_argument("--first", type=int, default=0, help="seed of the first scene")
    arguments = parser.parse_args(argv)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for seed in range(arguments.first, arguments.first + arguments.count):
            scene = drawing.draw_scene(seed, arguments.side, arguments.side)
            Image.fromarray(scene).save(arguments.out / f"scene-{seed}.png")
    except (OSError, ValueError) as error:
        print(f"model.scenes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
