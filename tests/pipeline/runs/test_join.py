"""The join with a previous run: which rows are reused, and what is left to upscale."""

import itertools

import pyarrow as pa
import pytest

from pipeline.catalog import batches
from pipeline.catalog.size_filter import reject_size
from pipeline.output.schema import SCHEMA
from pipeline.records import CatalogEntry, Job, Reason, Status, content_key
from pipeline.row.parts import TIMED_STAGES
from pipeline.row.row import Row
from pipeline.runs import join, reuse
from tests.pipeline.conftest import NOW, make_settings

FINGERPRINT = "0" * 64


def joined(entries, results, **settings):
    """(rows, jobs) of a join."""
    (batch,) = batches.from_entries(entries)
    keyed = join.with_content_keys(batch, FINGERPRINT)
    results = pa.RecordBatch.from_pylist(results, reuse.RESULTS)
    rows, jobs = [], []
    for one in join.join(keyed, results, make_settings(**({"min_side": 1} | settings))):
        if isinstance(one, Job):
            jobs.append(one)
        else:
            assert one.schema.equals(SCHEMA)
            rows += map(Row.from_columns, one.to_pylist())
    return rows, jobs


def result(entry, **fields):
    """An upscaled image of a previous run, as `reuse` reads it."""
    known = {
        "content_key": content_key(entry, FINGERPRINT),
        "reference_etag": None,
        "status": "upscaled",
        "source_height": 10,
        "source_width": 10,
        "processed_at": NOW,
        "image_uri": "s3://b/old.png",
        "width": 20,
        "self_gain_db": 1.5,
    }
    return dict.fromkeys(reuse.RESULTS.names) | known | fields


OLD = CatalogEntry("a", "a", 0, product_ids=("1", "2"), etag="e", size_bytes=5)


def test_a_reused_result_is_a_finished_row_and_the_rest_is_a_job():
    compared = OLD._replace(uri="b", position=1, reference_etag="hr", reference_uri="hr.png")
    key = content_key(OLD, FINGERPRINT)
    (row,), (job,) = joined([compared, OLD], [result(OLD)])
    assert job == Job(key, (compared,))
    assert (row.uri, row.product_id, row.product_ids) == ("a", "1", ("1", "2"))
    assert (row.status, row.reason, row.content_key) == (Status.UNCHANGED, "same_content", key)
    assert (row.source.source_etag, row.source.source_bytes) == ("e", 5)
    assert (row.encoded.image_uri, row.encoded.width) == ("s3://b/old.png", 20)
    assert row.encoded.image is None
    assert all(getattr(row.timings, stage) is None for stage in TIMED_STAGES)
    assert (row.measures.self_gain_db, row.processed_at) == (1.5, NOW)
    (row,), (job,) = joined([OLD, compared], [result(OLD, reference_etag="hr")])
    assert job == Job(key, (OLD,))
    assert row.uri == "b"
    assert (row.reference.reference_uri, row.reference.reference_etag) == ("hr.png", "hr")


NOT_FOUND = "not compared with the reference: S3 answered 404"


@pytest.mark.parametrize(
    ("found", "entry", "expected"),
    [
        (NOT_FOUND, {}, None),
        (f"4 of 5 frames; {NOT_FOUND}", {}, "4 of 5 frames"),
        ("4 of 5 frames", {}, "4 of 5 frames"),
        (None, {}, None),
        (NOT_FOUND, {"reference_uri": "hr.png"}, NOT_FOUND),
        (f"4 of 5 frames; {NOT_FOUND}", {"reference_uri": "ftp://hr", "detail": "own"}, "own"),
        (None, {"reference_uri": "ftp://hr", "detail": "own"}, "own"),
    ],
)
def test_what_a_row_says_of_a_reference_is_about_its_own(found, entry, expected):
    (row,), _ = joined([OLD._replace(**entry)], [result(OLD, detail=found)])
    prefix = "4 of 5 frames; " if expected == "own" and found else ""
    assert row.detail == (expected and prefix + expected)


def test_jobs_have_their_uris_by_position_and_rejected_entries_are_rows():
    names = [("c", 2, "1"), ("a", 0, "1"), ("b", 1, "2")]
    entries = [CatalogEntry(uri, uri, at, etag=etag, size_bytes=1) for uri, at, etag in names]
    lost = CatalogEntry("d", "", 3).rejected(Reason.NOT_FOUND, "gone")
    skipped = CatalogEntry("e", "e", 4).rejected(Reason.TOO_SMALL, "1 x 1")
    rows, jobs = joined([*entries, lost, skipped], [])
    assert sorted([entry.uri for entry in job.entries] for job in jobs) == [["a", "c"], ["b"]]
    assert [(row.uri, row.status, row.reason, row.detail, row.content_key) for row in rows] == [
        ("d", Status.FAILED, "not_found", "gone", None),
        ("e", Status.SKIPPED, "too_small", "1 x 1", None),
    ]


def test_of_several_results_the_same_serves_in_any_order():
    results = [result(OLD, image_uri=f"s3://b/{name}.png") for name in "cab"]
    results.append(result(OLD._replace(etag="other")))
    for shuffled in itertools.permutations(results):
        (row,), _ = joined([OLD], shuffled)
        assert row.encoded.image_uri == "s3://b/a.png"


@pytest.mark.parametrize(
    ("fields", "settings", "expected"),
    [
        ({}, {}, ("unchanged", "same_content")),
        ({"status": "fallback", "reason": "gate:noise"}, {}, ("unchanged", "gate:noise")),
        ({"reason": "gate:noise"}, {"retry": ("gate:noise",)}, None),
        ({"reason": "gate:noise"}, {"retry": ("timeout",)}, ("unchanged", "gate:noise")),
        ({"image_uri": "s3://b/p.parquet#row=3"}, {}, ("unchanged", "same_content")),
        ({"image_uri": "s3://b/p.parquet#row=3"}, {"images": "files"}, None),
        ({}, {"images": "files"}, ("unchanged", "same_content")),
        ({}, {"min_side": 11}, ("skipped", "too_small")),
        ({}, {"max_side": 9}, ("skipped", "large_enough")),
        ({}, {"max_pixels": 99}, ("failed", "too_many_pixels")),
        ({"source_width": None}, {"min_side": 11}, ("unchanged", "same_content")),
        ({"status": "skipped", "reason": "too_small", "image_uri": None}, {}, None),
        ({"status": "failed", "reason": "unreadable"}, {}, ("failed", "unreadable")),
        ({"status": "failed", "reason": "unreadable"}, {"retry": ("unreadable",)}, None),
        ({"status": "failed", "reason": "timeout"}, {}, None),
        ({"status": "failed", "reason": "timeout"}, {"retry": ("x",)}, ("failed", "timeout")),
        ({"status": "skipped", "reason": "too_small"}, {"retry": ("x",)}, None),
    ],
)
def test_whether_a_result_serves(fields, settings, expected):
    # Beside others that are decided at the same time and do not matter.
    others = [result(OLD._replace(etag=f"{i}"), source_width=i) for i in range(1, 4)]
    rows, jobs = joined([OLD], [*others, result(OLD, **fields)], **settings)
    assert [(str(row.status), row.reason) for row in rows] == ([expected] if expected else [])
    assert len(jobs) == (expected is None)


def test_a_size_outside_the_limits_leaves_of_the_result_what_the_source_was():
    (row,), _ = joined([OLD], [result(OLD, source_format="JPEG")], max_side=9)
    _, detail = reject_size(10, 10, make_settings(min_side=1, max_side=9).limits)
    assert (row.detail, row.processed_at) == (detail, NOW)
    assert (row.source.source_format, row.source.source_width) == ("JPEG", 10)
    assert row.encoded is None and row.measures.self_gain_db is None
