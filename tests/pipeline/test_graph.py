import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from pipeline import dofns, graph
from pipeline.graph import add_totals, count_group, divide_work, first_mention
from pipeline.records import CatalogEntry, Job, PreviousResult, Reason, Status, Totals, content_key
from pipeline.row import NOT_TIMED
from pipeline.runs import resume, reuse
from tests.pipeline.conftest import NOW, make_plan, make_settings


def check_output(values, transform, expected):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        assert_that(pipeline | beam.Create(values) | transform, equal_to(expected))


def test_one_per_uri_keeps_the_first_mention():
    entries = [
        CatalogEntry("s3://b/x", "s3://b/x", 2, product_id="late"),
        CatalogEntry("s3://b/y", "s3://b/y", 1),
        CatalogEntry("s3://b/x", "s3://b/x", 0, product_id="early"),
    ]
    first_ones = graph.OnePerUri() | beam.FlatMap(first_mention)
    check_output(entries, first_ones, [entries[2], entries[1]])


def test_a_uri_whose_row_is_kept_is_counted_but_not_done_again():
    kept = CatalogEntry("s3://b/x", "", resume.KEPT)
    mention = CatalogEntry("s3://b/x", "s3://b/x", 4)
    assert list(first_mention(("s3://b/x", [mention, kept]))) == []
    counts = [
        count_group(("s3://b/x", [mention, kept, mention])),
        count_group(("s3://b/gone", [kept])),
        count_group(("s3://b/new", [mention])),
    ]
    assert add_totals(counts) == Totals(mentions=3, named=2, rows=3)
    assert add_totals([]) == Totals(0, 0, 0)


def test_etags_are_looked_up_asks_only_where_it_must(bucket):
    known = CatalogEntry("s3://b/none", "s3://b/none", 0, etag="listed", size_bytes=3)
    rejected = CatalogEntry("m#line=2", "", 1).rejected(Reason.BAD_LINE, "line 2")
    missing = CatalogEntry(bucket.uri("none"), bucket.uri("none"), 2)
    there = CatalogEntry("spelt differently", bucket.put("a.jpg", b"content"), 3)
    etag = bucket.client.head_object(Bucket=bucket.name, Key="a.jpg")["ETag"].strip('"')
    check_output(
        [known, rejected, missing, there],
        graph.LookUpETags(make_plan(s3_endpoint_url=bucket.endpoint)),
        [
            known,
            rejected,
            missing.rejected(Reason.NOT_FOUND, "S3 answered 404 to HeadObject"),
            there._replace(etag=etag, size_bytes=7),
        ],
    )


def test_etags_are_looked_up_keeps_every_entry_of_a_bundle(bucket, monkeypatch):
    monkeypatch.setattr(dofns, "ENTRIES_TOGETHER", 7)
    entries = [CatalogEntry(bucket.uri(f"{i}"), bucket.uri(f"{i}"), i) for i in range(50)]
    plan = make_plan(s3_endpoint_url=bucket.endpoint, look_ahead=2)
    detail = "S3 answered 404 to HeadObject"
    expected = [entry.rejected(Reason.NOT_FOUND, detail) for entry in entries]
    check_output(entries, graph.LookUpETags(plan), expected)


def test_join_previous_joins_equal_content_only():
    a = CatalogEntry("a", "a", 0, etag="1", size_bytes=5)
    twin = CatalogEntry("b", "b", 1, etag="1", size_bytes=5)
    other_size = CatalogEntry("c", "c", 2, etag="1", size_bytes=6)
    plan = make_plan()
    key = content_key(a, plan.fingerprint)
    assert len(key) == 32
    check_output(
        [other_size, twin, a],
        graph.JoinPrevious(plan),
        [Job(key, (a, twin)), Job(content_key(other_size, plan.fingerprint), (other_size,))],
    )


def previous_result(**columns):
    """An upscaled image of a previous run."""
    values = dict.fromkeys(reuse.REUSED_COLUMNS) | {
        "processed_at": NOW,
        "image_uri": "s3://b/old.png",
        "width": 20,
        "self_gain_db": 1.5,
    }
    fields = {"reference_etag": None, "status": "upscaled", "reason": None} | columns
    return PreviousResult("key", *fields.values(), 10, 10, tuple(values.values()))


def test_a_reused_result_is_a_finished_row_and_the_rest_is_a_job():
    old = CatalogEntry("a", "a", 0, product_id="1", etag="e", size_bytes=5)
    compared = old._replace(uri="b", position=1, reference_etag="hr", reference_uri="hr.png")
    group = {"entries": [compared, old], "previous": [previous_result()]}
    settings = make_settings(min_side=1)
    row, job = divide_work(("key", group), settings)
    assert job == Job("key", (compared,))
    assert (row.uri, row.product_id, row.content_key) == ("a", "1", "key")
    assert (row.status, row.reason) == (Status.UNCHANGED, "same_content")
    assert (row.source.source_etag, row.source.source_bytes) == ("e", 5)
    assert (row.encoded.image_uri, row.encoded.width) == ("s3://b/old.png", 20)
    assert row.encoded.image is None and row.timings == NOT_TIMED
    assert (row.measures.self_gain_db, row.processed_at) == (1.5, NOW)
    with_reference = {**group, "previous": [previous_result(reference_etag="hr")]}
    job, row = sorted(
        divide_work(("key", with_reference), settings),
        key=lambda one: one[0] if isinstance(one, Job) else "~",
    )
    assert job == Job("key", (old,))
    assert (row.uri, row.reference.reference_uri, row.reference.reference_etag) == (
        *("b", "hr.png", "hr"),
    )


def test_rows_and_jobs_cross_a_stage_boundary():
    """With an accelerator the upscaling stage has workers of its own."""
    old = CatalogEntry("a", "a", 0, etag="e", size_bytes=5)
    new = old._replace(uri="b", position=1, reference_etag="hr")
    group = {"entries": [old, new], "previous": [previous_result()]}
    settings = make_settings(min_side=1)
    divided = beam.FlatMap(divide_work, settings) | beam.Reshuffle()
    check_output([("key", group)], divided, list(divide_work(("key", group), settings)))


def test_whether_a_result_is_reused_is_decided_once(monkeypatch):
    decided = []
    original = reuse.reuse_result
    monkeypatch.setattr(
        reuse, "reuse_result", lambda *arguments: decided.append(1) or original(*arguments)
    )
    entries = [CatalogEntry(f"{i}", "", i, etag="e", size_bytes=5) for i in range(3)]
    group = {"entries": entries, "previous": [previous_result()]}
    rows = list(divide_work(("key", group), make_settings(min_side=1)))
    assert [row.uri for row in rows] == ["0", "1", "2"] and len(decided) == 1


def test_a_rejected_entry_is_a_finished_row():
    lost = CatalogEntry("d", "", 3).rejected(Reason.NOT_FOUND, "gone")
    group = {"entries": [lost], "previous": []}
    (row,) = divide_work((content_key(lost, ""), group), make_settings())
    assert (row.uri, row.status, row.reason, row.detail) == (
        *("d", Status.FAILED, "not_found", "gone"),
    )
    assert row.content_key is None


def test_the_content_key_depends_on_content_and_settings_not_on_names():
    entry = CatalogEntry("a", "/a", 0, product_id="1", etag="e", size_bytes=5)
    key = content_key(entry, "settings")
    assert key == content_key(entry._replace(uri="b", location="/b", product_id="2"), "settings")
    assert key != content_key(entry, "other settings")
    assert key != content_key(entry._replace(etag="f"), "settings")
    group = {"entries": [entry], "previous": []}
    assert list(divide_work((key, group), make_settings())) == [Job(key, (entry,))]


def stages(plan):
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    graph.build(pipeline, plan)
    _, found = FnApiRunner().create_stages(pipeline.to_runner_api())
    return pipeline, [{transform.unique_name for transform in stage.transforms} for stage in found]


@pytest.mark.parametrize("accelerator", [None, "type:nvidia-tesla-t4;count:1"])
def test_from_job_to_file_is_one_stage(accelerator):
    """Otherwise images cross the runner's memory: 8 GB instead of 140 MB for 2,000 of 1 MB."""
    _, found = stages(make_plan(accelerator=accelerator))
    names = ["JoinPrevious/Work", "UpscaleAndWrite/Upscale", "UpscaleAndWrite/WriteRows"]
    (stage,) = [
        stage for stage in found if any("UpscaleAndWrite/Upscale" in name for name in stage)
    ]
    for name in names[1 if accelerator else 0 :]:
        assert any(name in transform for transform in stage), (name, stage)


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
