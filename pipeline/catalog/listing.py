"""Lists an S3 prefix as batches of the catalog: no Python object for each of many images."""

from collections.abc import Iterator

import pyarrow as pa

from pipeline.catalog import batches
from pipeline.storage.base import Storage, StorageError, StoredObject


def list_prefix(files: Storage, source: str) -> Iterator[pa.RecordBatch]:
    """Yields the objects below a prefix, with the listing's ETags if HEAD gives the same.

    Args:
        files: where the prefix lies.
        source: the prefix, ending in `/`.
    """
    position = 0
    is_trusted: bool | None = None
    for page in files.list_pages(source):
        if is_trusted is None:
            is_trusted = lists_true_etags(files, next(page.objects()))
        known = {}
        if is_trusted:
            known["etag"] = pa.array(page.etags, pa.string())
            known["size_bytes"] = pa.array(page.sizes_bytes, pa.int64())
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
