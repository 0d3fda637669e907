r"""Measures how well OCR reads print after upscaling: wrong characters by recipe and method.

    pip install rapidocr-onnxruntime
    python -m benchmarks.ocr HR_FOLDER [HR_FOLDER ...] [--labels 50] [--model NAME ...]
        [--recipes bicubic jpeg75 ...] [--json FILE]

Lines of print come from photographs, where the truth is what OCR itself reads with confidence in
the HR image, and from labels that `benchmarks.print_lines` draws in many fonts, where the text is
known. LR is made by the recipes of `model.data.recipes` and upscaled by bicubic, Lanczos, each
network, and each network after the quality gate. The same lines are cut out and read, also in LR
(`lr`), which shows what is there without any upscaling. Only letters and digits count, large and
small as one. Prints for photographs and labels, each recipe and method:

error         wrong characters: edit distances over the number of true characters.
over bicubic  its difference from bicubic, with a 95 % interval by bootstrap over the images.
whole lines   share of the lines without a wrong character.

`fewest` takes for each line the method that reads it best: characters that are wrong there cannot
be read after any upscaling. A second table has the errors by the height of the lines in LR.
"""

import argparse
import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

import benchmarks.quiet  # noqa: F401 - first, for its effect
from benchmarks import degradations, figures, print_lines
from benchmarks.print_lines import Line, Ocr, OcrMissingError, PaddleOcr, Page, Reading
from benchmarks.told_sharpening import make_lr
from model.data.hr_sources import list_images
from model.data.recipes import RECIPES, Recipe
from model.evaluate.scoring import BICUBIC
from model.imaging import resampling
from model.inference.upscaler import Upscaler
from model.network import loading, presets
from pipeline.text import count

LR, HR, FEWEST = "lr", "hr", "fewest"
RECIPE_NAMES = ("bicubic", "jpeg75", "jpeg50", "sharpened80-jpeg80", "jpeg75-png")
# Lower edges of the table by height, LR pixels.
_HEIGHTS_PX = (0, 6, 8, 10, 13)
_RESAMPLES = 2000


@dataclass(frozen=True)
class Read:
    """One line as it was read in one version of its image.

    Attributes:
        page, line: the image's name, unlike all others, and the line's number in it.
        recipe, method: how LR was made and upscaled; `hr` in place of both for the HR image.
        height_px: of the line, LR pixels.
        truth, text: of the line, see `print_lines.letters`.
        confidence: of OCR in HR, 0..1.

    Example:
        >>> Read("a.jpg", 0, "jpeg75", "bicubic", 9.5, "alpro", "aipro", 0.9).wrong
        1
    """

    page: str
    line: int
    recipe: str
    method: str
    height_px: float
    truth: str
    text: str
    confidence: float

    @property
    def wrong(self) -> int:
        """Edit distance to the truth."""
        return edit_distance(self.truth, self.text)


@dataclass(frozen=True)
class Row:
    """One recipe and method over some lines.

    Attributes:
        recipe, method: see `Read`.
        error: wrong characters over true ones.
        over_bicubic, low, high: the difference from bicubic's, and its 95 % interval.
        whole_share: share of the lines without a wrong character.
        lines: how many.
    """

    recipe: str
    method: str
    error: float
    over_bicubic: float
    low: float
    high: float
    whole_share: float
    lines: int


def edit_distance(a: str, b: str) -> int:
    """Returns the least number of insertions, deletions and substitutions from one to the other.

    Example:
        >>> edit_distance("sommarmjolk", "sommarnjoik")
        2
    """
    above = list(range(len(b) + 1))
    for i, one in enumerate(a, start=1):
        row = [i]
        for j, other in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (one != other)))
        above = row
    return above[-1]


def interval(difference: Sequence[int], characters: Sequence[int]) -> tuple[float, float]:
    """Returns the 95 % interval of a paired difference of error rates, by bootstrap over images.

    Lines of one image share its blur and compression, so that images are drawn, not lines.

    Args:
        difference: wrong characters of one method minus those of the other, by image.
        characters: true characters, by image.
    """
    images = len(difference)
    drawn = np.random.default_rng(0).multinomial(images, [1 / images] * images, size=_RESAMPLES)
    rates = (drawn @ np.asarray(difference)) / (drawn @ np.asarray(characters))
    low, high = np.percentile(rates, (2.5, 97.5))
    return float(low), float(high)


def read_all(
    pages: Iterable[Page],
    recipes: dict[str, Recipe],
    networks: dict[str, Upscaler],
    ocr: Ocr,
    quality_of: Callable[[Recipe, np.ndarray], int],
) -> list[Read]:
    """Reads every line in every version of its image.

    Images of several folders may have one name: the second is read as `NAME (2)`, and so on.

    Args:
        pages: read once each; up to scale - 1 rows and columns are cut off.
        recipes: by name.
        networks: by name, all of one scale, at least one.
        ocr: reads lines.
        quality_of: see `degradations.measure`.
    """
    scale = next(iter(networks.values())).scale
    reads = []
    taken: set[str] = set()
    for page in pages:
        named = dataclasses.replace(page, name=_unused(page.name, taken))
        quads = [line.quad for line in page.lines]
        hr = resampling.crop_to_multiple(page.hr, scale)
        reads += _reads(named, HR, HR, ocr.read(hr, quads), scale)
        for name, recipe in recipes.items():
            lr = make_lr(page.name, hr, name, recipe, scale)
            small = ocr.read(lr, [quad / scale for quad in quads])
            reads += _reads(named, name, LR, small, scale)
            upscaled = degradations.results(lr, networks, quality_of(recipe, lr), scale)
            known: dict[bytes, list[Reading]] = {}  # the gate publishes most results unchanged
            for method, result in upscaled.items():
                pixels = result.rgb.tobytes()
                if pixels not in known:
                    known[pixels] = ocr.read(result.rgb, quads)
                reads += _reads(named, name, method, known[pixels], scale)
    return reads


def _unused(name: str, taken: set[str]) -> str:
    """A name that no image before has; adds it to those taken."""
    names = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
    unused = next(one for one in names if one not in taken)
    taken.add(unused)
    return unused


def _reads(
    page: Page, recipe: str, method: str, readings: Sequence[Reading], scale: int
) -> list[Read]:
    """The lines of one version."""

    def one(number: int, line: Line, text: str) -> Read:
        height_px = line.height_px / scale
        read = print_lines.letters(text)
        return Read(
            *(page.name, number, recipe, method, height_px, line.text, read, line.confidence)
        )

    both = zip(page.lines, readings, strict=True)
    return [one(i, line, reading.text) for i, (line, reading) in enumerate(both)]


def rows(reads: Sequence[Read]) -> list[Row]:
    """Counts wrong characters, recipe by recipe, method by method, `fewest` last.

    Args:
        reads: every line in every version.
    """
    result = []
    for recipe in dict.fromkeys(read.recipe for read in reads):
        here = [read for read in reads if read.recipe == recipe]
        methods = dict.fromkeys(read.method for read in here)
        by_method = {
            method: {(one.page, one.line): one for one in here if one.method == method}
            for method in methods
        }
        if recipe != HR:
            by_method[FEWEST] = {
                key: min((of[key] for of in by_method.values()), key=lambda one: one.wrong)
                for key in by_method[BICUBIC]
            }
        base = list(by_method.get(BICUBIC, by_method[next(iter(methods))]).values())
        result += [_row(recipe, name, list(of.values()), base) for name, of in by_method.items()]
    return result


def _row(recipe: str, method: str, reads: Sequence[Read], base: Sequence[Read]) -> Row:
    """Compares the lines of one method with those of another, line by line."""
    pages = list(dict.fromkeys(read.page for read in reads))
    difference, characters = dict.fromkeys(pages, 0), dict.fromkeys(pages, 0)
    for read, other in zip(reads, base, strict=True):
        difference[read.page] += read.wrong - other.wrong
        characters[read.page] += len(read.truth)
    total = sum(characters.values())
    low, high = interval(list(difference.values()), list(characters.values()))
    return Row(
        recipe,
        method,
        error=sum(read.wrong for read in reads) / total,
        over_bicubic=sum(difference.values()) / total,
        low=low,
        high=high,
        whole_share=sum(read.wrong == 0 for read in reads) / len(reads),
        lines=len(reads),
    )


def table(title: str, reads: Sequence[Read]) -> str:
    """The errors of all lines, then those by height."""
    all_rows = rows(reads)
    pages = len({read.page for read in reads})
    lines = [f"{title}: {count(all_rows[0].lines, 'line')} in {count(pages, 'image')}", ""]
    over = f"{'over bicubic':25}"
    lines.append(f"{'LR made by':20}{'method':22}{'error':>7}  {over}whole lines")
    for row in all_rows:
        over = f"{row.over_bicubic:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        start = f"{row.recipe:20}{row.method:22}{row.error:7.3f}"
        lines.append(f"{start}  {over:25}{100 * row.whole_share:10.1f} %")
    return "\n".join([*lines, "", *_by_height([one for one in reads if one.recipe != HR])])


def _by_height(reads: Sequence[Read]) -> Iterator[str]:
    """A line for each recipe and range of heights, a column for each method."""
    methods = [*dict.fromkeys(read.method for read in reads), FEWEST]
    head = "".join(f"{method:>{len(method) + 2}}" for method in methods)
    yield f"{'error by height in LR':42}{head}"
    for low, high in itertools.pairwise((*_HEIGHTS_PX, math.inf)):
        part = rows([read for read in reads if low <= read.height_px < high])
        for recipe in dict.fromkeys(row.recipe for row in part):
            here = {row.method: row for row in part if row.recipe == recipe}
            name = f"{recipe:20}from {low} px, {count(here[BICUBIC].lines, 'line')}"
            cells = (f"{here[method].error:{len(method) + 2}.3f}" for method in methods)
            yield f"{name:42}{''.join(cells)}"
    yield ""


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0 done, 1 cannot measure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ocr",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "places", nargs="*", metavar="HR_FOLDER", help="or s3:// prefixes, or .txt lists"
    )
    parser.add_argument("--labels", type=int, default=50, help="number of drawn labels")
    parser.add_argument(
        "--min_confidence", type=float, default=0.8, help="of a line that is used, in HR, 0..1"
    )
    parser.add_argument("--model", nargs="+", default=list(presets.ON_A_CPU), help="networks")
    parser.add_argument(
        "--recipes", nargs="+", choices=list(RECIPES), default=RECIPE_NAMES, metavar="RECIPE"
    )
    parser.add_argument("--quality_from", choices=list(degradations.QUALITIES), default="pixels")
    figures.add_json_option(parser)
    arguments = parser.parse_args(argv)
    try:
        measured = _measure(arguments)
        if not measured:
            raise ValueError("OCR reads no line with confidence: give images with print")
    except (OcrMissingError, ValueError, OSError) as error:
        print(f"benchmarks.ocr: {error}", file=sys.stderr)
        return 1
    print("\n".join(table(title, reads) for title, reads in measured.items()))
    lines = [
        {"of": title, "wrong": read.wrong, **dataclasses.asdict(read)}
        for title, reads in measured.items()
        for read in reads
    ]
    figures.write_json(
        arguments.json, {"command": vars(arguments) | {"json": None}, "lines": lines}
    )
    return 0


def _measure(arguments: argparse.Namespace) -> dict[str, list[Read]]:
    """The lines of photographs and labels, where there are any."""
    ocr = PaddleOcr()
    networks = {name: Upscaler(loading.load_by_name(name)) for name in arguments.model}
    recipes = {name: RECIPES[name] for name in arguments.recipes}
    sure = arguments.min_confidence
    images = [image for place in arguments.places for image in list_images(place)]
    sources = {
        "photographs": print_lines.pages_of_photographs(images, ocr, min_confidence=sure),
        "labels": print_lines.pages_of_labels(arguments.labels, ocr, min_confidence=sure),
    }
    quality_of = degradations.QUALITIES[arguments.quality_from]
    measured = {
        title: read_all(pages, recipes, networks, ocr, quality_of)
        for title, pages in sources.items()
    }
    return {title: reads for title, reads in measured.items() if reads}


if __name__ == "__main__":
    sys.exit(main())
