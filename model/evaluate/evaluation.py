"""Evaluates networks on pairs of LR and HR images; writes tables, JSON, CSV and images."""

import argparse
import csv
import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from model.data import degradation
from model.data.hr_sources import Pair, find_images, make_pairs, read_rgb
from model.data.recipes import RECIPES
from model.evaluate import scoring
from model.evaluate.scoring import AGAINST, BICUBIC, OURS, Score
from model.evaluate.sheets import Gallery
from model.inference.upscaler import Upscaler
from model.network import loading


def find_pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """Lists (name, LR file, HR file) of a folder, sorted by name.

    Raises:
        FileNotFoundError: if the folder is missing, holds no pair, or an LR has no HR.
    """
    files = {path.name: path for path in find_images(folder)}
    pairs = []
    for lr in files.values():
        if lr.stem.endswith("LR"):
            hr_name = lr.stem[:-2] + "HR" + lr.suffix
            if hr_name not in files:
                raise FileNotFoundError(f"{lr} has no {hr_name} beside it")
            pairs.append((lr.stem[:-2].rstrip("_"), lr, files[hr_name]))
    if not pairs:
        raise FileNotFoundError(f"no pairs *LR.png and *HR.png in {folder}")
    return pairs


def read_pairs(folder: Path) -> Iterator[Pair]:
    """Reads the pairs of `find_pairs`.

    Raises:
        OSError: if an image cannot be read; the message names it.
    """
    for name, lr, hr in find_pairs(folder):
        yield Pair(name, read_rgb(lr), read_rgb(hr))


def compressed(pairs: Iterable[Pair], jpeg_quality: int) -> Iterator[Pair]:
    """Compresses the LR images; 100 leaves them as they are."""
    for pair in pairs:
        if jpeg_quality < 100:
            lr = degradation.compress_jpeg(pair.lr, jpeg_quality)
            pair = dataclasses.replace(pair, lr=lr)  # noqa: PLW2901
        yield pair


def evaluate(
    pairs: Iterable[Pair],
    ours: Upscaler,
    against: Upscaler | None = None,
    *,
    jpeg_quality: int = 100,
    gallery: Gallery | None = None,
) -> list[Score]:
    """Measures every image; a gallery collects what its images need on the way.

    Args:
        pairs: the images.
        ours, against, jpeg_quality: see `scoring.compare`.
        gallery: gets each image once; None if no image is wanted.

    Returns:
        The scores in the order of the images.

    Raises:
        ValueError: if a pair does not fit the networks or is too small to measure.
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    scores = []
    for pair in pairs:
        comparison = scoring.compare(pair, ours, against, jpeg_quality=jpeg_quality)
        scores.append(scoring.score(comparison))
        if gallery is not None:
            gallery.add(comparison, scores[-1])
    return scores


def as_record(score: Score) -> dict[str, str | float]:
    """One image as a flat record: `psnr_y_db` is ours, `bicubic_psnr_y_db` bicubic's, ..."""
    record: dict[str, str | float] = {"name": score.name}
    for method in sorted(score.figures, key=lambda method: method != OURS):  # ours first
        prefix = "" if method == OURS else f"{method}_"
        for field, value in dataclasses.asdict(score.figures[method]).items():
            record[prefix + field] = value
    return record


def as_json(scores: list[Score], settings: dict[str, Any]) -> str:
    """The settings, the mean and every image as strict JSON: null where a figure is not finite.

    Args:
        scores: of the images, at least one.
        settings: what JSON can hold.
    """

    def strict(score: Score) -> dict[str, str | float | None]:
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in as_record(score).items()
        }

    content = {
        **settings,
        "images_in_mean_psnr": sum(one.is_finite for one in scores),
        "images_in_mean_noise": sum(one.has_background for one in scores),
        "mean": strict(scoring.mean(scores)),
        "images": [strict(one) for one in scores],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_csv(path: Path, scores: list[Score]) -> None:
    """Writes one line an image, without the mean, which would be one image more to a reader.

    Raises:
        OSError: if the file cannot be written.
    """
    records = [as_record(one) for one in scores]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, records[0], lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow(
                {
                    key: "" if isinstance(value, float) and math.isnan(value) else value
                    for key, value in record.items()
                }
            )


def table(scores: list[Score]) -> str:
    """One line an image, the mean below, and what the mean leaves out.

    Args:
        scores: of the images, at least one.
    """
    mean = scoring.mean(scores)
    methods = list(mean.figures)
    gains = [("gain", BICUBIC)] + ([("gain 2", AGAINST)] if AGAINST in methods else [])
    groups = [
        ("PSNR-Y, dB", [*methods, *(title for title, _ in gains)]),
        ("SSIM-Y", methods),
        ("background noise", methods),
        ("PSNR-C, dB", methods),
    ]
    name_width = max(len(one.name) for one in [*scores, mean])
    lines = [
        " " * name_width
        + "".join(f"    {title:<{9 * len(columns) - 2}}" for title, columns in groups).rstrip(),
        " " * name_width
        + "".join("  " + "".join(f"{one:>9}" for one in columns) for _, columns in groups),
    ]
    for one in [*scores, mean]:
        figures = one.figures.values()
        cells = [
            [_cell(each.psnr_y_db, ".2f") for each in figures]
            + [_cell(one.gain_db(over), "+.2f") for _, over in gains],
            [_cell(each.ssim_y, ".4f") for each in figures],
            [_cell(each.background_noise, ".2f") for each in figures],
            [_cell(each.psnr_c_db, ".2f") for each in figures],
        ]
        lines.append(
            f"{one.name:{name_width}}"
            + "".join("  " + "".join(f"{cell:>9}" for cell in group) for group in cells)
        )
    lines.append("gain: ours over bicubic" + (", gain 2: over against" if gains[1:] else ""))
    exact = sum(not one.is_finite for one in scores)
    if exact:
        lines.append(f"mean PSNR-Y without {exact} images on which a method is exact")
    flat = sum(one.has_background for one in scores)
    if flat < len(scores):
        lines.append(f"background noise on the {flat} of {len(scores)} images that have one")
    return "\n".join(lines)


def check_outputs(outputs: dict[str, Path], images: set[str], *, inputs: Iterable[Path]) -> None:
    """Makes sure that every result can be written, before the long work starts.

    Args:
        outputs: files to write by the option that named them.
        images: those of the options that write an image.
        inputs: files that must not be written over.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if two options name one file, a file is among the inputs, or an image's
            format is unknown.
    """
    taken: dict[Path, str] = {path.resolve(): "the images to read" for path in inputs}
    for option, path in outputs.items():
        if path.resolve() in taken:
            raise ValueError(f"{option} {path} would overwrite {taken[path.resolve()]}")
        taken[path.resolve()] = f"what {option} writes"
        if option in images:
            kind = Image.registered_extensions().get(path.suffix.lower())
            if kind not in Image.SAVE:
                raise ValueError(
                    f"{option} {path} needs an image's suffix, for example .png. "
                    f"Received: {path.suffix!r}"
                )
        _try_to_write(option, path)


def _try_to_write(option: str, path: Path) -> None:
    """Opens a file for writing and leaves everything as it was."""
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise OSError(f"cannot write {option} {path}: {error.strerror}") from error
    if not existed:
        path.unlink()


def _cell(value: float, spec: str) -> str:
    """A figure for the table."""
    return "-" if math.isnan(value) else format(value, spec)


def _outputs(arguments: argparse.Namespace, *names: str) -> dict[str, Path]:
    """The files to write, by their option."""
    named = {f"--{name}": getattr(arguments, name) for name in names}
    return {option: path for option, path in named.items() if path is not None}


def _check(arguments: argparse.Namespace) -> None:
    """Raises what `check_outputs` does."""
    images = _outputs(arguments, "sheet", "patches", "heat_map")
    folder = arguments.pairs or Path(arguments.hr)
    inputs = find_images(folder) if folder.is_dir() else []
    outputs = _outputs(arguments, "json", "csv") | images
    check_outputs(outputs, set(images), inputs=inputs)


@dataclasses.dataclass(frozen=True)
class _Network:
    """A loaded network and how tables and images call it."""

    title: str
    parameters: int
    upscaler: Upscaler


def _load(arguments: argparse.Namespace) -> dict[str, _Network]:
    """Ours, and the one to compare with if there is one."""
    ensembles = {
        OURS: arguments.self_ensemble is not None,
        AGAINST: arguments.self_ensemble == "both",
    }
    networks = {}
    for key, name in ((OURS, arguments.model), (AGAINST, arguments.against)):
        if name is not None:
            rdn = loading.load_by_name(name)
            upscaler = Upscaler(
                rdn, compute_dtype=arguments.precision, self_ensemble=ensembles[key]
            )
            title = f"{name} (mean of 8)" if ensembles[key] else name
            networks[key] = _Network(title, rdn.count_params(), upscaler)
    scales = {key: network.upscaler.scale for key, network in networks.items()}
    if len(set(scales.values())) > 1:
        raise ValueError(
            f"--against {arguments.against} enlarges x{scales[AGAINST]}, but --model "
            f"{arguments.model} x{scales[OURS]}: only networks of one scale compare"
        )
    return networks


def _read(arguments: argparse.Namespace, scale: int) -> list[Pair]:
    """All pairs, so that a broken file is known before the long work starts."""
    found = (
        read_pairs(arguments.pairs)
        if arguments.pairs
        else make_pairs(
            arguments.hr,
            scale=scale,
            shrink_first=arguments.shrink_first,
            recipe=RECIPES[arguments.recipe] if arguments.recipe else None,
        )
    )
    pairs = list(compressed(itertools.islice(found, arguments.limit), arguments.jpeg_quality))
    names = [pair.name for pair in pairs]
    if arguments.image and arguments.image not in names:
        raise ValueError(
            f"--image {arguments.image} is none of the {len(names)} images "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        )
    return pairs


def _quality(arguments: argparse.Namespace) -> int:
    """The JPEG quality on which networks are conditioned."""
    if arguments.recipe:
        return RECIPES[arguments.recipe].lowest_quality
    return arguments.jpeg_quality


def run(arguments: argparse.Namespace) -> str:
    """Evaluates and writes the files that the options name.

    Args:
        arguments: options of `python -m model.evaluate`.

    Returns:
        The table and its heading.

    Raises:
        OSError: if a file cannot be read or written.
        ValueError: if options, images or networks do not fit.
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    _check(arguments)
    networks = _load(arguments)
    ours, against = networks[OURS].upscaler, networks.get(AGAINST)
    pairs = _read(arguments, ours.scale)
    gallery = Gallery(
        len(pairs),
        over=AGAINST if against else BICUBIC,
        heading=", ".join(f"{key}: {network.title}" for key, network in networks.items()),
        named=arguments.image,
    )
    scores = evaluate(
        pairs,
        ours,
        against.upscaler if against else None,
        jpeg_quality=_quality(arguments),
        gallery=gallery,
    )
    _write(arguments, scores, gallery, ours.scale)
    lines = [
        f"{key}: {network.title}, x{ours.scale}, {network.parameters:,} parameters"
        for key, network in networks.items()
    ]
    lines.append(f"images: {arguments.pairs or arguments.hr}, {len(pairs)}")
    return "\n".join([*lines, "", table(scores)])


def _write(
    arguments: argparse.Namespace, scores: list[Score], gallery: Gallery, scale: int
) -> None:
    """Writes the files that were asked for."""
    if arguments.json:
        settings = {
            "model": arguments.model,
            "against": arguments.against,
            "self_ensemble": arguments.self_ensemble,
            "precision": arguments.precision,
            "images_from": str(arguments.pairs or arguments.hr),
            "shrink_first": arguments.shrink_first,
            "recipe": arguments.recipe,
            "jpeg_quality": _quality(arguments),
            "scale": scale,
        }
        arguments.json.write_text(as_json(scores, settings), encoding="utf-8")
    if arguments.csv:
        write_csv(arguments.csv, scores)
    for path, draw in (
        (arguments.sheet, gallery.sheet),
        (arguments.patches, gallery.patches),
        (arguments.heat_map, gallery.heat_map),
    ):
        if path:
            Image.fromarray(draw()).save(path, quality=95)
