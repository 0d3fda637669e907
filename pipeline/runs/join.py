"""Joins the catalog with a previous run by content key: finished rows as columns, else jobs."""

import datetime
import itertools
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog import batches
from pipeline.output import schema
from pipeline.records import NOT_COMPARED, Job, Reason, content_keys
from pipeline.runs import reuse
from pipeline.settings import Settings

# Entries with the key of their content; null for a rejected one.
KEYED = batches.SCHEMA.append(pa.field("content_key", pa.string()))


def with_content_keys(entries: pa.RecordBatch, fingerprint: str) -> pa.RecordBatch:
    """Returns entries of `batches.SCHEMA` as those of `KEYED`.

    Args:
        entries: with ETag and size, or rejected.
        fingerprint: see `RunPlan.fingerprint`.
    """
    keys = content_keys(
        entries["etag"].to_pylist(),
        entries["size_bytes"].to_pylist(),
        entries["source_sharpening"].to_pylist(),
        fingerprint,
    )
    known = pc.if_else(pc.is_null(entries["reason"]), pa.array(keys, pa.string()), None)
    return pa.RecordBatch.from_arrays([*entries.columns, known], schema=KEYED)


def key_or_uri(entries: pa.RecordBatch) -> pa.Array:
    """What decides the partition of entries of `KEYED`."""
    return pc.coalesce(entries["content_key"], entries["uri"])


def join(
    entries: pa.RecordBatch, results: pa.RecordBatch, settings: Settings
) -> Iterator[pa.RecordBatch | Job]:
    """Divides the entries of one partition into finished rows and work.

    A previous result serves the entries that are compared with the same reference.

    Args:
        entries: of `KEYED`; all that share a content key with one of them.
        results: of the previous run, of `reuse.RESULTS`: all with these content keys.
        settings: of this run.

    Yields:
        Rows of rejected entries and of reused results, of `schema.SCHEMA`; then a job for each
        other content.
    """
    is_rejected = pc.is_valid(entries["reason"])
    rejected, entries = entries.filter(is_rejected), entries.filter(pc.invert(is_rejected))
    if rejected.num_rows:
        yield _rejected_rows(rejected)
    found = _first_of_each(reuse.reusable(results, settings))
    which = pc.index_in(_match_key(entries), _match_key(found))
    is_found = pc.is_valid(which)
    reused = entries.filter(is_found)
    if reused.num_rows:
        yield _reused_rows(reused, found.take(which.filter(is_found)))
    yield from _jobs(entries.filter(pc.invert(is_found)))


def _match_key(batch: pa.RecordBatch) -> pa.Array:
    reference = pc.fill_null(batch["reference_etag"], "")
    return pc.binary_join_element_wise(batch["content_key"], reference, "\n")


def _first_of_each(results: pa.RecordBatch) -> pa.RecordBatch:
    """One result for each key, the same one whatever their order."""
    keys = _match_key(results)
    if pc.count_distinct(keys).as_py() == len(keys):
        return results
    by = [
        ("content_key", "ascending"),
        ("reference_etag", "ascending"),
        ("image_uri", "ascending"),
    ]
    results = results.take(pc.sort_indices(results, sort_keys=by))
    keys = _match_key(results)
    first = pa.array(range(len(keys)), pa.int32())
    return results.filter(pc.equal(pc.index_in(keys, keys), first))


def _rejected_rows(entries: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of entries whose image is not upscaled."""
    reasons = entries["reason"].dictionary_encode()
    statuses = pa.array([str(Reason(one).status) for one in reasons.dictionary.to_pylist()])
    now = pa.scalar(datetime.datetime.now(datetime.UTC), schema.SCHEMA.field("processed_at").type)
    return _rows(
        entries,
        status=statuses.take(reasons.indices),
        reason=entries["reason"],
        detail=entries["detail"],
        processed_at=pa.repeat(now, entries.num_rows),
    )


def _reused_rows(entries: pa.RecordBatch, results: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of entries whose result is reused, that of the same line of `results`."""
    names = ("status", "reason", *reuse.REUSED_COLUMNS)
    reused = {name: results[name] for name in names}
    return _rows(entries, **reused | {"detail": _details(entries, results["detail"])})


def _details(entries: pa.RecordBatch, reused: pa.Array) -> pa.Array:
    """The details of results; of an entry without the reference of its result, or any, its own."""
    others = f"(; )?{re.escape(NOT_COMPARED)}.*"
    bare = pc.replace_substring_regex(reused, pattern=others, replacement="")
    bare = pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)
    both = pc.binary_join_element_wise(bare, entries["detail"], "; ")
    own = pc.coalesce(both, bare, entries["detail"])
    is_own = pc.or_(pc.is_null(entries["reference_uri"]), pc.is_valid(entries["detail"]))
    return pc.if_else(is_own, own, reused)


def _rows(entries: pa.RecordBatch, **found: pa.Array) -> pa.RecordBatch:
    """Rows of `schema.SCHEMA` with the columns found, and those that the catalog knows."""
    known = {
        "uri": entries["uri"],
        "product_id": pc.list_element(entries["product_ids"], 0),
        "product_ids": entries["product_ids"],
        "catalog": entries["catalog"],
        "content_key": entries["content_key"],
        "source_etag": entries["etag"],
        "source_bytes": entries["size_bytes"],
        "source_sharpening": entries["source_sharpening"].cast(pa.float32()),
        "reference_uri": entries["reference_uri"],
        "reference_etag": entries["reference_etag"],
    }
    return schema.from_columns(entries.num_rows, known | found)


def _jobs(entries: pa.RecordBatch) -> Iterator[Job]:
    """A job for each content, its entries by position."""
    by = [("content_key", "ascending"), ("position", "ascending")]
    entries = entries.take(pc.sort_indices(entries, sort_keys=by))
    keyed = zip(entries["content_key"].to_pylist(), batches.to_entries(entries), strict=True)
    for key, group in itertools.groupby(keyed, key=lambda one: one[0]):
        yield Job(key, tuple(entry for _, entry in group))
