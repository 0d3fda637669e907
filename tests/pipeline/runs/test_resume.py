import json

import pyarrow.parquet as pq
import pytest

from pipeline.output import shard_writer
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import RunError
from pipeline.runs import resume
from pipeline.runs.layout import Layout
from tests.pipeline.conftest import make_plan
from tests.pipeline.output.test_schema_and_shards import make_row


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
    from pipeline.storage.ranged import open_ranged  # noqa: PLC0415

    found = []
    for shard in shards:
        with open_ranged(files, shard.uri) as file:
            names = pq.ParquetFile(file).read(columns=["uri"])["uri"].to_pylist()
        assert len(names) == shard.rows
        found.append([name.rpartition("/")[2] for name in names])
    return sorted(found)


def listed(files, folder):
    from pipeline.storage.routing import list_if_any  # noqa: PLC0415

    return [uri.rpartition("/")[2] for uri in list_if_any(files, folder)]


def test_a_new_run_has_nothing_to_go_on_with(run):
    files, plan = run
    resume.claim(files, plan)
    assert resume.recover(files, Layout.of(plan.settings)) == ()


def test_complete_shards_are_kept_and_leftovers_removed(run):
    files, plan = run
    stage(files, plan, "a", "b")
    stage(files, plan, "c")
    files.write(f"{Layout.of(plan.settings).staging}/0123.parquet", b"PAR1 half")
    files.write(f"{Layout.of(plan.settings).staging}/.x.parquet.partial-1-2", b"half")
    kept = resume.recover(files, Layout.of(plan.settings))
    assert uris(files, kept) == [["a", "b"], ["c"]]
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
    shard_writer.publish(files, shards, Layout.of(plan.settings).rows)
    if is_staging_cleared:
        shard_writer.clear(files, Layout.of(plan.settings).staging)
    kept = resume.recover(files, Layout.of(plan.settings))
    assert listed(files, Layout.of(plan.settings).rows) == []
    assert sorted(name for shard in uris(files, kept) for name in shard) == ["a", "b", "c"]


def test_a_run_goes_on_with_the_settings_it_began_with(run):
    files, plan = run
    resume.claim(files, plan)
    later = make_plan(
        output=plan.settings.output,
        s3_endpoint_url=plan.settings.s3_endpoint_url,
        look_ahead=3,
        max_failure_rate=0.5,
    )
    resume.claim(files, later)
    for name, value in (("max_side", 900), ("images", "both"), ("model_sha256", "f" * 64)):
        other = make_plan(output=plan.settings.output, **{name: value})
        with pytest.raises(RunError, match=f"began with --{name}.*another --run_id"):
            resume.claim(files, other)
    text = json.loads(files.read(Layout.of(plan.settings).started))
    assert text["look_ahead"] == plan.settings.look_ahead


def test_an_output_that_cannot_be_written_is_told(local_files, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="cannot be written"):
        resume.claim(local_files, make_plan(output=str(tmp_path / "file/out")))
