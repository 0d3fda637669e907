"""IPTC-IIM: by-lines, credit, source and copyright notice, in Photoshop's image resources."""

import struct

from model.imaging.metadata import exif
from model.imaging.metadata.rights import Value

# IIM 4.2, record 2, and the XMP property of the same meaning (IPTC Photo Metadata Standard).
_DATASETS = {
    80: "dc:creator",
    110: "photoshop:Credit",
    115: "photoshop:Source",
    116: "dc:rights",
}
_MAX_DATASETS = 1000
_MAX_BYTES = 1 << 20
_IPTC_RESOURCE = 0x0404
_CHARSET = (1, 90)


def read(block: bytes) -> dict[str, list[Value]]:
    """Reads the rights from a block of datasets; ends at the first byte that is none.

    Args:
        block: IPTC-IIM, or Photoshop's image resources with it inside.

    Returns:
        Raw values by property of `FORMS`.

    Source:
        IPTC-NAA Information Interchange Model 4.2, sections 1.5 and 1.6.
    """
    block = block[:_MAX_BYTES]
    if block.startswith((b"8BIM", b"Photoshop 3.0\0")):
        block = _of_resources(block)
    found: dict[str, list[Value]] = {}
    is_utf8, at = False, 0
    for _ in range(_MAX_DATASETS):
        head = block[at : at + 5]
        if len(head) < 5 or head[0] != 0x1C:
            break
        record, dataset, length = struct.unpack_from(">BBH", head, 1)
        if length >= 0x8000:  # an extended dataset, of more than 32,767 bytes: no text
            break
        content, at = block[at + 5 : at + 5 + length], at + 5 + length
        if len(content) < length:  # ImageMagick cuts the tag of a TIFF
            break
        if (record, dataset) == _CHARSET:
            is_utf8 = content == b"\x1b%G"
        elif record == 2 and dataset in _DATASETS:
            text = content.decode("utf-8", "replace") if is_utf8 else exif.decoded(content)
            found.setdefault(_DATASETS[dataset], []).append(Value(text))
    return found


def unpack_raw_profile(text: str) -> bytes:
    """Unpacks a text chunk `Raw profile type …`, in which ImageMagick puts metadata into a PNG.

    Args:
        text: name, number of bytes, and hexadecimal digits, on lines of their own.

    Raises:
        ValueError: if it is none.
    """
    _, _, digits = text[: 3 * _MAX_BYTES].strip().split("\n", 2)
    return bytes.fromhex(digits)


def _of_resources(resources: bytes) -> bytes:
    """The IPTC block among Photoshop's image resources; empty without one.

    Source:
        Adobe Photoshop File Formats Specification, image resource blocks.
    """
    at = 14 if resources.startswith(b"Photoshop 3.0\0") else 0
    while resources[at : at + 4] == b"8BIM" and at + 7 <= len(resources):
        kind = int.from_bytes(resources[at + 4 : at + 6])
        name_length = resources[at + 6] + 1
        at += 6 + name_length + name_length % 2
        length = int.from_bytes(resources[at : at + 4])
        if kind == _IPTC_RESOURCE:
            return resources[at + 4 : at + 4 + length]
        at += 4 + length + length % 2
    return b""
