import io
import json
import resource
import zipfile

import h5py
import keras
import numpy as np
import pytest

from model.network import loading, presets
from model.network.presets import ModelError
from model.network.rdn import RDN

TINY = {"convs_per_block": 1, "num_blocks": 1, "growth_rate": 4, "features": 4}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The files inside a small saved network."""
    path = tmp_path_factory.mktemp("saved") / "tiny.keras"
    RDN(**TINY).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return presets.from_bytes("mine", buffer.getvalue())


def with_sizes(parts, **sizes):
    config = json.loads(parts["config.json"])
    config["config"] |= sizes
    return packed(parts | {"config.json": json.dumps(config)})


def refused(saved, match):
    """Refuses it, in little memory."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=match):
        loading.load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000


def test_the_parts_make_a_network(parts):
    assert (
        loading.load(packed(parts)).get_config() | TINY == loading.load(packed(parts)).get_config()
    )


@pytest.mark.parametrize("deep", ["[" * 60_000, '{"a":' * 10_000])
def test_deep_json(parts, deep):
    refused(packed(parts | {"config.json": deep}), "mine is no saved RDN")


def test_a_deep_entry_of_the_configuration(parts):
    text = parts["config.json"].decode().replace('"scale": 2', '"scale": ' + "[" * 500 + "]" * 500)
    refused(packed(parts | {"config.json": text}), "impossible sizes")


def test_a_long_configuration(parts):
    refused(packed(parts | {"config.json": b" " * 100_000}), "configuration of over")


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ({"features": 20_000, "growth_rate": 20_000}, "describes a network of at least"),
        ({"features": 3000}, "describes a network of at least"),
        ({"scale": 5000}, "describes a network of at least"),
        ({"num_blocks": 1_000_000}, "1000000 convolutions, the limit is 2000"),
        ({"convs_per_block": 3000}, "3000 convolutions"),
        ({"features": 2**70}, "impossible sizes"),
        ({"features": -4}, "impossible sizes"),
        ({"features": 4.5}, "impossible sizes"),
        ({"features": True}, "impossible sizes"),
        ({"features": None}, "impossible sizes"),
        ({"growth_rate": 5}, "mine is no saved RDN|describes a network"),
    ],
)
def test_sizes_that_the_weights_do_not_have(parts, sizes, match):
    refused(with_sizes(parts, **sizes), match)


def test_an_archive_that_unpacks_to_much_more(parts):
    zeros = packed(parts | {"model.weights.h5": bytes(500 << 20)}, zipfile.ZIP_DEFLATED)
    assert len(zeros.data) < 1 << 20
    refused(zeros, "unpacks to 52428")


def test_arrays_larger_than_their_file(parts):
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        names = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        del file[names[0]]
        file.create_dataset(names[0], (40_000, 40_000), "f4", chunks=(1000, 1000))
    refused(packed(parts | {"model.weights.h5": weights.getvalue()}), "arrays of 6400")


def test_weights_that_are_not_numbers(parts, tmp_path):
    rdn = loading.load(packed(parts))
    layer = rdn.get_layer("rdb1_conv1")
    kernel, bias = layer.get_weights()
    for broken in (np.nan, np.inf):
        bias[2] = broken
        layer.set_weights([kernel, bias])
        rdn.save(tmp_path / "nan.keras")
        refused(presets.resolve(str(tmp_path / "nan.keras")), "not finite, in rdb1_conv1/bias")


def test_other_networks_are_named(tmp_path):
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save(tmp_path / "other.keras")
    refused(presets.resolve(str(tmp_path / "other.keras")), "is a Sequential, not an RDN")


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_parts_that_are_missing(parts, missing):
    left = {name: data for name, data in parts.items() if name != missing}
    refused(packed(left), "mine is no saved RDN")


@pytest.mark.parametrize("text", ["[]", "7", '{"registered_name": "catalog_magnifier>RDN"}'])
def test_configurations_of_another_shape(parts, text):
    refused(packed(parts | {"config.json": text}), "mine is no saved RDN")
