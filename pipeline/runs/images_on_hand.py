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
_POINTER = "^(?P<part>.*)" + reader.ROW_MARK + "(?P<number>[0-9]{1,18})$"


class ImagesOnHand:
    """Knows of image URIs whether their image can be read.

    A file of its own must be there; an image in a row needs a complete Parquet file with so many
    rows. An image that the storage does not give counts as missing: it is upscaled again, and
    nothing is lost. Memory: the missing names of one part, one folder's listing while it is
    compared, and a number for each Parquet file.

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
        by_folder: dict[str, set[str]] = collections.defaultdict(set)
        for *_, batch in reader.read_batches(self._files, [part], ["image_uri"]):
            uris = reader.absolute_pointers(part, batch["image_uri"].drop_null())
            is_file = pc.invert(pc.match_substring_regex(uris, _POINTER))
            for uri in uris.filter(is_file).to_pylist():
                folder, _, name = uri.rpartition("/")
                by_folder[folder].add(name)
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

    def _missing_in(self, folder: str, names: set[str]) -> set[str]:
        """URIs of the names whose image cannot be found or read."""
        if len(names) > _ASKED_ONE_BY_ONE:
            # A listing may be refused or incomplete: a request for each other name decides.
            with contextlib.suppress(RunError):
                listed = list_if_any(self._files, folder)
                names = names - {uri.rpartition("/")[2] for uri in listed}
        return {uri for uri in (f"{folder}/{name}" for name in names) if not self._exists(uri)}

    def _exists(self, uri: str) -> bool:
        try:
            self._files.identify(uri)
        except StorageError:
            return False
        return True

    def _count_rows(self, part: str) -> int:
        """Rows of a complete file; 0 for one that cannot be read."""
        try:
            return reader.count_rows(self._files, part)
        except RowsError:
            return 0
