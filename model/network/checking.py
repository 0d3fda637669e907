"""Checks the sizes and structure of a saved RDN before it is built. Imports no framework."""

import io
import json
import math
import zipfile
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from model.network.presets import BROKEN, MAX_CONFIG_BYTES, ModelError, SavedModel

# The paper's largest network has 128.
_MAX_CONVOLUTIONS = 2000
_SIZES = ("convs_per_block", "num_blocks", "growth_rate", "features", "scale")
_WEIGHTS = "model.weights.h5"


def check(saved: SavedModel) -> None:
    """Refuses a file that is no RDN, or that would take more memory than its size warrants.

    Args:
        saved: see `presets.resolve`.

    Raises:
        ModelError: if `model.train` did not save it, or it is damaged.
    """
    try:
        _check(saved)
    except BROKEN as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{saved.name} is no saved RDN: {error}") from error


def _check(saved: SavedModel) -> None:
    with zipfile.ZipFile(io.BytesIO(saved.data)) as archive:
        unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
        if unpacked_bytes > 2 * len(saved.data) + MAX_CONFIG_BYTES:
            raise ModelError(
                f"{saved.name} unpacks to {unpacked_bytes} bytes, from {len(saved.data)}: "
                "model.train does not compress"
            )
        with archive.open("config.json") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise ModelError(f"{saved.name} has a configuration of over {MAX_CONFIG_BYTES} bytes")
        config = json.loads(text)
        if not isinstance(config, dict):
            raise ValueError("its configuration is no JSON object")
        if config.get("registered_name") != "catalog_magnifier>RDN":
            name = str(config.get("class_name"))[:80]
            raise ModelError(f"{saved.name} is a {name}, not an RDN of model.train")
        weights = archive.read(_WEIGHTS)
    _check_sizes(saved.name, config["config"], len(weights))
    _check_arrays(saved.name, weights)


def _check_sizes(name: str, config: dict[str, Any], weights_bytes: int) -> None:
    """Compares the network that a configuration describes with the size of its weights."""
    sizes = {key: config.get(key, 2) for key in _SIZES}
    if not all(type(size) is int and 1 <= size < 1 << 20 for size in sizes.values()):
        raise ModelError(f"{name} has impossible sizes: {str(sizes)[:200]}")
    c, d, g, g0, scale = sizes.values()
    if c * d > _MAX_CONVOLUTIONS:
        raise ModelError(f"{name} has {c * d} convolutions, the limit is {_MAX_CONVOLUTIONS}")
    # Kernels alone, 4 bytes a weight, from the largest layers.
    blocks = d * sum(9 * (g0 + i * g) * g for i in range(c)) + d * (g0 + c * g) * g0
    rest = 9 * g0 * (3 + 3 * g0 + 3 * scale**2) + d * g0 * g0
    if 4 * (blocks + rest) > weights_bytes:
        raise ModelError(
            f"{name} describes a network of at least {4 * (blocks + rest)} bytes, but holds "
            f"{weights_bytes}: {sizes}"
        )


def _check_arrays(name: str, weights: bytes) -> None:
    """Raises for arrays that claim more bytes than there are, or lie in other files."""
    arrays: list[h5py.Dataset] = []

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays.append(item)

    with h5py.File(io.BytesIO(weights), "r") as file:
        file.visititems(collect)
        claimed_bytes = sum(math.prod(one.shape or ()) * one.dtype.itemsize for one in arrays)
        if claimed_bytes > len(weights) or any(one.external or one.is_virtual for one in arrays):
            raise ModelError(
                f"{name} has arrays of {claimed_bytes} bytes in a file of {len(weights)}"
            )


def check_finite(saved: SavedModel) -> None:
    """Refuses weights that are not finite, without building the network.

    Args:
        saved: that passed `check`.

    Raises:
        ModelError: names the first such array.
    """
    broken: list[str] = []

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not np.isfinite(item[()]).all():
            broken.append(name)

    with zipfile.ZipFile(io.BytesIO(saved.data)) as archive:
        weights = archive.read(_WEIGHTS)
    with h5py.File(io.BytesIO(weights), "r") as file:
        file.visititems(collect)
    if broken:
        raise ModelError(f"{saved.name} has weights that are not finite, in {broken[0]}")
