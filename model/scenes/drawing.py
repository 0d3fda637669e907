"""Draws product images: printed packs, cloth, metal, wood and food on a shop's background.

The project owns these images: these functions draw them with free fonts, larger than requested,
and shrink them, so that edges and textures are clean. The same seed and size give the same pixels
with the same versions of Pillow, NumPy and matplotlib; without matplotlib, all print has one font.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from model.imaging import resampling
from model.scenes import palette, textures
from model.scenes.board import SUPERSAMPLING, Board
from model.scenes.household import HOUSEHOLD
from model.scenes.lettering import choose
from model.scenes.packaging import PACKAGING
from model.scenes.palette import Color
from model.scenes.paper import PAPER
from model.scenes.textures import Fill
from model.scenes.wear import WEAR

Kind = Callable[[Board], None]

PRINTED: tuple[Kind, ...] = (*PACKAGING, *PAPER)
GOODS: tuple[Kind, ...] = (*WEAR, *HOUSEHOLD)
KINDS: tuple[Kind, ...] = (*PRINTED, *GOODS)

# Shares of scenes.
_PRINTED_SHARE = 0.55
_PAIR_SHARE = 0.15
_CLOSE_UP_SHARE = 0.12
_TILTED_SHARE = 0.25  # by a few degrees
_ROTATED_SHARE = 0.15  # by any angle
_NO_SHADOW_SHARE = 0.15
# Optical softness: standard deviation, pixels of the image.
_SOFTEST_PX = 0.6
# Free border around a product, share of the shorter side.
_MARGIN = 0.02

# Backgrounds: share of the scenes, name.
BACKGROUNDS: tuple[tuple[float, str], ...] = (
    (0.60, "white"),
    (0.08, "near-white"),
    (0.06, "pastel"),
    (0.09, "gradient"),
    (0.04, "grey"),
    (0.05, "dark"),
    (0.05, "wood"),
    (0.03, "stone"),
)


@dataclass(frozen=True)
class Pose:
    """One product in a scene.

    Attributes:
        kind: draws it.
        seed: of the drawing.
        size: side of its board, share of the frame's shorter side; above 1 the frame cuts it.
        rotation_deg: counter-clockwise.
        position: (y, x), shares of the free room above and to the left.
        part: (start, end) of its part of the frame's longer side, shares.

    Example:
        upper_left = Pose(packaging.mug, 7, size=0.5, rotation_deg=0.0, position=(0.0, 0.0))
    """

    kind: Kind
    seed: int
    size: float
    rotation_deg: float
    position: tuple[float, float]
    part: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Plan:
    """All choices for a scene; they do not depend on the size of the image.

    Attributes:
        poses: the products, back to front.
        background: name.
        seed: of the background.
        shadow: darkness 0..1.
        softness_px: optical blur, standard deviation, pixels of the image.

    Example:
        white = [seed for seed in range(100) if plan(seed).background == "white"]
    """

    poses: tuple[Pose, ...]
    background: str
    seed: int
    shadow: float
    softness_px: float


def draw_scene(seed: int, height: int, width: int) -> np.ndarray:
    """Draws one or two products on a shop's background, with soft shadows.

    Args:
        seed: decides everything; the same seed and size give the same pixels.
        height: rows, at least 16.
        width: columns, at least 16.

    Returns:
        uint8 [height, width, 3] RGB.

    Raises:
        ValueError: if a side is below 16.
    """
    scene_plan = plan(seed)
    layer, shadow = _products(scene_plan, height, width)
    background = _background(scene_plan, *layer.size)
    background.paste((40, 42, 48), mask=shadow)
    background.paste(layer, mask=layer)
    soft = _softened(background, scene_plan.softness_px)
    return resampling.to_uint8(resampling.shrink(np.asarray(soft), SUPERSAMPLING))


def draw_cutout(seed: int, height: int, width: int) -> np.ndarray:
    """Draws the products of `draw_scene` alone, cut out on transparency.

    Args:
        seed, height, width: see `draw_scene`.

    Returns:
        uint8 [height, width, 4] RGBA, straight alpha.

    Raises:
        ValueError: if a side is below 16.
    """
    scene_plan = plan(seed)
    layer, _ = _products(scene_plan, height, width)
    soft = _softened(layer.convert("RGBa"), scene_plan.softness_px)
    stacked = resampling.shrink(np.asarray(soft), SUPERSAMPLING)
    opacity = np.clip(stacked[..., 3:] / 255, 0, 1)
    straight = stacked[..., :3] / np.maximum(opacity, 1 / 512)
    return resampling.to_uint8(np.dstack([np.clip(straight, 0, 255), opacity * 255]))


def plan(seed: int) -> Plan:
    """Chooses what a scene shows.

    Args:
        seed: decides everything.

    Returns:
        The plan that `draw_scene` and `draw_cutout` follow.
    """
    generator = np.random.default_rng(seed)
    shares, names = zip(*BACKGROUNDS, strict=True)
    background = str(generator.choice(names, p=shares))
    shadow = 0.0 if generator.random() < _NO_SHADOW_SHARE else float(generator.uniform(0.2, 0.65))
    softness_px = float(generator.uniform(0, _SOFTEST_PX))
    backdrop_seed = int(generator.integers(2**32))
    kind = generator.random()
    poses: tuple[Pose, ...]
    if kind < _PAIR_SHARE:
        poses = (_pose(generator, (0.0, 0.54), 0.9), _pose(generator, (0.46, 1.0), 0.9))
    elif kind < _PAIR_SHARE + _CLOSE_UP_SHARE:
        poses = (_close_up(generator),)
    else:
        poses = (_pose(generator, (0.0, 1.0), 0.4),)
    return Plan(poses, background, backdrop_seed, shadow, softness_px)


def _pose(generator: np.random.Generator, part: tuple[float, float], min_size: float) -> Pose:
    """A whole product somewhere in its part of the frame."""
    rotation, chance = 0.0, generator.random()
    if chance < _TILTED_SHARE:
        rotation = float(generator.uniform(-8, 8))
    elif chance < _TILTED_SHARE + _ROTATED_SHARE:
        rotation = float(generator.uniform(-180, 180))
    size = 1 - (1 - min_size) * float(generator.random()) ** 2.5  # most are large
    down, across = (float(at) for at in np.clip(generator.normal(0.5, 0.22, 2), 0, 1))
    seed = int(generator.integers(2**32))
    return Pose(_kind(generator), seed, size, rotation, (down, across), part)


def _close_up(generator: np.random.Generator) -> Pose:
    """A detail: the product is larger than the frame."""
    size = float(generator.uniform(1.25, 1.7))
    rotation = float(generator.uniform(-8, 8)) if generator.random() < _TILTED_SHARE else 0.0
    down, across = (float(at) for at in generator.uniform(0.3, 0.7, 2))
    seed = int(generator.integers(2**32))
    return Pose(_kind(generator), seed, size, rotation, (down, across))


def _kind(generator: np.random.Generator) -> Kind:
    """A printed product, or one of an interesting material."""
    kinds = PRINTED if generator.random() < _PRINTED_SHARE else GOODS
    return choose(generator, kinds)


def _products(scene_plan: Plan, height: int, width: int) -> tuple[Image.Image, Image.Image]:
    """The products on a large transparent frame, and their shadows as a mask."""
    if min(height, width) < 16:
        raise ValueError(f"a scene needs sides of at least 16. Received: {width} x {height}")
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    layer, shadow = Image.new("RGBA", size), Image.new("L", size)
    for pose in scene_plan.poses:
        product, left, top = _posed(pose, *size)
        if scene_plan.shadow:
            is_lying = abs(pose.rotation_deg) > 8
            cast = _cast_shadow if is_lying else _contact_shadow
            dark = cast(product, (left, top), size, scene_plan.shadow)
            shadow.paste(255, mask=dark)
        x0, y0 = max(0, -left), max(0, -top)
        inside = product.crop((x0, y0, x0 + min(product.width, size[0] - left), product.height))
        layer.alpha_composite(
            inside.crop((0, 0, inside.width, min(inside.height, size[1] - top))),
            (left + x0, top + y0),
        )
    return layer, shadow


def _posed(pose: Pose, width: int, height: int) -> tuple[Image.Image, int, int]:
    """Draws a posed product: its image, cropped, and its left and top in the frame."""
    begin, end = pose.part
    wide = width * (end - begin) if width >= height else width
    high = height if width >= height else height * (end - begin)
    # A rotated board must fit as well.
    angle = math.radians(pose.rotation_deg)
    spread = abs(math.cos(angle)) + abs(math.sin(angle))
    size = min(pose.size, 1 / spread) if pose.size <= 1 else pose.size
    side = min(wide, high) * (1 - 2 * _MARGIN) * size
    board = Board(max(side, 12), np.random.default_rng(pose.seed))
    pose.kind(board)
    image = board.image
    if pose.rotation_deg:
        image = image.rotate(pose.rotation_deg, Image.Resampling.BICUBIC, expand=True)
    box = image.getbbox() or (0, 0, *image.size)
    image = image.crop(box)
    down, across = pose.position
    x0 = width * begin if width >= height else 0
    y0 = 0 if width >= height else height * begin
    margin = min(width, height) * _MARGIN
    room_x, room_y = wide - image.width, high - image.height
    left = across * room_x if room_x < 0 else margin + across * max(0, room_x - 2 * margin)
    top = down * room_y if room_y < 0 else margin + down * max(0, room_y - 2 * margin)
    return image, round(x0 + left), round(y0 + top)


def _contact_shadow(
    product: Image.Image, at: tuple[int, int], size: tuple[int, int], darkness: float
) -> Image.Image:
    """A soft, flat shadow under a standing product, as a mask."""
    left, bottom = at[0], at[1] + product.height
    depth = max(2, product.width // 14)
    mask = Image.new("L", size)
    box = (left, bottom - depth, left + product.width, bottom + depth // 2)
    ImageDraw.Draw(mask).ellipse(box, fill=int(255 * darkness))
    return mask.filter(ImageFilter.GaussianBlur(depth / 2.2))


def _cast_shadow(
    product: Image.Image, at: tuple[int, int], size: tuple[int, int], darkness: float
) -> Image.Image:
    """The blurred outline of a lying product, a little to the lower right, as a mask."""
    offset = max(1, round(min(size) * 0.012))
    mask = Image.new("L", size)
    alpha = product.getchannel("A").point(_scaled(darkness))
    mask.paste(alpha, (at[0] + offset, at[1] + offset))
    return mask.filter(ImageFilter.GaussianBlur(offset * 1.5))


def _scaled(share: float) -> list[int]:
    """A table of 256 grey levels, scaled."""
    return [int(level * share) for level in range(256)]


def _softened(image: Image.Image, sigma_px: float) -> Image.Image:
    """Blurs an image as a lens does."""
    return image.filter(ImageFilter.GaussianBlur(sigma_px * SUPERSAMPLING))


def _background(scene_plan: Plan, width: int, height: int) -> Image.Image:
    """Draws the background, RGB."""
    generator = np.random.default_rng(scene_plan.seed)
    name = scene_plan.background
    if name == "white":
        return Image.new("RGB", (width, height), (255, 255, 255))
    bright = _level(generator, {"grey": (110, 190), "dark": (14, 60)}.get(name, (225, 252)))
    if name in ("near-white", "grey", "dark"):
        return Image.new("RGB", (width, height), bright)
    tint: Color = tuple(int(at) for at in generator.integers(196, 250, 3))  # type: ignore[assignment]
    if name == "pastel":
        return Image.new("RGB", (width, height), tint)
    fill: Fill = textures.ramp(bright, tint, upright=bool(generator.integers(4)))
    if name == "wood":
        fill = textures.plain(choose(generator, palette.WOODS), textures.wood)
    elif name == "stone":
        fill = textures.plain(_level(generator, (150, 230)), textures.stone)
    patch = textures.Patch(generator, height, width, min(width, height))
    return Image.fromarray(resampling.to_uint8(fill(patch)))


def _level(generator: np.random.Generator, bounds: tuple[int, int]) -> Color:
    """A colour that is almost grey."""
    level = int(generator.integers(*bounds))
    red, green, blue = (int(level + at) for at in generator.integers(-4, 4, 3))
    return min(red, 255), min(green, 255), min(blue, 255)
