"""Words, fonts and lines of print for drawn products.

The fonts are free: the one that Pillow embeds, and DejaVu and STIX, which matplotlib ships.
"""

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Choice = TypeVar("Choice")

EMBEDDED = "Aileron"
SANS = (EMBEDDED, "DejaVuSans", "DejaVuSans-Oblique")
BOLD = ("DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSerif-Bold", "STIXGeneralBol")
SERIF = ("DejaVuSerif", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralItalic")
MONO = ("DejaVuSansMono", "DejaVuSansMono-Bold")
RARE = ("DejaVuSerif-BoldItalic", "STIXGeneralBolIta", "DejaVuSansMono-Oblique")
DISPLAY = (EMBEDDED, *BOLD, *SERIF, *RARE)
TEXT = (*SANS, *SERIF, *MONO)
FACES = tuple(dict.fromkeys((*SANS, *BOLD, *SERIF, *MONO, *RARE)))

BRANDS = (
    *("Alma", "Nordlys", "Tivoli", "Bergen & Co", "Pomona", "Kestrel", "Lumo", "Casa Vera"),
    *("Brücke", "Énora", "Señal", "Kråke", "Zephyr", "Quill", "JUX", "Wolle & Wachs", "Mýa"),
    *("Hygge°", "Fjørd", "Très Bon", "Okapi", "Vitriol 7", "Grün", "Łąka", "Ferma", "Xylo"),
)
GOODS = (
    *("muesli", "green tea", "olive soap", "espresso", "pasta", "honey", "shampoo", "crackers"),
    *("Erdbeer-Konfitüre", "café moulu", "piñones", "hand cream", "soy sauce", "sea salt"),
    *("crème brûlée", "Müsli-Riegel", "dish tablets", "jabón", "water colours", "dog biscuits"),
    *("wax polish", "batteries AA", "lait entier", "żurek", "lemon zest", "vitamin D3"),
)
CLAIMS = (
    *("NEW!", "organic", "50 % more", "BIO", "2 for 1", "fair trade", "0 % sugar", "-20 %"),
    *("since 1894", "vegan", "handmade", "LIMITED", "No. 5", "Eco+", "XL", "ohne Zucker"),
    *("Édition spéciale", "¡gratis!", "100 %", "refill", "Best of '24", "family size"),
)
_SYLLABLES = "ba be ka lo mi nu ra so ti va zen dor lin mar quo fex hyl pré gö san chi we jo ter"
_CONTENTS = (
    *("oats", "rye (12 %)", "sunflower seeds", "salt", "wheat flour", "sugar", "palm-free fat"),
    *("E330", "E 471", "aqua", "glycerin", "parfum", "citric acid", "skimmed milk", "cocoa 60 %"),
    *("Weizenmehl", "Hühnerei", "huile d'olive", "azúcar", "água", "émulsifiant", "soja", "nuts"),
)
_SENTENCES = (
    *("Keep cool and dry.", "Best before: see bottom.", "Made in Portugal.", "Shake well."),
    *("Contains 12 servings of 25 ml each.", "Do not bleach; iron at 110 °C.", "Store upright."),
    *("Nach dem Öffnen kühl lagern!", "À consommer de préférence avant fin.", "100 % recycled."),
    *("Mantener fuera del alcance de los niños.", "Net weight 250 g / 8.8 oz.", "Read leaflet."),
)
_ASCII_FORMS = {
    **{"€": "EUR", "£": "GBP", "–": "-", "÷": "/", "×": "x", "ø": "o", "Ł": "L", "ü": "u"}
}
_FORMS = {
    "price": ("{a},{b:02d} €", "${a}.{b:02d}", "£{a}.{b:02d}", "€ {a},–", "{a}.{b:02d} CHF"),
    "date": (
        "{d:02d}.{m:02d}.20{y}",
        "{d:02d}/{m:02d}/{y}",
        "20{y}-{m:02d}-{d:02d}",
        "EXP {m}/{y}",
    ),
    "code": ("LOT {u}{b:02d}-{n}", "No. {n}/{b}", "Art. {n} {u}", "{n} {b:02d} {a}", "SKU#{u}{n}"),
    "quantity": ("{q} g", "{q} ml", "{a} x {m} g", "{q} g / {o:.1f} oz", "{m},{a} L", "{m} pcs."),
}


@functools.lru_cache(maxsize=1)
def _font_folder() -> Path | None:
    """The folder of matplotlib's fonts; None where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: PLC0415 - training data only, and slow to import
    except ModuleNotFoundError:
        return None
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@functools.lru_cache(maxsize=1024)
def font(face: str, size_px: int) -> ImageFont.FreeTypeFont:
    """Opens a font.

    Args:
        face: one of `FACES`; without matplotlib each of them is Pillow's embedded font.
        size_px: em height, pixels, at least 1.

    Returns:
        The font, laid out by Pillow itself, as Raqm is not on every machine.

    Raises:
        ValueError: if the face is unknown.
    """
    if face not in FACES:
        raise ValueError(f"face must be one of {', '.join(FACES)}. Received: {face!r}")
    folder = _font_folder()
    if face == EMBEDDED or folder is None:
        embedded = ImageFont.load_default(size_px)
        assert isinstance(embedded, ImageFont.FreeTypeFont)
        return embedded
    return ImageFont.truetype(
        folder / f"{face}.ttf", size_px, layout_engine=ImageFont.Layout.BASIC
    )


def line(words: str, face: str, size_px: int, stretch: float = 1.0) -> Image.Image:
    """Prints one line.

    Args:
        words: any text; the embedded font has ASCII only and prints similar letters instead.
        face: one of `FACES`.
        size_px: em height, pixels.
        stretch: width of the letters, 1 as designed.

    Returns:
        A mask (mode L) from ascender to descender, as wide as the words.
    """
    used = font(face, size_px)
    if used.font.family == EMBEDDED:
        words = _ascii(words)
    ascent, descent = used.getmetrics()
    left, _, right, _ = used.getbbox(words, anchor="ls")
    mask = Image.new("L", (max(1, int(right - left) + 2), ascent + descent))
    ImageDraw.Draw(mask).text((1 - left, ascent), words, fill=255, font=used, anchor="ls")
    if stretch == 1.0:
        return mask
    return mask.resize(
        (max(1, round(mask.width * stretch)), mask.height), Image.Resampling.BICUBIC
    )


def _ascii(words: str) -> str:
    """Replaces accents and signs by ASCII."""
    for sign, ascii_form in _ASCII_FORMS.items():
        words = words.replace(sign, ascii_form)
    return unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode() or "-"


def choose(generator: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    """Picks one of the choices evenly."""
    return choices[int(generator.integers(len(choices)))]


def brand(generator: np.random.Generator) -> str:
    """Invents a brand name: from a table or from syllables, at random in capitals."""
    if generator.random() < 0.4:
        words = choose(generator, BRANDS)
    else:
        syllables = _SYLLABLES.split()
        count = int(generator.integers(2, 4))
        words = "".join(choose(generator, syllables) for _ in range(count)).title()
    return words.upper() if generator.random() < 0.4 else words


def goods(generator: np.random.Generator) -> str:
    """Chooses the name of a content, at random in capitals."""
    words = choose(generator, GOODS)
    return words.upper() if generator.random() < 0.3 else words


def claim(generator: np.random.Generator) -> str:
    """Chooses a claim, such as `NEW!`."""
    return choose(generator, CLAIMS)


def fact(generator: np.random.Generator, form: str) -> str:
    """Writes a fact with a random number.

    Args:
        generator: the only source of randomness.
        form: `price`, `date`, `code` or `quantity`.

    Returns:
        For example `12,49 €`, `2027-03-09`, `LOT K07-4471` or `250 g`.
    """
    numbers = {
        "a": int(generator.integers(1, 130)),
        "b": int(generator.integers(100)),
        "d": int(generator.integers(1, 29)),
        "m": int(generator.integers(1, 13)),
        "y": int(generator.integers(24, 32)),
        "n": int(generator.integers(1000, 10000)),
        "q": 25 * int(generator.integers(1, 41)),
        "o": float(generator.uniform(1, 30)),
        "u": "ABCDEFGHKLMNPRSTUVWXYZ"[int(generator.integers(22))],
    }
    return choose(generator, _FORMS[form]).format(**numbers)


def small_print(generator: np.random.Generator) -> str:
    """Writes one piece of small print: contents, advice or a code."""
    kind = generator.random()
    if kind < 0.4:
        count = int(generator.integers(4, 9))
        return "Ingredients: " + ", ".join(choose(generator, _CONTENTS) for _ in range(count))
    if kind < 0.8:
        return choose(generator, _SENTENCES)
    return fact(generator, choose(generator, ("code", "date", "quantity")))


def wrap(words: Sequence[str], face: str, size_px: int, room_px: float) -> list[str]:
    """Breaks words into lines that fit.

    Args:
        words: in order; a word wider than the room gets a line of its own.
        face: one of `FACES`.
        size_px: em height, pixels.
        room_px: width of a line.

    Returns:
        The lines.
    """
    used = font(face, size_px)
    space = used.getlength(" ")
    lines: list[list[str]] = [[]]
    at = 0.0
    for word in words:
        width = used.getlength(word)
        if lines[-1] and at + width > room_px:
            lines.append([])
            at = 0.0
        lines[-1].append(word)
        at += width + space
    return [" ".join(words) for words in lines if words]
