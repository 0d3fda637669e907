import keras
import numpy as np
import pytest

from model.imaging import resampling
from model.metrics.full_reference import psnr_y
from model.network import loading
from model.network.grow import grow
from model.network.rdn import RDN, with_planes
from model.scenes.drawing import draw_scene
from model.train.training import upscale

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
        {"knows_sharpening": True},
        {"knows_quality": True, "knows_sharpening": True},
        {"convs_per_block": 3, "num_blocks": 4, "growth_rate": 7, "features": 11},
    ],
)
def test_a_grown_network_computes_the_same_and_can_learn(changes):
    small, large = random_rdn(), RDN(**(SMALL | changes))
    grow(small, large)
    lr = draw_scene(1, 18, 20)[None].astype(np.float32) / 255
    told = with_planes(lr, large.conditions(60, 0.7))
    np.testing.assert_allclose(small(lr), large(told), atol=2e-6)

    before = large.get_weights()
    optimizer = keras.optimizers.Adam(1e-2)
    large.compile(optimizer=optimizer, loss="mean_absolute_error", run_eagerly=True)
    for _ in range(3):  # what was silent has to learn to speak before what feeds it moves
        large.train_on_batch(told, np.zeros((1, 36, 40, 3), np.float32))
    for old, new, variable in zip(before, large.get_weights(), large.weights, strict=True):
        assert (old != new).mean() > 0.25, variable.path


@pytest.mark.parametrize("known", ["knows_quality", "knows_sharpening"])
def test_a_network_that_is_told_one_thing_grows_to_be_told_both(known):
    small = random_rdn(**{known: True})
    large = RDN(**SMALL, knows_quality=True, knows_sharpening=True)
    grow(small, large)
    lr = draw_scene(1, 18, 20)[None].astype(np.float32) / 255
    results = [rdn(with_planes(lr, rdn.conditions(60, 0.7))) for rdn in (small, large)]
    np.testing.assert_allclose(*results, atol=2e-6)
    with pytest.raises(ValueError, match=rf"have {known}, which .* needs, too .*--{known} 1"):
        grow(small, RDN(**SMALL))


def test_growing_keeps_the_start_of_the_rest_random():
    small, large = random_rdn(), RDN(**(SMALL | {"growth_rate": 8}))
    fresh = large.get_layer("rdb1_conv1").get_weights()[0]
    grow(small, large)
    grown = large.get_layer("rdb1_conv1").get_weights()[0]
    np.testing.assert_array_equal(grown[..., 5:], fresh[..., 5:])


@pytest.mark.parametrize(
    ("scale", "weights"),
    [
        (3, [[1, 0], [0.5, 0.5], [0, 1]]),
        (4, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]),
    ],
)
def test_another_scale_starts_with_the_residual_interpolated(scale, weights):
    small, large = random_rdn(), RDN(**(SMALL | {"scale": scale}))
    grow(small, large)
    lr = draw_scene(1, 18, 20)
    old, new = (residual(rdn, lr) for rdn in (small, large))
    assert np.abs(old).max() > 0.05
    for y, of_rows in enumerate(weights):
        for x, of_columns in enumerate(weights):
            expected = sum(
                of_rows[i] * of_columns[j] * old[i::2, j::2] for i in range(2) for j in range(2)
            )
            np.testing.assert_allclose(new[y::scale, x::scale], expected, atol=1e-5)


def residual(rdn, lr):
    """What a network adds to bicubic, 0..1."""
    size = lr.shape[0] * rdn.scale, lr.shape[1] * rdn.scale
    (sr,) = np.asarray(rdn(lr[None].astype(np.float32) / 255))
    return sr - resampling.bicubic(lr, *size) / 255


@pytest.mark.parametrize("scale", [3, 4])
def test_another_scale_is_above_bicubic_before_any_training(scale):
    small = loading.load_by_name("rdn-product")
    rdn = RDN(**(small.get_config() | {"scale": scale}))
    grow(small, rdn)
    hr = draw_scene(3, 48 * scale, 48 * scale)
    lr = resampling.to_uint8(resampling.bicubic(hr, 48, 48))
    bicubic = resampling.to_uint8(resampling.bicubic(lr, *hr.shape[:2]))
    gain_db = psnr_y(hr, upscale(rdn, lr, 100), border=scale) - psnr_y(hr, bicubic, border=scale)
    assert gain_db > 0.7


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
