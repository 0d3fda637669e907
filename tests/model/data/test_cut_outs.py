import numpy as np
import pytest

from model.data.cut_outs import cut_out
from model.data.drawn_recipes import Degradation
from model.data.patches import MARGIN_PX, Cutter
from model.imaging import resampling
from model.metrics import full_reference
from model.scenes.drawing import draw_scene
from model.train.config import TrainConfig

PHOTOGRAPH = draw_scene(4, 128, 128) // 2 + 60  # nothing in it is white


def on_white(seed):
    return cut_out(PHOTOGRAPH, 64, np.random.default_rng(seed))


def test_a_part_stays_on_exactly_white_background():
    """Its edges cross the patch in the middle of nearly all regions."""
    crossed = 0
    for seed in range(40):
        result = on_white(seed)
        assert result.shape == PHOTOGRAPH.shape and result.dtype == np.uint8
        is_white = (result[32:96, 32:96] == 255).all(axis=-1)
        crossed += 0.02 < is_white.mean() < 0.98
    assert crossed >= 30


def test_edges_are_soft_over_a_few_pixels_and_straight():
    """Across an edge a grey image rises to white without a step or a fringe of another colour."""
    grey = np.full((128, 128, 3), 90, np.uint8)
    for seed in range(10):
        result = cut_out(grey, 64, np.random.default_rng(seed)).astype(int)
        assert np.ptp(result, axis=-1).max() <= 1
        inner = result[..., 0].min()
        between = (result[..., 0] > inner + 2) & (result[..., 0] < 253)
        assert 0 < between.sum() < 5 * 128


def test_colours_are_stronger():
    def chroma(rgb):
        return np.abs(rgb - full_reference.luma(rgb)[..., None]).mean(axis=-1)

    before = chroma(PHOTOGRAPH)
    ratios = []
    for seed in range(20):
        result = on_white(seed)
        is_object = (result < 250).all(axis=-1) & (before > 4)
        ratios.append(chroma(result)[is_object].mean() / before[is_object].mean())
    assert 1.3 < np.mean(ratios) < 2.2


def test_only_the_generator_decides():
    np.testing.assert_array_equal(on_white(3), on_white(3))
    assert (on_white(3) != on_white(4)).any()


@pytest.mark.parametrize(
    ("share", "least", "most"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 190, 200)]
)
def test_as_many_patches_as_asked_for_are_cut_out(share, least, most):
    """LR shows the same cut-out as HR, and HR stays the photograph's where none is cut out."""
    cutter = Cutter(2, 16, Degradation(), share)
    side = cutter.region_px
    region = np.resize(PHOTOGRAPH, (side, side, 3))
    inside = region[2 * MARGIN_PX : -2 * MARGIN_PX, 2 * MARGIN_PX : -2 * MARGIN_PX]
    cut = 0
    for seed in range(200):
        lr, hr, quality, _ = cutter.pair(region, np.random.default_rng(seed))
        assert quality == 100
        again = resampling.shrink(hr, 2)
        np.testing.assert_allclose(lr[3:-3, 3:-3], np.clip(again, 0, 255)[3:-3, 3:-3], atol=1)
        cut += sorted(hr.ravel()) != sorted(inside.ravel())
    assert least <= cut <= most


def test_a_wrong_share_is_refused():
    with pytest.raises(ValueError, match=r"cut_out_share is 0\.\.1\. Received: 2"):
        TrainConfig(cut_out_share=2)
