import json

import pyarrow.parquet as pq
import pytest

from pipeline.output import publishing
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import RunError
from pipeline.runs import resume
from tests.pipeline.conftest import make_row, make_settings


@pytest.fixture(params=["s3", "local"])
def run(request, tmp_path):
    """(storage, settings) of a run that writes to either storage."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        files = request.getfixturevalue("s3_files")
        return files, make_settings(output=bucket.uri("out"), s3_endpoint_url=bucket.endpoint)
    return request.getfixturevalue("local_files"), make_settings(output=str(tmp_path / "out"))


def stage(files, settings, *names):
    writer = ShardWriter(files, settings.staging_folder)
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
    files, settings = run
    resume.claim(files, settings)
    assert resume.recover(files, settings) == ()


def test_complete_shards_are_kept_and_leftovers_removed(run):
    files, settings = run
    stage(files, settings, "a", "b")
    stage(files, settings, "c")
    files.write(f"{settings.staging_folder}/0123.parquet", b"PAR1 half")
    files.write(f"{settings.staging_folder}/.x.parquet.partial-1-2", b"half")
    kept = resume.recover(files, settings)
    assert uris(files, kept) == [["a", "b"], ["c"]]
    assert all(shard.size_bytes > 1000 for shard in kept)
    assert len(listed(files, settings.staging_folder)) == 2


def test_of_shards_that_overlap_the_larger_stays(run):
    files, settings = run
    stage(files, settings, "a")
    stage(files, settings, "a", "b", "c")
    stage(files, settings, "c", "d")
    assert uris(files, resume.recover(files, settings)) == [["a", "b", "c"]]


@pytest.mark.parametrize("is_staging_cleared", [False, True])
def test_published_parts_without_success_are_taken_back(run, is_staging_cleared):
    """The run was killed between the publishing of its rows and _SUCCESS."""
    files, settings = run
    shards = [stage(files, settings, "a", "b"), stage(files, settings, "c")]
    publishing.publish(files, shards, settings.rows_folder)
    if is_staging_cleared:
        publishing.clear(files, settings.staging_folder)
    kept = resume.recover(files, settings)
    assert listed(files, settings.rows_folder) == []
    assert sorted(name for shard in uris(files, kept) for name in shard) == ["a", "b", "c"]


def test_a_run_goes_on_with_the_settings_it_began_with(run):
    files, settings = run
    resume.claim(files, settings)
    later = make_settings(
        output=settings.output,
        s3_endpoint_url=settings.s3_endpoint_url,
        look_ahead=3,
        max_failure_rate=0.5,
    )
    resume.claim(files, later)
    for name, value in (("max_side", 900), ("images", "both"), ("model_sha256", "f" * 64)):
        other = make_settings(output=settings.output, **{name: value})
        with pytest.raises(RunError, match=f"began with --{name}.*another --run_id"):
            resume.claim(files, other)
    text = json.loads(files.read(f"{settings.run_folder}/run.json"))
    assert text["look_ahead"] == settings.look_ahead


def test_an_output_that_cannot_be_written_is_told(local_files, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="cannot be written"):
        resume.claim(local_files, make_settings(output=str(tmp_path / "file/out")))
