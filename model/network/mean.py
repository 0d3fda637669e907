"""Saves the mean of the weights of networks that were trained on from one and the same.

    python -m model.network.mean mean.keras rdn-product runs/a/model.keras runs/b/model.keras

Each run forgets a little of what another keeps, and ends beside it at random; their mean costs no
time in the job. It helps while the runs are near each other: measure it before you use it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model import files, startup
from model.command_line import CommandParser, printable
from model.network import presets


def mean_weights(weights: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Returns the mean of the weights of networks.

    Args:
        weights: for each network, `RDN.get_weights()`: float32 arrays, the same shapes in each.

    Returns:
        Float32 arrays of these shapes, for `RDN.set_weights()`.

    Raises:
        ValueError: if there are no networks, or their weights differ in number or shape.

    Example:
        >>> mean_weights([[np.zeros(2, np.float32)], [np.full(2, 3, np.float32)]])
        [array([1.5, 1.5], dtype=float32)]

    Source:
        Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves
        accuracy without increasing inference time", ICML 2022: the uniform soup.
    """
    if not weights:
        raise ValueError("a mean needs at least one network")
    shapes = [[array.shape for array in arrays] for arrays in weights]
    if any(other != shapes[0] for other in shapes):
        raise ValueError("a mean needs networks of one architecture")
    # In float64: the order of the networks does not change the result's last bit.
    return [
        np.asarray(np.mean(arrays, axis=0, dtype=np.float64), np.float32)
        for arrays in zip(*weights, strict=True)
    ]


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0; 1 if a network cannot be read or the file not be written.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    options = _parser().parse_args(argv)
    startup.import_tensorflow()
    from model.network import loading  # noqa: PLC0415 - errors and --help need no framework

    try:
        networks = []
        for name in options.networks:
            networks.append(loading.load_by_name(name))
            if networks[-1].get_config() != networks[0].get_config():
                raise ValueError(f"{name} has another architecture than {options.networks[0]}")
        networks[0].set_weights(mean_weights([network.get_weights() for network in networks]))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with files.appearing(options.out, keep_suffix=True) as partial:
            networks[0].save(partial)
    except (presets.ModelError, ValueError, OSError) as error:
        print(f"model.network.mean: {error}", file=sys.stderr)
        return 1
    digest = presets.resolve(str(options.out)).sha256
    count = "1 network" if len(networks) == 1 else f"{len(networks)} networks"
    print(f"{printable(str(options.out))}: the mean of {count}, sha256 {digest}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("model.network.mean", __doc__)
    parser.add_argument(
        "out",
        metavar="OUT",
        type=_keras_file,
        help="the .keras file to write; replaced if it exists",
    )
    parser.add_argument(
        "networks",
        metavar="NETWORK",
        nargs="+",
        help="names of shipped networks or .keras files, all of one architecture",
    )
    return parser


def _keras_file(argument: str) -> Path:
    if not argument.endswith(".keras"):
        raise argparse.ArgumentTypeError(f"a name that ends in .keras is needed: {argument}")
    return Path(argument)


if __name__ == "__main__":
    sys.exit(startup.run_command("model.network.mean", main))
