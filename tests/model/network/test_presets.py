import hashlib
import shutil

import keras
import pytest

from model.network import loading, presets
from model.network.presets import PRESETS, ModelError


@pytest.mark.parametrize("name", PRESETS)
def test_a_shipped_network_is_the_one_that_is_described(name):
    preset = PRESETS[name]
    digest = hashlib.sha256(preset.path.read_bytes()).hexdigest()
    assert digest == preset.sha256
    rdn = loading.load_by_name(name)
    assert (rdn.count_params(), rdn.scale) == (preset.parameters, preset.scale)
    card = preset.path.with_suffix(".md").read_text()
    for fact in (digest, f"{preset.set5_psnr_y_db:.2f}", f"{preset.set14_psnr_y_db:.2f}"):
        assert fact in card


def test_the_default_is_shipped():
    assert presets.DEFAULT in PRESETS


def test_any_saved_network_can_be_named_by_its_path(tmp_path):
    copy = tmp_path / "mine.keras"
    shutil.copy(PRESETS[presets.DEFAULT].path, copy)
    saved = presets.resolve(str(copy))
    assert (saved.name, saved.sha256) == ("mine", PRESETS[presets.DEFAULT].sha256)
    assert loading.load(saved).halo_px == 20


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(ModelError, match=r"'rdn-huge'.*rdn-small"):
        presets.resolve("rdn-huge")


@pytest.mark.parametrize(
    "address", ["https://shop/a.keras?X-Amz-Signature=planted", "s3://KEY:planted@shop/a.keras"]
)
def test_an_address_is_refused_without_its_secret(address):
    with pytest.raises(ModelError, match="download the file") as caught:
        presets.resolve(address)
    assert "planted" not in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    data = bytearray(PRESETS[presets.DEFAULT].path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / f"{presets.DEFAULT}.keras").write_bytes(data)
    monkeypatch.setattr(presets, "WEIGHTS_DIR", tmp_path)
    with pytest.raises(ModelError, match="damaged"):
        presets.resolve(presets.DEFAULT)


def test_a_damaged_file_of_one_s_own_is_refused():
    data = bytearray(PRESETS[presets.DEFAULT].path.read_bytes())
    for broken in (data[: len(data) // 2], data[:1000], b""):
        with pytest.raises(ModelError, match="mine is no saved RDN"):
            loading.load(presets.from_bytes("mine", bytes(broken)))
    for at in (len(data) // 3, len(data) // 2):
        flipped = data.copy()
        flipped[at] ^= 1
        with pytest.raises(ModelError, match="mine is no saved RDN"):
            loading.load(presets.from_bytes("mine", bytes(flipped)))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no saved RDN"):
        loading.load(presets.from_bytes("text", b"no archive"))
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match="not an RDN"):
        loading.load_by_name(str(tmp_path / "other.keras"))
