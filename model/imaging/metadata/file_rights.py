"""Finds the rights in an opened file, wherever its format and its writer put them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from PIL import ExifTags, Image

from model.imaging.header import BROKEN_FILE
from model.imaging.metadata import exif, iptc, xmp
from model.imaging.metadata.rights import Rights, RightsCollector, Value

_TIFF_IPTC, _TIFF_RESOURCES, _TIFF_XMP = 33723, 34377, ExifTags.Base.XMLPacket.value
_JPEG_IPTC = 0x0404
# PNG (third edition), table 21: keywords of text chunks.
_PNG_KEYWORDS = {"dc:creator": "Author", "dc:rights": "Copyright"}


def read_rights(image: Image.Image) -> Rights | None:
    """Reads copyright, creators and licence of a file.

    XMP counts before IPTC-IIM, EXIF and text chunks, property by property. EXIF keeps its own
    artist and copyright; where it has none, or XMP has none, they are those of the other.

    Args:
        image: opened and decoded by Pillow: a PNG may have its metadata behind the pixels.

    Returns:
        The rights; None without any. Broken or oversized metadata counts as missing.
    """
    info, collector = image.info, RightsCollector()

    def fill(read: Callable[[], Mapping[str, Iterable[Value]]]) -> None:
        """Fills in what one place of the file holds; nothing if that is broken."""
        try:
            for name, values in read().items():
                collector.fill(name, values)
        except (*BROKEN_FILE, MemoryError):
            return

    fill(lambda: xmp.read(_bytes(info.get("xmp"))))
    fill(lambda: xmp.read(_tag(image, _TIFF_XMP)))
    fill(lambda: xmp.read(_raw_profile(image, "xmp")))
    fill(lambda: iptc.read(_jpeg_iptc(image)))
    fill(lambda: iptc.read(_tag(image, _TIFF_RESOURCES)))
    fill(lambda: iptc.read(_tag(image, _TIFF_IPTC)))
    fill(lambda: iptc.read(_raw_profile(image, "iptc")))
    fill(lambda: _values(exif.texts_of(getattr(image, "tag_v2", {}))))
    fill(lambda: _values(exif.read(_bytes(info.get("exif")))))
    fill(lambda: _values(exif.read(_raw_profile(image, "exif"))))
    fill(lambda: _values(_png_texts(image)))
    _complete(collector)
    return collector.collected()


def _complete(collector: RightsCollector) -> None:
    """Fills EXIF's properties from those of XMP, and the other way round."""
    artists, notices = collector.texts("exif:Artist"), collector.texts("exif:Copyright")
    collector.fill("dc:creator", [Value(one) for text in artists for one in text.split(";")])
    collector.fill("dc:rights", map(Value, notices))
    collector.fill("exif:Artist", [Value("; ".join(collector.texts("dc:creator")))])
    collector.fill("exif:Copyright", map(Value, collector.texts("dc:rights")[:1]))


def _jpeg_iptc(image: Image.Image) -> bytes:
    """IPTC-IIM in a JPEG's segment of Photoshop; empty without."""
    resources = image.info.get("photoshop")  # of a PNG it may be a text
    return _bytes(resources.get(_JPEG_IPTC)) if isinstance(resources, dict) else b""


def _png_texts(image: Image.Image) -> dict[str, str]:
    """Text chunks with the keywords of the standard."""
    if image.format != "PNG":
        return {}
    texts = {name: image.info.get(keyword) for name, keyword in _PNG_KEYWORDS.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _raw_profile(image: Image.Image, kind: str) -> bytes:
    """Metadata that ImageMagick put into a PNG; empty without."""
    text = image.info.get(f"Raw profile type {kind}") if image.format == "PNG" else None
    return iptc.unpack_raw_profile(text) if isinstance(text, str) else b""


def _tag(image: Image.Image, number: int) -> bytes:
    """Bytes of a TIFF's tag, whatever type it states: Photoshop writes bytes as 32-bit numbers."""
    # Pillow reads its own IPTC-IIM there, too: the value would be the first number alone.
    return _bytes(getattr(getattr(image, "tag_v2", None), "_tagdata", {}).get(number))


def _values(texts: Mapping[str, str]) -> dict[str, list[Value]]:
    return {name: [Value(text)] for name, text in texts.items()}


def _bytes(value: Any) -> bytes:
    """Bytes as they are, text as UTF-8, nothing for all else."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return value if isinstance(value, bytes) else b""
