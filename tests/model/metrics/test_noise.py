import numpy as np
import pytest
from scipy import ndimage

from model.data import degradation
from model.imaging import resampling
from model.metrics import noise
from tests.model.metrics.planes import luma_of, noisy_plane, repeated


class TestFlatPlaces:
    def test_cells_by_hand(self):
        plane = np.zeros((9, 13))  # 2 x 3 whole cells
        plane[0, 0] = 10  # the widest span that is flat
        plane[5, 6] = 10.5
        plane[8, 12] = 99  # in no whole cell
        expected = np.array([[True, True, True], [True, False, True]])
        np.testing.assert_array_equal(noise.flat_cells(plane), expected)

    @pytest.mark.parametrize("size", [(3, 40), (1, 1), (3, 3)])
    def test_images_without_a_cell(self, size):
        flat = noise.flat_cells(np.zeros(size))
        assert flat.size == 0
        assert noise.flat_noise(np.zeros(size), flat, pixel_px=1) is None
        assert noise.flat_grain(np.zeros(size), flat, pixel_px=1) is None

    @pytest.mark.parametrize("measure", [noise.flat_noise, noise.flat_grain])
    def test_few_cells_say_nothing(self, measure):
        flat = np.zeros((10, 10), bool)
        flat[0] = flat[1, :5] = True
        assert measure(noisy_plane(2, 40, 40), flat, pixel_px=1) is None
        flat[1, 5] = True
        assert measure(noisy_plane(2, 40, 40), flat, pixel_px=1) > 1

    @pytest.mark.parametrize("measure", [noise.flat_noise, noise.flat_grain])
    @pytest.mark.parametrize("pixel_px", [1, 2, 3])
    def test_white_noise_is_measured_without_bias(self, measure, pixel_px):
        plane = noisy_plane(2, 300, 360)
        flat = np.ones((300 // (4 * pixel_px), 360 // (4 * pixel_px)), bool)
        found = measure(plane, flat, pixel_px=pixel_px)
        expected = 2.0
        if measure is noise.flat_noise:
            # A result's larger cells lose less to the fitted plane than the source's correction.
            side = 4 * pixel_px
            expected *= np.sqrt((1 - 3 / side**2) / (1 - 3 / 16))
        assert found == pytest.approx(expected, rel=0.02)

    def test_grain_is_immerkaers_where_all_is_flat(self):
        # His equation over the whole image; ours leaves out what reaches over a cell's border.
        plane = noisy_plane(4, 240, 240)
        mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
        inner = ndimage.convolve(plane, mask)[1:-1, 1:-1]
        expected = np.sqrt(np.pi / 2) / (6 * 238 * 238) * np.abs(inner).sum()
        found = noise.flat_grain(plane, np.ones((30, 30), bool), pixel_px=2)
        assert found == pytest.approx(expected, rel=0.02)

    def test_repeated_pixels_keep_their_noise(self):
        plane = noisy_plane(2)
        flat = noise.flat_cells(plane)
        before = noise.flat_noise(plane, flat, pixel_px=1)
        # A slope of steps is fitted a little worse than one of pixels.
        after = noise.flat_noise(repeated(plane), flat, pixel_px=2)
        assert after == pytest.approx(before, rel=0.02)

    @pytest.mark.parametrize("measure", [noise.flat_noise, noise.flat_grain])
    def test_gradients_are_no_noise(self, measure):
        down, right = np.indices((40, 60), float)
        plane = 100 + 0.7 * down - 0.4 * right
        assert measure(plane, noise.flat_cells(plane), pixel_px=1) < 1e-6

    def test_busy_places_do_not_count(self):
        plane = np.full((64, 64), 200.0)
        plane[:32] = np.random.default_rng(1).integers(0, 256, (32, 64))
        flat = noise.flat_cells(plane)
        assert noise.flat_noise(plane, flat, pixel_px=1) == 0

    def test_grain_tells_added_noise_from_the_sources(self, scene):
        source = resampling.to_uint8(degradation.add_noise(scene, 3, np.random.default_rng(1)))
        flat = noise.flat_cells(luma_of(source))
        bicubic = resampling.bicubic(source, 240, 272)
        noisier = degradation.add_noise(bicubic, 2, np.random.default_rng(2))
        grains, noises = (
            [measure(luma_of(one), flat, pixel_px=2) for one in (bicubic, noisier)]
            for measure in (noise.flat_grain, noise.flat_noise)
        )
        assert grains[1] > 2 * grains[0]
        assert noises[1] < 1.5 * noises[0]

    @pytest.mark.parametrize("measure", [noise.flat_noise, noise.flat_grain])
    def test_grows_with_noise(self, measure, scene):
        plane = luma_of(scene)
        flat = noise.flat_cells(plane)
        grain = np.random.default_rng(1).normal(0, 1, plane.shape)
        found = [measure(plane + sigma * grain, flat, pixel_px=1) for sigma in (0, 1, 2, 4)]
        assert found == sorted(found) and found[-1] > 3


class TestFlatChromaNoise:
    GREY = np.full((120, 160, 3), 150, np.uint8)

    @staticmethod
    def measure(rgb, pixel_px=1):
        return noise.flat_chroma_noise(rgb, np.ones((30, 40), bool), pixel_px=pixel_px)

    def coloured(self, sigma):
        """White noise on Cb and Cr alone: luma stays as it was."""
        noise = np.random.default_rng(3).normal(0, sigma, (120, 160, 2))
        to_rgb = np.array([[0, -0.344136 * 1.138, 1.772 * 1.138], [1.402, -0.714136, 0]])
        to_rgb *= 255 / 224 / np.array([[1.138], [1]])
        return self.GREY + noise @ to_rgb

    def test_coloured_noise_is_measured_without_bias(self):
        assert self.measure(self.coloured(4)) == pytest.approx(4, rel=0.03)

    def test_luma_noise_is_not_coloured(self):
        grey = np.repeat(noisy_plane(5)[..., None], 3, axis=-1)
        assert self.measure(grey) == pytest.approx(0, abs=1e-3)

    def test_a_result_s_noise_compares_with_its_source_s(self):
        source = self.coloured(4)
        twice = source.repeat(2, axis=0).repeat(2, axis=1)
        assert self.measure(twice, pixel_px=2) == pytest.approx(self.measure(source), rel=0.01)

    def test_subsampled_colours_leave_fringes_that_luma_does_not_show(self):
        """Orange stripes of the background's luma: JPEG spreads their colour into it."""
        rgb = np.full((120, 160, 3), 176, np.uint8)
        rgb[:, 43:119] = (255, 154, 84)
        jpeg = degradation.compress_jpeg(rgb, 85)
        flat = noise.flat_cells(luma_of(jpeg))
        beside = np.zeros_like(flat)
        beside[:, [9, 30]] = flat[:, [9, 30]]  # grey before the compression
        assert noise.flat_chroma_noise(rgb, beside, pixel_px=1) == pytest.approx(0, abs=1e-3)
        assert noise.flat_chroma_noise(jpeg, beside, pixel_px=1) > 0.8
        assert noise.flat_noise(luma_of(jpeg), beside, pixel_px=1) < 2

    def test_few_flat_cells_have_no_noise_to_measure(self):
        flat = np.zeros((30, 40), bool)
        assert noise.flat_chroma_noise(self.GREY, flat, pixel_px=1) is None
