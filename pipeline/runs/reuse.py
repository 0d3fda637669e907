"""Reuses results of previous runs, matched by content key.

Each run's rows are a complete snapshot of the catalog. An image that a previous run upscaled is
not upscaled again; its row points to the previous run's file.
"""

import logging
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import columns, text
from pipeline.catalog.size_filter import SizeLimits, reject_size
from pipeline.output import schema
from pipeline.records import Reason, Status
from pipeline.row.parts import TIMED_STAGES
from pipeline.row.row import COLUMNS
from pipeline.runs import reader
from pipeline.runs.images_on_hand import ImagesOnHand
from pipeline.runs.reader import RowsError
from pipeline.settings import Settings
from pipeline.storage.base import Storage

_log = logging.getLogger(__name__)

# Columns that this run finds itself, and times that only the previous run spent.
_NOT_REUSED = {
    *("uri", "product_id", "product_ids", "catalog", "content_key", "status", "reason"),
    *("source_etag", "source_bytes", "source_sharpening"),
    *("reference_uri", "reference_etag", "image"),
    *TIMED_STAGES,
}
REUSED_COLUMNS = tuple(one.name for one in COLUMNS if one.name not in _NOT_REUSED)
# A row of a previous run, without its image, for reuse in this run. Crosses a shuffle.
RESULTS = pa.schema(
    [
        pa.field(name, schema.SCHEMA.field(name).type)
        for name in ("content_key", "reference_etag", "status", "reason", *REUSED_COLUMNS)
    ]
)

_WITH_IMAGE = (Status.UPSCALED, Status.FALLBACK, Status.UNCHANGED)
_SIZE_REASONS = (Reason.TOO_SMALL, Reason.LARGE_ENOUGH, Reason.TOO_MANY_PIXELS)
# Broken content stays broken; answers of storages and devices may change.
_LASTING = (Reason.ANIMATED, Reason.UNREADABLE, Reason.UNSUPPORTED_FORMAT)


def read_previous_results(part: str, files: Storage) -> Iterator[pa.RecordBatch]:
    """Reads the results that a previous run's rows hold, without their images.

    Results whose image is gone or cannot be read are left out: their images are upscaled again.
    So are all results of a file that cannot be read. Warnings say so.

    Args:
        part: URI of one of the previous run's Parquet files.
        files: storage of the file.

    Yields:
        Batches of `RESULTS`.
    """
    images = ImagesOnHand(files)
    lost = 0
    try:
        images.look_up(part)
        wanted = dict.fromkeys((*RESULTS.names, "image_bytes"))
        for _, first, batch in reader.read_batches(files, [part], wanted):
            results = _results(part, first, batch)
            there = images.there(reader.absolute_pointers(part, results["image_uri"]))
            lost += results.num_rows - pc.sum(there).as_py() if results.num_rows else 0
            yield results.filter(there)
    except RowsError as error:
        _log.warning("%s; its images are upscaled again", error)
    if lost:
        _log.warning(
            "%s that %s points to cannot be found or read; upscaled again",
            *(text.count(lost, "image"), part),
        )


def _results(part: str, first: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with a content key, of `RESULTS`; an image in a row gets the pointer to it.

    Pointers are relative to the output where they lie in it.
    """
    numbers = pa.array(range(first, first + batch.num_rows)).cast(pa.string())
    here = reader.relative_pointer(part, part)
    pointers = pc.binary_join_element_wise(here, numbers, reader.ROW_MARK)
    has_image = pc.is_valid(batch["image_bytes"])
    older = reader.relative_pointers(part, batch["image_uri"])
    pointers = pc.coalesce(older, pc.if_else(has_image, pointers, None))
    at = batch.schema.get_field_index("image_uri")
    pointed = batch.set_column(at, "image_uri", pointers).select(RESULTS.names)
    return pointed.cast(RESULTS).filter(pc.is_valid(batch["content_key"]))


def key_of(results: pa.RecordBatch) -> pa.Array:
    """The content keys of `RESULTS`: keys for `columns.split`."""
    return results["content_key"]


def reusable(results: pa.RecordBatch, settings: Settings) -> pa.RecordBatch:
    """Chooses the results of a previous run that serve this run.

    Args:
        results: of `RESULTS`, of the same model and settings that change the result.
        settings: of this run, whose size limits may be others.

    Returns:
        The results, with status and reason of the rows of this run. Images of the others must be
        upscaled again.
    """
    results = results.filter(_is_none_of(results["reason"], settings.retry))
    results, outside = _by_size(results, settings.limits)
    status, reason = results["status"], results["reason"]
    has_image = pc.is_in(status, pa.array(_WITH_IMAGE))
    lasts = pc.is_in(reason, pa.array(_LASTING))
    if settings.retry:
        lasts = pc.or_(lasts, pc.and_(pc.is_valid(reason), _is_none_of(reason, _SIZE_REASONS)))
    # This run may want files, where there are none.
    in_rows = pc.fill_null(pc.match_substring(results["image_uri"], reader.ROW_MARK), False)
    serves = pc.invert(in_rows) if settings.images != "parquet" else True
    results = _with(
        results,
        status=pc.if_else(has_image, Status.UNCHANGED, status),
        reason=pc.if_else(has_image, pc.coalesce(reason, Reason.SAME_CONTENT), reason),
    )
    kept = results.filter(pc.if_else(has_image, serves, lasts))
    return columns.concat([outside, kept], RESULTS)


def _by_size(results: pa.RecordBatch, limits: SizeLimits) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The results within this run's size limits, and those outside: skipped or failed rows."""
    sides = [results[f"source_{side}"].cast(pa.int64()) for side in ("height", "width")]
    packed = pc.add(pc.multiply(sides[0], 1 << 32), sides[1])
    sizes = packed.dictionary_encode()
    rejections = [
        reject_size(size >> 32, size & 0xFFFFFFFF, limits) for size in sizes.dictionary.to_pylist()
    ]
    if not any(rejections):
        return results, results.slice(0, 0)
    is_outside = pc.fill_null(
        pa.array([one is not None for one in rejections]).take(sizes.indices), False
    )
    outside, which = results.filter(is_outside), sizes.indices.filter(is_outside)
    found = {
        "status": [one and str(one[0].status) for one in rejections],
        "reason": [one and str(one[0]) for one in rejections],
        "detail": [one and one[1] for one in rejections],
    }
    stays = {"content_key", "reference_etag", "processed_at", *found}
    cleared = {
        field.name: pa.nulls(outside.num_rows, field.type)
        for field in RESULTS
        if field.name not in stays and not field.name.startswith("source_")
    }
    told = {name: pa.array(values, pa.string()).take(which) for name, values in found.items()}
    return results.filter(pc.invert(is_outside)), _with(outside, **cleared, **told)


def _is_none_of(values: pa.Array, these: Iterable[str]) -> pa.Array:
    """Whether each value, perhaps null, is none of these."""
    return pc.invert(pc.is_in(values, pa.array([str(one) for one in these], pa.string())))


def _with(batch: pa.RecordBatch, **changed: pa.Array) -> pa.RecordBatch:
    """The batch with other values in some columns."""
    arrays = [changed.get(name, batch[name]) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
