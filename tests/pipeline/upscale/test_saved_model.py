import pytest

from pipeline.records import RunError
from pipeline.upscale.saved_model import read_model


def test_a_shipped_name_and_a_path_give_the_same_network(local_files, tmp_path):
    shipped = read_model(local_files, "rdn-small")
    path = tmp_path / "mine.keras"
    path.write_bytes(shipped.data)
    assert read_model(local_files, str(path)).sha256 == shipped.sha256


@pytest.mark.parametrize("name", ["rdn-huge", "/no/such/file.keras", "gs://b/x.keras"])
def test_an_unknown_model_is_told_with_the_known_ones(local_files, name):
    with pytest.raises(RunError, match=r"--model"):
        read_model(local_files, name)
