import numpy as np
import pytest

from model import tiling
from model.inference import Magnifier


def box_blur_x2(lr, reach=3):
    """A stand-in for a network with a known receptive field and zeros outside the picture."""
    padded = np.pad(lr, ((reach, reach), (reach, reach), (0, 0)))
    height, width = lr.shape[:2]
    total = sum(
        padded[y : y + height, x : x + width]
        for y in range(2 * reach + 1)
        for x in range(2 * reach + 1)
    )
    return total.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("length", [1, 2, 5, 16, 17, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_cores_cover_the_axis_once_and_halos_end_at_the_border(length, count):
    if count > length:
        with pytest.raises(ValueError, match="Received"):
            tiling.spans(length, count, 4)
        return
    found = tiling.spans(length, count, 4)
    covered = [i for span in found for i in range(span.core_start, span.core_stop)]
    assert covered == list(range(length))
    assert max(s.core_stop - s.core_start for s in found) <= -(-length // count)
    for span in found:
        assert span.read_start == max(0, span.core_start - 4)
        assert span.read_stop == min(length, span.core_stop + 4)


@pytest.mark.parametrize("height", [1, 5, 20, 21, 40, 41])
@pytest.mark.parametrize("width", [1, 2, 20, 39, 60])
@pytest.mark.parametrize("max_call_px", [1, 100, 400, 10_000])
def test_tiles_join_without_a_seam(height, width, max_call_px):
    lr = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 2))
    joined = tiling.magnify_tiled(lr, box_blur_x2, scale=2, max_call_px=max_call_px, halo=3)
    np.testing.assert_array_equal(joined, box_blur_x2(lr))


def test_too_small_a_halo_makes_a_seam():
    lr = np.random.default_rng(1).integers(0, 256, (40, 40, 1))
    joined = tiling.magnify_tiled(lr, box_blur_x2, scale=2, max_call_px=400, halo=2)
    assert (joined != box_blur_x2(lr)).any()


@pytest.mark.parametrize(("height", "width"), [(300, 300), (1000, 37), (64, 65), (129, 4000)])
def test_no_call_is_larger_than_allowed(height, width):
    plan = list(tiling.tiles(height, width, max_call_px=90 * 90, halo=17))
    assert len(plan) > 1 or height * width <= 90 * 90
    for rows, columns in plan:
        area = (rows.read_stop - rows.read_start) * (columns.read_stop - columns.read_start)
        assert area <= 90 * 90


@pytest.mark.parametrize(
    ("height", "width", "max_call_px"),
    [(150, 211, 100 * 100), (1, 300, 70 * 70), (129, 128, 128 * 128), (97, 64, 75 * 75)],
)
@pytest.mark.parametrize("planes", [3, 4])
def test_with_the_shipped_weights_tiled_equals_whole(shipped, height, width, max_call_px, planes):
    """To the last uint8 level, at every pixel: the promise that tiling is invisible."""
    lr = np.random.default_rng(5).integers(0, 256, (height, width, planes), dtype=np.uint8)
    whole, tiled = Magnifier(shipped), Magnifier(shipped, max_call_px=max_call_px)
    if planes == 3:
        np.testing.assert_array_equal(tiled.magnify_rgb(lr), whole.magnify_rgb(lr))
    else:
        np.testing.assert_array_equal(
            tiled._in_tiles(lr, tiled._rgba_tile), whole._in_tiles(lr, whole._rgba_tile)
        )
