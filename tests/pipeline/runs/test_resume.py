import dataclasses
import json

import pytest

from pipeline.output import publishing
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import RunError, Totals
from pipeline.runs import reader, resume
from pipeline.runs.layout import Layout
from pipeline.settings import OPTIONS, RESULT_VERSION
from pipeline.storage.local import unfinished_files
from pipeline.storage.routing import list_if_any
from tests.pipeline.conftest import finish_run, make_plan, make_row


@pytest.fixture(params=["s3", "local"])
def run(request, tmp_path):
    """(storage, plan) of a run that writes to either storage."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        files = request.getfixturevalue("s3_files")
        return files, make_plan(output=bucket.uri("out"), s3_endpoint_url=bucket.endpoint)
    return request.getfixturevalue("local_files"), make_plan(output=str(tmp_path / "out"))


def stage(files, plan, *names):
    writer = ShardWriter(files, Layout.of(plan.settings).staging)
    for name in names:
        writer.add(make_row(f"s3://b/{name}"))
    return writer.close()


def uris(files, shards):
    found = []
    for shard in shards:
        names = reader.read_columns(files, [shard.uri], ["uri"])["uri"].to_pylist()
        assert len(names) == shard.rows
        found.append([name.rpartition("/")[2] for name in names])
    return sorted(found)


def listed(files, folder):
    return [item.uri.rpartition("/")[2] for item in list_if_any(files, folder)]


def test_a_new_run_has_nothing_to_go_on_with(run):
    files, plan = run
    assert resume.begin(files, plan) == ()


def test_complete_shards_are_kept_and_leftovers_removed(run, caplog):
    files, plan = run
    stage(files, plan, "a", "b")
    stage(files, plan, "c")
    files.write(f"{Layout.of(plan.settings).staging}/0123.parquet", b"PAR1 half")
    layout = Layout.of(plan.settings)
    for folder in (layout.staging, layout.rows, layout.folder):
        files.write(f"{folder}/.x.parquet.partial-1-2", b"half")
    kept = resume.recover(files, layout)
    assert unfinished_files(layout.output) == []
    assert uris(files, kept) == [["a", "b"], ["c"]]
    assert f"run {plan.settings.run_id} continues with 3 finished rows" in caplog.text
    assert all(shard.size_bytes > 1000 for shard in kept)
    assert len(listed(files, Layout.of(plan.settings).staging)) == 2


def test_of_shards_that_overlap_the_larger_stays(run):
    files, plan = run
    stage(files, plan, "a")
    stage(files, plan, "a", "b", "c")
    stage(files, plan, "c", "d")
    assert uris(files, resume.recover(files, Layout.of(plan.settings))) == [["a", "b", "c"]]


@pytest.mark.parametrize("is_staging_cleared", [False, True])
def test_published_parts_without_success_are_taken_back(run, is_staging_cleared):
    """The run was killed between the publishing of its rows and _SUCCESS."""
    files, plan = run
    shards = [stage(files, plan, "a", "b"), stage(files, plan, "c")]
    publishing.publish(files, shards, Layout.of(plan.settings).rows)
    if is_staging_cleared:
        publishing.clear(files, Layout.of(plan.settings).staging)
    kept = resume.recover(files, Layout.of(plan.settings))
    assert listed(files, Layout.of(plan.settings).rows) == []
    assert sorted(name for shard in uris(files, kept) for name in shard) == ["a", "b", "c"]


def test_a_run_from_before_an_option_existed_had_its_default(run):
    files, plan = run
    resume.begin(files, plan)
    layout = Layout.of(plan.settings)
    started = json.loads(files.read(layout.started))
    for name in ("limit", "include", "self_psnr", "max_side"):
        del started[name]
    files.write(layout.started, json.dumps(started).encode())
    assert resume.begin(files, plan) == ()
    changed = dataclasses.replace(plan.settings, include=("shoes/",))
    with pytest.raises(RunError, match=r"began with --include \[\], now it is \['shoes/'\]"):
        resume.begin(files, dataclasses.replace(plan, settings=changed))


def test_a_run_goes_on_with_the_settings_it_began_with(run):
    files, plan = run
    resume.begin(files, plan)
    places = {"output": plan.settings.output, "s3_endpoint_url": plan.settings.s3_endpoint_url}
    resume.begin(files, make_plan(**places, look_ahead=3, max_failure_rate=0.5))
    for name, value, told in (
        ("max_side", 900, "--max_side 1000, now it is 900: continue it with the same options"),
        ("images", "both", "--images parquet, now it is both"),
        ("limit", 9, "--limit not given, now it is 9"),
        ("model_sha256", "f" * 64, "other weights of --model rdn-product: restore its file"),
    ):
        other = make_plan(output=plan.settings.output, **{name: value})
        with pytest.raises(RunError, match=f"began with {told}.*, or take another --run_id"):
            resume.begin(files, other)
    text = json.loads(files.read(Layout.of(plan.settings).started))
    assert text["look_ahead"] == plan.settings.look_ahead


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"output", "run_id"}))
def test_settings_that_decide_rows_must_match(local_files, tmp_path, name):
    """Not those that belong to one attempt or machine."""
    value = "other" if isinstance(OPTIONS[name].default, str | type(None)) else ("other",)
    other = make_plan(output=str(tmp_path))
    settings = dataclasses.replace(other.settings, **{name: value})
    resume.begin(local_files, other)
    changed = dataclasses.replace(other, settings=settings)
    if name in {
        *("max_failure_rate", "s3_endpoint_url", "s3_requester_pays", "s3_unsigned", "look_ahead"),
        *("workers", "partitions", "precision", "accelerator", "report", "dry_run", "config"),
        *("notify", "metrics_file", "log_format", "price_core_hour", "price_gpu_hour"),
        *("price_1000_reads", "price_1000_writes"),
    }:
        resume.begin(local_files, changed)
    else:
        with pytest.raises(RunError, match=f"began with --{name}"):
            resume.begin(local_files, changed)


@pytest.mark.parametrize("version", [None, RESULT_VERSION - 1])
def test_a_run_of_another_version_does_not_go_on(run, version):
    """Version 0.1.0 wrote none; its shards lack columns."""
    files, plan = run
    layout = Layout.of(plan.settings)
    resume.begin(files, plan)
    started = json.loads(files.read(layout.started)) | {"result_version": version}
    files.write(layout.started, json.dumps(started).encode())
    with pytest.raises(RunError, match=r"began with another version.*another --run_id"):
        resume.begin(files, plan)


@pytest.mark.parametrize("damage", [b"", b'{"input": "/now', b"[]", b"\xff\xfe"])
def test_a_damaged_run_json_is_told_and_the_run_begins_again(run, caplog, damage):
    """What the finished shards were made with is unknown: they do not stay."""
    files, plan = run
    layout = Layout.of(plan.settings)
    resume.begin(files, plan)
    stage(files, plan, "a")
    publishing.publish(files, [stage(files, plan, "b")], layout.rows)
    files.write(layout.started, damage)
    assert resume.begin(files, plan) == ()
    assert listed(files, layout.staging) == listed(files, layout.rows) == []
    assert json.loads(files.read(layout.started))["run_id"] == plan.settings.run_id
    assert "run.json is damaged" in caplog.text and "begins again" in caplog.text


def finish(files, plan, *names):
    shards = [stage(files, plan, *names)]
    return finish_run(files, plan, shards, Totals(len(names), len(names), len(names)))


def test_a_finished_run_is_found_with_its_rows(run):
    files, plan = run
    resume.begin(files, plan)
    assert resume.finished_summary(files, plan) is None
    assert finish(files, plan, "a", "b") == resume.finished_summary(files, plan)
    with pytest.raises(RunError, match="began with --max_side"):
        resume.finished_summary(
            files,
            dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, max_side=900)),
        )


@pytest.mark.parametrize("damage", [None, b"PAR1 half", b""])
def test_a_finished_run_whose_rows_are_gone_is_no_success(run, damage):
    files, plan = run
    layout = Layout.of(plan.settings)
    resume.begin(files, plan)
    finish(files, plan, "a", "b")
    (part,) = reader.parts_of(files, layout)
    if damage is None:
        files.delete(part)
    else:
        files.write(part, damage)
    with pytest.raises(RunError, match=r"has _SUCCESS, but .*rows.*another --run_id"):
        resume.finished_summary(files, plan)


def test_a_finished_run_is_not_begun_again_and_keeps_its_rows(run):
    files, plan = run
    layout = Layout.of(plan.settings)
    resume.begin(files, plan)
    finish(files, plan, "a", "b")
    before = listed(files, layout.rows)
    with pytest.raises(RunError, match="finished by another process"):
        resume.begin(files, plan)
    assert listed(files, layout.rows) == before != []
