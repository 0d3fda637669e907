"""Looks up whether the images that a previous run's rows point to still exist."""

import collections
import concurrent.futures
import functools

from pipeline.records import Reason
from pipeline.runs import reader
from pipeline.runs.reader import UnreadableRowsError
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.routing import list_if_any

# A folder of image files with more names to look up than this is listed, a thousand names a
# request; a few names are asked for one by one.
_ASKED_ONE_BY_ONE = 4
_THREADS = 16


class ImagesOnHand:
    """Knows of image URIs whether their image can be read.

    A file of its own must be there; an image in a row needs a complete Parquet file with so many
    rows. Memory: the missing names of one part, one folder's listing while it is compared, and a
    number for each Parquet file.

    Args:
        files: storage of images and rows.

    Example:
        images = ImagesOnHand(files)
        images.look_up("s3://shop/out/rows/run_id=night1/part-0.parquet")
        "s3://shop/out/images/ab/abcd.png" in images
        # True
    """

    def __init__(self, files: Storage) -> None:
        self._files = files
        self._missing: set[str] = set()
        self._rows_in = functools.cache(self._count_rows)

    def look_up(self, part: str) -> None:
        """Looks up all image files that a part's rows point to.

        Raises:
            UnreadableRowsError: if the part is no complete file of rows.
        """
        by_folder: dict[str, set[str]] = collections.defaultdict(set)
        for *_, batch in reader.read_batches(self._files, [part], ["image_uri"]):
            for image_uri in batch["image_uri"].drop_null().to_pylist():
                uri = reader.absolute_pointer(part, image_uri)
                if reader.split_pointer(uri) is None:
                    folder, _, name = uri.rpartition("/")
                    by_folder[folder].add(name)
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
            for missing in threads.map(self._missing_in, by_folder, by_folder.values()):
                self._missing |= missing

    def __contains__(self, image_uri: str) -> bool:
        """Whether the image at an absolute pointer is there.

        Files only after `look_up` of the part that names them.
        """
        pointer = reader.split_pointer(image_uri)
        if pointer is None:
            return image_uri not in self._missing
        part, number = pointer
        return number < self._rows_in(part)

    def _missing_in(self, folder: str, names: set[str]) -> set[str]:
        """URIs of the names that a folder does not have."""
        if len(names) > _ASKED_ONE_BY_ONE:
            listed = {uri.rpartition("/")[2] for uri in list_if_any(self._files, folder)}
            names = names - listed  # a listing may be incomplete: a request decides
        return {uri for uri in (f"{folder}/{name}" for name in names) if not self._exists(uri)}

    def _exists(self, uri: str) -> bool:
        try:
            self._files.identify(uri)
        except StorageError as error:
            if error.reason != Reason.NOT_FOUND:
                raise
            return False
        return True

    def _count_rows(self, part: str) -> int:
        """Rows of a complete file; 0 for one that cannot be read."""
        try:
            return reader.count_rows(self._files, part)
        except UnreadableRowsError:
            return 0
