import io

import numpy as np
import pytest
from PIL import Image

from model.imaging.alpha import bleed_colours
from model.imaging.decode import decode
from model.imaging.encode import encode
from model.imaging.image import RasterImage
from model.scenes.drawing import draw_scene


def random_rgb(height, width, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 5), (32, 32), (33, 47)])
def test_opaque_pixels_keep_their_colours(size):
    rgb = random_rgb(*size)
    alpha = np.random.default_rng(2).choice([0, 90, 255], size).astype(np.uint8)
    alpha.flat[0] = 255
    filled = bleed_colours(rgb, alpha)
    np.testing.assert_array_equal(filled[alpha == 255], rgb[alpha == 255])


def test_hidden_colours_do_not_matter():
    alpha = np.zeros((40, 41), np.uint8)
    alpha[10:20, 12:30] = 255
    rgb, other = random_rgb(40, 41, 1), random_rgb(40, 41, 2)
    other[alpha > 0] = rgb[alpha > 0]
    np.testing.assert_array_equal(bleed_colours(rgb, alpha), bleed_colours(other, alpha))


@pytest.mark.parametrize("colour", [(200, 40, 40), (0, 0, 0), (255, 255, 255)])
def test_one_colour_goes_on_everywhere(colour):
    rgb = np.full((50, 70, 3), 99, np.uint8)
    alpha = np.zeros((50, 70), np.uint8)
    rgb[20:30, 20:35] = colour
    alpha[20:30, 20:35] = 255
    alpha[20, 20:35] = 100
    filled = bleed_colours(rgb, alpha)
    assert np.abs(filled.astype(int) - colour).max() <= 1


def test_near_the_edge_the_nearest_colour_wins():
    rgb = np.zeros((32, 64, 3), np.uint8)
    alpha = np.zeros((32, 64), np.uint8)
    rgb[:, :16], rgb[:, 48:] = (250, 0, 0), (0, 0, 250)
    alpha[:, :16] = alpha[:, 48:] = 255
    filled = bleed_colours(rgb, alpha).astype(int)
    assert (filled[:, 16:20, 0] > 200).all() and (filled[:, 44:48, 2] > 200).all()


def test_nothing_visible():
    rgb = random_rgb(4, 4)
    assert bleed_colours(rgb, np.zeros((4, 4), np.uint8)) is rgb


@pytest.mark.parametrize("alpha", [64, 128, 254])
def test_half_transparent_pixels_keep_their_colours(alpha):
    """Glass and shadows are not smeared with what stands beside them."""
    rgb = random_rgb(20, 24)
    opacity = np.full((20, 24), alpha, np.uint8)
    opacity[:, :8] = 255
    np.testing.assert_array_equal(bleed_colours(rgb, opacity), rgb)


def soft_disc(size, radius):
    """Coverage 0..1 of a disc with anti-aliased edge: float [size, size]."""
    at = (np.arange(size * 4) + 0.5) / 4 - size / 2
    inside = (np.hypot(at[:, None], at[None]) < radius).astype(float)
    return inside.reshape(size, 4, size, 4).mean(axis=(1, 3))


def halved(plane):
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4


def cut_out(seed=5, size=112, shadow=0.0):
    """HR colours and coverage 0..1 of a textured disc, on a shadow if it is above 0."""
    disc = soft_disc(size, size * 0.33)
    wide = soft_disc(size, size * 0.42) * shadow
    cover = disc + wide * (1 - disc)
    texture = draw_scene(seed, size, size) / 255
    rgb = texture * disc[..., None] / np.maximum(cover, 1e-6)[..., None]
    return rgb, cover


def as_lr(rgb, cover, hidden):
    """Shrunk as premultiplied colours, then stored straight over a hidden colour."""
    weight = halved(cover)
    straight = halved(rgb * cover[..., None]) / np.maximum(weight, 1e-6)[..., None]
    alpha = np.rint(weight * 255).astype(np.uint8)
    stored = np.rint(np.clip(straight * 255, 0, 255)).astype(np.uint8)
    stored[alpha == 0] = hidden
    return RasterImage(stored, alpha=alpha)


def shown(rgb, cover, page):
    return rgb * cover[..., None] + page * (1 - cover[..., None])


@pytest.mark.parametrize("shadow", [0.0, 0.5])
def test_hidden_black_and_white_give_the_same_result(upscaler, shadow):
    scene = cut_out(shadow=shadow)
    black, white = (upscaler.upscale_image(as_lr(*scene, hidden)) for hidden in (0, 255))
    np.testing.assert_array_equal(black.rgb, white.rgb)
    np.testing.assert_array_equal(black.alpha, white.alpha)


@pytest.mark.parametrize("page", [0.0, 1.0])
@pytest.mark.parametrize("shadow", [0.0, 0.5])
def test_the_edge_on_any_page_is_that_of_the_true_image(upscaler, page, shadow):
    """Neither darker nor lighter than it should be, in a ring around the edge."""
    rgb, cover = cut_out(shadow=shadow)
    result = upscaler.upscale_image(as_lr(rgb, cover, 255))
    opacity = result.alpha / 255
    difference = shown(result.rgb / 255, opacity, page) - shown(rgb, cover, page)
    at = np.arange(112) + 0.5 - 56
    distance = np.hypot(at[:, None], at[None])
    for radius in (112 * 0.33, 112 * 0.42):
        ring = np.abs(distance - radius) < 3
        assert np.abs(difference[ring].mean(axis=0)).max() < 3 / 255
        assert np.sqrt((difference[ring] ** 2).mean()) < 16 / 255


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_the_file_of_a_cut_out_shows_no_fringe(upscaler, image_format):
    """From file to file: what is written under transparent pixels continues the object."""
    rgb, cover = cut_out()
    lr = as_lr(rgb, cover, 255)
    source = io.BytesIO()
    Image.fromarray(np.dstack([lr.rgb, lr.alpha])).save(source, "PNG")
    _, image = decode(source.getvalue(), max_pixels=10**5)
    result = encode(upscaler.upscale_image(image), image_format).data
    _, written = decode(result, max_pixels=10**5)
    for page in (0.0, 1.0):
        seen = shown(written.rgb / 255, written.alpha / 255, page)
        assert np.abs(seen - shown(rgb, cover, page)).mean() < 3 / 255
