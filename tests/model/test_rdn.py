import keras
import numpy as np
import pytest

from model import degrade
from model.rdn import RDN

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
        expected = degrade.bicubic(source, size[0] * scale, size[1] * scale)
        np.testing.assert_allclose(one, expected, atol=2e-6)


@pytest.mark.parametrize(("convs", "blocks"), [(2, 1), (3, 2)])
def test_the_halo_is_exactly_the_reach_of_a_pixel(convs, blocks):
    rdn = randomised(convs_per_block=convs, num_blocks=blocks, growth_rate=4, features=4)
    assert rdn.halo_px == convs * blocks + 5
    reach = rdn.halo_px
    length = 2 * reach + 5
    # Positive weights and inputs: no ReLU may hide a pixel's influence.
    rdn.set_weights([np.abs(w) for w in rdn.get_weights()])
    lr = np.full((1, 5, length, 3), 0.5, np.float32)
    changed = lr.copy()
    changed[0, :, 0] = 1.0
    difference = np.abs(apply(rdn, lr) - apply(rdn, changed)).max(axis=(0, 1, 3))
    by_lr_pixel = difference.reshape(length, 2).max(axis=1)
    assert by_lr_pixel[reach] > 0
    assert by_lr_pixel[reach + 1 :].max() == 0


def test_a_saved_network_is_the_same_network(tmp_path):
    rdn = randomised(**TINY)
    rdn.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert isinstance(again, RDN)
    assert again.get_config() == rdn.get_config()
    assert again.halo_px == rdn.halo_px
    lr = np.random.default_rng(1).random((1, 6, 7, 3), dtype=np.float32)
    np.testing.assert_array_equal(apply(rdn, lr), apply(again, lr))


def test_layers_are_named_after_the_paper():
    names = {layer.name for layer in RDN(**TINY).layers}
    assert names >= {"sfe1", "sfe2", "rdb1_conv1", "rdb2_conv2", "rdb2_lff", "gff_1x1", "gff_3x3"}
    assert not [name for name in names if name.startswith(("conv2d", "add", "concatenate"))]


@pytest.mark.parametrize("wrong", [{"num_blocks": 0}, {"growth_rate": -1}, {"scale": 1}])
def test_wrong_parameters(wrong):
    with pytest.raises(ValueError, match=f"Received: {next(iter(wrong))}="):
        RDN(**(TINY | wrong))
