import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from model.data import degradation
from model.data.recipes import KERNELS, RECIPES, Compression, Recipe
from model.imaging import resampling
from model.imaging.jpeg_history import find_jpeg, quality_steps
from model.scenes.drawing import draw_scene

SCENES = [draw_scene(seed, 240, 300) for seed in (1, 2, 3, 5, 8, 13)]


def lr_of(recipe, hr):
    return recipe.make_lr(hr, 2, np.random.default_rng(1))


def found(compressions, *, hidden=True, scenes=SCENES):
    recipe = Recipe(compressions=tuple(compressions), hidden=hidden)
    return [find_jpeg(lr_of(recipe, hr)) for hr in scenes]


@pytest.mark.parametrize("quality", [10, 25, 50, 75, 90, 98])
def test_the_steps_are_libjpeg_s(quality):
    buffer = io.BytesIO()
    Image.fromarray(SCENES[0]).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        table = np.array(image.quantization[0]).reshape(8, 8)
    np.testing.assert_array_equal(quality_steps(quality), table)


@pytest.mark.parametrize("quality", [30, 50, 75, 90])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_a_hidden_jpeg_is_found(quality, subsampling):
    for trace in found([Compression(quality, subsampling=subsampling)]):
        assert abs(trace.quality - quality) <= 1 and trace.grid == (0, 0)


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_a_hidden_jpeg_is_found_however_large_its_white_background_is(quality):
    """The clipped blocks of the background show nothing, and take no place of those that do."""
    qualities = []
    for hr in SCENES:
        small = lr_of(Recipe(), hr)[:112, :112]
        for side in (112, 960):
            canvas = np.full((side, side, 3), 255, np.uint8)
            canvas[:112, :112] = small
            trace = find_jpeg(degradation.compress_jpeg(canvas, quality))
            qualities.append(trace and trace.quality)
    np.testing.assert_allclose(np.array(qualities, float), quality, atol=1)


@pytest.mark.parametrize("grid", [(3, 5), (0, 1), (7, 0)])
def test_the_grid_of_a_cropped_jpeg_is_found(grid):
    rows, columns = ((8 - at) % 8 for at in grid)
    for trace in found([Compression(60, grid=grid)]):
        assert abs(trace.quality - 60) <= 1 and trace.grid == (rows, columns)


def test_the_stronger_of_two_compressions_is_found():
    for first, second in ((50, 95), (40, 90), (90, 50)):
        for trace in found([Compression(first), Compression(second)]):
            assert abs(trace.quality - min(first, second)) <= 1
    cropped = found([Compression(40, grid=(2, 5)), Compression(95)])
    assert sum(abs(trace.quality - 40) <= 1 for trace in cropped) >= len(cropped) / 2


@pytest.mark.parametrize("name", [*KERNELS, "noisy", "soft", "enlarged", "sharpened150", "webp75"])
def test_no_false_alarm(name):
    assert [find_jpeg(lr_of(RECIPES[name], hr)) for hr in SCENES] == [None] * len(SCENES)


def test_no_false_alarm_on_few_colours_and_drawings():
    for hr in SCENES:
        few = Image.fromarray(hr).quantize(32).convert("RGB")
        assert find_jpeg(np.asarray(few)) is None
    board = np.kron(np.indices((30, 30)).sum(axis=0) % 2, np.ones((8, 8))) * 200 + 20
    for pixels in (board, board[:, 3:], np.tile(np.arange(240.0), (240, 1))):
        assert find_jpeg(np.repeat(pixels[..., None], 3, axis=-1).astype(np.uint8)) is None


def test_a_resize_leaves_nothing():
    compressed = degradation.compress_jpeg(SCENES[1], 50)
    assert find_jpeg(resampling.to_uint8(resampling.bicubic(compressed, 200, 260))) is None


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (8, 8), (14, 16), (16, 16), (40, 40)])
def test_small_flat_and_white_images_show_nothing(size):
    for grey in (0, 77, 255):
        assert find_jpeg(np.full((*size, 3), grey, np.uint8)) is None
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert find_jpeg(noise) is None


def test_evidence_tells_how_sure_it_is():
    strong, weak = (
        find_jpeg(lr_of(Recipe(compressions=(Compression(q),)), SCENES[1])) for q in (60, 95)
    )
    assert strong.mean_evidence > weak.mean_evidence > 0.1
    assert find_jpeg(lr_of(RECIPES["jpeg75"], SCENES[1]), min_evidence=1e9) is None
    assert find_jpeg(lr_of(RECIPES["jpeg75"], SCENES[1]), min_mean_evidence=9) is None
    part = lr_of(RECIPES["jpeg75"], SCENES[1])[32:96, 32:96]
    assert find_jpeg(part).evidence < find_jpeg(lr_of(RECIPES["jpeg75"], SCENES[1])).evidence


def test_it_needs_neither_tensorflow_nor_beam():
    script = (
        "import sys, model.imaging.jpeg_history; "
        "assert not {'tensorflow', 'keras', 'apache_beam'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_of_a_large_image_the_middle_is_enough():
    """The window starts at a whole block, so that the grid stays that of the image."""
    compressed = degradation.compress_jpeg(np.tile(SCENES[2], (6, 5, 1)), 60)
    assert compressed.shape[:2] == (1440, 1500)
    trace = find_jpeg(compressed)
    assert abs(trace.quality - 60) <= 1 and trace.grid == (0, 0)
    assert find_jpeg(compressed[3:, 6:]).grid == (5, 2)
