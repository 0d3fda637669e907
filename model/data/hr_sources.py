"""HR images for training and evaluation: folders, S3 prefixes, lists, and drawn scenes."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from model.data.object_store import ObjectStore, open_s3
from model.data.processes import forked
from model.imaging import resampling
from model.imaging.decode import decode
from model.imaging.errors import ImageError
from model.imaging.header import Header, lift_pillow_limits
from model.imaging.image import RasterImage
from model.scenes import drawing

IMAGE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif"),
}

# Training data are the reader's own: the limit only keeps a broken header from allocating memory.
_MAX_PIXELS = 1_000_000_000

_log = logging.getLogger(__name__)
_Image = TypeVar("_Image")


class HrImage(Protocol):
    """An image that serves as HR and is read when it is needed.

    Example:
        for image in list_images("photographs/"):  # `HrFile`s are `HrImage`s
            hr = image.read()
    """

    @property
    def name(self) -> str:
        """What notes and tables call it."""

    def read(self) -> np.ndarray:
        """Returns uint8 [H, W, 3] RGB; the same pixels each time."""


@dataclass(frozen=True)
class HrFile:
    """An image file.

    Attributes:
        uri: a path or `s3://bucket/key`.
        shrink_first: shrinks the image by this before it serves as HR, so that the JPEG
            compression of a photograph does not become the network's target.
        store: where `s3://` URIs are read; None is S3 as the AWS configuration names it.

    Example:
        HrFile("clothes/a.jpg", shrink_first=2).read()  # uint8 [H / 2, W / 2, 3]
    """

    uri: str
    shrink_first: int = 1
    store: ObjectStore | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.uri.rpartition("/")[2]

    def read(self) -> np.ndarray:
        """Reads and shrinks it.

        Raises:
            OSError: if it cannot be read or is no image; the message names it.
        """
        hr = read_rgb(self.uri, store=self.store)
        if self.shrink_first == 1:
            return hr
        hr = resampling.crop_to_multiple(hr, self.shrink_first)
        return resampling.to_uint8(resampling.shrink(hr, self.shrink_first))


@dataclass(frozen=True)
class HrScene:
    """A product that `model.scenes` draws.

    Attributes:
        seed: which one.
        side: of the square image, pixels.

    Example:
        >>> HrScene(seed=7, side=64).read().shape
        (64, 64, 3)
    """

    seed: int
    side: int

    @property
    def name(self) -> str:
        """The scene's number."""
        return f"scene-{self.seed}"

    def read(self) -> np.ndarray:
        """Draws it."""
        return drawing.draw_scene(self.seed, self.side, self.side)


@dataclass(frozen=True)
class HrArray:
    """An image that is in memory already.

    Attributes:
        name: of where it came from.
        pixels: uint8 [H, W, 3] RGB.

    Example:
        >>> HrArray("grey", np.full((8, 9, 3), 128, np.uint8)).read().shape
        (8, 9, 3)
    """

    name: str
    pixels: np.ndarray

    def read(self) -> np.ndarray:
        """Returns the pixels."""
        return self.pixels


def find_images(folder: Path) -> list[Path]:
    """Lists the image files right in a folder, sorted by name.

    Raises:
        FileNotFoundError: if the folder does not exist or holds no image.
    """
    if not folder.is_dir():
        is_file = folder.exists()
        raise FileNotFoundError(
            f"{folder} is a file: name a folder" if is_file else f"no such folder: {folder}"
        )
    images = sorted(p for p in folder.iterdir() if is_image(p.name))
    if not images:
        raise FileNotFoundError(f"no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {folder}")
    return images


def list_images(
    place: str, *, shrink_first: int = 1, store: ObjectStore | None = None
) -> list[HrFile]:
    """Lists the HR images of a place; reads none of them.

    Args:
        place: a folder, an S3 prefix `s3://bucket/prefix/`, or a text file `*.txt` that names
            an image a line: a path, relative to the list's folder, or an `s3://` URI.
        shrink_first, store: see `HrFile`.

    Returns:
        The images in order of their names, those of a list in its order.

    Raises:
        FileNotFoundError: if there is no such place, or no image in it.
    """
    if place.startswith("s3://"):
        uris = list(list_uris(place, store=store))
    elif place.endswith(".txt"):
        uris = _read_list(Path(place))
    elif Path(place).is_file():
        raise FileNotFoundError(
            f"{place} is a file: name a folder, an s3:// prefix or a .txt list of images"
        )
    else:
        uris = [str(path) for path in find_images(Path(place))]
    if not uris:
        raise FileNotFoundError(f"no images in {place}")
    return [HrFile(uri, shrink_first, store) for uri in uris]


def spread(images: Sequence[_Image], limit: int | None) -> list[_Image]:
    """Returns so many images, evenly from all of them; all where there are fewer, or no limit.

    Example:
        >>> spread(["a", "b", "c", "d", "e"], 2)
        ['a', 'c']
    """
    count = min(limit or len(images), len(images))
    return [images[i * len(images) // count] for i in range(count)]


def list_uris(prefix: str, *, store: ObjectStore | None = None) -> Iterator[str]:
    """Yields the URIs of the images below an S3 prefix, in order of names, while it is listed.

    Args:
        prefix: `s3://bucket/prefix`.
        store: see `HrFile`.

    Raises:
        OSError: if it cannot be listed.
    """
    with _storage_errors(prefix):
        yield from filter(is_image, (store or open_s3()).list_uris(prefix))


def read_bytes(place: str | Path, *, store: ObjectStore | None = None) -> bytes:
    """Reads a file.

    Args:
        place: a path or an `s3://` URI.
        store: see `HrFile`.

    Raises:
        OSError: if it cannot be read.
    """
    if not str(place).startswith("s3://"):
        return Path(place).read_bytes()
    with _storage_errors(str(place)):
        return (store or open_s3()).read(str(place))


def read_rgb(place: str | Path, *, store: ObjectStore | None = None) -> np.ndarray:
    """Reads a training or benchmark image as uint8 [H, W, 3] RGB.

    It is decoded as the pipeline decodes a source: upright, 16 bits scaled to 8, transparency
    over white, the numbers of its own colour space. Of an animation it is the first frame.

    Args:
        place: a path or an `s3://` URI.
        store: see `HrFile`.

    Raises:
        OSError: if it cannot be read or is no whole image; the message names it.
    """
    return read_image(place, store=store).over_white()


def read_image(place: str | Path, *, store: ObjectStore | None = None) -> RasterImage:
    """Reads an image as `read_rgb`, with its profile and transparency; the same errors."""
    return decode_file(place, store=store, finds_jpeg=False)[1]


def decode_file(
    place: str | Path, *, store: ObjectStore | None = None, finds_jpeg: bool = True
) -> tuple[Header, RasterImage]:
    """Reads an image and its header as `decode` returns them; the errors of `read_rgb`."""
    lift_pillow_limits()
    try:
        data = read_bytes(place, store=store)
        return decode(data, max_pixels=_MAX_PIXELS, first_frame=True, finds_jpeg=finds_jpeg)
    except (OSError, ImageError) as error:
        raise OSError(f"cannot read the image {place}: {error}") from error


def large_enough(images: Sequence[HrImage], side: int, *, processes: int = 0) -> list[HrArray]:
    """Reads images into memory, and leaves out with a note those that are too small.

    Args:
        images: where to read.
        side: least height and width, pixels.
        processes: that read side by side; 0 reads in this one.

    Raises:
        OSError: if an image cannot be read; the message names it.
        ValueError: if `processes` is negative.
    """
    if processes:
        with forked(processes) as pool:
            arrays = list(pool.map(_read, images, chunksize=8))
    else:
        arrays = [_read(image) for image in images]
    for small in (array for array in arrays if min(array.pixels.shape[:2]) < side):
        note_too_small(small.name, small.pixels, side)
    return [array for array in arrays if min(array.pixels.shape[:2]) >= side]


def _read(image: HrImage) -> HrArray:
    """The image in memory."""
    return HrArray(image.name, image.read())


def note_too_small(name: str, pixels: np.ndarray, side: int) -> None:
    """Says that an image is not used."""
    height, width = pixels.shape[:2]
    _log.warning("skipped %s: %d x %d, but needed are %d x %d", name, width, height, side, side)


def is_image(name: str) -> bool:
    """Returns whether the name of a file, or its URI, ends as images' do."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _read_list(path: Path) -> list[str]:
    """The images that a text file names."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    named = [line for line in lines if line and not line.startswith("#")]
    return [line if line.startswith("s3://") else str(path.parent / line) for line in named]


@contextlib.contextmanager
def _storage_errors(uri: str) -> Iterator[None]:
    """Turns what a storage raises into OSError, as reading a file does."""
    try:
        yield
    except Exception as error:  # of boto3, or of whoever handed the storage in
        raise OSError(f"{uri}: {error}") from error
