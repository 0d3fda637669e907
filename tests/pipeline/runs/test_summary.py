import dataclasses
import datetime
import json
import math
import re

import pytest

from pipeline.output.shard_writer import ShardWriter
from pipeline.records import Reason, RunError, Status, Totals
from pipeline.report import html
from pipeline.runs import finished, reader, resume, summary
from pipeline.runs.layout import Layout
from pipeline.runtime.holder import Holder
from pipeline.storage.base import StorageError
from tests.pipeline.conftest import finish_run, image_bytes, make_plan, make_row


@pytest.fixture(params=["s3", "local"])
def run(request, tmp_path):
    """(storage, plan, stage) of a run that writes to either storage."""
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        files = request.getfixturevalue("s3_files")
        plan = make_plan(output=bucket.uri("out"), s3_endpoint_url=bucket.endpoint)
    else:
        files = request.getfixturevalue("local_files")
        plan = make_plan(output=str(tmp_path / "out"))

    def stage(*rows):
        writer = ShardWriter(files, Layout.of(plan.settings).staging)
        for row in rows:
            writer.add(row)
        return writer.close()

    return files, plan, stage


def failed(uri, reason):
    return make_row(uri, Status.FAILED, reason=reason)


def test_a_run_that_adds_up(run):
    files, plan, stage = run
    shards = [
        stage(
            make_row("s3://b/1", image=b"image", self_gain_db=1.0),
            make_row("s3://b/2", image=b"image", self_gain_db=3.0),
        ),
        stage(failed("s3://b/3", Reason.NOT_FOUND)),
    ]
    stage(make_row("s3://b/1"))  # of a bundle that failed and ran again
    result = finish_run(files, plan, shards, Totals(mentions=5, named=3, rows=3))
    written = json.loads(files.read(Layout.of(plan.settings).summary))
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
    names = sorted(item.uri.rpartition("/")[2] for item in files.list(f"{plan.settings.output}/"))
    assert names[:2] + names[3:] == ["_SUCCESS", "latest.json", "summary.json"]
    assert re.fullmatch(r"part-[0-9a-f]{16}\.parquet", names[2])
    layout = Layout.of(plan.settings)
    latest = json.loads(files.read(layout.latest))
    assert latest == {"run_id": layout.run_id, "rows": f"rows/run_id={layout.run_id}"}
    assert f"{layout.output}/{latest['rows']}" == layout.rows


def test_a_latest_file_that_cannot_be_written_does_not_fail_a_finished_run(run, caplog):
    files, plan, stage = run

    class ReadOnly:
        def __getattr__(self, attribute):
            return getattr(files, attribute)

        def write(self, uri, data):
            if uri.endswith("/latest.json"):
                raise StorageError(Reason.ACCESS_DENIED, "no permission")
            files.write(uri, data)

    finish_run(ReadOnly(), plan, [stage(make_row("s3://b/1"))], Totals(1, 1, 1))
    assert finished.is_finished(files, Layout.of(plan.settings))
    assert "cannot write" in caplog.text and "latest.json" in caplog.text


def locked(files, plan):
    """(plan, layout) of a run whose lock is this process's."""
    layout = Layout.of(plan.settings)
    files.write(layout.lock, Holder.here("ours").to_bytes())
    return dataclasses.replace(plan, lock_token="ours"), layout


@pytest.mark.parametrize("fault", [StorageError(Reason.TIMEOUT, "away"), RunError("away")])
def test_a_storage_that_goes_away_after_success_does_not_fail_a_finished_run(run, fault, caplog):
    files, plan, stage = run
    plan, layout = locked(files, plan)

    class GoesAway:
        def __getattr__(self, attribute):
            if finished.is_finished(files, layout) and not self.is_check(attribute):
                raise fault
            return getattr(files, attribute)

        def is_check(self, attribute):  # of the lock, right after _SUCCESS
            return attribute == "read" and not caplog.text

    finish_run(GoesAway(), plan, [stage(make_row("s3://b/1"))], Totals(1, 1, 1))
    for said in ("cannot write", "cannot empty", "cannot remove the lock"):
        assert said in caplog.text


@pytest.mark.parametrize("uris", [1, 3])
def test_a_lost_or_surplus_row_fails_the_run(run, uris):
    files, plan, stage = run
    shards = [stage(make_row("s3://b/1"), make_row("s3://b/2"))]
    with pytest.raises(RunError, match="do not add up"):
        finish_run(files, plan, shards, Totals(3, uris, uris))
    assert not [i for i in files.list(f"{plan.settings.output}/") if i.uri.endswith("_SUCCESS")]


def test_one_lost_and_one_doubled_row_do_not_cancel_out(run):
    files, plan, stage = run
    shards = [stage(make_row("s3://b/1"), make_row("s3://b/1"))]
    with pytest.raises(RunError, match="2 distinct URIs, 2 rows for 1 URIs"):
        finish_run(files, plan, shards, Totals(2, 2, 2))


def test_reading_columns_does_not_fetch_the_images(bucket, s3_files):
    plan = make_plan(output=bucket.uri("out"))
    writer = ShardWriter(s3_files, Layout.of(plan.settings).staging)
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
    table = reader.read_columns(counting, [shard.uri], ["uri", "status"])
    assert table.num_rows == 20
    assert counting.read_bytes < 400_000


def test_who_lost_the_run_publishes_nothing(run):
    """Another process took the run over while this one was stopped."""
    files, plan, stage = run
    plan = dataclasses.replace(plan, lock_token="ours")
    layout = Layout.of(plan.settings)
    files.write(layout.lock, Holder.here("theirs").to_bytes())
    shards = [stage(make_row("s3://b/1"))]
    with pytest.raises(RunError, match="another process took over run"):
        finish_run(files, plan, shards, Totals(1, 1, 1))
    assert reader.parts_of(files, layout) == []
    assert files.read(layout.lock)


@pytest.mark.parametrize("name", ["summary.json", "_SUCCESS"])
def test_who_loses_the_run_while_it_finishes_leaves_no_success(run, name):
    """At the last moment: before or after _SUCCESS is written."""
    files, plan, stage = run
    plan, layout = locked(files, plan)

    class TakenOver:
        def __getattr__(self, attribute):
            return getattr(files, attribute)

        def write(self, uri, data):
            files.write(uri, data)
            self.take_over(uri)

        def create(self, uri, data):
            is_new = files.create(uri, data)
            self.take_over(uri)
            return is_new

        def take_over(self, uri):
            if uri.endswith(name):
                files.write(layout.lock, Holder.here("theirs").to_bytes())

    shards = [stage(make_row("s3://b/1"))]
    with pytest.raises(RunError, match="another process took over run"):
        finish_run(TakenOver(), plan, shards, Totals(1, 1, 1))
    assert not finished.is_finished(files, layout)


def test_a_step_that_a_runner_repeats_changes_nothing(run):
    """The lock is gone by then, and so are the shards."""
    files, plan, stage = run
    plan, layout = locked(files, plan)
    shards = [stage(make_row("s3://b/1"))]
    first = finish_run(files, plan, shards, Totals(1, 1, 1))
    stage(make_row("s3://b/1"))
    assert finish_run(files, plan, shards, Totals(1, 1, 1)) == first
    assert reader.read_columns(files, reader.parts_of(files, layout), ["uri"]).num_rows == 1
    assert not [item for item in files.list(f"{layout.folder}/") if "staging" in item.uri]


def test_a_run_that_the_other_process_has_finished_stays_finished(run):
    """This one was stopped right before it wrote _SUCCESS."""
    files, plan, stage = run
    plan, layout = locked(files, plan)

    class Stopped:
        def __getattr__(self, attribute):
            return getattr(files, attribute)

        def create(self, uri, data):
            files.write(layout.success, b"")
            files.delete(layout.lock)
            return files.create(uri, data)

    finish_run(Stopped(), plan, [stage(make_row("s3://b/1"))], Totals(1, 1, 1))
    assert finished.is_finished(files, layout)


def test_a_finished_run_has_no_lock(run):
    files, plan, stage = run
    plan, layout = locked(files, plan)
    finish_run(files, plan, [stage(make_row("s3://b/1"))], Totals(1, 1, 1))
    names = {item.uri.rpartition("/")[2] for item in files.list(f"{layout.folder}/")}
    assert names == {"_SUCCESS", "summary.json"}


# A run that was killed and goes on: hours later, by another attempt.


def attempts(plan):
    """(plan of the first attempt, plan of the one that ends now, two hours later)."""
    last = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=10)
    first = last - datetime.timedelta(hours=2)
    return [dataclasses.replace(plan, started_at=at) for at in (first, last)]


def test_times_of_a_continued_run_are_those_of_all_its_attempts(run):
    """Its counts are: those of the first attempt were not upscaled in the last minutes."""
    files, plan, stage = run
    first, last = attempts(plan)
    assert resume.begin(files, first) == ()
    image = image_bytes(32, 32, file_format="PNG")
    early = last.started_at - datetime.timedelta(minutes=50)
    stage(*(make_row(f"s3://b/{i}", image=image, at=early) for i in range(20)))
    last = dataclasses.replace(last, kept=resume.begin(files, last))
    late = stage(make_row("s3://b/last", image=image, at=last.started_at))
    result = finish_run(files, last, [*last.kept, late], Totals(21, 21, 21))
    assert result["started_at"] == first.started_at.isoformat()
    assert 7800 <= result["wall_seconds"] < 7900
    assert result["pictures_per_second"] is None
    report = html.make_report(files, plan.settings.output, result)
    assert "2 h 10 min" in report and "<dt>images a second" not in report
    assert "after 69 min: " in report  # a bar for the images of the first attempt


def test_a_run_continued_from_nothing_has_the_rate_of_the_last_attempt(run):
    files, plan, stage = run
    first, last = attempts(plan)
    resume.begin(files, first)
    shards = [stage(*(make_row(f"s3://b/{i}") for i in range(30)))]
    result = finish_run(files, last, shards, Totals(30, 30, 30))
    assert result["started_at"] == first.started_at.isoformat()
    assert result["pictures_per_second"] == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("damage", [None, b"{", b'{"started_at": 7}', b'{"started_at": "now"}'])
def test_without_its_run_json_a_run_began_with_this_attempt(run, damage):
    files, plan, stage = run
    if damage is not None:
        files.write(Layout.of(plan.settings).started, damage)
    result = finish_run(files, plan, [stage(make_row("s3://b/1"))], Totals(1, 1, 1))
    assert result["started_at"] == plan.started_at.isoformat()


@pytest.mark.parametrize(
    "fault", [StorageError(Reason.STORAGE_ERROR, "no space left"), RunError("no space left")]
)
def test_metrics_that_cannot_be_written_do_not_fail_a_finished_run(fault, caplog):
    class Full:
        def write(self, uri, data):
            raise fault

    layout = Layout("/nowhere", "night1")
    assert summary.add_metrics(Full(), layout, {"uris": 1}, {"counters": {}})["uris"] == 1
    assert "no space left" in caplog.text
