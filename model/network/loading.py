"""Builds an RDN from a saved file."""

import tempfile
import zipfile
from pathlib import Path

import keras

from model.network.presets import ModelError, SavedModel, resolve
from model.network.rdn import RDN


def load(saved: SavedModel) -> RDN:
    """Builds the network from a saved file.

    Args:
        saved: see `resolve`.

    Returns:
        The network, with weights, without optimizer.

    Raises:
        ModelError: if the file is not an RDN that `model.train` saved.
    """
    with tempfile.TemporaryDirectory() as folder:  # Keras reads from files only
        path = Path(folder) / "model.keras"
        path.write_bytes(saved.data)
        try:
            rdn = keras.saving.load_model(path, compile=False)
        except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ModelError(f"{saved.name} is no saved RDN: {error}") from error
    if not isinstance(rdn, RDN):
        raise ModelError(f"{saved.name} is a {type(rdn).__name__}, not an RDN of model.train")
    return rdn


def load_by_name(name_or_path: str) -> RDN:
    """`resolve` and `load` in one step, for programs that use one network on one machine."""
    return load(resolve(name_or_path))
