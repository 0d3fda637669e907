"""EXIF blocks: reads artist and copyright, and writes a block with nothing else."""

import struct
from typing import Any

from PIL import ExifTags, Image

from model.imaging.metadata.rights import Rights

TAGS = {
    "exif:Artist": ExifTags.Base.Artist.value,
    "exif:Copyright": ExifTags.Base.Copyright.value,
}
_PREFIX = b"Exif\0\0"
_ASCII = 2


def read(block: bytes) -> dict[str, str]:
    """Reads artist and copyright.

    Args:
        block: with or without the prefix of JPEG.

    Returns:
        Texts by property of `FORMS`.

    Raises:
        Exception: what Pillow raises on a broken block, see `BROKEN_FILE`.
    """
    exif = Image.Exif()
    exif.load(block)
    return texts_of(exif)


def texts_of(tags: Any) -> dict[str, str]:
    """The same, from tags by number, as Pillow reads those of an EXIF block or a TIFF."""
    found = {name: _text(tags.get(tag)) for name, tag in TAGS.items()}
    return {name: text for name, text in found.items() if text}


def decoded(raw: bytes) -> str:
    """Text whose encoding nobody states: UTF-8, else that of Windows."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def write(rights: Rights) -> bytes:
    """Writes a block with artist and copyright in UTF-8, as other programs do.

    Args:
        rights: of which `exif:Artist` and `exif:Copyright` are written.

    Returns:
        The block, with the prefix that JPEG needs; empty if there is nothing to write.

    Source:
        TIFF 6.0, section 2.
    """
    entries, texts = b"", b""
    found = [(tag, rights.texts(name)) for name, tag in TAGS.items()]
    found = [(tag, values) for tag, values in found if values]
    texts_at = 8 + 2 + 12 * len(found) + 4
    for tag, values in found:
        text = "; ".join(values).encode() + b"\0"
        place = struct.pack("<L", texts_at + len(texts))
        if len(text) <= 4:
            place = text.ljust(4, b"\0")
        else:
            texts += text + bytes(len(text) % 2)
        entries += struct.pack("<HHL", tag, _ASCII, len(text)) + place
    if not found:
        return b""
    directory = struct.pack("<H", len(found)) + entries + bytes(4)
    return _PREFIX + b"II*\0\x08\0\0\0" + directory + texts


def _text(value: Any) -> str:
    """A tag's text; Pillow decodes it as Latin-1. A NUL parts photographer and editor."""
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    if not isinstance(value, bytes):
        return ""
    parts = (decoded(part).strip() for part in value.split(b"\0"))
    return ", ".join(filter(None, parts))
