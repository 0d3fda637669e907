import json
import math
import re

import pytest

from pipeline.output.shard_writer import ShardWriter
from pipeline.records import Reason, RunError, Status, Totals
from pipeline.runs import summary
from tests.pipeline.conftest import make_row, make_settings


@pytest.fixture(params=["s3", "local"])
def run(request, tmp_path):
    """(storage, settings, stage) of a run that writes to either storage."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        files = request.getfixturevalue("s3_files")
        settings = make_settings(output=bucket.uri("out"), s3_endpoint_url=bucket.endpoint)
    else:
        files = request.getfixturevalue("local_files")
        settings = make_settings(output=str(tmp_path / "out"))

    def stage(*rows):
        writer = ShardWriter(files, settings.staging_folder)
        for row in rows:
            writer.add(row)
        return writer.close()

    return files, settings, stage


def failed(uri, reason):
    return make_row(uri, Status.FAILED, reason=reason)


def test_a_run_that_adds_up(run):
    files, settings, stage = run
    shards = [
        stage(
            make_row("s3://b/1", image=b"image", self_gain_db=1.0),
            make_row("s3://b/2", image=b"image", self_gain_db=3.0),
        ),
        stage(failed("s3://b/3", Reason.NOT_FOUND)),
    ]
    stage(make_row("s3://b/1"))  # of a bundle that failed and ran again
    result = summary.finish_run(files, settings, shards, Totals(mentions=5, named=3, rows=3))
    written = json.loads(files.read(f"{settings.run_folder}/summary.json"))
    assert written == result
    assert (result["uris"], result["rows"], result["repeats"]) == (3, 3, 2)
    assert result["by_status"] == {
        "upscaled": 2,
        "fallback": 0,
        "unchanged": 0,
        "skipped": 0,
        "failed": 1,
    }
    assert result["by_reason"] == {"not_found": 1}
    assert math.isclose(result["failure_rate"], 1 / 3)
    assert result["percentiles"]["self_gain_db"]["p50"] == 2.0
    assert "reference_psnr_db" not in result["percentiles"]
    names = sorted(item.uri.rpartition("/")[2] for item in files.list(f"{settings.output}/"))
    assert names[:1] + names[2:] == ["_SUCCESS", "summary.json"]
    assert re.fullmatch(r"part-[0-9a-f]{16}\.parquet", names[1])


@pytest.mark.parametrize("uris", [1, 3])
def test_a_lost_or_surplus_row_fails_the_run(run, uris):
    files, settings, stage = run
    shards = [stage(make_row("s3://b/1"), make_row("s3://b/2"))]
    with pytest.raises(RunError, match="do not add up"):
        summary.finish_run(files, settings, shards, Totals(3, uris, uris))
    assert not [i for i in files.list(f"{settings.output}/") if i.uri.endswith("_SUCCESS")]


def test_one_lost_and_one_doubled_row_do_not_cancel_out(run):
    files, settings, stage = run
    shards = [stage(make_row("s3://b/1"), make_row("s3://b/1"))]
    with pytest.raises(RunError, match="2 distinct URIs, 2 rows for 1 URIs"):
        summary.finish_run(files, settings, shards, Totals(2, 2, 2))


def test_reading_columns_does_not_fetch_the_images(bucket, s3_files):
    settings = make_settings(output=bucket.uri("out"))
    writer = ShardWriter(s3_files, settings.staging_folder)
    for i in range(20):
        writer.add(make_row(f"s3://b/{i}", image=bytes(200_000)))
    shard = writer.close()

    class Counting:
        read_bytes = 0

        def identify(self, uri):
            return s3_files.identify(uri)

        def read(self, *arguments, **options):
            data = s3_files.read(*arguments, **options)
            self.read_bytes += len(data)
            return data

    counting = Counting()
    table = summary.read_columns(counting, [shard.uri], ["uri", "status"])
    assert table.num_rows == 20
    assert counting.read_bytes < 400_000
