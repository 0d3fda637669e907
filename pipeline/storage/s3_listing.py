"""Listings of S3: takes keys, ETags, sizes and times from a page's XML, as columns.

botocore turns each object of a page into a dictionary and reads its time with `dateutil`: most of
the CPU time of a listing. Here a hook replaces that step alone; requests, signatures, errors and
retries stay with boto3.
"""

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from pipeline.storage.base import ListedPage
from pipeline.storage.retries import TransientError

# Under this name the hook adds a page to the answer of `list_objects_v2`.
PAGE = "ListingPage"
# botocore calls the handlers of a wildcard first: its own, which looks for errors in answers of
# status 200, then finds an empty body to parse.
_EVENT = "before-parse.*.ListObjectsV2"
_ROOT = "ListBucketResult"
_NOTHING_LEFT = b"<ListBucketResult/>"


@dataclasses.dataclass(frozen=True)
class ListingPage:
    """A page of a listing, one entry per object in each list.

    Attributes:
        keys: as they are, not encoded.
        etags: without quotes; None where the server gives none.
        sizes_bytes: of the contents.
        modified: times of the last writes, as the server spells them; may be empty.
        prefixes: of a listing with a delimiter: the folders in it, each ending in it.
        next_token: for the request of the next page; empty after the last one.
        is_truncated: whether more pages follow.

    Example:
        >>> parse_page(b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        ListingPage(keys=[], etags=[], sizes_bytes=[], modified=[], prefixes=[], \
next_token='', is_truncated=False)
    """

    keys: list[str]
    etags: list[str | None]
    sizes_bytes: list[int]
    modified: list[str]
    prefixes: list[str]
    next_token: str
    is_truncated: bool


def install(client: Any) -> None:
    """Lets a boto3 client's `list_objects_v2` answer with a `ListingPage` under `PAGE`.

    Errors, and bodies that are no listing, stay with botocore, and their answers have no `PAGE`.
    """
    client.meta.events.register(_EVENT, _take_page)


def _take_page(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Parses the body, and leaves botocore an empty one; raises TransientError if it is broken."""
    if response_dict["status_code"] != 200:
        return
    page = parse_page(response_dict["body"])
    if page is not None:
        customized_response_dict[PAGE] = page
        response_dict["body"] = _NOTHING_LEFT
    elif not _is_xml(response_dict["body"]):
        raise TransientError(
            "S3 answered a listing that is no complete XML: cut off, or with a control character "
            "in a key, which this server does not encode"
        )


def _is_xml(body: bytes) -> bool:
    try:
        ET.fromstring(body)
    except ET.ParseError:
        return False
    return True


def parse_page(body: bytes) -> ListingPage | None:
    """Parses the answer to ListObjectsV2.

    Args:
        body: XML, with or without S3's namespace; its keys may be URL-encoded.

    Returns:
        The page; None if the body is no complete listing.
    """
    try:
        root = ET.fromstring(body)
        space, brace, name = root.tag.rpartition("}")
        if name != _ROOT:
            return None
        return _page(root, space + brace)
    except (ET.ParseError, TypeError, ValueError):  # the last two: an object without key or size
        return None


def select(page: ListingPage, wanted: Callable[[str], bool]) -> ListingPage:
    """Returns a page with those of its objects whose key is wanted."""
    kept = [number for number, key in enumerate(page.keys) if wanted(key)]
    if len(kept) == len(page.keys):
        return page
    return dataclasses.replace(
        page,
        keys=[page.keys[number] for number in kept],
        etags=[page.etags[number] for number in kept],
        sizes_bytes=[page.sizes_bytes[number] for number in kept],
        modified=[page.modified[number] for number in kept],
    )


def without_folders(page: ListingPage, bucket: str) -> ListedPage:
    """Returns the page with URIs for keys, without the empty objects that stand for folders."""
    page = select(page, lambda key: not key.endswith("/"))
    uris = [f"s3://{bucket}/{key}" for key in page.keys]
    return ListedPage(uris, page.etags, page.sizes_bytes, page.modified)


def _page(root: ET.Element, space: str) -> ListingPage:
    objects = root.findall(f"{space}Contents")
    decode = _decoder(root, space)
    return ListingPage(
        keys=[decode(one.findtext(f"{space}Key")) for one in objects],
        etags=[plain_etag(one.findtext(f"{space}ETag", "")) for one in objects],
        sizes_bytes=[int(one.findtext(f"{space}Size")) for one in objects],  # type: ignore[arg-type]
        modified=[one.findtext(f"{space}LastModified", "") for one in objects],
        prefixes=[
            decode(one.findtext(f"{space}Prefix"))
            for one in root.findall(f"{space}CommonPrefixes")
        ],
        next_token=root.findtext(f"{space}NextContinuationToken", ""),
        is_truncated=root.findtext(f"{space}IsTruncated", "").strip() == "true",
    )


def _decoder(root: ET.Element, space: str) -> Callable[[str | None], str]:
    """Reads a name: botocore asks for URL encoding, since XML has no control characters."""
    is_encoded = root.findtext(f"{space}EncodingType", "").strip() == "url"

    def decode(text: str | None) -> str:
        if not text:
            raise ValueError("an object or folder has no name")
        # Most keys hold nothing to decode, and the question is ten times cheaper.
        return unquote_plus(text) if is_encoded and ("%" in text or "+" in text) else text

    return decode


def plain_etag(text: str) -> str | None:
    """Returns an ETag without its quotes and the mark of a weak one; None if it is empty."""
    return text.removeprefix("W/").strip('"') or None
