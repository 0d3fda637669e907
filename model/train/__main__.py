r"""Trains an RDN on HR images; LR is made on the fly.

    python -m model.train --data bsd400 yang91 --compressed_data product --out runs/rdn-small
    python -m model.train --compressed_data product --drawn_scenes 600 --degraded_share 0.75 \
        --knows_quality 1 --schedule stable --steps 100000 --out runs/rdn-product
    KERAS_BACKEND=jax python -m model.train --data s3://bucket/photographs/ --out runs/mine

A run's folder holds `config.json`; `images.json`, which images it has;
`checkpoint.keras`, the last state with its optimizer; `stable.keras`, that before the final decay
of a stable learning rate;
`best.keras` and `model.keras`, the best and the last network to evaluate and ship;
`held_out_*.txt`, the images not trained on; `log.csv` and `tensorboard/`. The same command
again, after Ctrl-C or a crash, continues from the checkpoint and, on one machine, ends in the same
weights as a run that was never interrupted. With `--schedule stable` it may be given other
`--steps` and `--decay_steps`: a longer run continues from before its decay.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from model import startup
from model.command_line import CommandParser
from model.train.config import add_options, from_options


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0; 1 if it cannot train; 130 after Ctrl-C.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    options = vars(_parse(argv))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run_dir, every = options.pop("out"), options.pop("checkpoint_every")
    processes = options.pop("feed_processes")
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        startup.import_tensorflow()
    from model.train import training  # noqa: PLC0415 - imports Keras

    try:
        training.train(
            from_options(options), run_dir, checkpoint_every=every, feed_processes=processes
        )
    except (ValueError, OSError) as error:
        print(f"model.train: {error}", file=sys.stderr)
        return 1
    except (training.InterruptedTrainingError, KeyboardInterrupt) as error:
        print(
            f"model.train: {error or 'interrupted'}; the same command continues from {run_dir}",
            file=sys.stderr,
        )
        return startup.INTERRUPTED
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser(
        "model.train", __doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", required=True, type=Path, help="the run's folder")
    parser.add_argument(
        "--checkpoint_every",
        type=int,
        default=500,
        metavar="STEPS",
        help="between checkpoints, validations, lines of the log",
    )
    parser.add_argument(
        "--feed_processes",
        type=int,
        default=0,
        metavar="COUNT",
        help="processes that make the patches: with a GPU, as many as cores; 0: two threads, "
        "enough where the network has the same cores",
    )
    add_options(parser)
    options = parser.parse_args(argv)
    for name, least in (("checkpoint_every", 1), ("feed_processes", 0)):
        if getattr(options, name) < least:
            parser.error(f"--{name} is {least} or more: {getattr(options, name)}")
    return options


if __name__ == "__main__":
    sys.exit(startup.run_command("model.train", main))
