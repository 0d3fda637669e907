"""XMP packets: reads the rights from a file's packet, and writes a small one with nothing else."""

import contextlib
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from model.imaging.metadata.rights import FORMS, Rights, Value

# Packets of image editors hold long histories; none of a product image comes near.
_MAX_PACKET_BYTES = 4 << 20
_MAX_ELEMENTS = 100_000
_MAX_DEPTH = 64
_MAX_TEXT_CHARS = 1 << 16

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "cc": "http://creativecommons.org/ns#",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
# Expat joins namespace and name by a blank.
_NAMES = {
    f"{_NAMESPACES[prefix]} {name}": f"{prefix}:{name}"
    for prefix, _, name in (form.partition(":") for form in FORMS)
    if prefix in _NAMESPACES
}
_LISTS = {f"{_RDF} {form}" for form in ("Seq", "Bag", "Alt")}
_LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"

_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_END = '<?xpacket end="r"?>'


def read(packet: bytes) -> dict[str, list[Value]]:
    """Reads the rights from a packet.

    A document type declaration, with which a packet could grow without bound, ends the reading,
    and so does broken XML: what stood before it counts.

    Args:
        packet: from a file that nobody has vetted.

    Returns:
        Raw values by property of `FORMS`; empty for a packet that is no XML, or too large.

    Source:
        XMP specification, part 1 (2012), section 7: RDF in XML, with properties as elements or
        as attributes.
    """
    if len(packet) > _MAX_PACKET_BYTES:
        return {}
    reader = _Reader()
    with contextlib.suppress(expat.ExpatError, ValueError, LookupError):
        reader.read(packet.rstrip(b"\0 \t\r\n"))
    return reader.found


def write(rights: Rights) -> bytes:
    """Writes a packet.

    Args:
        rights: to write.

    Returns:
        UTF-8, at most 60,000 bytes; empty if there is nothing that XMP holds.
    """
    properties = [one for one in rights.properties if one[0].partition(":")[0] in _NAMESPACES]
    if not properties:
        return b""
    prefixes = sorted({name.partition(":")[0] for name, _ in properties})
    declared = "".join(f' xmlns:{one}="{_NAMESPACES[one]}"' for one in prefixes)
    written = "".join(_property(name, values) for name, values in properties)
    return (
        f'{_BEGIN}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
        f'<rdf:Description rdf:about=""{declared}>{written}</rdf:Description>'
        f"</rdf:RDF></x:xmpmeta>{_END}"
    ).encode()


def _property(name: str, values: tuple[Value, ...]) -> str:
    """One property as an element."""
    form = FORMS[name]
    if form == "resource":
        return f"<{name} rdf:resource={quoteattr(values[0].text)}/>"
    if form == "text":
        return f"<{name}>{escape(values[0].text)}</{name}>"
    items = "".join(_item(value, form) for value in values)
    return f"<{name}><rdf:{form}>{items}</rdf:{form}></{name}>"


def _item(value: Value, form: str) -> str:
    """One item of a list."""
    language = f' xml:lang="{value.language or "x-default"}"' if form == "Alt" else ""
    return f"<rdf:li{language}>{escape(value.text)}</rdf:li>"


class _Reader:
    """Walks a packet's elements, without building a tree; keeps known properties only."""

    def __init__(self) -> None:
        self.found: dict[str, list[Value]] = {}
        self._open: list[str] = []
        self._elements = 0
        self._text = ""
        self._language = ""

    def read(self, packet: bytes) -> None:
        """Parses a packet; raises ExpatError or ValueError where it ends early."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(packet, True)

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        self._open.append(element)
        if self._elements > _MAX_ELEMENTS or len(self._open) > _MAX_DEPTH:
            raise ValueError("too many elements")
        self._text, self._language = "", attributes.get(_LANGUAGE, "")
        path = self._path()
        if len(path) == 1:  # properties as attributes
            for name, text in attributes.items():
                self._add(name, text)
        elif len(path) == 2 and f"{_RDF} resource" in attributes:
            self._add(element, attributes[f"{_RDF} resource"])

    def _characters(self, text: str) -> None:
        if len(self._text) < _MAX_TEXT_CHARS:
            self._text += text

    def _end(self, element: str) -> None:
        path = self._path()
        if len(path) == 2:
            self._add(element, self._text)
        elif len(path) == 4 and path[2] in _LISTS and element == f"{_RDF} li":
            self._add(path[1], self._text)
        self._text = ""
        self._open.pop()

    def _path(self) -> list[str]:
        """Open elements from a description of the image on; empty elsewhere."""
        for start in (0, 1):  # RDF is the root, or the only element in it
            if self._open[start : start + 2] == [f"{_RDF} RDF", f"{_RDF} Description"]:
                return self._open[start + 1 :]
        return []

    def _add(self, name: str, text: str) -> None:
        if name in _NAMES and text.strip():
            self.found.setdefault(_NAMES[name], []).append(Value(text, self._language))


def _refuse(*_: object) -> None:
    raise ValueError("a packet with a document type declaration")
