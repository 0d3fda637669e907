"""Lines of print with known text: read by OCR in sharp images, or drawn on labels.

OCR is PP-OCRv4, as the wheel of `rapidocr-onnxruntime` holds it.
"""

import dataclasses
import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageFilter

from model.data.hr_sources import HrImage
from model.imaging import resampling
from model.scenes import lettering, palette
from model.scenes.board import SUPERSAMPLING
from model.scenes.lettering import choose

_PACKAGE = "rapidocr_onnxruntime"
INSTALL = "pip install rapidocr-onnxruntime"
# Shorter lines are mostly shapes that OCR takes for letters.
_MIN_CHARACTERS = 3

LABEL_HEIGHT_PX, LABEL_WIDTH_PX = 288, 320
_MARGIN_PX = 12
# Em heights of print on labels, HR pixels.
_SIZES_PX = (8, 28)
_SOFTEST_PX = 0.6
# Detectors leave so much free around a line, share of its height.
_FREE_SHARE = 0.12


class OcrMissingError(Exception):
    """The OCR package is not installed.

    Example:
        raise OcrMissingError("OCR is missing: pip install rapidocr-onnxruntime")
    """


@dataclass(frozen=True)
class Reading:
    """What OCR reads in one line.

    Attributes:
        text: as OCR returns it.
        confidence: mean over the characters, 0..1.

    Example:
        Reading("SOMMARMJOLK", 0.94)
    """

    text: str
    confidence: float


class Ocr(Protocol):
    """Finds and reads lines.

    Example:
        ocr = PaddleOcr()
        readings = ocr.read(rgb, ocr.find(rgb))
    """

    def find(self, rgb: np.ndarray) -> list[np.ndarray]:
        """Returns the corners of each line, float32 [4, 2] of x and y, clockwise."""

    def read(self, rgb: np.ndarray, quads: Sequence[np.ndarray]) -> list[Reading]:
        """Reads the lines with these corners."""


class PaddleOcr:
    """PP-OCRv4 by ONNX Runtime, on one thread.

    Raises:
        OcrMissingError: if its package is not installed; the message has the command.

    Example:
        ocr = PaddleOcr()
        readings = ocr.read(rgb, ocr.find(rgb))
    """

    def __init__(self) -> None:
        try:
            package: Any = importlib.import_module(_PACKAGE)
        except ImportError as error:
            raise OcrMissingError(f"OCR is missing ({error}): {INSTALL}") from error
        self._engine = package.RapidOCR(intra_op_num_threads=1)

    def find(self, rgb: np.ndarray) -> list[np.ndarray]:
        """Detects lines in uint8 [H, W, 3]."""
        quads, _ = self._engine.text_det(_bgr(rgb))
        return [] if quads is None else [np.asarray(quad, np.float32) for quad in quads]

    def read(self, rgb: np.ndarray, quads: Sequence[np.ndarray]) -> list[Reading]:
        """Cuts lines out of uint8 [H, W, 3], sets them upright and recognizes them."""
        if not quads:
            return []
        crops = self._engine.get_crop_img_list(_bgr(rgb), list(quads))
        found, _ = self._engine.text_rec(crops)
        return [Reading(text, float(confidence)) for text, confidence, *_ in found]


def _bgr(rgb: np.ndarray) -> np.ndarray:
    """The order of channels that PP-OCR was trained on."""
    return np.ascontiguousarray(rgb[..., ::-1])


@dataclass(frozen=True, eq=False)
class Line:
    """A line of print.

    Attributes:
        text: the truth, as `letters` returns it.
        quad: its corners in HR, float32 [4, 2] of x and y, clockwise.
        confidence: of OCR in HR, 0..1; 1 for a drawn line that it has not read.

    Example:
        Line("alpro", np.array([(10, 10), (80, 10), (80, 34), (10, 34)])).height_px  # 24
    """

    text: str
    quad: np.ndarray
    confidence: float = 1.0

    @property
    def height_px(self) -> float:
        """Of the line, HR pixels."""
        sides = np.linalg.norm(self.quad - np.roll(self.quad, 1, axis=0), axis=1)
        return float(min(sides[::2].mean(), sides[1::2].mean()))


@dataclass(frozen=True, eq=False)
class Page:
    """An image with print.

    Attributes:
        name: of the image.
        hr: uint8 [H, W, 3].
        lines: at least one.

    Example:
        pages = list(pages_of_photographs(images, PaddleOcr(), min_confidence=0.9))
    """

    name: str
    hr: np.ndarray
    lines: tuple[Line, ...]


def letters(text: str) -> str:
    """Returns the letters and digits of a text in small letters: what counts as read."""
    return "".join(one for one in text if one.isalnum()).casefold()


def pages_of_photographs(
    images: Iterable[HrImage], ocr: Ocr, *, min_confidence: float
) -> Iterator[Page]:
    """Yields images with lines that OCR reads with confidence: its reading is the truth.

    Args:
        images: HR.
        ocr: finds and reads lines.
        min_confidence: 0..1; a line with less is left out.
    """
    for image in images:
        hr = image.read()
        quads = ocr.find(hr)
        read = zip(quads, ocr.read(hr, quads), strict=True)
        lines = tuple(
            Line(letters(reading.text), quad, reading.confidence)
            for quad, reading in read
            if _is_read(reading, min_confidence)
        )
        if lines:
            yield Page(image.name, hr, lines)


def pages_of_labels(count: int, ocr: Ocr, *, min_confidence: float) -> Iterator[Page]:
    """Yields drawn labels with the lines that OCR reads with confidence: their text is the truth.

    Args:
        count: number of labels; the number is the seed.
        ocr: reads lines.
        min_confidence: 0..1; a line with less is left out.
    """
    for seed in range(count):
        page = draw_label(seed)
        readings = ocr.read(page.hr, [line.quad for line in page.lines])
        lines = tuple(
            dataclasses.replace(line, confidence=reading.confidence)
            for line, reading in zip(page.lines, readings, strict=True)
            if _is_read(reading, min_confidence)
        )
        if lines:
            yield Page(page.name, page.hr, lines)


def _is_read(reading: Reading, min_confidence: float) -> bool:
    """Whether OCR is sure of a line that is long enough."""
    is_long = len(letters(reading.text)) >= _MIN_CHARACTERS
    return is_long and reading.confidence >= min_confidence


def draw_label(seed: int) -> Page:
    """Draws a label on white: one line of print below the other, each in its own font and size.

    Args:
        seed: decides everything.

    Returns:
        The label, 288 x 320 pixels, with all its lines.
    """
    generator = np.random.default_rng(seed)
    paper = choose(generator, (*palette.PAPERS, *palette.PAINTS))
    inks = palette.INKS if sum(paper) > 420 else palette.PAPERS
    zoom = SUPERSAMPLING
    image = Image.new("RGB", (LABEL_WIDTH_PX * zoom, LABEL_HEIGHT_PX * zoom), (255, 255, 255))
    edge = _MARGIN_PX * zoom // 2
    image.paste(paper, (edge, edge, image.width - edge, image.height - edge))
    lines: list[Line] = []
    top_px = _MARGIN_PX
    while True:
        size_px = int(generator.integers(*_SIZES_PX, endpoint=True))
        words = _words(generator)
        mask = lettering.line(words, choose(generator, lettering.FACES), size_px * zoom)
        if top_px + mask.height / zoom > LABEL_HEIGHT_PX - _MARGIN_PX:
            break
        free = LABEL_WIDTH_PX * zoom - 2 * _MARGIN_PX * zoom - mask.width
        if free < 0 or len(letters(words)) < _MIN_CHARACTERS:
            continue
        at = (_MARGIN_PX * zoom + int(generator.integers(free + 1)), top_px * zoom)
        image.paste(choose(generator, inks), at, mask)
        lines.append(Line(letters(words), _around(mask, at, zoom)))
        top_px += mask.height // zoom + 1
    blurred = image.filter(ImageFilter.GaussianBlur(generator.uniform(0, _SOFTEST_PX) * zoom))
    hr = resampling.to_uint8(resampling.shrink(np.asarray(blurred), zoom))
    return Page(f"label-{seed}", hr, tuple(lines))


def _words(generator: np.random.Generator) -> str:
    """A text of a pack in ASCII, as the embedded font has no other letters."""
    kinds = (
        lettering.brand,
        lettering.goods,
        lettering.claim,
        lambda g: lettering.fact(g, choose(g, ("price", "date", "code", "quantity"))),
        lambda g: " ".join(lettering.small_print(g).split()[:5]),
    )
    while not (words := choose(generator, kinds)(generator)).isascii():
        pass
    return words


def _around(mask: Image.Image, at: tuple[int, int], zoom: int) -> np.ndarray:
    """The corners of a printed mask in HR, with the free room that a detector leaves."""
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    free = _FREE_SHARE * (bottom - top)
    x0, x1 = at[0] + left - free, at[0] + right + free
    y0, y1 = at[1] + top - free, at[1] + bottom + free
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32) / zoom
