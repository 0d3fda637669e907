import numpy as np
import pytest
from skimage import metrics as reference
from skimage.color import rgb2ycbcr

from model.data import degradation
from model.metrics import full_reference
from model.scenes import drawing


def pair(height=40, width=53, planes=(), seed=1):
    generator = np.random.default_rng(seed)
    a = generator.integers(0, 256, (height, width, *planes), dtype=np.uint8)
    noise = generator.normal(0, 12, a.shape)
    return a, np.clip(a + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((255, 255, 255), 235),
        ((0, 0, 0), 16),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_of_known_colours(rgb, expected):
    assert full_reference.luma(np.array([[rgb]], np.uint8))[0, 0] == pytest.approx(
        expected, abs=1e-9
    )


def test_luma_equals_scikit_image():
    a, _ = pair(planes=(3,))
    np.testing.assert_allclose(full_reference.luma(a), rgb2ycbcr(a)[..., 0], atol=1e-9)


def test_psnr_by_hand():
    a = np.zeros((10, 10))
    b = a.copy()
    b[0, 0] = 50  # mean squared error 25
    assert full_reference.psnr(a, b, data_range=255) == pytest.approx(20 * np.log10(255 / 5))
    assert full_reference.psnr(a, b, data_range=1) == pytest.approx(20 * np.log10(1 / 5))
    assert full_reference.psnr(a, a, data_range=255) == float("inf")


@pytest.mark.parametrize("planes", [(), (3,)])
def test_psnr_equals_scikit_image(planes):
    a, b = pair(planes=planes)
    expected = reference.peak_signal_noise_ratio(a, b, data_range=255)
    assert full_reference.psnr(a, b, data_range=255) == pytest.approx(expected, abs=1e-9)


def test_uint8_differences_do_not_wrap():
    a, b = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert full_reference.psnr(a, b, data_range=255) == pytest.approx(0)


@pytest.mark.parametrize("size", [(11, 11), (11, 40), (64, 33)])
@pytest.mark.parametrize("data_range", [255, 1])
def test_ssim_equals_scikit_image(size, data_range):
    a, b = (one * (data_range / 255) for one in pair(*size))
    _, full = reference.structural_similarity(
        a,
        b,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    # Its map covers the border too; ours only windows that fit.
    expected = full[5 : size[0] - 5, 5 : size[1] - 5].mean()
    assert full_reference.ssim(a, b, data_range=data_range) == pytest.approx(expected, abs=1e-10)


def test_ssim_of_equals_is_one_and_falls_with_noise():
    a, b = pair()
    _, worse = pair(seed=1)
    worse = np.clip(worse.astype(int) + 40 * (np.indices(a.shape).sum(0) % 2), 0, 255)
    assert full_reference.ssim(a, a, data_range=255) == pytest.approx(1)
    assert (
        full_reference.ssim(a, worse, data_range=255)
        < full_reference.ssim(a, b, data_range=255)
        < 1
    )


def test_the_border_does_not_count():
    a, _ = pair(planes=(3,))
    b = a.copy()
    b[:2] = b[-2:] = 0
    b[:, :2] = b[:, -2:] = 0
    assert full_reference.psnr_y(a, b, border=2) == float("inf")
    assert full_reference.psnr_y(a, b, border=1) < 40
    assert full_reference.ssim_y(a, b, border=2) == pytest.approx(1)


def test_chroma_equals_scikit_image():
    a = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_allclose(full_reference.chroma(a), rgb2ycbcr(a)[..., 1:], atol=1e-9)
    np.testing.assert_allclose(
        full_reference.chroma(np.full((2, 2, 3), 77, np.uint8)), 128, atol=1e-9
    )
    with pytest.raises(ValueError, match="chroma needs RGB"):
        full_reference.chroma(np.zeros((4, 4)))


def test_psnr_c_is_the_psnr_of_the_chroma_and_blind_to_grey():
    a, b = np.random.default_rng(2).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    expected = full_reference.psnr(
        rgb2ycbcr(a)[2:-2, 2:-2, 1:], rgb2ycbcr(b)[2:-2, 2:-2, 1:], data_range=255
    )
    assert full_reference.psnr_c(a, b, border=2) == pytest.approx(expected)
    grey = np.repeat(np.arange(240, dtype=np.uint8).reshape(12, 20, 1), 3, axis=-1)
    assert full_reference.psnr_c(grey, grey[::-1], border=0) == float("inf")
    with pytest.raises(ValueError, match="one shape"):
        full_reference.psnr_c(a, b[1:], border=2)


def test_psnr_y_is_the_psnr_of_the_luma():
    a, b = pair(planes=(3,))
    expected = reference.peak_signal_noise_ratio(
        full_reference.luma(a)[2:-2, 2:-2], full_reference.luma(b)[2:-2, 2:-2], data_range=255
    )
    assert full_reference.psnr_y(a, b, border=2) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "call",
    [
        lambda: full_reference.psnr(np.zeros((2, 2)), np.zeros((2, 3)), data_range=1),
        lambda: full_reference.psnr(np.zeros((0, 2)), np.zeros((0, 2)), data_range=1),
        lambda: full_reference.ssim(np.zeros((10, 11)), np.zeros((10, 11)), data_range=1),
        lambda: full_reference.ssim(np.zeros((12, 12, 3)), np.zeros((12, 12, 3)), data_range=1),
        lambda: full_reference.ssim(np.zeros((12, 12)), np.zeros((12, 13)), data_range=1),
        lambda: full_reference.psnr_y(np.zeros((9, 9, 3)), np.zeros((1, 9, 3)), border=0),
        lambda: full_reference.ssim_y(np.zeros((14, 14, 3)), np.zeros((14, 14, 3)), border=2),
        lambda: full_reference.background_noise(
            np.zeros((9, 9, 3)), np.zeros((9, 8, 3)), border=0
        ),
        lambda: full_reference.luma(np.zeros((4, 4))),
        lambda: full_reference.crop_border(np.zeros((4, 9)), 2),
    ],
)
def test_wrong_arguments_name_what_was_received(call):
    with pytest.raises(ValueError, match="Received"):
        call()


def product(height=60, width=80, *, top=20, left=30, side=20, level=200):
    """A dark square on a flat light background."""
    rgb = np.full((height, width, 3), level, np.uint8)
    rgb[top : top + side, left : left + side] = 40
    return rgb


def test_the_background_is_flat_and_near_an_object():
    found = full_reference.background_near_objects(product())
    expected = np.zeros((60, 80), bool)
    # Windows of 7 x 7 see the edge up to 3 pixels off; from there 12 pixels count.
    expected[20 - 15 : 40 + 15, 30 - 15 : 50 + 15] = True
    expected[20 - 3 : 40 + 3, 30 - 3 : 50 + 3] = False
    expected[20 + 3 : 40 - 3, 30 + 3 : 50 - 3] = True  # the object's own flat face
    np.testing.assert_array_equal(found, expected)


def test_an_image_that_is_flat_or_busy_all_over_has_no_background():
    flat, (busy, _) = np.full((40, 40, 3), 200, np.uint8), pair(planes=(3,))
    for image in (flat, busy):
        assert not full_reference.background_near_objects(image).any()
        assert np.isnan(full_reference.background_noise(image, image, border=2))


def test_few_background_pixels_say_nothing():
    rgb = product(13, 13, top=0, left=0, side=2)
    found = full_reference.crop_border(full_reference.background_near_objects(rgb), 3).sum()
    assert 0 < int(found) < 64
    assert np.isnan(full_reference.background_noise(rgb, rgb, border=3))


def test_background_noise_of_known_noise():
    rgb = product(120, 160, top=40, left=60, side=40).astype(float)
    noise = np.random.default_rng(1).normal(0, 3, rgb.shape[:2])[..., None]
    measured = full_reference.background_noise(rgb, rgb + noise, border=2)
    # Grey noise in luma is smaller by its range, 16..235.
    assert measured == pytest.approx(3 * 219 / 255, rel=0.05)
    assert full_reference.background_noise(rgb, rgb, border=2) == pytest.approx(0, abs=1e-9)


def test_only_noise_in_the_background_counts():
    rgb = product()
    outside = ~full_reference.background_near_objects(rgb)
    noisy = rgb.copy()
    noisy[outside] = np.random.default_rng(1).integers(0, 256, (outside.sum(), 3))
    assert full_reference.background_noise(rgb, noisy, border=2) == pytest.approx(0, abs=1e-9)


def test_levels_and_gradients_are_no_background_noise():
    two = product()
    two[:, 40:] = np.where(two[:, 40:] == 200, 120, 90)  # another background on the right
    assert full_reference.background_noise(two, two, border=2) == pytest.approx(0, abs=1e-9)
    brighter = np.clip(two.astype(int) + 7, 0, 255)
    assert full_reference.background_noise(two, brighter, border=2) == pytest.approx(0, abs=1e-9)
    gradient = product() + np.linspace(0, 20, 80)[None, :, None]
    assert full_reference.background_noise(gradient, gradient, border=4) < 0.05


def test_a_compressed_image_has_background_noise():
    hr = drawing.draw_scene(21, 120, 120)
    noise = [
        full_reference.background_noise(hr, degradation.compress_jpeg(hr, quality), border=2)
        for quality in (95, 50, 20)
    ]
    assert full_reference.background_noise(hr, hr, border=2) < noise[0] < noise[1] < noise[2]


def test_window_sums_are_the_sums_of_windows():
    plane = np.random.default_rng(2).integers(0, 256, (13, 9), dtype=np.uint8)
    for height, width in ((1, 1), (4, 3), (13, 9)):
        windows = np.lib.stride_tricks.sliding_window_view(plane, (height, width))
        expected = windows.sum(axis=(2, 3), dtype=np.int64)
        assert np.array_equal(full_reference.window_sums(plane, height, width), expected)


def test_row_bands_cover_all_rows_once():
    for shape in ((1,), (300_000,), (7, 100_000), (5, 400_000, 3)):
        rows = [row for band in full_reference.row_bands(shape) for row in range(shape[0])[band]]
        assert rows == list(range(shape[0]))
