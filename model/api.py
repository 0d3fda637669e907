"""The Python API for images in memory: `upscale` for Pillow images and arrays.

    from catalog_magnifier import upscale

    large = upscale(Image.open("shoe.jpg"))

The first call loads the network, which takes seconds; it stays in memory for all later calls.
"""

import contextlib
import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from model import startup
from model.imaging.decode import assumed_quality, from_pillow
from model.imaging.encode import to_pillow
from model.imaging.image import RasterImage
from model.imaging.jpeg_history import find_jpeg
from model.imaging.metadata import exif, xmp
from model.inference.dtypes import COMPUTE_DTYPES
from model.inference.target import TargetSize, whole_number
from model.network import presets

if TYPE_CHECKING:  # it imports TensorFlow
    from model.inference.upscaler import Upscaler

AUTO = "auto"
_Images = TypeVar("_Images", Image.Image, np.ndarray, list[Image.Image], list[np.ndarray])
# One network at a time is loaded, and one image at a time upscaled where the device asks for it.
_loading, _turn = threading.Lock(), threading.Lock()


def upscale(
    images: _Images,
    *,
    model: str = presets.DEFAULT,
    precision: str = AUTO,
    scale: int | None = None,
    target_side: int | None = None,
    jpeg_quality: int | None = None,
    source_sharpening: float | None = None,
    self_ensemble: bool = False,
) -> _Images:
    """Upscales images by a network that stays loaded; threads may call it.

    Grey stays grey, and transparency stays. A Pillow image is turned upright and keeps its RGB or
    grey profile, CMYK and Lab become sRGB, 16-bit grey becomes 8-bit, as in the nightly job. The
    job's quality gate is not applied.

    Pillow decodes what the caller has opened. A file that lacks only its end, which the job takes,
    is an error unless `PIL.ImageFile.LOAD_TRUNCATED_IMAGES` is set. Of an animated image, which
    the job skips, the current frame is upscaled: the first, or that of `image.seek`.

    Args:
        images: a Pillow image; an array, uint8 [H, W], [H, W, 1] grey, [H, W, 2] grey and alpha,
            [H, W, 3] RGB or [H, W, 4] RGBA, straight alpha; or a list of these, of any sizes.
        model: name of a shipped network, or path of a `.keras` file that `model.train` wrote.
        precision: dtype that the network computes in, `float32`, `bfloat16` or `float16`; `auto`
            is the fastest on this machine. Results differ by one grey level at most, and by more
            of rare images that one dtype takes for sharpened and another does not.
        scale: enlargement, 2 to 4; of a network of scale 2, 4 is two passes and 3 is 4 shrunk. By
            default that of the network. With `target_side` the largest one allowed.
        target_side: longer side of each result, pixels: the smallest enlargement that reaches it,
            shrunk to it. An image that has it already is returned as it is, and one that four
            times its size does not reach stays below it.
        jpeg_quality: 1..100, with which the images were compressed, 100 for never; by default that
            of the file that Pillow opened, or that which the pixels show.
        source_sharpening: how the images were sharpened when they were made, log2, -0.75..1.5, as
            `python -m model.sharpening` measures it; None where the network shall see in each
            image for itself.
        self_ensemble: the mean over eight flipped and rotated versions, at eight times the time.

    Returns:
        For a Pillow image one of mode L, LA, RGB or RGBA, for an array one of the same number of
        dimensions and channels, for a list a list.

    Raises:
        TypeError: for what is neither an image nor uint8.
        ValueError: for an array of another shape, an image that cannot be read (`ImageError`), an
            option's value that is not allowed, or a network that cannot be used (`ModelError`).
        OutOfMemoryError: if the device cannot hold even a small tile.
        RuntimeError: if this process has Keras on another backend than TensorFlow.

    Example:
        >>> upscale(np.full((20, 30), 128, np.uint8), model="rdn-small").shape
        (40, 60)
    """
    jpeg_quality = _check_options(precision, jpeg_quality)
    presets.check_sharpening_range(source_sharpening)
    size = TargetSize(scale, target_side)
    together: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
    # A wrong image is found before the network is loaded and the others are upscaled.
    sources = [_read(image, jpeg_quality) for image in together]
    network = _load(model, precision, self_ensemble) if sources else None
    if network is not None and source_sharpening is not None and not network.knows_sharpening:
        raise presets.ModelError(presets.not_told_of_sharpening(model))
    results: list[Any] = []
    for image, (source, quality) in zip(together, sources, strict=True):
        assert network is not None
        size.check(network.scale)
        results.append(
            _like(
                image,
                _upscale_one(
                    network, source, size, jpeg_quality=quality, sharpening=source_sharpening
                ),
            )
        )
    container: Any = type(images)
    return container(results) if isinstance(images, (list, tuple)) else results[0]


def _upscale_one(
    network: "Upscaler",
    source: RasterImage,
    size: TargetSize,
    *,
    jpeg_quality: int,
    sharpening: float | None,
) -> RasterImage:
    """One image at its target size."""
    from model.inference.measured import upscale_with_self_test  # noqa: PLC0415

    if size.has_reached(source.height, source.width):
        return source
    plan = size.plan(source.height, source.width, network.scale)
    with _turn if network.one_at_a_time else contextlib.nullcontext():
        upscaled = upscale_with_self_test(
            network,
            source,
            jpeg_quality=jpeg_quality,
            sharpening=sharpening,
            extent="off",
            passes=plan.passes,
        )
    return upscaled.result.shrunk_to(plan.height, plan.width)


def _check_options(precision: str, jpeg_quality: int | None) -> int | None:
    """Returns the JPEG quality as int, None for None."""
    if precision not in (AUTO, *COMPUTE_DTYPES):
        allowed = ", ".join((AUTO, *COMPUTE_DTYPES))
        raise ValueError(f"precision is one of {allowed}. Received: {precision!r}")
    quality = whole_number(jpeg_quality)
    if jpeg_quality is not None and quality not in range(1, 101):
        raise ValueError(f"jpeg_quality is a whole number, 1 to 100. Received: {jpeg_quality!r}")
    return quality


def _read(image: object, jpeg_quality: int | None) -> tuple[RasterImage, int]:
    """Any image of the caller, and the JPEG quality that the network is conditioned on."""
    if isinstance(image, Image.Image):
        header, source = from_pillow(image)
        return source, jpeg_quality or assumed_quality(header)
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"an image is a PIL.Image.Image or a uint8 array. Received: {type(image).__name__}; "
            "open a file by PIL.Image.open"
        )
    source = _from_array(image)
    if jpeg_quality is None:
        trace = find_jpeg(source.rgb)
        jpeg_quality = 100 if trace is None else trace.quality
    return source, jpeg_quality


def _from_array(pixels: np.ndarray) -> RasterImage:
    """uint8 [H, W] or [H, W, 1..4] as an image."""
    shape = list(pixels.shape)
    if pixels.dtype != np.uint8:
        raise TypeError(f"pixels are uint8, 0 to 255. Received: {pixels.dtype} {shape}")
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    if planes.ndim != 3 or not 1 <= planes.shape[2] <= 4 or not planes.size:
        hint = "; give several images as a list" if pixels.ndim == 4 else ""
        raise ValueError(
            f"an array is [H, W] or [H, W, channels] with 1 to 4 channels. Received: {shape}{hint}"
        )
    channels = planes.shape[2]
    is_grey = channels <= 2
    rgb = np.repeat(planes[..., :1], 3, axis=-1) if is_grey else planes[..., :3]
    alpha = np.ascontiguousarray(planes[..., -1]) if channels in (2, 4) else None
    return RasterImage(np.ascontiguousarray(rgb), alpha, is_grey)


def _like(image: object, result: RasterImage) -> Image.Image | np.ndarray:
    """A result as the type that the caller gave."""
    if isinstance(image, Image.Image):
        made = to_pillow(result)
        if result.icc_profile is not None:
            made.info["icc_profile"] = result.icc_profile
        if result.rights is not None:
            made.info |= {"exif": exif.write(result.rights), "xmp": xmp.write(result.rights)}
        return made
    assert isinstance(image, np.ndarray)
    planes = result.rgb[..., :1] if result.is_grey else result.rgb
    if result.alpha is not None:
        planes = np.dstack([planes, result.alpha])
    return np.ascontiguousarray(planes[..., 0] if image.ndim == 2 else planes)


def _load(model: str, precision: str, self_ensemble: bool) -> "Upscaler":
    """The network, loaded once; again if its file has changed meanwhile."""
    changed_at = None
    if model not in presets.PRESETS:
        with contextlib.suppress(OSError):  # `resolve` tells what is wrong
            changed_at = Path(model).stat().st_mtime_ns
    with _loading:
        return _load_once(model, precision, self_ensemble, changed_at)


@functools.lru_cache(maxsize=4)
def _load_once(
    model: str,
    precision: str,
    self_ensemble: bool,
    changed_at: int | None,  # noqa: ARG001 - a part of the cache's key
) -> "Upscaler":
    startup.import_tensorflow(is_ours=False)
    from model.inference import backends  # noqa: PLC0415
    from model.inference.upscaler import Upscaler  # noqa: PLC0415
    from model.network import loading  # noqa: PLC0415

    return Upscaler(
        loading.load_by_name(model),
        compute_dtype=backends.fastest_dtype() if precision == AUTO else precision,
        self_ensemble=self_ensemble,
    )
