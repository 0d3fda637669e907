"""Names of exported files: by content, by source, or by product; unique and valid everywhere."""

import hashlib
import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from model.imaging.formats import EXTENSIONS
from pipeline.read.images import RunImage
from pipeline.storage import locations

SCHEMES = ("content", "source", "product")

# File systems hold 255 bytes; a number, a digest and a suffix follow, and names of unfinished
# files are longer.
_MAX_STEM_BYTES = 160
_MAX_CONTENT_CHARS = 80
_FORMAT_OF_SUFFIX = {
    **{"jpg": "jpeg", "jpeg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "png": "png"},
    **{"webp": "webp", "avif": "avif", "gif": "gif", "bmp": "bmp", "tif": "tiff", "tiff": "tiff"},
}
# Windows refuses these letters and names; the directional marks make a name read as another.
_FORBIDDEN = set('<>:"/\\|?*') | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_RESERVED = {"CON", "PRN", "AUX", "NUL"}
_RESERVED |= {f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³"}


@dataclass(frozen=True)
class NamedImage:
    """An image of a run, and the files that the export writes.

    Attributes:
        image: see `RunImage`.
        file_names: with `/` between folders; one, or one for each product.

    Example:
        NamedImage(image, ("shoes/red.jpg",))
    """

    image: RunImage
    file_names: tuple[str, ...]


@dataclass(frozen=True)
class Naming:
    """The names of all images of a run.

    Attributes:
        images: in the order given.
        taken: files whose own name another file has too; theirs end in a digest.
        without_product: images without a product id, which are named by their source.

    Example:
        naming = name_images(images, "source", "s3://shop/images/")
        naming.images[0].file_names  # ("shoes/red.jpg",)
    """

    images: list[NamedImage]
    taken: int = 0
    without_product: int = 0


class _Wanted(NamedTuple):
    """A name that images ask for: folder and stem, the suffix, and what a digest is made of."""

    positions: tuple[int, ...]
    stem: str
    suffix: str
    identity: str

    @property
    def name(self) -> str:
        return f"{self.stem}.{self.suffix}"


def name_images(images: Sequence[RunImage], scheme: str, base: str) -> Naming:
    """Names the files of a run's images.

    The names depend on the run's images alone, not on their order: export a part of them under
    the same names. No two files differ only by case or by the form of an accent.

    Args:
        images: all of the run.
        scheme: one of `SCHEMES`. `content` is the last part of the URI without unusual characters,
            and the beginning of the content key; images of one name and one content key share a
            file. `source` is the folder and name of the source, with the suffix of the result.
            `product` is the product id and a number, in the order of the URIs; an image of several
            products gets a file for each.
        base: the run's input: a source below its folder is named from there on.

    Returns:
        See `Naming`.

    Raises:
        ValueError: if the scheme is unknown.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"names are by {', '.join(SCHEMES)}. Received: {scheme!r}")
    all_wanted: list[_Wanted] = []
    if scheme == "content":
        all_wanted.extend(_by_content(images))
    elif scheme == "product":
        all_wanted.extend(_by_product(images))
    named = {position for wanted in all_wanted for position in wanted.positions}
    others = [index for index in range(len(images)) if index not in named]
    folder = base[: base.rfind("/") + 1]
    all_wanted += [_by_source(index, images[index], folder) for index in others]
    names: dict[int, list[str]] = defaultdict(list)
    taken = 0
    for wanted, name in _made_unique(all_wanted):
        for position in wanted.positions:
            names[position].append(name)
        taken += name != wanted.name
    return Naming(
        [NamedImage(image, tuple(names[index])) for index, image in enumerate(images)],
        taken,
        without_product=len(others) if scheme == "product" else 0,
    )


def _by_content(images: Sequence[RunImage]) -> Iterator[_Wanted]:
    """Names images by the last part of the URI and the content; equal ones share a name."""
    sharing: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", image.uri.rpartition("/")[2])
        stem = stem[:_MAX_CONTENT_CHARS].lstrip(".")
        sharing[stem, image.content_key, image.image_format].append(index)
    for (stem, key, suffix), positions in sharing.items():
        # Of 100,000 images called main.jpg, two are likely to begin with the same digits.
        yield _Wanted(tuple(positions), f"{stem}-{key[:8]}", suffix, f"{key} {stem}")


def _by_source(index: int, image: RunImage, folder: str) -> _Wanted:
    """Names an image by the folder and name of its source."""
    *folders, name = _path_below(image.uri, folder).strip("/").split("/")
    stem, suffix = _split_suffix(name, image.image_format)
    parts = [*(part for part in folders if part), stem]
    return _Wanted((index,), "/".join(map(_component, parts)), suffix, image.uri)


def _path_below(uri: str, folder: str) -> str:
    """The path of a URI from a folder on, or without its bucket if it lies elsewhere."""
    if locations.scheme_of(uri) == "s3":
        is_below = bool(folder) and uri.startswith(folder)
        return uri.removeprefix(folder) if is_below else locations.split_s3(uri)[1]
    try:
        path = str(locations.local_path(uri))
    except ValueError:
        return uri
    return path.removeprefix(folder)


def _by_product(images: Sequence[RunImage]) -> Iterator[_Wanted]:
    """Names images by product id and number; several for an image of several products."""
    of_product: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        for product_id in image.product_ids:
            of_product[product_id].append(index)
    stems = {product_id: _component(product_id) for product_id in of_product}
    holders = Counter(map(_key, stems.values()))
    for product_id, indices in of_product.items():
        stem = stems[product_id]
        if holders[_key(stem)] > 1:  # another id differs only by what a file name cannot hold
            stem = f"{stem}-{_digest(product_id)}"
        indices.sort(key=lambda index: _natural(images[index].uri))
        for number, index in enumerate(indices, start=1):
            image = images[index]
            _, suffix = _split_suffix(image.uri.rpartition("/")[2], image.image_format)
            yield _Wanted((index,), f"{stem}-{number}", suffix, f"{product_id} {image.uri}")


def _made_unique(wanted: list[_Wanted]) -> Iterator[tuple[_Wanted, str]]:
    """Yields each wanted name with the name that it gets; no two of the second are alike."""
    counts = Counter(_key(one.name) for one in wanted)
    used = {_key(folder) for one in wanted for folder in _folders(one.name)}
    clashing = []
    for one in wanted:
        if counts[_key(one.name)] > 1 or _key(one.name) in used:
            clashing.append(one)
        else:
            used.add(_key(one.name))
            yield one, one.name
    for one in sorted(clashing, key=lambda one: one.identity):
        stem = f"{one.stem}-{_digest(one.identity)}"
        names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        name = next(f"{it}.{one.suffix}" for it in names if _key(f"{it}.{one.suffix}") not in used)
        used.add(_key(name))
        yield one, name


def _split_suffix(name: str, image_format: str) -> tuple[str, str]:
    """A source's name without its suffixes of images, and the result's suffix.

    The source's own suffix stays where it is right: `a.JPEG` stays `a.JPEG`.
    """
    stem, _, own = name.rpartition(".")
    suffix = EXTENSIONS.get(image_format, image_format)
    if _FORMAT_OF_SUFFIX.get(own.lower()) == image_format and stem:
        suffix = own
    while "." in name:
        rest, _, last = name.rpartition(".")
        if last.lower() not in _FORMAT_OF_SUFFIX or not rest.strip(". "):
            break
        name = rest
    return name, suffix


def _component(text: str) -> str:
    """A part of a path that every common file system holds; never empty, `.` or `..`."""
    text = unicodedata.normalize("NFC", text)
    text = "".join("_" if _is_forbidden(character) else character for character in text)
    text = text.strip(" .").encode()[:_MAX_STEM_BYTES].decode(errors="ignore").strip(" .")
    if text.partition(".")[0].strip().upper() in _RESERVED:
        text = f"_{text}"
    return text or "_"


def _is_forbidden(character: str) -> bool:
    return character in _FORBIDDEN or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _key(name: str) -> str:
    """Equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _folders(name: str) -> Iterator[str]:
    """The folders of a path: `a/b/c.jpg` lies in `a` and `a/b`."""
    parts: Iterable[str] = name.split("/")[:-1]
    return itertools.accumulate(parts, lambda outer, inner: f"{outer}/{inner}")


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorts `a2` before `a10`."""
    parts = re.split(r"([0-9]{1,18})", text)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]
