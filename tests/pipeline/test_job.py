"""The job's outcome and the errors that cross Beam."""

import functools
import traceback
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import job
from pipeline.prune.lock import pruning
from pipeline.records import Reason, RunError, Status
from pipeline.runs.layout import Layout
from pipeline.runs.lock import RunLock, Timing
from pipeline.runs.reader import UnreadableRowsError
from pipeline.runtime.holder import Holder
from pipeline.storage.base import StorageError
from pipeline.storage.local import LocalStorage
from tests.pipeline.conftest import make_settings


def describe_images(count, *, status="upscaled", **changes):
    summary = {
        "uris": count,
        "by_status": dict.fromkeys(Status, 0) | {status: count},
        "by_reason": {},
        "disappeared": 0,
        "percentiles": {},
        "wall_seconds": 4.0,
        "pictures_per_second": count / 4 if status in ("upscaled", "fallback") else 0.0,
    }
    return job.describe(summary | changes, make_settings())


@pytest.fixture
def arguments(tmp_path):
    """A run of one image that is missing: 100 % failed rows."""
    (tmp_path / "m.txt").write_text("missing.png\n")
    places = ["--input", str(tmp_path / "m.txt"), "--output", str(tmp_path / "out")]
    return [*places, "--run_id", "night1", "--report", "no"]


@pytest.mark.parametrize("where", ["at the end", "always"])
def test_a_summary_that_cannot_be_read_is_no_success(
    arguments, tmp_path, monkeypatch, capsys, where
):
    """It once counted as a runner that does not wait: exit status 0, and no word of failures."""
    layout, faults = Layout(str(tmp_path / "out"), "night1"), []
    read = LocalStorage.read

    def faulty(self, uri, *more, **options):
        # Names of the newest run are found out before; those only warn.
        is_time = where == "always" or Path(layout.latest).exists()
        if uri == layout.summary and is_time:
            faults.append(uri)
            raise StorageError(Reason.TIMEOUT, "no answer")
        return read(self, uri, *more, **options)

    monkeypatch.setattr(LocalStorage, "read", faulty)
    assert job.run(arguments) == job.FAILED
    told = capsys.readouterr()
    assert f"cannot read {layout.summary}: no answer" in told.err
    assert "started" not in told.out and faults
    monkeypatch.undo()
    assert job.run(arguments) == job.TOO_MANY_FAILURES  # the outcome, once it can be read
    assert "finished already" in capsys.readouterr().out


def test_a_run_that_another_process_took_over_publishes_nothing(
    arguments, tmp_path, monkeypatch, capsys
):
    """This process was silent, on a machine whose clock goes wrong, say, and another began."""
    layout, files = Layout(str(tmp_path / "out"), "night1"), LocalStorage()
    theirs = Holder.here("theirs").to_bytes()
    upload = LocalStorage.write_file

    def taken_over(self, uri, path):
        files.write(layout.lock, theirs)
        upload(self, uri, path)

    silent = functools.partial(RunLock, timing=Timing(beat_s=3600))
    monkeypatch.setattr(job, "RunLock", silent)
    monkeypatch.setattr(LocalStorage, "write_file", taken_over)
    assert job.run(arguments) == job.FAILED
    assert "another process took over run night1" in capsys.readouterr().err
    assert not (tmp_path / "out/rows").exists()
    assert not (tmp_path / "out/runs/night1/_SUCCESS").exists()
    assert files.read(layout.lock) == theirs


def test_no_run_starts_while_old_ones_are_deleted(arguments, tmp_path, capsys):
    output = str(tmp_path / "out")
    with pruning(LocalStorage(), output, []):
        assert job.run(arguments) == job.FAILED
    assert f"pipeline.prune is deleting runs under {output}" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert job.run(arguments) == job.TOO_MANY_FAILURES
    assert (tmp_path / "out/runs/latest.json").is_file()


def test_a_lock_that_cannot_be_read_ends_the_run_with_one_line(
    arguments, tmp_path, monkeypatch, capsys
):
    pruned, read = Layout(str(tmp_path / "out"), ".prune").lock, LocalStorage.read

    def faulty(self, uri, *more, **options):
        if uri == pruned:
            raise StorageError(Reason.TIMEOUT, "no answer, 5 attempts")
        return read(self, uri, *more, **options)

    monkeypatch.setattr(LocalStorage, "read", faulty)
    assert job.run(arguments) == job.FAILED
    error = f"run_pipeline.py: cannot read the lock {pruned}: no answer, 5 attempts"
    assert capsys.readouterr().err.splitlines()[-1] == error
    assert not Path(Layout(str(tmp_path / "out"), "night1").lock).exists()


def test_a_finished_run_whose_rows_are_gone_is_no_success(arguments, tmp_path, capsys):
    arguments = [*arguments, "--max_failure_rate", "1"]
    assert job.run(arguments) == 0
    (part,) = (tmp_path / "out/rows/run_id=night1").iterdir()
    part.unlink()
    assert job.run(arguments) == job.FAILED
    assert "has _SUCCESS, but 0 of its 1 rows are under" in capsys.readouterr().err
    assert (tmp_path / "out/runs/night1/_SUCCESS").exists()


def test_a_previous_run_without_rows_is_told(arguments, tmp_path, caplog):
    arguments = [*arguments, "--max_failure_rate", "1"]
    assert job.run(arguments) == 0
    (part,) = (tmp_path / "out/rows/run_id=night1").iterdir()
    part.write_bytes(part.read_bytes()[:-7])
    assert job.run([*arguments, "--run_id", "night2"]) == 0
    assert f"cannot read the rows in {part.as_uri()}" in caplog.text
    part.unlink()
    (tmp_path / "out/runs/night2/_SUCCESS").unlink()
    assert job.run([*arguments, "--run_id", "night3"]) == 0
    assert "run night1 has no rows any more" in caplog.text


def test_a_retry_that_matches_nothing_is_told(arguments, caplog):
    arguments = [*arguments, "--max_failure_rate", "1"]
    assert job.run(arguments) == 0
    again = [*arguments, "--run_id", "night2", "--retry", "timeout"]
    assert job.run(again) == 0
    assert "--retry timeout: no row of run night1 has this reason; its reasons: not_found" in (
        caplog.text
    )


def test_one_image_is_not_one_images():
    assert describe_images(1).startswith("1 image: 1 upscaled")
    assert describe_images(1200).startswith("1,200 images: 1,200 upscaled")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("upscaled", "4.0 s, start-up included; 0.50 images a second upscaled\n"),
        ("fallback", "4.0 s, start-up included; 0.50 images a second upscaled\n"),
        ("unchanged", "4.0 s, start-up included\n"),
    ],
)
def test_a_run_that_upscaled_nothing_has_no_rate(status, says):
    assert f"\ntime:    {says}" in describe_images(2, status=status)


def test_a_run_in_several_attempts_has_no_rate():
    told = describe_images(2, wall_seconds=7800.0, pictures_per_second=None)
    assert "\ntime:    2 h 10 min since the start of the first attempt\n" in told


@pytest.mark.parametrize("error_type", [RunError, UnreadableRowsError])
def test_an_error_of_the_run_crosses_beam(error_type):
    def fail(_):
        raise error_type("cannot read 'x': a \"quote\",\ntwo lines and [brackets]")

    with pytest.raises(Exception) as caught, beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create([1]) | "Fail" >> beam.Map(fail)
    found = RunError.find_in("".join(traceback.format_exception(caught.value)))
    assert str(found) == "cannot read 'x': a \"quote\",\ntwo lines and [brackets]"


def test_another_error_is_not_the_runs():
    try:
        raise ValueError("pipeline.records.RunError: no")
    except ValueError as error:
        assert RunError.find_in("".join(traceback.format_exception(error))) is None


def test_the_last_error_counts():
    """One that was caught and told otherwise is in the traceback, too."""
    try:
        try:
            raise RunError("first")
        except RunError as error:
            raise RunError("second") from error
    except RunError as error:
        assert str(RunError.find_in("".join(traceback.format_exception(error)))) == "second"
