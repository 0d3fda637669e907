"""Looks up whether the images that a previous run's rows point to still exist."""

import collections
import concurrent.futures
import contextlib
import functools

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import RunError
from pipeline.runs import reader
from pipeline.runs.reader import RowsError
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.routing import list_if_any

# A folder of image files with more names to look up than this is listed, a thousand names a
# request; a few names are asked for one by one.
_ASKED_ONE_BY_ONE = 4
_THREADS = 16
# Bytes by file name.
_Sizes = dict[str, int | None]
_POINTER = "^(?P<part>.*)" + reader.ROW_MARK + "(?P<number>[0-9]{1,18})$"


class ImagesOnHand:
    """Knows of image URIs whether their image can be read.

    A file of its own must be there, with so many bytes as its row says; an image in a row needs a
    complete Parquet file with so many rows. An image that the storage does not give counts as
    missing: it is upscaled again, and nothing is lost. Memory: the names that one part points to,
    one folder's listing while it is compared, and a number for each Parquet file.

    Args:
        files: storage of images and rows.

    Example:
        images = ImagesOnHand(files)
        images.look_up("s3://shop/out/rows/run_id=night1/part-0.parquet")
        images.there(pa.array(["s3://shop/out/images/ab/abcd.png"]))  # [true]
    """

    def __init__(self, files: Storage) -> None:
        self._files = files
        self._missing = pa.array([], pa.string())
        self._rows_in = functools.cache(self._count_rows)

    def look_up(self, part: str) -> None:
        """Looks up all image files that a part's rows point to.

        Raises:
            RowsError: if the part cannot be read.
        """
        by_folder: dict[str, _Sizes] = collections.defaultdict(dict)
        for *_, batch in reader.read_batches(self._files, [part], ["image_uri", "image_bytes"]):
            named = batch.filter(pc.is_valid(batch["image_uri"]))
            uris = reader.absolute_pointers(part, named["image_uri"])
            is_file = pc.invert(pc.match_substring_regex(uris, _POINTER))
            sizes = named["image_bytes"].filter(is_file).to_pylist()
            for uri, size_bytes in zip(uris.filter(is_file).to_pylist(), sizes, strict=True):
                folder, _, name = uri.rpartition("/")
                by_folder[folder][name] = size_bytes
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
            missing = set().union(*threads.map(self._missing_in, by_folder, by_folder.values()))
        self._missing = pa.array(sorted(missing), pa.string())

    def there(self, image_uris: pa.Array) -> pa.Array:
        """Whether each image can be read; True for a null.

        Args:
            image_uris: absolute; of files only after `look_up` of the part that names them.
        """
        pointers = pc.extract_regex(image_uris, _POINTER)
        parts = pc.struct_field(pointers, "part").dictionary_encode()
        rows = pa.array([self._rows_in(part) for part in parts.dictionary.to_pylist()], pa.int64())
        numbers = pc.struct_field(pointers, "number").cast(pa.int64())
        in_rows = pc.less(numbers, rows.take(parts.indices))
        in_files = pc.invert(pc.is_in(image_uris, self._missing))
        return pc.fill_null(pc.coalesce(in_rows, in_files), True)

    def _missing_in(self, folder: str, sizes: _Sizes) -> set[str]:
        """URIs of the names whose image cannot be found or read, or has another size."""
        listed: _Sizes = {}
        if len(sizes) > _ASKED_ONE_BY_ONE:
            # A listing may be refused or incomplete: a request for each other name decides.
            with contextlib.suppress(RunError):
                for item in list_if_any(self._files, folder):
                    listed[item.uri.rpartition("/")[2]] = item.size_bytes
        return {
            f"{folder}/{name}"
            for name, size_bytes in sizes.items()
            if not _has_size(listed.get(name), size_bytes)
            and not _has_size(self._size_of(f"{folder}/{name}"), size_bytes)
        }

    def _size_of(self, uri: str) -> int | None:
        """Bytes of a file; None if it cannot be found or read."""
        try:
            return self._files.identify(uri).size_bytes
        except StorageError:
            return None

    def _count_rows(self, part: str) -> int:
        """Rows of a complete file; 0 for one that cannot be read."""
        try:
            return reader.count_rows(self._files, part)
        except RowsError:
            return 0


def _has_size(found: int | None, expected: int | None) -> bool:
    """Whether a file is there and as large as its row says; rows of older versions may not."""
    return found is not None and expected in (None, found)
