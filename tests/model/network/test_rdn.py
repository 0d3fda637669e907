import keras
import numpy as np
import pytest

from model.imaging import resampling
from model.network.rdn import RDN, with_planes

TINY = {"convs_per_block": 2, "num_blocks": 2, "growth_rate": 4, "features": 5}


def randomised(**parameters):
    """A network whose last convolution is not zero, so that every layer takes part."""
    keras.utils.set_random_seed(1)
    rdn = RDN(**parameters)
    generator = np.random.default_rng(2)
    rdn.set_weights([generator.normal(0, 0.2, w.shape) for w in rdn.get_weights()])
    return rdn


def apply(rdn, lr):
    return keras.ops.convert_to_numpy(rdn(lr))


def test_parameter_count_follows_the_paper():
    rdn = RDN(convs_per_block=3, num_blocks=4, growth_rate=32, features=32)

    def conv(size, inputs, outputs):
        return size**2 * inputs * outputs + outputs

    block = sum(conv(3, 32 + 32 * c, 32) for c in range(3)) + conv(1, 32 * 4, 32)
    fusion = conv(1, 4 * 32, 32) + conv(3, 32, 32)
    expected = conv(3, 3, 32) + conv(3, 32, 32) + 4 * block + fusion
    assert rdn.count_params() == expected + conv(3, 32, 32) + conv(3, 32, 12)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(7, 12), (1, 1), (2, 9)])
def test_an_untrained_network_is_bicubic(scale, size):
    lr = np.random.default_rng(3).random((2, *size, 3), dtype=np.float32)
    sr = apply(RDN(**TINY, scale=scale), lr)
    assert sr.shape == (2, size[0] * scale, size[1] * scale, 3)
    for one, source in zip(sr, lr, strict=True):
        expected = resampling.bicubic(source, size[0] * scale, size[1] * scale)
        np.testing.assert_allclose(one, expected, atol=2e-6)


def test_an_untrained_block_is_an_identity():
    """Else Adam's first steps leave all ReLUs of the upsampling net dead."""
    rdn = RDN(**TINY)
    outputs = [rdn.get_layer(name).output for name in ("sfe2", "rdb2_residual")]
    lr = np.random.default_rng(3).random((1, 8, 9, 3), dtype=np.float32)
    before, after = keras.Model(rdn.input, outputs)(lr)
    np.testing.assert_array_equal(before, after)
    assert np.std(before) > 0


@pytest.mark.parametrize(("convs", "blocks"), [(2, 1), (3, 2)])
def test_the_halo_is_exactly_the_reach_of_a_pixel(convs, blocks):
    rdn = randomised(convs_per_block=convs, num_blocks=blocks, growth_rate=4, features=4)
    assert rdn.halo_px == convs * blocks + 5
    reach = rdn.halo_px
    side = 2 * reach + 5
    # One pixel on black, no biases, positive kernels: no ReLU and no rounding hides its influence.
    rdn.set_weights([np.abs(w) if w.ndim > 1 else 0 * w for w in rdn.get_weights()])
    lr = np.zeros((1, side, side, 3), np.float32)
    centre = side // 2
    lr[0, centre, centre] = 1
    touched = (apply(rdn, lr)[0].reshape(side, 2, side, 2, 3) != 0).any(axis=(1, 3, 4))
    expected = list(range(centre - reach, centre + reach + 1))
    assert np.flatnonzero(touched.any(axis=0)).tolist() == expected
    assert np.flatnonzero(touched.any(axis=1)).tolist() == expected


@pytest.mark.parametrize("scale", [2, 3])
def test_a_saved_network_is_the_same_network(tmp_path, scale):
    told = {"knows_quality": False, "knows_sharpening": False, "believes_source": scale == 2}
    rdn = randomised(**TINY, **told, scale=scale, name="other")
    rdn.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert isinstance(again, RDN)
    assert (
        again.get_config() == rdn.get_config() == TINY | told | {"scale": scale, "name": "other"}
    )
    assert again.halo_px == rdn.halo_px
    lr = np.random.default_rng(1).random((1, 6, 7, 3), dtype=np.float32)
    np.testing.assert_array_equal(apply(rdn, lr), apply(again, lr))


def test_layers_are_named_after_the_paper():
    block = ["conv1", "concat1", "conv2", "concat2", "lff", "residual"]
    names = ["lr", "sfe1", "sfe2", *(f"rdb{d}_{part}" for d in (1, 2) for part in block)]
    names += ["gff_concat", "gff_1x1", "gff_3x3", "global_residual"]
    names += ["upnet_hidden", "upnet_subpixel", "bicubic", "bicubic_skip", "pixel_shuffle"]
    assert sorted(layer.name for layer in RDN(**TINY).layers) == sorted(names)


@pytest.mark.parametrize(
    "wrong", [*({name: 0} for name in TINY), {"growth_rate": -1}, {"scale": 1}]
)
def test_wrong_parameters(wrong):
    with pytest.raises(ValueError, match=f"Received: {next(iter(wrong))}="):
        RDN(**(TINY | wrong))


def test_a_network_is_conditioned(tmp_path):
    rdn = randomised(**TINY, knows_quality=True, knows_sharpening=True)
    lr = np.random.default_rng(1).random((2, 6, 7, 3), dtype=np.float32)
    told = with_planes(lr, rdn.conditions(np.array([100, 30]), np.array([np.nan, 0.8])))
    assert told.shape == (2, 6, 7, 6) and told.dtype == np.float32
    np.testing.assert_array_equal(told[..., :3], lr)
    np.testing.assert_allclose(told[:, 0, 0, 3:], [[1.0, 0.0, 0.0], [0.3, 0.8, 1.0]])
    results = [
        apply(rdn, with_planes(lr, rdn.conditions(*each)))
        for each in ((90, 0), (30, 0), (90, 1), (90, np.nan))
    ]
    assert all((results[0] != each).any() for each in results[1:])
    rdn.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert again.knows_quality and again.knows_sharpening
    np.testing.assert_array_equal(apply(rdn, told), apply(again, told))


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, []),
        ({"knows_quality": True}, [0.4]),
        ({"knows_sharpening": True}, [-0.5, 1.0]),
        ({"knows_quality": True, "knows_sharpening": True}, [0.4, -0.5, 1.0]),
    ],
)
def test_a_network_is_told_what_it_knows(known, expected):
    conditions = RDN(**TINY, **known).conditions(40, -0.5)
    assert conditions.shape == (1, len(expected)) and conditions.dtype == np.float32
    np.testing.assert_allclose(conditions[0], expected)


def test_untrained_it_is_bicubic_whatever_it_is_told():
    rdn = RDN(**TINY, knows_quality=True, knows_sharpening=True)
    lr = np.random.default_rng(3).random((1, 7, 9, 3), dtype=np.float32)
    sr = apply(rdn, with_planes(lr, rdn.conditions(40, 0.5)))
    np.testing.assert_allclose(sr[0], resampling.bicubic(lr[0], 14, 18), atol=2e-6)
