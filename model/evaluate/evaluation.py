"""Evaluates one or two networks on pairs of images and writes the results."""

import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from model.data.hr_sources import find_images, list_images
from model.data.pairs import Pair, make_pairs
from model.data.recipes import RECIPES
from model.evaluate import outputs, pair_files, scoring, tables
from model.evaluate.scoring import AGAINST, BICUBIC, OURS, Score
from model.evaluate.sheets import Gallery
from model.inference.upscaler import Upscaler
from model.network import loading, presets


@dataclasses.dataclass(frozen=True)
class Options:
    """One evaluation as the user asked for it; a field has the name of its option.

    Attributes:
        pairs: folder of LR and HR files; None with `hr`.
        hr: HR images to make LR from: folder, `s3://` prefix or list; None with `pairs`.
        shrink_first: factor by which the images of `hr` are shrunk before their use.
        jpeg_quality: of the LR images, 1..100; 100 compresses nothing. A pair's LR file may be of
            a lower one already, see `Pair`.
        recipe: name of the recipe that makes LR from the images of `hr`; None for bicubic, then
            `jpeg_quality`.
        limit: number of images; None for all.
        model: the network to measure, a shipped name or a `.keras` file.
        against: a second network, the same.
        precision: compute dtype of the networks.
        self_ensemble: `both` or `ours`; None for no self-ensemble.
        json, csv, sheet, patches, heat_map: files to write.
        image: name of the image that the heat map shows; None for the one with the lowest gain.

    Example:
        print(evaluation.run(Options(pairs=Path("Set5"), json=Path("scores.json"))))
    """

    pairs: Path | None = None
    hr: str | None = None
    shrink_first: int = 1
    jpeg_quality: int = 100
    recipe: str | None = None
    limit: int | None = None
    model: str = presets.BEST_ON_CLEAN
    against: str | None = None
    precision: str = "float32"
    self_ensemble: str | None = None
    json: Path | None = None
    csv: Path | None = None
    sheet: Path | None = None
    patches: Path | None = None
    heat_map: Path | None = None
    image: str | None = None

    @property
    def images_from(self) -> str:
        """The source of the images."""
        return str(self.pairs or self.hr)

    @property
    def condition(self) -> int:
        """The JPEG quality on which networks are conditioned, 1..100, but for LR files' own."""
        return RECIPES[self.recipe].lowest_quality if self.recipe else self.jpeg_quality


@dataclasses.dataclass(frozen=True)
class _Network:
    """A loaded network and its title in tables and images."""

    title: str
    parameters: int
    upscaler: Upscaler


def run(options: Options) -> str:
    """Evaluates and writes the files that the options name.

    Args:
        options: what to evaluate and to write.

    Returns:
        The networks, the number of images and the table of scores, to print.

    Raises:
        OSError: if an image cannot be read or a file cannot be written.
        ValueError: if networks, images or outputs do not fit together.
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    _check_outputs(options)
    networks = _load(options)
    ours, against = networks[OURS].upscaler, networks.get(AGAINST)
    pairs = _read(options, ours.scale)
    gallery = Gallery(
        len(pairs),
        over=AGAINST if against else BICUBIC,
        heading=", ".join(f"{key}: {network.title}" for key, network in networks.items()),
        named=options.image,
    )
    scores = evaluate(
        pairs,
        ours,
        against.upscaler if against else None,
        jpeg_quality=options.condition,
        gallery=gallery,
    )
    _write(options, scores, gallery, ours.scale)
    lines = [
        f"{key}: {network.title}, x{ours.scale}, {network.parameters:,} parameters"
        for key, network in networks.items()
    ]
    lines.append(f"images: {options.images_from}, {len(pairs)}")
    return "\n".join([*lines, "", tables.as_text(scores)])


def evaluate(
    pairs: Iterable[Pair],
    ours: Upscaler,
    against: Upscaler | None = None,
    *,
    jpeg_quality: int = 100,
    gallery: Gallery | None = None,
) -> list[Score]:
    """Measures every image and hands it to the gallery.

    Args:
        pairs: the images.
        ours, against: see `scoring.compare`.
        jpeg_quality: with which LR was compressed here, 1..100; of this and the pair's own, the
            lower one counts.
        gallery: gets each image once; None if no output image is wanted.

    Returns:
        The scores in the order of the images.

    Raises:
        ValueError: if a pair does not fit the networks or is too small to measure.
        OutOfMemoryError: if the device cannot hold even a small tile.
    """
    scores = []
    for pair in pairs:
        lowest = min(jpeg_quality, pair.jpeg_quality)
        comparison = scoring.compare(pair, ours, against, jpeg_quality=lowest)
        scores.append(scoring.score(comparison))
        if gallery is not None:
            gallery.add(comparison, scores[-1])
    return scores


def _check_outputs(options: Options) -> None:
    """Raises the errors of `outputs.check_outputs`."""
    images = {"--sheet": options.sheet, "--patches": options.patches}
    images["--heat_map"] = options.heat_map
    named = {"--json": options.json, "--csv": options.csv} | images
    outputs.check_outputs(
        {option: path for option, path in named.items() if path is not None},
        set(images),
        inputs=_inputs(options),
    )


def _inputs(options: Options) -> dict[Path, str]:
    """The local files that the evaluation reads, and what each is."""
    found = {}
    for option, name in (("--model", options.model), ("--against", options.against)):
        if name is not None:
            preset = presets.PRESETS.get(name)
            found[preset.path if preset else Path(name)] = f"the network of {option}"
    if options.pairs:
        return found | dict.fromkeys(find_images(options.pairs), "the images to read")
    place = options.images_from
    if place.startswith("s3://"):
        return found
    if place.endswith(".txt"):
        found[Path(place)] = "the list of images"
    local = [Path(image.uri) for image in list_images(place) if "://" not in image.uri]
    return found | dict.fromkeys(local, "the images to read")


def _load(options: Options) -> dict[str, _Network]:
    """Loads our network, and the second one if the options name it."""
    ensembles = {
        OURS: options.self_ensemble is not None,
        AGAINST: options.self_ensemble == "both",
    }
    networks = {}
    for key, name in ((OURS, options.model), (AGAINST, options.against)):
        if name is not None:
            rdn = loading.load_by_name(name)
            upscaler = Upscaler(rdn, compute_dtype=options.precision, self_ensemble=ensembles[key])
            title = f"{name} (mean of 8)" if ensembles[key] else name
            networks[key] = _Network(title, rdn.count_params(), upscaler)
    scales = {key: network.upscaler.scale for key, network in networks.items()}
    if len(set(scales.values())) > 1:
        raise ValueError(
            f"--against {options.against} upscales x{scales[AGAINST]}, but --model "
            f"{options.model} x{scales[OURS]}: the networks need one scale"
        )
    return networks


def _read(options: Options, scale: int) -> list[Pair]:
    """Reads all pairs, so that a broken file is found before the long work starts."""
    found = (
        pair_files.read_pairs(options.pairs)
        if options.pairs
        else make_pairs(
            options.images_from,
            scale=scale,
            shrink_first=options.shrink_first,
            recipe=RECIPES[options.recipe] if options.recipe else None,
        )
    )
    limited = itertools.islice(found, options.limit)
    pairs = list(pair_files.compress_lr(limited, options.jpeg_quality))
    names = [pair.name for pair in pairs]
    if options.image and options.image not in names:
        raise ValueError(
            f"--image {options.image} is none of the {len(names)} images "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        )
    return pairs


def _write(options: Options, scores: list[Score], gallery: Gallery, scale: int) -> None:
    """Writes the files that the options name."""
    if options.json:
        settings = {
            "model": options.model,
            "against": options.against,
            "self_ensemble": options.self_ensemble,
            "precision": options.precision,
            "images_from": options.images_from,
            "shrink_first": options.shrink_first,
            "recipe": options.recipe,
            "jpeg_quality": options.condition,
            "scale": scale,
        }
        options.json.write_text(tables.as_json(scores, settings), encoding="utf-8")
    if options.csv:
        tables.write_csv(options.csv, scores)
    for path, draw in (
        (options.sheet, gallery.sheet),
        (options.patches, gallery.patches),
        (options.heat_map, gallery.heat_map),
    ):
        if path:
            Image.fromarray(draw()).save(path, quality=95)
