import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.imaging.alpha import bleed_colours
from model.imaging.image import RasterImage
from model.inference import tiling
from model.inference.backends import Network, WholeImageBackend
from model.inference.upscaler import Upscaler

# A convolution sums the last few pixels of a call in another order, depending on the call's size
# and the number of threads: float32 levels then differ by up to 0.0001.
NOISE = 0.0005


def box_blur_x2(lr, reach=3):
    """A stand-in for a network with a known receptive field and zeros outside the image."""
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


@pytest.mark.parametrize(("length", "count", "halo"), [(5, 0, 1), (0, 1, 1), (5, 2, -1)])
def test_wrong_spans_name_what_was_received(length, count, halo):
    with pytest.raises(ValueError, match=f"length={length}, count={count}, halo={halo}"):
        tiling.spans(length, count, halo)


def test_an_image_is_cut_only_where_it_does_not_fit():
    assert len(list(tiling.tiles(20, 20, max_call_px=400, halo=3))) == 1
    assert len(list(tiling.tiles(20, 21, max_call_px=400, halo=3))) > 1


@pytest.mark.parametrize("height", [1, 5, 20, 21, 40, 41])
@pytest.mark.parametrize("width", [1, 2, 20, 39, 60])
@pytest.mark.parametrize("max_call_px", [1, 100, 400, 10_000])
def test_tiles_join_without_a_seam(height, width, max_call_px):
    lr = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 2))
    joined = tiling.upscale_tiled(lr, box_blur_x2, scale=2, max_call_px=max_call_px, halo=3)
    np.testing.assert_array_equal(joined, box_blur_x2(lr))


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    max_call_px=st.integers(1, 5000),
    reach=st.integers(0, 9),
    slack=st.integers(0, 4),
)
def test_any_size_any_tiles_any_receptive_field(size, max_call_px, reach, slack):
    """Tiled equals whole whenever the halo is at least the receptive field."""
    lr = np.random.default_rng(size).integers(0, 256, (*size, 1))
    network = functools.partial(box_blur_x2, reach=reach)
    joined = tiling.upscale_tiled(
        lr, network, scale=2, max_call_px=max_call_px, halo=reach + slack
    )
    np.testing.assert_array_equal(joined, network(lr))


def test_too_small_a_halo_makes_a_seam():
    lr = np.random.default_rng(1).integers(0, 256, (40, 40, 1))
    joined = tiling.upscale_tiled(lr, box_blur_x2, scale=2, max_call_px=400, halo=2)
    assert (joined != box_blur_x2(lr)).any()


def largest_area(height, width, max_call_px, halo):
    plan = tiling.tiles(height, width, max_call_px=max_call_px, halo=halo)
    return max((r.read_stop - r.read_start) * (c.read_stop - c.read_start) for r, c in plan)


@pytest.mark.parametrize(("height", "width"), [(300, 300), (1000, 37), (64, 65), (129, 4000)])
@pytest.mark.parametrize("max_call_px", [68 * 68, 90 * 90, 8_000])
def test_no_call_is_larger_than_allowed(height, width, max_call_px):
    assert largest_area(height, width, max_call_px, halo=17) <= max_call_px


def test_a_tile_is_never_smaller_than_its_halo_needs():
    assert largest_area(300, 300, max_call_px=1, halo=17) == (4 * 17) ** 2


@pytest.fixture(scope="module")
def backend(shipped):
    return WholeImageBackend(Network(shipped, "float32"))


CUT = [
    (150, 211, 100 * 100),
    (1, 300, 100),
    (160, 3, 1),
    (129, 128, 128 * 128),
    (97, 64, 75 * 75),
]


def noise(height, width, planes, seed=5):
    return np.random.default_rng(seed).integers(0, 256, (height, width, planes), dtype=np.uint8)


def in_tiles(backend, lr, conditions, max_call_px, halo):
    """The levels [H * 2, W * 2, 3] of an image that is cut."""
    assert lr.shape[0] * lr.shape[1] > max_call_px  # else there is one tile
    return tiling.upscale_tiled(
        lr,
        lambda tile: backend.levels(tile[None], conditions)[0],
        scale=2,
        max_call_px=max_call_px,
        halo=halo,
    )


def assert_rounded(result, levels):
    """That a uint8 image is what float32 levels round to, in a tie within `NOISE` either."""
    assert result.dtype == np.uint8
    assert np.abs(result - np.clip(levels, 0, 255)).max() <= 0.5 + NOISE


@pytest.mark.parametrize(("height", "width", "max_call_px"), CUT)
def test_with_the_shipped_weights_levels_in_tiles_are_those_of_the_whole(
    shipped, backend, height, width, max_call_px
):
    lr, conditions = noise(height, width, 3), shipped.conditions(100, 0.0)
    tiled = in_tiles(backend, lr, conditions, max_call_px, shipped.halo_px)
    whole = backend.levels(lr[None], conditions)[0]
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=NOISE)


@pytest.mark.parametrize(
    ("height", "width", "max_call_px", "planes"),
    [*((*cut, 3) for cut in CUT), (160, 3, 1, 4), (97, 64, 75 * 75, 4)],
)
def test_with_the_shipped_weights_tiled_equals_whole(
    shipped, backend, height, width, max_call_px, planes
):
    """To the last uint8 level, at every pixel but ties: the promise that tiling is invisible."""
    lr = noise(height, width, planes)
    tiled = Upscaler(shipped, max_call_px=max_call_px)
    assert height * width > max_call_px  # else there is one tile, and nothing is tested
    conditions = shipped.conditions(100, np.nan)
    if planes == 3:
        (levels,) = backend.levels(lr[None], conditions)
        assert_rounded(tiled.upscale_rgb(lr), levels)
    else:
        image = RasterImage(np.ascontiguousarray(lr[..., :3]), alpha=lr[..., 3])
        result = tiled.upscale_image(image)
        both = np.stack([bleed_colours(image.rgb, image.alpha), lr[..., [3, 3, 3]]])
        told = np.concatenate([conditions, shipped.conditions(100, 0.0)])
        colours, alpha = backend.levels(both, told)
        assert_rounded(result.rgb, colours)
        assert_rounded(result.alpha, alpha.mean(axis=-1))


def test_with_the_shipped_weights_too_small_a_halo_shows(shipped, backend, monkeypatch):
    """That the tests above can fail: idealo's 2 pixels of overlap leave seams."""
    lr = noise(97, 90, 3)
    (levels,) = backend.levels(lr[None], shipped.conditions(100, np.nan))
    monkeypatch.setattr(type(shipped), "halo_px", 2)
    tiled = Upscaler(shipped, max_call_px=60 * 60)
    with pytest.raises(AssertionError):
        assert_rounded(tiled.upscale_rgb(lr), levels)


def test_with_the_shipped_weights_a_halo_a_little_too_small_shows_in_levels(shipped, backend):
    lr, conditions = noise(150, 211, 3), shipped.conditions(100, 0.0)
    tiled = in_tiles(backend, lr, conditions, 100 * 100, shipped.halo_px - 4)
    whole = backend.levels(lr[None], conditions)[0]
    assert np.abs(tiled - whole).max() > NOISE


@pytest.mark.parametrize("step", [16, 32])
@pytest.mark.parametrize("halo", [5, 20])
def test_inner_tiles_have_one_shape_lie_within_and_cover_the_image(step, halo):
    for length in [*range(1, 300, 13), 96, 97, 128, 160, 1000, 2049]:
        tiles = tiling.inner_tiles(length, 40, step=step, short=96, max_side=512, halo=halo)
        rows = [rows for rows, _ in tiles]
        sides = {span.read_stop - span.read_start for span in rows}
        assert len(sides) == 1 and rows[0].read_start == 0 and rows[-1].read_stop == length
        (side,) = sides
        assert side == length <= 96 or (side % step == 0 and side <= min(512, length))
        assert [one.core_stop for one in rows[:-1]] == [one.core_start for one in rows[1:]]
        assert rows[0].core_start == 0 and rows[-1].core_stop == length
        for one in rows:
            assert one.read_start == 0 or one.core_start - one.read_start >= halo
            assert one.read_stop == length or one.read_stop - one.core_stop >= halo
        # Two tiles of a side that covers the axis would do.
        assert side * len(rows) <= max(2 * length + 4 * step, 2.1 * length)


def test_an_axis_too_short_for_two_halos_is_one_inner_tile():
    """The paper's network, D = 16 and C = 8, has a halo of 133 pixels."""
    for length in (97, 200, 266, 287):
        tiles = tiling.inner_tiles(length, 40, step=32, short=96, max_side=512, halo=133)
        assert tiles == [(tiling.Span(0, 0, length, length), tiling.Span(0, 0, 40, 40))]
    assert len(tiling.inner_tiles(600, 40, step=32, short=96, max_side=512, halo=133)) > 1
