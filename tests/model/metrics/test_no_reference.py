import numpy as np
import pytest
from scipy import ndimage

from model.data import degradation
from model.imaging import resampling
from model.metrics import full_reference, no_reference
from model.scenes import drawing


def luma_of(rgb):
    return full_reference.luma(rgb, dtype=np.float32)


def noisy_plane(sigma, height=120, width=160, level=120.0, seed=1):
    return level + np.random.default_rng(seed).normal(0, sigma, (height, width))


def repeated(plane, times=2):
    return plane.repeat(times, axis=0).repeat(times, axis=1)


@pytest.fixture(scope="module")
def scene():
    return drawing.draw_scene(12, 120, 136)


class TestSharpness:
    def test_the_laplacian_equals_scipys(self):
        plane = noisy_plane(20, 30, 41)
        expected = ndimage.laplace(plane)[1:-1, 1:-1].var()
        assert no_reference.laplacian_variance(plane) == pytest.approx(expected)

    def test_by_hand(self):
        plane = np.zeros((3, 4))
        plane[1, 1] = 1  # two inner pixels with responses -4 and 1
        assert no_reference.laplacian_variance(plane) == pytest.approx(2.5**2)

    def test_white_noise(self):
        # Independent pixels: 4² + 4 times the variance of one.
        assert no_reference.laplacian_variance(noisy_plane(3)) == pytest.approx(20 * 9, rel=0.05)

    def test_bicubic_is_as_sharp_as_itself(self, scene):
        bicubic = resampling.bicubic(luma_of(scene), 240, 272)
        assert no_reference.sharpness_ratio(bicubic, bicubic) == 1
        rounded = luma_of(resampling.to_uint8(resampling.bicubic(scene, 240, 272)))
        assert no_reference.sharpness_ratio(bicubic, rounded) == pytest.approx(1, abs=0.05)

    def test_contrast_counts_squared(self, scene):
        plane = luma_of(scene)
        assert no_reference.sharpness_ratio(plane, 2 * plane) == pytest.approx(4)

    def test_grows_from_blurred_to_noisy(self, scene):
        plane = luma_of(scene)
        noise = np.random.default_rng(1).normal(0, 5, plane.shape)
        versions = [luma_of(degradation.blur(scene, 1)), plane, plane + noise, plane + 2 * noise]
        ratios = [no_reference.sharpness_ratio(plane, version) for version in versions]
        assert ratios == sorted(ratios) and ratios[0] < 0.9

    @pytest.mark.parametrize("size", [(2, 40), (40, 2), (1, 1)])
    def test_too_small(self, size):
        assert no_reference.sharpness_ratio(np.zeros(size), np.zeros(size)) is None

    def test_a_flat_image_has_none(self):
        flat = np.full((20, 20), 200.0)
        assert no_reference.sharpness_ratio(flat, noisy_plane(3, 20, 20)) is None


class TestBlockiness:
    @staticmethod
    def blocks(inside, across):
        """Columns rise by `inside`, and by `across` from one block of 8 to the next."""
        steps = np.full(32, float(inside))
        steps[::8] = across
        return np.tile(np.cumsum(steps), (32, 1))

    def test_by_hand(self):
        plane = self.blocks(inside=2, across=5)
        # Of rows there are as many boundaries and steps, and nothing changes there.
        assert no_reference.blockiness(plane, pixel_px=1) == pytest.approx(5 / 2)
        assert no_reference.blockiness(plane.T, pixel_px=1) == pytest.approx(5 / 2)

    @pytest.mark.parametrize("scale", [2, 3])
    def test_repeated_pixels_keep_it(self, scale):
        plane = self.blocks(inside=2, across=5)
        found = no_reference.blockiness(repeated(plane, scale), pixel_px=scale)
        assert found == pytest.approx(5 / 2)

    def test_equals_the_authors_program_but_for_the_last_boundary(self, scene):
        # jpeg_quality_score.m of Wang, Sheikh and Bovik, transcribed; sides of 8 k + 1 hide
        # which boundary it leaves out.
        plane = luma_of(degradation.compress_jpeg(scene, 40))[:120, :136].astype(float)
        across, within = [], []
        for x in (plane, plane.T):
            d = np.abs(np.diff(x, axis=1))
            b = d[:, 7::8].mean()
            across.append(b)
            within.append(np.delete(d, np.s_[7::8], axis=1).mean())
        expected = np.mean(across) / np.mean(within)
        found = no_reference.blockiness(plane, pixel_px=1)
        assert found == pytest.approx(expected, rel=0.02)

    def test_grows_with_compression(self, scene):
        def compressed(quality):
            plane = luma_of(degradation.compress_jpeg(scene, quality))
            return no_reference.blockiness(plane, pixel_px=1)

        clean = no_reference.blockiness(luma_of(scene), pixel_px=1)
        assert clean == pytest.approx(1, abs=0.1)
        assert clean < compressed(70) < compressed(30) < compressed(10)

    def test_bicubic_keeps_about_the_sources(self, scene):
        source = degradation.compress_jpeg(scene, 30)
        bicubic = luma_of(resampling.bicubic(source, 240, 272))
        before = no_reference.blockiness(luma_of(source), pixel_px=1)
        assert no_reference.blockiness(bicubic, pixel_px=2) == pytest.approx(before, rel=0.1)

    @pytest.mark.parametrize("size", [(8, 8), (1, 1), (3, 7)])
    def test_no_boundary(self, size):
        assert no_reference.blockiness(noisy_plane(5, *size), pixel_px=1) is None

    def test_one_boundary_is_enough(self):
        assert no_reference.blockiness(noisy_plane(5, 1, 9), pixel_px=1) is not None

    def test_flat(self):
        assert no_reference.blockiness(np.full((32, 32), 7.0), pixel_px=1) is None


class TestFlatPlaces:
    def test_cells_by_hand(self):
        plane = np.zeros((9, 13))  # 2 x 3 whole cells
        plane[0, 0] = 10  # the widest span that is flat
        plane[5, 6] = 10.5
        plane[8, 12] = 99  # in no whole cell
        expected = np.array([[True, True, True], [True, False, True]])
        np.testing.assert_array_equal(no_reference.flat_cells(plane), expected)

    @pytest.mark.parametrize("size", [(3, 40), (1, 1), (3, 3)])
    def test_images_without_a_cell(self, size):
        flat = no_reference.flat_cells(np.zeros(size))
        assert flat.size == 0
        assert no_reference.flat_noise(np.zeros(size), flat, pixel_px=1) is None
        assert no_reference.flat_grain(np.zeros(size), flat, pixel_px=1) is None

    @pytest.mark.parametrize("measure", [no_reference.flat_noise, no_reference.flat_grain])
    def test_few_cells_say_nothing(self, measure):
        flat = np.zeros((10, 10), bool)
        flat[0] = flat[1, :5] = True
        assert measure(noisy_plane(2, 40, 40), flat, pixel_px=1) is None
        flat[1, 5] = True
        assert measure(noisy_plane(2, 40, 40), flat, pixel_px=1) > 1

    @pytest.mark.parametrize("measure", [no_reference.flat_noise, no_reference.flat_grain])
    @pytest.mark.parametrize("pixel_px", [1, 2, 3])
    def test_white_noise_is_measured_without_bias(self, measure, pixel_px):
        plane = noisy_plane(2, 300, 360)
        flat = np.ones((300 // (4 * pixel_px), 360 // (4 * pixel_px)), bool)
        found = measure(plane, flat, pixel_px=pixel_px)
        expected = 2.0
        if measure is no_reference.flat_noise:
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
        found = no_reference.flat_grain(plane, np.ones((30, 30), bool), pixel_px=2)
        assert found == pytest.approx(expected, rel=0.02)

    def test_repeated_pixels_keep_their_noise(self):
        plane = noisy_plane(2)
        flat = no_reference.flat_cells(plane)
        before = no_reference.flat_noise(plane, flat, pixel_px=1)
        # A slope of steps is fitted a little worse than one of pixels.
        after = no_reference.flat_noise(repeated(plane), flat, pixel_px=2)
        assert after == pytest.approx(before, rel=0.02)

    @pytest.mark.parametrize("measure", [no_reference.flat_noise, no_reference.flat_grain])
    def test_gradients_are_no_noise(self, measure):
        down, right = np.indices((40, 60), float)
        plane = 100 + 0.7 * down - 0.4 * right
        assert measure(plane, no_reference.flat_cells(plane), pixel_px=1) < 1e-6

    def test_busy_places_do_not_count(self):
        plane = np.full((64, 64), 200.0)
        plane[:32] = np.random.default_rng(1).integers(0, 256, (32, 64))
        flat = no_reference.flat_cells(plane)
        assert no_reference.flat_noise(plane, flat, pixel_px=1) == 0

    def test_grain_tells_added_noise_from_the_sources(self, scene):
        source = resampling.to_uint8(degradation.add_noise(scene, 3, np.random.default_rng(1)))
        flat = no_reference.flat_cells(luma_of(source))
        bicubic = resampling.bicubic(source, 240, 272)
        noisier = degradation.add_noise(bicubic, 2, np.random.default_rng(2))
        grains, noises = (
            [measure(luma_of(one), flat, pixel_px=2) for one in (bicubic, noisier)]
            for measure in (no_reference.flat_grain, no_reference.flat_noise)
        )
        assert grains[1] > 2 * grains[0]
        assert noises[1] < 1.5 * noises[0]

    @pytest.mark.parametrize("measure", [no_reference.flat_noise, no_reference.flat_grain])
    def test_grows_with_noise(self, measure, scene):
        plane = luma_of(scene)
        flat = no_reference.flat_cells(plane)
        noise = np.random.default_rng(1).normal(0, 1, plane.shape)
        found = [measure(plane + sigma * noise, flat, pixel_px=1) for sigma in (0, 1, 2, 4)]
        assert found == sorted(found) and found[-1] > 3


class TestClipping:
    def test_by_hand(self):
        source = np.full((10, 10, 3), 128, np.uint8)
        source[:, 8:] = 250  # near white: what clips within a pixel of it does not count
        result = repeated(source)
        assert no_reference.clipped_share(source, result, scale=2) == 0
        result[4, 4, 0] = 255
        result[5, 5, 2] = 0  # of the same source pixel
        result[10, 2] = 0
        result[12:14, 14:] = 255  # columns 7 to 9
        assert no_reference.clipped_share(source, result, scale=2) == 2 / 100

    @pytest.mark.parametrize(("level", "counts"), [(8, False), (9, True)])
    def test_the_margin_at_both_ends(self, level, counts):
        for near, clipped in ((level, 0), (255 - level, 255)):
            source = np.full((4, 4, 3), near, np.uint8)
            result = np.full((12, 12, 3), clipped, np.uint8)
            assert no_reference.clipped_share(source, result, scale=3) == counts

    def test_one_channel_is_enough(self):
        source = np.full((4, 4, 3), [255, 128, 0], np.uint8)
        result = repeated(source)
        assert no_reference.clipped_share(source, result, scale=2) == 0
        result[..., 1] = 255
        assert no_reference.clipped_share(source, result, scale=2) == 1

    def test_a_single_pixel(self):
        source, result = np.zeros((1, 1, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
        assert no_reference.clipped_share(source, result, scale=2) == 0

    def test_grows_with_sharpening(self, scene):
        bicubic = resampling.bicubic(scene, 240, 272)
        detail = bicubic - luma_of(degradation.blur(resampling.to_uint8(bicubic), 2))[..., None]
        shares = [
            no_reference.clipped_share(scene, resampling.to_uint8(bicubic + k * detail), scale=2)
            for k in (0, 1, 2, 4)
        ]
        assert shares == sorted(shares) and shares[-1] > shares[0]


class TestDrift:
    def test_a_channel_by_hand(self):
        error = np.zeros((10, 20, 3), np.float32)
        error[:, :10, 1] = -3
        error[:, :, 2] = 1
        assert no_reference.channel_drift(error) == pytest.approx(1.5)

    def test_noise_averages_out(self):
        error = np.random.default_rng(1).normal(0, 5, (200, 200, 3))
        assert no_reference.channel_drift(error) < 0.1

    @pytest.mark.parametrize("corner", [(0, 0), (24, 40), (8, 16)])
    def test_a_place_by_hand(self, corner):
        error = np.zeros((40, 56))
        top, left = corner
        error[top : top + 16, left : left + 16] = -4
        assert no_reference.block_drift(error) == pytest.approx(4)

    def test_between_the_windows_three_quarters_of_a_side_are_seen(self):
        error = np.zeros((64, 64))
        error[20:36, 20:36] = 4  # the worst place for windows that are 8 apart
        assert no_reference.block_drift(error) == pytest.approx(4 * (12 / 16) ** 2)

    @pytest.mark.parametrize("size", [(8, 8), (9, 30), (15, 15)])
    def test_small_images_are_one_window(self, size):
        assert no_reference.block_drift(np.full(size, 2.0)) == pytest.approx(2)

    @pytest.mark.parametrize("size", [(7, 40), (40, 7), (1, 1)])
    def test_too_small(self, size):
        assert no_reference.block_drift(np.zeros(size)) is None
        assert no_reference.block_shift(np.zeros(size), np.zeros(size)) is None


class TestShift:
    @pytest.mark.parametrize("shift", [(0.1, 0), (0, -0.25), (0.3, 0.2)])
    def test_a_known_shift_is_found(self, shift, scene):
        plane = ndimage.gaussian_filter(luma_of(scene).astype(float), 2)
        moved = ndimage.shift(plane, shift, order=3, mode="nearest")
        found = no_reference.block_shift(plane, moved - plane)
        assert found == pytest.approx(np.hypot(*shift), rel=0.25)

    def test_a_ramp_by_hand(self):
        right = np.tile(10.0 * np.arange(64), (64, 1))
        # A shift by d moves a ramp of slope 10 down by 10 d; the ridge of 4 takes its part.
        found = no_reference.block_shift(right, np.full((64, 64), -3.0))
        assert found == pytest.approx(0.3 * 100 / 104, rel=0.02)

    def test_equal_images(self, scene):
        plane = luma_of(scene)
        assert no_reference.block_shift(plane, np.zeros_like(plane)) == 0

    def test_a_moved_tile_is_seen_through_stronger_noise(self, scene):
        plane = luma_of(scene)
        tile = plane.copy()
        tile[40:72, 48:80] = np.roll(plane, 1, axis=1)[40:72, 48:80]
        noise = np.random.default_rng(1).normal(0, np.std(tile - plane), plane.shape)
        moved = no_reference.block_shift(plane, tile - plane)
        assert moved > 3 * no_reference.block_shift(plane, noise)

    def test_flat_images_do_not_move(self):
        flat = np.full((40, 40), 99.0)
        assert no_reference.block_shift(flat, np.full((40, 40), 50.0)) == 0


class TestFlatChromaNoise:
    GREY = np.full((120, 160, 3), 150, np.uint8)

    @staticmethod
    def measure(rgb, pixel_px=1):
        return no_reference.flat_chroma_noise(rgb, np.ones((30, 40), bool), pixel_px=pixel_px)

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
        flat = no_reference.flat_cells(luma_of(jpeg))
        beside = np.zeros_like(flat)
        beside[:, [9, 30]] = flat[:, [9, 30]]  # grey before the compression
        assert no_reference.flat_chroma_noise(rgb, beside, pixel_px=1) == pytest.approx(
            0, abs=1e-3
        )
        assert no_reference.flat_chroma_noise(jpeg, beside, pixel_px=1) > 0.8
        assert no_reference.flat_noise(luma_of(jpeg), beside, pixel_px=1) < 2

    def test_few_flat_cells_have_no_noise_to_measure(self):
        flat = np.zeros((30, 40), bool)
        assert no_reference.flat_chroma_noise(self.GREY, flat, pixel_px=1) is None
