"""Builds an RDN from a saved file, whose sizes and structure are checked first."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from model.network.checking import check
from model.network.presets import BROKEN, ModelError, SavedModel, resolve
from model.network.rdn import RDN


def load(saved: SavedModel) -> RDN:
    """Builds the network from a saved file.

    No more memory is taken than the file's own size warrants: the sizes in its configuration
    and its arrays are compared with it before anything is built.

    Args:
        saved: see `resolve`.

    Returns:
        The network, with weights, without optimizer.

    Raises:
        ModelError: if the file is not an RDN that `model.train` saved, is damaged, or has weights
            that are not finite.

    Example:
        >>> load(resolve("rdn-small")).scale
        2
    """
    check(saved)
    with tempfile.TemporaryDirectory() as folder:  # Keras reads from files only
        path = Path(folder) / "model.keras"
        path.write_bytes(saved.data)
        try:
            rdn = keras.saving.load_model(path, compile=False)
        except BROKEN as error:
            raise ModelError(f"{saved.name} is no saved RDN: {error}") from error
    if not isinstance(rdn, RDN):
        raise ModelError(f"{saved.name} is a {type(rdn).__name__}, not an RDN of model.train")
    for variable, weights in zip(rdn.weights, rdn.get_weights(), strict=True):
        if not np.isfinite(weights).all():
            raise ModelError(f"{saved.name} has weights that are not finite, in {variable.path}")
    return rdn


def load_by_name(name_or_path: str) -> RDN:
    """Resolves and loads a network, for programs that use one network on one machine.

    Args:
        name_or_path: see `resolve`.

    Returns:
        See `load`.

    Raises:
        ModelError: see `resolve` and `load`.
    """
    return load(resolve(name_or_path))
