import keras
import numpy as np
import pytest

from model.network import dihedral
from model.network.grow import COPY_TRANSFORMS, grow
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
    network_input = with_quality_plane(lr, 60) if large.knows_quality else lr
    np.testing.assert_allclose(small(lr), large(network_input), atol=2e-6)

    before = large.get_weights()
    large.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mean_absolute_error")
    for _ in range(3):  # what was silent has to learn to speak before what feeds it moves
        large.train_on_batch(network_input, np.zeros((1, 36, 40, 3), np.float32))
    for old, new, variable in zip(before, large.get_weights(), large.weights, strict=True):
        assert (old != new).mean() > 0.25, variable.path


def test_growing_keeps_the_start_of_the_rest_random():
    small, large = random_rdn(), RDN(**(SMALL | {"growth_rate": 8}))
    fresh = large.get_layer("rdb1_conv1").get_weights()[0]
    grow(small, large)
    grown = large.get_layer("rdb1_conv1").get_weights()[0]
    np.testing.assert_array_equal(grown[..., 5:], fresh[..., 5:])


@pytest.mark.parametrize("copies", [2, 3, 8])
@pytest.mark.parametrize("extra", [{}, {"num_blocks": 3, "features": 50, "convs_per_block": 3}])
def test_copies_compute_the_mean_of_transformed_networks_and_learn_connections(copies, extra):
    small = random_rdn()
    wide = {"growth_rate": 5 * copies, "features": 6 * copies}
    large = RDN(**(SMALL | wide | extra))
    grow(small, large, copies=copies)
    lr = draw_scene(1, 18, 20)[None].astype(np.float32) / 255
    results = [
        dihedral.invert(np.asarray(small(dihedral.transform(lr, *one))), *one)
        for one in COPY_TRANSFORMS[:copies]
    ]
    assert np.abs(results[0] - results[1]).max() > 0.01  # or the transforms prove nothing
    np.testing.assert_allclose(large(lr), np.mean(results, axis=0), atol=2e-5)

    large.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mean_absolute_error")
    large.train_on_batch(lr, np.zeros((1, 36, 40, 3), np.float32))
    strangers = large.get_layer("sfe2").get_weights()[0][:, :, :6, 6:12]
    assert (strangers != 0).mean() > 0.9


@pytest.mark.parametrize(
    ("copies", "message"), [(0, "Received: 0"), (9, "9"), (2, "features >= 12. Received: 6")]
)
def test_copies_need_room(copies, message):
    with pytest.raises(ValueError, match=message):
        grow(random_rdn(), RDN(**(SMALL | {"growth_rate": 10})), copies=copies)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_blocks": 1}, "num_blocks >= 2. Received: 1"),
        ({"features": 5}, "features >= 6. Received: 5"),
        ({"scale": 3}, "2 and 3"),
    ],
)
def test_networks_do_not_shrink(changes, message):
    with pytest.raises(ValueError, match=message):
        grow(random_rdn(), RDN(**(SMALL | changes)))
