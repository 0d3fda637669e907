"""Plans which files `model.upscale` reads and writes.

No result is written over a source or another result.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from model.data.hr_sources import find_images
from model.imaging.formats import EXTENSIONS

_FORMAT_OF_SUFFIX = {f".{suffix}": name for name, suffix in EXTENSIONS.items()} | {".jpeg": "jpeg"}


class PlannedFile(NamedTuple):
    """One image to upscale.

    Attributes:
        source: an existing file.
        target: the result.
        image_format: of the result, one of `IMAGE_FORMATS`.

    Example:
        >>> PlannedFile(Path("a.jpg"), Path("out/a.png"), "png").target.name
        'a.png'
    """

    source: Path
    target: Path
    image_format: str


def plan_files(source: Path, target: Path, wanted: str | None) -> list[PlannedFile]:
    """Plans the results of an image or of a folder; creates nothing.

    Args:
        source: an image, or a folder of images.
        target: for an image a file, or a folder that exists; for a folder a folder.
        wanted: format of the results; None for that of the target's suffix, PNG in a folder.

    Returns:
        The images, those of a folder sorted by name. In a folder `a.jpg` becomes `a.png`; if
        another image would become that, too, both keep their suffixes: `a.jpg.png`, `a.gif.png`.

    Raises:
        ValueError: if the source does not exist, or a result would be written over a source.
        FileNotFoundError: if the folder holds no image.
    """
    if source.is_dir():
        if source.resolve() == target.resolve():
            raise ValueError(f"{target} is the folder of the images: name another OUT")
        plan = _plan_folder(source, target, wanted or "png")
    elif not source.exists():
        raise ValueError(f"no such file or folder: {source}")
    else:
        if target.is_dir():
            target = target / f"{source.stem}.{EXTENSIONS[wanted or 'png']}"
        plan = [PlannedFile(source, target, _format_of(target, wanted))]
    sources = {each.source.resolve() for each in plan}
    for each in plan:
        if each.target.resolve() in sources:
            raise ValueError(f"{each.target} would be written over its source: name another OUT")
    return plan


def comparison_path(target: Path) -> Path:
    """Returns the path of the sheet beside a result."""
    return target.with_name(f"{target.stem}_compare.png")


def check_sheets(plan: list[PlannedFile]) -> None:
    """Checks the sheets of `--compare`.

    Raises:
        ValueError: if a sheet would be written over a source or a result.
    """
    taken = {path.resolve() for each in plan for path in (each.source, each.target)}
    for each in plan:
        sheet = comparison_path(each.target)
        if sheet.resolve() in taken:
            raise ValueError(f"{sheet} would be written over an image")


def create_folders(plan: list[PlannedFile]) -> None:
    """Creates the folders of the results.

    Raises:
        ValueError: if one cannot be created.
    """
    for folder in {each.target.parent for each in plan}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot create the folder {folder}: {error.strerror}") from error


def _format_of(target: Path, wanted: str | None) -> str:
    """The wanted format or that of the file's suffix, which may not contradict it."""
    named = _FORMAT_OF_SUFFIX.get(target.suffix.lower())
    if wanted and named not in (None, wanted):
        raise ValueError(f"{target} is named as {named}, but --format is {wanted}")
    image_format = wanted or named
    if image_format is None:
        suffixes = ", ".join(_FORMAT_OF_SUFFIX)
        raise ValueError(f"cannot write {target}: name a file with {suffixes}, or give --format")
    return image_format


def _plan_folder(source: Path, target: Path, image_format: str) -> list[PlannedFile]:
    """The images right in a folder; no two results have one name."""
    suffix = EXTENSIONS[image_format]
    names = {path: f"{path.stem}.{suffix}" for path in find_images(source)}
    # The longer name of one may be the shorter one of another: `a.jpg`, `a.gif`, `a.jpg.webp`.
    while True:
        counts = Counter(names.values())
        longer = {path: f"{path.name}.{suffix}" for path in names if counts[names[path]] > 1}
        if not longer:
            return [PlannedFile(path, target / names[path], image_format) for path in names]
        names |= longer
