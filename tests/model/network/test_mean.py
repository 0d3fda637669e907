import numpy as np
import pytest

from model.network import loading, mean
from model.network.rdn import RDN

SMALL = {"convs_per_block": 1, "num_blocks": 1, "growth_rate": 4, "features": 4}


def saved(path, seed, **changes):
    rdn = RDN(**(SMALL | changes))
    generator = np.random.default_rng(seed)
    rdn.set_weights([generator.normal(0, 0.1, array.shape) for array in rdn.get_weights()])
    rdn.save(path)
    return rdn.get_weights()


def test_the_mean_of_three_is_saved_and_loads(tmp_path, capsys):
    paths = [tmp_path / f"{seed}.keras" for seed in range(3)]
    first, second, third = (saved(path, seed) for seed, path in enumerate(paths))
    out = tmp_path / "new/mean.keras"
    assert mean.main([str(out), *map(str, paths)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: the mean of 3 networks, sha256 ")
    loaded = loading.load_by_name(str(out)).get_weights()
    for a, b, c, got in zip(first, second, third, loaded, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, (a + b + c) / 3, atol=1e-7)
    assert [path.name for path in out.parent.iterdir()] == ["mean.keras"]


def test_the_mean_of_one_is_itself(tmp_path, capsys):
    one, out = tmp_path / "one.keras", tmp_path / "mean.keras"
    saved(one, 1)
    assert mean.main([str(out), str(one)]) == 0
    assert ": the mean of 1 network, sha256 " in capsys.readouterr().out


def test_the_order_does_not_matter_to_the_last_bit():
    generator = np.random.default_rng(4)
    weights = [[generator.normal(0, 1, (50, 50)).astype(np.float32)] for _ in range(3)]
    (there,), (back,) = mean.mean_weights(weights), mean.mean_weights(weights[::-1])
    np.testing.assert_array_equal(there, back)


@pytest.mark.parametrize("changes", [{"features": 5}, {"scale": 3}, {"knows_quality": True}])
def test_networks_of_other_architectures_have_no_mean(tmp_path, capsys, changes):
    one, other, out = (tmp_path / f"{name}.keras" for name in ("one", "other", "out"))
    saved(one, 1)
    saved(other, 2, **changes)
    assert mean.main([str(out), str(one), str(other)]) == 1
    message = f"model.network.mean: {other} has another architecture than {one}\n"
    assert capsys.readouterr().err == message
    assert not out.exists()


def test_weights_of_other_shapes_have_no_mean():
    with pytest.raises(ValueError, match="one architecture"):
        mean.mean_weights([[np.zeros(2)], [np.zeros(3)]])
    with pytest.raises(ValueError, match="at least one network"):
        mean.mean_weights([])


def test_a_missing_network_and_a_wrong_name_are_told(tmp_path, capsys):
    assert mean.main([str(tmp_path / "out.keras"), "rdn-produc"]) == 1
    assert "no model 'rdn-produc'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        mean.main(["out", "rdn-product"])
    assert "ends in .keras" in capsys.readouterr().err
