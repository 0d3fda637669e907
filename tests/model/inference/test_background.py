import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import degradation
from model.imaging import resampling
from model.inference import background
from model.inference.upscaler import Upscaler
from model.network import loading
from model.network.rdn import RDN
from model.scenes.drawing import draw_scene


def on_white(height, width, *objects):
    """White with noise in (top, left, height, width)."""
    rgb = np.full((height, width, 3), 255, np.uint8)
    noise = np.random.default_rng(1).integers(0, 250, rgb.shape, dtype=np.uint8)
    for top, left, rows, columns in objects:
        block = np.s_[top : top + rows, left : left + columns]
        rgb[block] = noise[block]
    return rgb


def pixels(blocks):
    return sum(
        (rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in blocks
    )


def test_an_object_on_white_is_seen_with_its_surroundings():
    (box,) = background.find_boxes(on_white(200, 300, (80, 120, 40, 60)))
    assert box.kept == (slice(76, 124), slice(116, 184))
    assert box.seen == (slice(68, 132), slice(108, 192))


def test_two_objects_far_apart_get_a_box_each():
    boxes = background.find_boxes(on_white(200, 400, (10, 10, 40, 40), (150, 340, 40, 40)))
    assert len(boxes) == 2
    assert pixels(box.seen for box in boxes) < 10_000


def test_boxes_end_at_the_image_s_border():
    (box,) = background.find_boxes(on_white(203, 301, (0, 0, 30, 301)))
    assert box.seen == (slice(0, 44), slice(0, 301))


def test_nothing_but_white_needs_no_network():
    assert background.find_boxes(on_white(50, 60)) == []


@pytest.mark.parametrize("level", [0, 128, 249])
def test_other_backgrounds_are_left_to_the_network(level):
    rgb = on_white(100, 100, (40, 40, 20, 20))
    rgb[rgb == 255] = level
    assert background.find_boxes(rgb) is None


def test_where_little_is_saved_the_image_stays_whole():
    assert background.find_boxes(on_white(100, 100, (4, 4, 92, 92))) is None


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.lists(st.tuples(*[st.integers(0, 89)] * 2, *[st.integers(1, 20)] * 2), max_size=5),
)
def test_what_is_not_blank_is_kept_with_a_margin(size, objects):
    rgb = on_white(*size, *objects)
    boxes = background.find_boxes(rgb)
    if boxes is None:
        return
    kept, seen = np.zeros(size, bool), np.zeros(size, bool)
    for box in boxes:
        kept[box.kept] = True
        seen[box.seen] = True
    other = (rgb < 255).any(axis=-1)
    near = np.pad(other, 4)
    near = np.lib.stride_tricks.sliding_window_view(near, (9, 9)).any(axis=(2, 3))
    assert kept[near].all() and seen[kept].all()
    assert pixels(box.seen for box in boxes) <= 0.95 * size[0] * size[1]


@pytest.fixture(
    scope="module",
    params=[
        *(("rdn-small", "float32"), ("rdn-product", "float32")),
        *(("rdn-product", "bfloat16"), ("rdn-large", "bfloat16")),
        *(("rdn-product-x3", "float32"), ("rdn-product-x4", "float32")),
    ],
    ids="-".join,
)
def skipping_and_dense(request):
    """Both ways to upscale, and the share of the values that may differ by one level."""
    name, precision = request.param
    rdn = loading.load_by_name(name)
    both = [
        Upscaler(rdn, compute_dtype=precision, skip_background=skips) for skips in (True, False)
    ]
    return *both, 0.003 if precision == "bfloat16" else 0.001


@pytest.mark.parametrize(
    ("jpeg_quality", "seed", "side", "count"),
    [(50, 4001, 200, 1), (80, 4006, 200, 1), (100, 4008, 280, 2)],
)
def test_skipping_changes_no_pixel_by_more_than_rounding(
    skipping_and_dense, jpeg_quality, seed, side, count
):
    skipping, dense, max_share = skipping_and_dense
    lr = resampling.to_uint8(resampling.shrink(draw_scene(seed, side, side), 2))
    if jpeg_quality < 100:
        lr = degradation.compress_jpeg(lr, jpeg_quality)
    assert len(background.find_boxes(lr)) == count
    ours = skipping.upscale_rgb(lr, jpeg_quality=jpeg_quality)
    expected = dense.upscale_rgb(lr, jpeg_quality=jpeg_quality)
    difference = np.abs(np.subtract(ours, expected, dtype=np.int16))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < max_share


def test_an_all_white_image_is_filled(upscaler):
    lr = np.full((40, 50, 3), 255, np.uint8)
    np.testing.assert_array_equal(upscaler.upscale_rgb(lr), np.full((80, 100, 3), 255))


@pytest.mark.parametrize("colour", [(254, 254, 254), (251, 251, 251), (255, 255, 250)])
def test_a_background_that_is_nearly_white_goes_through_the_network(colour):
    """Networks change it a little, and most near the object: skipping would draw a box there."""
    lr = np.full((64, 64, 3), colour, np.uint8)
    lr[24:40, 26:38] = (200, 60, 20)
    assert background.find_boxes(lr) is None


def test_a_network_that_changes_white_sees_everything():
    untrained = RDN(num_blocks=1, convs_per_block=1, growth_rate=4, features=4, scale=2)
    untrained.build((None, None, None, 3))
    lr = on_white(120, 120, (50, 50, 20, 20))
    skipping, dense = Upscaler(untrained), Upscaler(untrained, skip_background=False)
    assert background.find_boxes(lr) is not None
    np.testing.assert_array_equal(skipping.upscale_rgb(lr), dense.upscale_rgb(lr))
