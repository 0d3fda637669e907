"""Lists an S3 prefix as batches of the catalog: no Python object for each of many images."""

import itertools
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog import batches
from pipeline.catalog.names import why_no_image
from pipeline.records import Reason
from pipeline.storage.base import Storage, StorageError, StoredObject


def list_prefix(files: Storage, source: str) -> Iterator[pa.RecordBatch]:
    """Yields the objects below a prefix, with the listing's ETags if HEAD gives the same.

    Objects whose names are no images' are rejected.

    Args:
        files: where the prefix lies.
        source: the prefix, ending in `/`.
    """
    position = 0
    is_trusted: bool | None = None
    for page in files.list_pages(source):
        why = [why_no_image(uri[len(source) :]) for uri in page.uris]
        if is_trusted is None and None in why:
            first = next(itertools.islice(page.objects(), why.index(None), None))
            is_trusted = lists_true_etags(files, first)
        known: dict[str, pa.Array] = {}
        if is_trusted:
            known["etag"] = pa.array(page.etags, pa.string())
            known["size_bytes"] = pa.array(page.sizes_bytes, pa.int64())
        if any(why):
            # Without an ETag, as of all rejected entries: a replay takes one for a result's.
            is_image = pa.array([one is None for one in why])
            known = {name: pc.if_else(is_image, values, None) for name, values in known.items()}
            known["detail"] = pa.array(why, pa.string())
            known["reason"] = pa.array([one and str(Reason.NOT_AN_IMAGE) for one in why])
        positions = pa.array(range(position, position + len(page)), pa.int64())
        uris = pa.array(page.uris, pa.string())
        yield batches.from_columns(len(page), uri=uris, position=positions, **known)
        position += len(page)


def lists_true_etags(files: Storage, item: StoredObject) -> bool:
    """Returns whether a server's listings give the ETag that it knows the object by.

    Some gateways list another one: all their images would seem changed.
    """
    try:
        found = files.identify(item.uri)
    except StorageError:  # gone meanwhile, or not ours to read: that is its own row's trouble
        return True
    return found.etag == item.etag or found.modified_at > item.modified_at
