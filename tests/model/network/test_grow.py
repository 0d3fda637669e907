import keras
import numpy as np
import pytest

from model.imaging import resampling
from model.network.grow import grow
from model.network.rdn import RDN, with_quality_plane
from model.scenes.drawing import draw_scene

SMALL = {"convs_per_block": 2, "num_blocks": 2, "growth_rate": 5, "features": 6}


def random_rdn(**changes):
    """A network whose every weight is random, also those that start at zero."""
    rdn = RDN(**(SMALL | changes))
    generator = np.random.default_rng(1)
    rdn.set_weights([generator.normal(0, 0.1, w.shape) for w in rdn.get_weights()])
    return rdn


@pytest.mark.parametrize(
    "changes",
    [
        {"convs_per_block": 4},
        {"num_blocks": 5},
        {"growth_rate": 8},
        {"features": 9},
        {"knows_quality": True},
        {"convs_per_block": 3, "num_blocks": 4, "growth_rate": 7, "features": 11},
    ],
)
def test_a_grown_network_computes_the_same_and_can_learn(changes):
    small, large = random_rdn(), RDN(**(SMALL | changes))
    grow(small, large)
    lr = draw_scene(1, 18, 20)[None].astype(np.float32) / 255
    told = with_quality_plane(lr, 60) if large.knows_quality else lr
    np.testing.assert_allclose(small(lr), large(told), atol=2e-6)

    before = large.get_weights()
    large.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mean_absolute_error")
    for _ in range(3):  # what was silent has to learn to speak before what feeds it moves
        large.train_on_batch(told, np.zeros((1, 36, 40, 3), np.float32))
    for old, new, variable in zip(before, large.get_weights(), large.weights, strict=True):
        assert (old != new).mean() > 0.25, variable.path


def test_growing_keeps_the_start_of_the_rest_random():
    small, large = random_rdn(), RDN(**(SMALL | {"growth_rate": 8}))
    fresh = large.get_layer("rdb1_conv1").get_weights()[0]
    grow(small, large)
    grown = large.get_layer("rdb1_conv1").get_weights()[0]
    np.testing.assert_array_equal(grown[..., 5:], fresh[..., 5:])


@pytest.mark.parametrize("scale", [3, 4])
def test_another_scale_starts_as_bicubic_on_the_same_body(scale):
    small, large = random_rdn(), RDN(**(SMALL | {"scale": scale}))
    grow(small, large)
    lr = draw_scene(1, 18, 20)
    unit = lr[None].astype(np.float32) / 255
    bicubic = resampling.bicubic(lr, 18 * scale, 20 * scale) / 255
    np.testing.assert_allclose(large(unit)[0], bicubic, atol=1e-5)
    bodies = [
        keras.Model(rdn.input, rdn.get_layer("upnet_hidden").output)(unit)
        for rdn in (small, large)
    ]
    np.testing.assert_allclose(*bodies, atol=2e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_blocks": 1}, "num_blocks 2 to 1"),
        ({"features": 5}, "features 6 to 5"),
    ],
)
def test_networks_do_not_shrink(changes, message):
    with pytest.raises(ValueError, match=message):
        grow(random_rdn(), RDN(**(SMALL | changes)))
