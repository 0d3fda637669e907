import dataclasses
import hashlib

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from pipeline import columns, dofns, graph
from pipeline.catalog import batches
from pipeline.catalog.batches import KEPT
from pipeline.conclusion import add_totals
from pipeline.records import CatalogEntry, Job, Reason, Totals, content_key
from tests.pipeline.conftest import make_plan


def check_output(values, transform, expected):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        assert_that(pipeline | beam.Create(values) | transform, equal_to(expected))


def batch_of(*entries):
    (batch,) = batches.from_entries(entries)
    return batch


def packed(*entries, partitions=3):
    """Mentions as they leave the step that reads the catalog."""
    return list(columns.split([batch_of(*entries)], columns.uri_of, partitions))


TO_ENTRIES = beam.FlatMap(batches.to_entries)


@beam.ptransform_fn
def entries_of(pieces):
    return (pieces | graph.OnePerUri()).entries | TO_ENTRIES


@beam.ptransform_fn
def totals_of(pieces):
    return (pieces | graph.OnePerUri()).totals | beam.CombineGlobally(add_totals)


def test_one_per_uri_keeps_the_first_mention_and_all_product_ids():
    entries = [
        CatalogEntry("s3://b/x", "s3://b/x", 2, product_ids=("late", "early")),
        CatalogEntry("s3://b/y", "s3://b/y", 1),
        CatalogEntry("s3://b/x", "s3://b/x", 0, product_ids=("early",)),
    ]
    first = entries[2]._replace(product_ids=("early", "late"))
    check_output(packed(*entries), entries_of(), [first, entries[1]])


def test_a_uri_whose_row_is_kept_is_counted_but_not_done_again():
    mentions = packed(
        CatalogEntry("s3://b/x", "", KEPT),
        CatalogEntry("s3://b/x", "s3://b/x", 4),
        CatalogEntry("s3://b/x", "s3://b/x", 5, mentions=2),
        CatalogEntry("s3://b/gone", "", KEPT),
        CatalogEntry("s3://b/new", "s3://b/new", 6),
    )
    check_output(mentions, entries_of(), [CatalogEntry("s3://b/new", "s3://b/new", 6)])
    check_output(mentions, totals_of(), [Totals(mentions=4, named=2, rows=3)])
    check_output([], totals_of(), [Totals(0, 0, 0)])


def test_etags_are_looked_up_asks_only_where_it_must(bucket):
    known = CatalogEntry("s3://b/none", "s3://b/none", 0, etag="listed", size_bytes=3)
    rejected = CatalogEntry("m#line=2", "", 1).rejected(Reason.BAD_LINE, "line 2")
    missing = CatalogEntry(bucket.uri("none"), bucket.uri("none"), 2)
    there = CatalogEntry("spelt differently", bucket.put("a.jpg", b"content"), 3)
    etag = bucket.client.head_object(Bucket=bucket.name, Key="a.jpg")["ETag"].strip('"')
    check_output(
        [batch_of(known, rejected, missing), batch_of(there), batch_of(known)],
        graph.LookUpETags(make_plan(s3_endpoint_url=bucket.endpoint)) | TO_ENTRIES,
        [
            known,
            known,
            rejected,
            missing.rejected(
                Reason.NOT_FOUND,
                "S3 answered 404 to HeadObject: there is no such object or bucket",
            ),
            there._replace(etag=etag, size_bytes=7),
        ],
    )


def test_etags_are_looked_up_keeps_every_entry_of_a_bundle(bucket, monkeypatch):
    monkeypatch.setattr(dofns, "ENTRIES_TOGETHER", 7)
    entries = [CatalogEntry(bucket.uri(f"{i}"), bucket.uri(f"{i}"), i) for i in range(50)]
    plan = make_plan(s3_endpoint_url=bucket.endpoint, look_ahead=2)
    detail = "S3 answered 404 to HeadObject: there is no such object or bucket"
    expected = [entry.rejected(Reason.NOT_FOUND, detail) for entry in entries]
    some = [batch_of(*entries[i : i + 3]) for i in range(0, 50, 3)]
    check_output(some, graph.LookUpETags(plan) | TO_ENTRIES, expected)


@beam.ptransform_fn
def jobs_of(entries, plan):
    return (entries | graph.JoinPrevious(plan)).jobs


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("partitions", [1, 7])
def test_join_previous_joins_equal_content_only(partitions, on_disk, tmp_path):
    a = CatalogEntry("a", "a", 0, etag="1", size_bytes=5)
    twin = CatalogEntry("b", "b", 1, etag="1", size_bytes=5)
    other_size = CatalogEntry("c", "c", 2, etag="1", size_bytes=6)
    plan = make_plan()
    folder = str(tmp_path) if on_disk else None
    plan = dataclasses.replace(plan, partitions=partitions, spill_folder=folder)
    key = content_key(a, plan.fingerprint)
    assert len(key) == 32
    check_output(
        [batch_of(other_size, twin), batch_of(a)],
        jobs_of(plan),
        [Job(key, (a, twin)), Job(content_key(other_size, plan.fingerprint), (other_size,))],
    )
    assert any(file.stat().st_size for file in tmp_path.iterdir()) == on_disk


def test_a_rejected_entry_is_a_finished_row():
    lost = CatalogEntry("d", "", 3).rejected(Reason.NOT_FOUND, "gone")
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        work = pipeline | beam.Create([batch_of(lost)]) | graph.JoinPrevious(make_plan())
        rows = work.rows | beam.FlatMap(pa.RecordBatch.to_pylist)
        found = rows | beam.Map(lambda row: (row["uri"], row["status"], row["reason"]))
        assert_that(found, equal_to([("d", "failed", "not_found")]))
        assert_that(work.jobs, equal_to([]), label="no job")


def test_the_content_key_depends_on_content_and_settings_not_on_names():
    entry = CatalogEntry("a", "/a", 0, product_ids=("1",), etag="e", size_bytes=5)
    key = content_key(entry, "settings")
    other = entry._replace(uri="b", location="/b", product_ids=("2",))
    assert key == content_key(other, "settings")
    assert key != content_key(entry, "other settings")
    assert key != content_key(entry._replace(etag="f"), "settings")
    told = content_key(entry._replace(source_sharpening=0.7), "settings")
    assert told not in (key, content_key(entry._replace(source_sharpening=0.0), "settings"))
    in_float32 = float(np.float32(0.7))  # as rows keep it
    assert told == content_key(entry._replace(source_sharpening=in_float32), "settings")


def test_results_of_runs_before_the_manifest_could_tell_a_sharpening_are_reused():
    entry = CatalogEntry("a", "/a", 0, etag="e", size_bytes=5)
    assert content_key(entry, "settings") == hashlib.sha256(b"e\n5\nsettings").hexdigest()[:32]


def stages(plan):
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    graph.build(pipeline, plan)
    _, found = FnApiRunner().create_stages(pipeline.to_runner_api())
    return pipeline, [{transform.unique_name for transform in stage.transforms} for stage in found]


@pytest.mark.parametrize("accelerator", [None, "type:nvidia-tesla-t4;count:1"])
def test_from_job_to_file_is_one_stage(accelerator):
    """Otherwise images cross the runner's memory: 8 GB instead of 140 MB for 2,000 of 1 MB."""
    _, found = stages(make_plan(accelerator=accelerator))
    (stage,) = [
        stage for stage in found if any("UpscaleAndWrite/Upscale" in name for name in stage)
    ]
    assert any("UpscaleAndWrite/WriteRows" in transform for transform in stage), stage


def test_finished_rows_are_written_where_they_are_found():
    """They cross no shuffle of their own, and no accelerator's workers write them."""
    _, found = stages(make_plan(accelerator="type:nvidia-tesla-t4;count:1"))
    (stage,) = [stage for stage in found if any("WriteFinished" in name for name in stage)]
    assert any("JoinPrevious/Divide" in transform for transform in stage), stage


def test_the_accelerator_hint_is_on_the_upscaling_step_alone():
    pipeline, _ = stages(make_plan(accelerator="type:nvidia-tesla-t4;count:1"))
    proto = pipeline.to_runner_api()
    environments = proto.components.environments
    hinted = {
        transform.unique_name.partition("/")[0]
        for transform in proto.components.transforms.values()
        if transform.environment_id
        and "beam:resources:accelerator:v1"
        in environments[transform.environment_id].resource_hints
    }
    assert hinted == {"UpscaleAndWrite"}


def test_no_secret_of_the_environment_is_in_the_pipeline(monkeypatch):
    secret = "planted-secret-7Hq"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    pipeline, _ = stages(make_plan())
    assert secret.encode() not in pipeline.to_runner_api().SerializeToString()
