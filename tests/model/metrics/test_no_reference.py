import numpy as np
import pytest
from scipy import ndimage

from model.data import degradation
from model.imaging import resampling
from model.metrics import no_reference
from tests.model.metrics.planes import luma_of, noisy_plane, repeated


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
        share = (12 / 16) ** 2
        deviation = 4 * (share * (1 - share)) ** 0.5
        assert no_reference.block_drift(error) == pytest.approx(4 * share - 0.15 * deviation)

    def test_what_changes_from_pixel_to_pixel_explains_a_part(self):
        rows, columns = np.indices((16, 16))
        error = np.where((rows + columns) % 2, 5.0 + 12, 5.0 - 12)
        assert no_reference.block_drift(error) == pytest.approx(5 - 0.15 * 12)
        assert no_reference.block_drift(error - 4) == 0

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
