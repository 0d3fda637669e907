import numpy as np
import pytest
from PIL import Image

from model.data import degradation
from model.imaging import resampling
from model.scenes.drawing import draw_scene


def keys(distance, a=-0.5):
    """Keys' kernel, written from the paper's equation 4, independently of the project."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def test_shrinking_is_the_anti_aliased_kernel():
    signal = np.random.default_rng(1).random(24) * 255
    image = np.repeat(signal[None], 8, axis=0)
    for x in range(3, 9):  # away from the border
        weights = np.array([keys((i - (2 * x + 0.5)) / 2) for i in range(24)])
        expected = (weights * signal).sum() / weights.sum()
        assert resampling.shrink(image, 2)[2, x] == pytest.approx(expected, abs=1e-3)


def test_enlarging_is_the_plain_kernel():
    signal = np.random.default_rng(2).random(12) * 255
    image = np.repeat(signal[None], 4, axis=0)
    for x in range(6, 16):
        centre = (x + 0.5) / 2 - 0.5
        expected = sum(keys(i - centre) * signal[i] for i in range(12))
        assert resampling.bicubic(image, 8, 24)[3, x] == pytest.approx(expected, abs=1e-3)


def keys_matrix(length, new_length):
    """[new_length, length]: taps outside the image left out, the rest renormalised."""
    zoom = length / new_length
    wide = max(zoom, 1)
    centres = (np.arange(new_length) + 0.5) * zoom - 0.5
    weights = np.array([[keys((i - c) / wide) for i in range(length)] for c in centres])
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(6, 4), (4, 8), (24, 36), (36, 16), (12, 12)])
def test_both_axes_and_the_border_by_the_kernel(size):
    image = np.random.default_rng(6).random((12, 12)) * 255
    expected = keys_matrix(12, size[0]) @ image @ keys_matrix(12, size[1]).T
    np.testing.assert_allclose(resampling.bicubic(image, *size), expected, atol=1e-3)


@pytest.mark.parametrize("size", [(62, 88), (15, 22), (31, 44)])
def test_it_is_pillow_s_bicubic_of_float_planes(size):
    rgb = np.random.default_rng(3).integers(0, 256, (31, 44, 3), dtype=np.uint8)
    resized = resampling.bicubic(rgb, *size)
    for k in range(3):
        plane = Image.fromarray(rgb[..., k]).convert("F")
        pillow = plane.resize(size[::-1], Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(resized[..., k], np.asarray(pillow))


def test_it_is_pillow_s_bicubic_up_to_its_rounding():
    # Without overshoot, which Pillow clips between its two passes and we only at the end.
    rgb = np.random.default_rng(3).integers(80, 180, (31, 44, 3), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(rgb).resize((88, 62), Image.Resampling.BICUBIC))
    ours = resampling.to_uint8(resampling.bicubic(rgb, 62, 88))
    assert np.abs(ours.astype(int) - pillow).max() <= 1


def lanczos_matrix(length, new_length):
    """[new_length, length] of the three-lobed kernel, by its definition."""
    zoom = length / new_length
    wide = max(zoom, 1)
    centres = (np.arange(new_length) + 0.5) * zoom - 0.5
    distance = (np.arange(length)[None] - centres[:, None]) / wide
    weights = np.sinc(distance) * np.sinc(distance / 3) * (np.abs(distance) < 3)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(24, 36), (6, 4), (16, 8), (12, 12)])
def test_lanczos_by_its_kernel(size):
    image = np.random.default_rng(6).random((12, 12)) * 255
    expected = lanczos_matrix(12, size[0]) @ image @ lanczos_matrix(12, size[1]).T
    np.testing.assert_allclose(resampling.lanczos(image, *size), expected, atol=1e-3)


def test_lanczos_keeps_planes_and_precision():
    rgb = np.random.default_rng(3).integers(0, 256, (31, 44, 3), dtype=np.uint8)
    resized = resampling.lanczos(rgb, 62, 88)
    assert resized.dtype == np.float32 and resized.shape == (62, 88, 3)
    np.testing.assert_array_equal(resized[..., 1], resampling.lanczos(rgb[..., 1], 62, 88))
    assert (resized != np.rint(resized)).any()


@pytest.mark.parametrize("resize", [resampling.bicubic, resampling.lanczos])
def test_resizing_names_itself_where_it_cannot(resize):
    for pixels, size in ((np.zeros((4, 4)), (0, 4)), (np.zeros((0, 4)), (4, 4))):
        with pytest.raises(ValueError, match=f"{resize.__name__} needs.*Received"):
            resize(pixels, *size)


def test_planes_do_not_mix_and_ranges_are_kept():
    planes = np.random.default_rng(4).random((10, 12, 5))
    together = resampling.bicubic(planes, 20, 24)
    assert together.shape == (20, 24, 5) and together.dtype == np.float32
    for k in range(5):
        np.testing.assert_array_equal(together[..., k], resampling.bicubic(planes[..., k], 20, 24))
    np.testing.assert_allclose(resampling.bicubic(np.full((5, 5), 0.25), 10, 10), 0.25, atol=1e-6)


def test_to_uint8_rounds_to_nearest_and_clips():
    levels = np.array([-3.0, -0.4, 0.6, 126.4, 126.6, 254.4, 254.6, 255.4, 400.0])
    assert resampling.to_uint8(levels).tolist() == [0, 0, 1, 126, 127, 254, 255, 255, 255]


def test_crop_to_multiple():
    assert resampling.crop_to_multiple(np.zeros((7, 9, 3)), 2).shape == (6, 8, 3)
    assert resampling.crop_to_multiple(np.zeros((7, 9)), 3).shape == (6, 9)


def test_errors_name_what_was_received():
    with pytest.raises(ValueError, match="8 x 7"):
        resampling.shrink(np.zeros((7, 8)), 2)
    with pytest.raises(ValueError, match="4 x 0"):
        resampling.bicubic(np.zeros((8, 8)), 0, 4)
    with pytest.raises(ValueError, match="non-empty"):
        resampling.bicubic(np.zeros((0, 8)), 4, 4)


SCENE = draw_scene(1, 96, 96)


def test_blur_softens_and_zero_leaves_alone():
    np.testing.assert_array_equal(degradation.blur(SCENE, 0), SCENE)
    sharpness = [
        np.abs(np.diff(degradation.blur(SCENE, s).astype(int))).mean() for s in (0, 0.5, 2)
    ]
    assert sharpness[0] > sharpness[1] > sharpness[2] > 0
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    spread = degradation.blur(np.repeat(np.repeat(point, 9, 0), 9, 1), 30)[..., 0].astype(float)
    across = spread.sum(axis=0) / spread.sum()
    at = np.arange(across.size) - 20 * 9 - 4
    assert np.sqrt((across * at**2).sum()) == pytest.approx(30, rel=0.05)


def test_noise_has_the_given_deviation_in_each_channel():
    flat = np.full((200, 200, 3), 100.0)
    noise = degradation.add_noise(flat, 3.0, np.random.default_rng(1)) - 100
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.std(axis=(0, 1)), 3.0, rtol=0.03)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02
