"""Estimates how the thumbnails of a shop were sharpened, without their originals."""

import dataclasses
import functools
import hashlib
import heapq
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model import startup
from model.data.hr_sources import is_image, list_uris, read_bytes
from model.imaging.decode import assumed_quality, decode
from model.imaging.errors import ImageError
from model.imaging.header import lift_pillow_limits
from model.imaging.image import RasterImage
from model.network import presets
from model.sharpening import measuring

if TYPE_CHECKING:  # it imports TensorFlow, which pairs need not wait for
    from model.inference.upscaler import Upscaler

USUAL_LIMIT = 60
ENOUGH = 20
# Estimates of thumbnails that were made in one way deviate by less, log2.
_USUAL_DEVIATION = 0.25
_ESTIMATED_PX = 256
_MAX_PIXELS = 100_000_000


class NoNumberError(ValueError):
    """Thumbnails that give no number.

    Args:
        problem: what is wrong with them.
        remedy: what else to do for a number of `--source_sharpening`.

    Example:
        raise NoNumberError("3 thumbnails can be measured", "give more of them")
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What some thumbnails say of their shop.

    Attributes:
        value: median over the thumbnails, log2.
        low, high: other thumbnails of the same kind would give a value between them, in 19 of 20
            cases.
        count: of the thumbnails.

    Example:
        >>> estimate = conclude([0.7, 0.8] * 10)
        >>> estimate.value, estimate.count
        (0.75, 20)
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:+.2f} ({self.low:.2f} to {self.high:.2f}, {self.count} thumbnails)"


def conclude(values: Sequence[float]) -> Estimate:
    """Concludes from the values of some thumbnails.

    Args:
        values: of `measuring.estimate`, log2.

    Raises:
        NoNumberError: if there are too few, they were made in several ways, or their median is
            beyond what networks were trained on.
    """
    check_count(len(values))
    check_one_kind(values, _USUAL_DEVIATION)
    again = np.random.default_rng(0).choice(values, (1000, len(values)))
    low, high = np.quantile(np.median(again, axis=1), (0.025, 0.975))
    value = rounded(float(np.median(values)))
    check_is_learned(value)
    return Estimate(value, rounded(float(low)), rounded(float(high)), len(values))


def check_count(count: int) -> None:
    """Raises NoNumberError if so few thumbnails give no estimate."""
    if count < ENOUGH:
        raise NoNumberError(
            f"{count} thumbnail{'' if count == 1 else 's'} can be measured, an estimate needs "
            f"{ENOUGH}, better {USUAL_LIMIT}",
            "give more of them, or a folder of their originals",
        )


def check_one_kind(values: Sequence[float], usual_deviation: float) -> None:
    """Raises NoNumberError if values, log2, deviate by more than those of one kind do."""
    deviation = float(np.std(values))
    if deviation > usual_deviation:
        raise NoNumberError(
            f"values from {min(values):.2f} to {max(values):.2f}, deviation {deviation:.2f}: "
            "these thumbnails were made in several ways",
            "measure and run each kind on its own, or leave --source_sharpening unknown",
        )


def check_is_learned(value: float) -> None:
    """Raises NoNumberError if networks were not trained on a value."""
    if not presets.MIN_SHARPENING <= value <= presets.MAX_SHARPENING:
        raise NoNumberError(
            f"{value:.2f}, beyond what networks were trained on, {presets.MIN_SHARPENING} to "
            f"{presets.MAX_SHARPENING}",
            "leave --source_sharpening unknown",
        )


def rounded(value: float) -> float:
    """To two digits, and 0 for -0."""
    return round(value, 2) + 0.0


@functools.cache
def open_upscaler() -> "Upscaler":
    """Loads the network that sees sharpening best, once in a process."""
    startup.import_tensorflow()
    from model.inference import backends  # noqa: PLC0415
    from model.inference.upscaler import Upscaler  # noqa: PLC0415
    from model.network import loading  # noqa: PLC0415

    network = loading.load(presets.resolve(measuring.ESTIMATED_BY))
    return Upscaler(network, compute_dtype=backends.fastest_dtype())


def measure_all(uris: Iterable[str], upscaler: "Upscaler") -> Iterator[tuple[str, float]]:
    """Yields each thumbnail with its value, log2; names those that cannot be measured.

    Raises:
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    for uri in uris:
        try:
            image, jpeg_quality = read_image(uri)
            value = measuring.estimate(_middle(image.bled()), jpeg_quality, upscaler)
        except measuring.UnmeasurableError as error:
            print(f"model.sharpening: {uri}: {error}", file=sys.stderr)
        except OSError as error:
            print(f"model.sharpening: {error}", file=sys.stderr)
        else:
            yield uri, value


def read_image(uri: str) -> tuple[RasterImage, int]:
    """Reads an image.

    Args:
        uri: a path or an `s3://` URI.

    Returns:
        The image, and its JPEG quality, 1..100.

    Raises:
        OSError: if it cannot be read or is no image; the message names it.
    """
    lift_pillow_limits()
    try:
        header, image = decode(read_bytes(uri), max_pixels=_MAX_PIXELS)
    except (ImageError, OSError) as error:
        raise OSError(f"{uri}: {error}") from error
    return image, assumed_quality(header)


def _middle(rgb: np.ndarray) -> np.ndarray:
    """The middle of an image, to save time."""
    top, left = (max(0, side - _ESTIMATED_PX) // 2 for side in rgb.shape[:2])
    return rgb[top : top + _ESTIMATED_PX, left : left + _ESTIMATED_PX]


def sample_folders(place: str, limit: int) -> tuple[dict[str, list[str]], int]:
    """Chooses thumbnails of each folder right below a place, the same every time.

    Args:
        place: a local folder, or an S3 prefix that ends in `/`.
        limit: of each folder.

    Returns:
        By folder, as a prefix that ends in `/`, some of the images anywhere below it; and the
        number of images right in the place, which belong to no folder.

    Raises:
        OSError: if there is no such place, or it cannot be listed.
        ValueError: if it is no folder and no prefix, or has no image in a folder below.
    """
    if place.startswith("s3://"):
        if not place.endswith("/"):
            raise ValueError(f"{place}: a prefix of shops ends in /")
        root, uris = place, list_uris(place)
    else:
        folder = Path(os.path.normpath(Path(place).absolute()))
        if not folder.is_dir():
            is_file = folder.exists()
            raise FileNotFoundError(
                f"{place} is a file: name the folder that holds those of the shops"
                if is_file
                else f"no such folder: {place}"
            )
        files = (path for path in folder.rglob("*") if is_image(path.name) and path.is_file())
        root, uris = f"{str(folder).rstrip('/')}/", map(str, files)
    chosen: dict[str, list[tuple[int, str]]] = {}
    loose = 0
    for uri in uris:
        name, slash, _ = uri[len(root) :].partition("/")
        if not slash:
            loose += 1
            continue
        heap = chosen.setdefault(_prefix(f"{root}{name}"), [])
        push = heapq.heappush if len(heap) < limit else heapq.heappushpop
        push(heap, (-_digest(uri), uri))
    if not chosen:
        raise ValueError(f"{place}: no images in folders below it")
    folders = {prefix: sorted(uri for _, uri in chosen[prefix]) for prefix in sorted(chosen)}
    return folders, loose


def _prefix(folder: str) -> str:
    """A folder as a prefix; one whose name is not UTF-8 as a file URI, which is text."""
    try:
        folder.encode()
    except UnicodeEncodeError:
        folder = Path(folder).as_uri()
    return f"{folder}/"


def _digest(uri: str) -> int:
    digest = hashlib.blake2b(uri.encode(errors="surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
