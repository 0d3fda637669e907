"""Copyright, creators and licence of an image: what a result keeps of its source's metadata."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

# The properties that are kept, by their XMP name, and how XMP writes each: as `text`, as a
# `resource` (a URL), as an ordered or unordered list (`Seq`, `Bag`), or as one text in several
# languages (`Alt`). Those named `exif:` are written to EXIF only.
# Source: XMP specification, part 1 (2012), 8.3 (dc), 8.5 (xmpRights); part 2, 3.2 (photoshop);
# Creative Commons, XMP guidelines (cc); IPTC Photo Metadata Standard 2023.1 (Iptc4xmpExt: whether
# a model made the image); EXIF 2.32, tags 315 and 33432.
FORMS = {
    "dc:creator": "Seq",
    "dc:rights": "Alt",
    "xmpRights:Marked": "text",
    "xmpRights:WebStatement": "text",
    "xmpRights:UsageTerms": "Alt",
    "xmpRights:Owner": "Bag",
    "xmpRights:Certificate": "text",
    "cc:license": "resource",
    "cc:attributionName": "text",
    "cc:attributionURL": "resource",
    "photoshop:Credit": "text",
    "photoshop:Source": "text",
    "Iptc4xmpExt:DigitalSourceType": "text",
    "exif:Artist": "text",
    "exif:Copyright": "text",
}
# A JPEG's segment of XMP has 65,502 bytes, that of EXIF 65,527; the markup of a value has less
# than 100.
_MAX_BYTES = 32 << 10
_MARKUP_BYTES = 100
_MAX_TEXT_CHARS = 4000
_MAX_VALUES = 50
# `Rights.to_json`: its escapes at most double a text.
MAX_JSON_BYTES = 4 * _MAX_BYTES


class Value(NamedTuple):
    """One text of a property.

    Attributes:
        text: without control characters.
        language: as in RFC 5646; empty for `x-default` and outside of language alternatives.

    Example:
        >>> Value("Alle Rechte vorbehalten", "de").language
        'de'
    """

    text: str
    language: str = ""


@dataclass(frozen=True)
class Rights:
    """Rights metadata of an image: a few short texts, bounded whatever the file held.

    Attributes:
        properties: (name, its values), in the order of `FORMS`; none without a value.

    Example:
        >>> Rights((("dc:creator", (Value("Jane Roe"),)),)).texts("dc:creator")
        ('Jane Roe',)
    """

    properties: tuple[tuple[str, tuple[Value, ...]], ...]

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of a property, whatever their languages; empty without it."""
        return tuple(value.text for value in dict(self.properties).get(name, ()))

    def to_json(self) -> bytes:
        """Writes them as JSON, for another process."""
        return json.dumps(self.properties, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Rights | None":
        """Reads what `to_json` wrote; bounds and cleans it, for its writer may be hostile.

        Raises:
            ValueError: if the bytes are not such JSON.
        """
        collector = RightsCollector()
        try:
            for name, values in json.loads(data):
                collector.fill(name, [Value(*value) for value in values])
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no rights: {error}") from error
        return collector.collected()


class RightsCollector:
    """Collects properties of several sources, the most trusted first, within bounds.

    Example:
        >>> collector = RightsCollector()
        >>> collector.fill("dc:rights", [Value("(c) 2026 Shop")])
        >>> collector.fill("dc:rights", [Value("an older notice")])  # is filled already
        >>> collector.collected().texts("dc:rights")
        ('(c) 2026 Shop',)
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[Value, ...]] = {}
        self._left_bytes = _MAX_BYTES

    def fill(self, name: str, values: Iterable[Value]) -> None:
        """Sets a property that has no value yet; ignores other names and empty texts.

        Args:
            name: of `FORMS`.
            values: raw. Control characters are removed, long texts cut, later values dropped
                beyond the bounds.
        """
        if name in FORMS and name not in self._found:
            kept = tuple(self._bounded(_cleaned(values)))
            if kept:
                self._found[name] = kept

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of a property so far."""
        return tuple(value.text for value in self._found.get(name, ()))

    def collected(self) -> Rights | None:
        """Everything collected; None without any value."""
        if not self._found:
            return None
        return Rights(tuple((name, self._found[name]) for name in FORMS if name in self._found))

    def _bounded(self, values: Iterable[Value]) -> Iterator[Value]:
        """Yields distinct values as long as there is room for them."""
        seen: set[Value] = set()
        for value in values:
            size = len(quoteattr(value.text).encode()) + _MARKUP_BYTES
            if size > self._left_bytes or len(seen) == _MAX_VALUES:
                return
            if value not in seen:
                seen.add(value)
                self._left_bytes -= size
                yield value


def _cleaned(values: Iterable[Value]) -> Iterator[Value]:
    """Yields values that are not empty, without characters that XML or a terminal refuses."""
    for value in values:
        text = "".join(filter(_is_printable, _as_text(value.text)[: 4 * _MAX_TEXT_CHARS])).strip()
        language = _as_text(value.language).lower()
        is_language = len(language) <= 35 and language.replace("-", "").isalnum()
        is_language = is_language and language.isascii() and language != "x-default"
        if text:
            yield Value(text[:_MAX_TEXT_CHARS].rstrip(), language if is_language else "")


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected. Received: {type(value).__name__}")
    return value


def _is_printable(character: str) -> bool:
    """Whether XML 1.0 allows a character, and a terminal shows it harmlessly."""
    code = ord(character)
    if code < 0x20:
        return character in "\n\t"
    return not (0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE)
