import concurrent.futures
import math

import numpy as np
import pytest
import tensorflow as tf

from model.imaging import resampling
from model.imaging.alpha import bleed_colours
from model.imaging.image import RasterImage
from model.inference.backends import Network, WholeImageBackend
from model.inference.errors import OutOfMemoryError
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.network import loading, presets
from model.network.rdn import RDN
from model.scenes.drawing import draw_scene


def random_rgb(height, width, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def disc(height=48, width=48, radius=15):
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2 + 0.5, x - width / 2 + 0.5)
    return (np.clip(radius - distance + 0.5, 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def backend(shipped):
    return WholeImageBackend(Network(shipped, "float32"))


class WatchedBackend:
    """A backend that notes its calls and runs out of memory above a number of pixels."""

    one_at_a_time = True

    def __init__(self, backend, max_px=1 << 40):
        self._backend = backend
        self.max_px = max_px
        self.calls = []
        self.conditions = []

    def rounded(self, lr, conditions):
        self._note(lr, conditions)
        return self._backend.rounded(lr, conditions)

    def levels(self, lr, conditions):
        self._note(lr, conditions)
        return self._backend.levels(lr, conditions)

    def _note(self, lr, conditions):
        self.calls.append(lr.shape[0] * lr.shape[1] * lr.shape[2])
        self.conditions.append(conditions)
        if self.calls[-1] > self.max_px:
            raise tf.errors.ResourceExhaustedError(None, None, "injected")


def on_device(rdn, device, **options):
    return Upscaler(rdn, backend=device, skip_background=False, **options)


def test_out_of_memory_halves_the_tile_and_goes_on(shipped, backend, upscaler):
    device = WatchedBackend(backend, max_px=8_000)
    lr = random_rgb(130, 120)
    result = on_device(shipped, device).upscale_rgb(lr)
    np.testing.assert_array_equal(result, upscaler.upscale_rgb(lr))
    assert device.calls[0] == 130 * 120
    assert len(device.calls) > 4


def test_a_call_for_a_transparent_image_has_no_more_pixels_than_allowed(shipped, backend):
    device = WatchedBackend(backend)
    alpha = np.full((90, 130), 255, np.uint8)
    alpha[:40] = 0
    upscaler = on_device(shipped, device, max_call_px=90 * 130)
    upscaler.upscale_image(RasterImage(random_rgb(90, 130), alpha))
    assert device.calls == [90 * 130] * 2


class Repeating(WatchedBackend):
    """A backend that notes its calls and only repeats pixels: no time, and tiles show."""

    def rounded(self, lr, jpeg_quality):
        self._note(lr, jpeg_quality)
        return lr.repeat(2, axis=1).repeat(2, axis=2)


@pytest.mark.parametrize(
    ("name", "compute_dtype", "max_px"),
    [
        *((name, "float32", 420_000) for name in presets.ON_A_CPU),
        ("rdn-large", "float32", 147_000),
        ("rdn-large", "bfloat16", 294_000),
    ],
)
def test_a_larger_network_gets_smaller_tiles(name, compute_dtype, max_px):
    """A call's memory stays the same: in float32 rdn-large needs three times it for a pixel."""
    device = Repeating(None)
    upscaler = on_device(loading.load_by_name(name), device, compute_dtype=compute_dtype)
    upscaler.upscale_rgb(random_rgb(max_px // 700, 700))
    assert device.calls == [max_px]
    device.calls.clear()
    lr = random_rgb(max_px // 700 + 2, 700)
    result = upscaler.upscale_rgb(lr)
    np.testing.assert_array_equal(result, lr.repeat(2, axis=0).repeat(2, axis=1))
    assert len(device.calls) > 1 and max(device.calls) <= max_px


def test_out_of_memory_on_a_transparent_image(shipped, backend, upscaler):
    image = RasterImage(random_rgb(110, 120), alpha=random_rgb(110, 120)[..., 0])
    device = WatchedBackend(backend, max_px=15_000)  # colours and alpha are two images
    result = on_device(shipped, device).upscale_image(image)
    expected = upscaler.upscale_image(image)
    np.testing.assert_array_equal(result.rgb, expected.rgb)
    np.testing.assert_array_equal(result.alpha, expected.alpha)
    assert len(device.calls) > 1


@pytest.mark.parametrize(("size", "named"), [((30, 40), 1200), ((200, 180), 4500)])
def test_out_of_memory_names_the_call_that_failed(shipped, backend, size, named):
    small = on_device(shipped, WatchedBackend(backend, max_px=10))
    with pytest.raises(OutOfMemoryError, match=f" {named} pixels"):
        small.upscale_rgb(random_rgb(*size))


def test_a_memory_fault_does_not_last(shipped, backend):
    """The limit found for one image belongs to that call: the next one starts whole again."""
    device = WatchedBackend(backend, max_px=12_000)
    small = on_device(shipped, device)
    small.upscale_rgb(random_rgb(150, 100))
    device.max_px = 10**6
    device.calls.clear()
    small.upscale_rgb(random_rgb(150, 100))
    assert device.calls == [150 * 100]


def test_threads_may_share_one(upscaler):
    images = [random_rgb(20 + i, 30 + 2 * i, seed=i) for i in range(12)]
    alone = [upscaler.upscale_rgb(image) for image in images]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        # Without the lock a wrong image or a crash came within 20 rounds.
        for _ in range(20):
            together = list(threads.map(upscaler.upscale_rgb, images))
            for first, second in zip(alone, together, strict=True):
                np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_the_smallest_images(upscaler, size):
    assert upscaler.upscale_rgb(random_rgb(*size)).shape == (2 * size[0], 2 * size[1], 3)


def test_flat_colour_stays_that_colour(upscaler):
    for level in (0, 128, 255):
        lr = np.full((24, 24, 3), level, np.uint8)
        difference = upscaler.upscale_rgb(lr).astype(int) - level
        assert np.abs(difference).max() <= 1


def test_grey_stays_grey(upscaler):
    grey = np.repeat(random_rgb(20, 20)[..., :1], 3, axis=-1)
    result = upscaler.upscale_image(RasterImage(grey, is_grey=True))
    assert result.is_grey and result.alpha is None
    assert (np.ptp(result.rgb, axis=-1) == 0).all()


def test_grey_with_transparency_stays_both(upscaler):
    grey = np.repeat(random_rgb(20, 21)[..., :1], 3, axis=-1)
    image = RasterImage(grey, alpha=disc(20, 21, 8), is_grey=True)
    result = upscaler.upscale_image(image)
    assert result.is_grey and result.alpha.shape == (40, 42)
    assert (np.ptp(result.rgb, axis=-1) == 0).all()


@pytest.mark.parametrize("alpha", [None, disc(20, 20, 8)], ids=["opaque", "cut-out"])
def test_the_profile_stays(upscaler, alpha):
    image = RasterImage(random_rgb(20, 20), alpha=alpha, icc_profile=b"a profile")
    assert upscaler.upscale_image(image).icc_profile == b"a profile"


def test_opaque_stays_opaque_and_equals_the_plain_image(upscaler):
    rgb = random_rgb(20, 22)
    result = upscaler.upscale_image(RasterImage(rgb, alpha=np.full((20, 22), 255, np.uint8)))
    assert (result.alpha == 255).all()
    np.testing.assert_array_equal(result.rgb, upscaler.upscale_rgb(rgb))


@pytest.mark.parametrize("colour", [(255, 255, 255), (200, 40, 40), (0, 0, 0), (30, 90, 220)])
@pytest.mark.parametrize("hidden", [0, 255])
def test_a_cut_out_has_no_fringe(upscaler, colour, hidden):
    """The edge has the object's colour, whatever colour lies under transparent pixels."""
    alpha = disc()
    rgb = np.full((48, 48, 3), hidden, np.uint8)
    rgb[alpha > 0] = colour
    result = upscaler.upscale_image(RasterImage(rgb, alpha=alpha))
    seen = result.alpha > 64
    assert 4 * (alpha > 64).sum() * 0.95 < seen.sum() < 4 * (alpha > 64).sum() * 1.05
    difference = np.abs(result.rgb[seen].astype(int) - colour)
    assert difference.max() <= 3
    # As a page shows it, on both extremes, against the same disc drawn at double size.
    truth = disc(96, 96, 30)[..., None] / 255
    simple = resampling.to_uint8(resampling.bicubic(alpha, 96, 96))[..., None] / 255
    for page in (0, 255):
        opacity = result.alpha[..., None] / 255
        shown = result.rgb * opacity + page * (1 - opacity)
        expected = np.array(colour) * truth + page * (1 - truth)
        by_bicubic = np.array(colour) * simple + page * (1 - simple)
        assert np.abs(shown - expected).mean() < 0.7 * np.abs(by_bicubic - expected).mean() + 0.1


def test_an_image_without_anything_visible_stays_so(upscaler):
    alpha = np.zeros((30, 30), np.uint8)
    result = upscaler.upscale_image(RasterImage(random_rgb(30, 30), alpha=alpha))
    assert result.alpha.max() <= 1


@pytest.fixture(scope="module")
def conditioned_rdn():
    """A network with random weights, conditioned on JPEG quality and sharpening."""
    sizes = {"convs_per_block": 1, "num_blocks": 1, "growth_rate": 4, "features": 4}
    rdn = RDN(**sizes, knows_quality=True, knows_sharpening=True)
    generator = np.random.default_rng(1)
    rdn.set_weights([generator.normal(0, 0.3, w.shape) for w in rdn.get_weights()])
    return rdn


def test_a_conditioned_network_gets_the_quality(conditioned_rdn):
    conditioned = Upscaler(conditioned_rdn)
    lr = random_rgb(12, 14)
    clean, poor = (conditioned.upscale_rgb(lr, jpeg_quality=q) for q in (100, 30))
    assert (clean != poor).any()
    np.testing.assert_array_equal(conditioned.upscale_rgb(lr), clean)
    image = conditioned.upscale_image(RasterImage(lr), jpeg_quality=30)
    np.testing.assert_array_equal(image.rgb, poor)


def test_a_conditioned_network_gets_the_sharpening(conditioned_rdn):
    conditioned = Upscaler(conditioned_rdn)
    image = RasterImage(random_rgb(12, 14))
    unknown, soft, sharp = (
        conditioned.upscale_rgb(image.rgb, sharpening=level) for level in (math.nan, 0.0, 0.8)
    )
    assert (unknown != soft).any() and (soft != sharp).any() and (unknown != sharp).any()
    np.testing.assert_array_equal(conditioned.upscale_rgb(image.rgb), unknown)
    np.testing.assert_array_equal(conditioned.upscale_image(image, sharpening=0.8).rgb, sharp)


@pytest.mark.parametrize("self_ensemble", [False, True])
def test_of_a_transparent_image_the_colours_get_the_quality_and_alpha_none(
    conditioned_rdn, self_ensemble
):
    device = WatchedBackend(WholeImageBackend(Network(conditioned_rdn, "float32")))
    conditioned = on_device(conditioned_rdn, device, self_ensemble=self_ensemble)
    lr, alpha = random_rgb(12, 14), np.full((12, 14), 255, np.uint8)
    alpha[:6] = 254  # hardly transparent: the colours stay what they are, but for the rounding
    image = RasterImage(lr, alpha=alpha)
    clean, poor = (
        conditioned.upscale_image(image, jpeg_quality=q, sharpening=0.4) for q in (100, 30)
    )
    versions = 8 if self_ensemble else 1
    colours = bleed_colours(lr, alpha)
    told = [
        conditioned_rdn.conditions(np.array([quality, 100]), np.array([0.4, 0.0]))
        for quality in (100, 30)
    ]
    expected = [[plane] for each in told for plane in each for _ in range(versions)]
    np.testing.assert_array_equal(device.conditions, expected)
    np.testing.assert_array_equal(poor.alpha, clean.alpha)
    expected = conditioned.upscale_rgb(colours, jpeg_quality=30, sharpening=0.4)
    np.testing.assert_array_equal(poor.rgb, expected)
    assert (clean.rgb != poor.rgb).any()


@pytest.fixture(scope="module")
def ensemble(shipped):
    return Upscaler(shipped, self_ensemble=True)


def test_self_ensemble_is_the_mean_of_the_eight_versions():
    """Against the definition: each version made, upscaled and undone by hand, in float."""
    network = loading.load_by_name(presets.BEST_ON_CLEAN)
    lr = draw_scene(3, 20, 26)
    results = []
    for turns in range(4):
        for flip in (lambda x: x, np.flipud):
            version = np.ascontiguousarray(flip(np.rot90(lr, turns)))
            unit = version[None].astype(np.float32) / 255
            results.append(np.rot90(flip(network(unit, training=False).numpy()[0]), -turns))
    expected = np.mean(results, axis=0, dtype=np.float64) * 255
    result = Upscaler(network, self_ensemble=True).upscale_rgb(lr)
    assert np.abs(result - np.clip(expected, 0, 255)).max() <= 0.501  # rounded once, at the end
    assert max(np.abs(one - results[0]).max() for one in results) * 255 > 1


@pytest.mark.parametrize("size", [(30, 44), (25, 25), (1, 7)])
def test_with_self_ensemble_a_turned_image_gives_the_turned_result(ensemble, upscaler, size):
    lr = draw_scene(7, 64, 64)[: size[0], : size[1]]
    result = ensemble.upscale_rgb(lr)
    for turns in range(4):
        for mirrored in (False, True):
            turned, expected = (
                np.ascontiguousarray(np.rot90(one[:, ::-1] if mirrored else one, turns))
                for one in (lr, result)
            )
            np.testing.assert_array_equal(ensemble.upscale_rgb(turned), expected)
    if min(size) > 1:  # and a single version does not
        turned = np.ascontiguousarray(np.rot90(lr))
        single = upscaler.upscale_rgb(turned)
        assert (single != np.rot90(upscaler.upscale_rgb(lr))).any()


def test_self_ensemble_gains_in_the_mean(ensemble, upscaler):
    """Not on every image: a single version is sometimes luckier."""
    gains_db = []
    for seed in range(8):
        hr = draw_scene(seed, 96, 96)
        lr = resampling.to_uint8(resampling.shrink(hr, 2))
        alone, mean = (
            full_reference.psnr_y(hr, one.upscale_rgb(lr), border=2)
            for one in (upscaler, ensemble)
        )
        gains_db.append(mean - alone)
    assert np.mean(gains_db) > 0.05


def test_self_ensemble_in_tiles_and_with_transparency(shipped, ensemble):
    # The smallest tiles: 2 x 2 of them, each with a halo of the image's other half.
    tiled = Upscaler(shipped, self_ensemble=True, max_call_px=1)
    height, width = 2 * shipped.halo_px + 3, 2 * shipped.halo_px + 12
    image = RasterImage(random_rgb(height, width), alpha=disc(height, width, 15))
    result, expected = tiled.upscale_image(image), ensemble.upscale_image(image)
    np.testing.assert_array_equal(result.rgb, expected.rgb)
    np.testing.assert_array_equal(result.alpha, expected.alpha)
    turned = RasterImage(*(np.ascontiguousarray(np.rot90(p)) for p in (image.rgb, image.alpha)))
    alpha = ensemble.upscale_image(turned).alpha
    np.testing.assert_array_equal(alpha, np.rot90(expected.alpha))


def test_self_ensemble_needs_no_more_memory(shipped, backend):
    device = WatchedBackend(backend)
    on_device(shipped, device, self_ensemble=True).upscale_rgb(random_rgb(30, 40))
    assert device.calls == [30 * 40] * 8


def test_whether_white_stays_white_is_asked_once_and_at_the_first_image_on_white(shipped, backend):
    device = WatchedBackend(backend)
    ensemble = Upscaler(shipped, backend=device, self_ensemble=True)
    on_white = np.full((48, 52, 3), 255, np.uint8)
    on_white[20:24, 24:28] = 90
    counts = []
    for lr in (random_rgb(20, 24), on_white, on_white):
        device.calls.clear()
        ensemble.upscale_rgb(lr)
        counts.append(len(device.calls))
    # Eight versions of each image; the question takes two calls for each of five conditions.
    assert counts == [8, 8 + 10, 8]
    dense = on_device(shipped, device, self_ensemble=True).upscale_rgb(on_white)
    difference = np.abs(np.subtract(ensemble.upscale_rgb(on_white), dense, dtype=np.int16))
    assert difference.max() <= 1


def test_what_lies_hidden_changes_nothing(upscaler):
    alpha = disc()
    shown, other = random_rgb(48, 48, 1), random_rgb(48, 48, 2)
    other[alpha > 0] = shown[alpha > 0]
    first = upscaler.upscale_image(RasterImage(shown, alpha=alpha))
    second = upscaler.upscale_image(RasterImage(other, alpha=alpha))
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.alpha, second.alpha)
