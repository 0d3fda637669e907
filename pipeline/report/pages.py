"""Pages of the gallery: every result of a run beside its source, as HTML."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from model.imaging import profiles
from model.imaging.sandbox import DecoderPool
from pipeline.report import html
from pipeline.report.aggregate import LocatedRow
from pipeline.report.selection import SORTS, STATUSES, Query

PAGE_ROWS = 48
# What every browser shows. Other formats, and larger files, are converted and shrunk.
_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}
_MAX_BYTES = 3_000_000
_MAX_SIDE_PX = 2000
_MAX_PIXELS = 40_000_000


@dataclass(frozen=True)
class WebImage:
    """An image file that a browser shows.

    Attributes:
        data: the file.
        media_type: as `image/jpeg`.

    Example:
        WebImage(data, "image/png").suffix  # "png"
    """

    data: bytes
    media_type: str

    @property
    def suffix(self) -> str:
        """Suffix of its file name."""
        return self.media_type.rpartition("/")[2]


def web_image(data: bytes, decoders: DecoderPool) -> WebImage:
    """Returns an image file as it is, or converted to WebP if a page could not show or hold it.

    Args:
        data: an image file, which may be hostile.
        decoders: read its header, and decode it if need be.

    Raises:
        ImageError: if it is none, or cannot be decoded.
    """
    header = decoders.read_header(io.BytesIO(data))
    media_type = _MEDIA_TYPES.get(header.format)
    if media_type and len(data) <= _MAX_BYTES and header.height * header.width <= _MAX_PIXELS:
        return WebImage(data, media_type)
    _, decoded = decoders.decode(data, max_pixels=_MAX_PIXELS, first_frame=True, finds_jpeg=False)
    image = Image.fromarray(profiles.to_srgb(decoded).over_white())
    image.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=90, method=2)
    return WebImage(buffer.getvalue(), "image/webp")


@dataclass(frozen=True)
class Card:
    """One row of a page.

    Attributes:
        row: the row.
        result, source: addresses of the images, relative to the page; None without.
        problem: why one is missing.

    Example:
        Card(row, result="images/1/0-result.jpeg", source=None, problem="no such file")
    """

    row: LocatedRow
    result: str | None
    source: str | None
    problem: str | None = None


def render_page(
    summary: Mapping[str, Any],
    cards: Sequence[Card],
    query: Query,
    *,
    page: int,
    rows: int,
    address: Callable[[int], str],
    has_form: bool,
    notice: str = "",
) -> str:
    """Returns one page as HTML, readable and complete without scripts.

    Args:
        summary: content of the run's summary.json.
        cards: of the page.
        query: which selected them.
        page: its number, from 1.
        rows: number of rows that the query found.
        address: returns a page's address by its number.
        has_form: whether a server answers other queries.
        notice: shown above the images.
    """
    return html.render(
        "gallery.html.j2",
        summary=summary,
        cards=cards,
        query=query,
        page=page,
        rows=rows,
        pages=page_count(rows),
        address=address,
        has_form=has_form,
        notice=notice,
        statuses=STATUSES,
        reasons=sorted(summary["by_reason"]),
        sorts=SORTS,
    )


def page_count(rows: int) -> int:
    """Number of pages for so many rows, at least 1."""
    return max(1, -(-rows // PAGE_ROWS))
