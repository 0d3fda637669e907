"""Which previous runs a run reuses, among full ones and trials on parts of the catalog."""

import json
import os
from typing import NamedTuple

import pytest

from pipeline.catalog.selection import WHOLE_CATALOG, Selection
from pipeline.records import RunError
from pipeline.runs import finished
from pipeline.runs.finished import find_previous
from pipeline.runs.layout import Layout
from tests.pipeline.conftest import make_settings


@pytest.fixture
def world(local_files, tmp_path):
    return World(local_files, str(tmp_path / "out"))


class World:
    """Finished runs under one output, one a second."""

    def __init__(self, files, output):
        self.files, self.output, self.seconds = files, output, 0

    def finish(self, run_id, source="/nowhere/manifest.csv", **selection):
        layout = Layout(self.output, run_id)
        summary = {"input": source, "selection": selection or None}
        self.files.write(layout.summary, json.dumps(summary).encode())
        self.files.write(layout.success, b"")
        self.seconds += 1
        os.utime(layout.success, (self.seconds, self.seconds))
        return layout

    def find(self, **options):
        return found(self.files, output=self.output, **options)


class Found(NamedTuple):
    """The previous runs, with the selection alone of what the newest saw."""

    run_id: str
    selection: Selection
    partial: tuple = ()


def found(files, **options):
    previous = find_previous(files, make_settings(run_id="tonight", **options))
    return previous and Found(previous.run_id, previous.seen.selection, previous.partial)


def test_without_a_run_there_is_none(world):
    assert world.find() is None
    with pytest.raises(RunError, match="no finished run"):
        world.find(retry=("timeout",))
    with pytest.raises(RunError, match="no such finished run"):
        world.find(previous="night1")


def test_a_trial_does_not_hide_the_full_run_before_it(world):
    world.finish("night0")
    world.finish("night1")
    for run_id, limit in (("trial1", 20), ("trial2", 50), ("trial3", 20)):
        world.finish(run_id, limit=limit)
    # Of two trials on one part, the newer one has everything.
    everything = Found("night1", WHOLE_CATALOG, ("trial3", "trial2"))
    assert world.find() == everything
    assert world.find(include=("shoes/",)) == everything
    assert world.find(limit=20) == Found("trial3", Selection(limit=20))
    assert world.find(limit=50) == Found("trial2", Selection(limit=50), ("trial3",))
    assert world.find(previous="night0") == Found("night0", WHOLE_CATALOG)
    assert world.find(previous="none") is None


def test_after_trials_alone_the_first_full_run_reuses_them(world):
    world.finish("trial1", sample=5)
    world.finish("trial2", include=["shoes/"])
    assert world.find() == Found("trial2", Selection(include=("shoes/",)), ("trial1",))


def test_nights_that_always_leave_something_out_look_at_one_run(world):
    for i in range(5):
        world.finish(f"night{i}", exclude=["thumbs/"])
    assert world.find(exclude=("thumbs/",)).run_id == "night4"
    assert world.find(exclude=("thumbs/",)).partial == ()
    assert world.find() == Found("night4", Selection(exclude=("thumbs/",)))


def test_a_replay_takes_the_rows_of_one_run(world):
    world.finish("night1")
    world.finish("trial", limit=3)
    assert world.find(retry=("timeout",)) == Found("night1", WHOLE_CATALOG)
    asked = world.find(retry=("timeout",), previous="trial")
    assert asked == Found("trial", Selection(limit=3))


def test_latest_json_names_no_trial_while_there_is_a_night(world):
    def latest():
        finished.name_latest(world.files, world.output)
        return json.loads(world.files.read(Layout(world.output, "").latest))["run_id"]

    world.finish("trial0", limit=3)
    world.finish("trial1", sample=3)
    assert latest() == "trial1"
    world.finish("night1", exclude=["thumbs/"])
    world.finish("trial2", limit=3, exclude=["thumbs/"])
    assert latest() == "night1"
    damaged = world.finish("night2")
    world.files.write(damaged.summary, b"{")
    assert latest() == "night2"


def test_runs_of_older_versions_saw_all(world):
    layout = world.finish("night1")
    world.files.write(layout.summary, b"{}")
    assert world.find().selection == WHOLE_CATALOG


def test_a_summary_without_its_keys_is_damaged_for_who_tells_of_its_run(world):
    layout = world.finish("night1")
    with pytest.raises(RunError, match=r"summary\.json is missing or damaged .* restore the file"):
        finished.find_summary(world.files, world.output, "night1")
    assert finished.read_summary(world.files, layout)["selection"] is None


def test_a_damaged_summary_loses_no_results(world, caplog):
    world.finish("night1")
    damaged = world.finish("night2")
    world.files.write(damaged.summary, b"{")
    assert world.find() == Found("night1", WHOLE_CATALOG, ("night2",))
    assert "night2" in caplog.text and "reused all the same" in caplog.text
    world.files.delete(Layout(world.output, "night1").success)
    assert world.find() == Found("night2", WHOLE_CATALOG)


# Copies of an output.


@pytest.fixture(params=["s3", "local"])
def copied(request, tmp_path):
    """(storage, output) of a copy whose newest run was copied first."""
    if request.param == "s3":
        files, output = request.getfixturevalue("s3_files"), request.getfixturevalue("bucket")
        output = output.uri("out")
    else:
        files, output = request.getfixturevalue("local_files"), str(tmp_path / "out")
    for run_id, day in (("b-newest", 26), ("a", 24), ("trial", 25), ("d-oldest", 1)):
        summary = {"finished_at": f"2026-11-{day:02}T03:00:00+00:00", "selection": None}
        if run_id == "trial":
            summary["selection"] = {"limit": 3}
        layout = Layout(output, run_id)
        files.write(layout.summary, json.dumps({"input": "s3://shop/"} | summary).encode())
        files.write(layout.success, b"")
    return files, output


def test_a_copy_of_an_output_keeps_the_order_of_its_runs(copied):
    """The files' times say when they were copied."""
    files, output = copied
    runs = finished.finished_runs(files, output)
    assert [run.run_id for run in runs] == ["b-newest", "trial", "a", "d-oldest"]
    assert finished.latest_finished(files, output) == "b-newest"
    newest = found(files, output=output, input="s3://shop/")
    assert newest == Found("b-newest", WHOLE_CATALOG)


@pytest.mark.parametrize("finished_at", ["yesterday", None, 5, "2026-11-26"])
def test_a_time_that_nobody_can_read_is_the_file_s(world, finished_at):
    """Without a zone it is UTC."""
    layout = world.finish("night1")
    summary = {"finished_at": finished_at}
    world.files.write(layout.summary, json.dumps(summary).encode())
    (run,) = finished.finished_runs(world.files, world.output)
    day = "2026-11-26" if finished_at == "2026-11-26" else "1970-01-01"
    assert run.finished_at.isoformat().startswith(day) and run.finished_at.tzinfo is not None


# Several catalogs under one output.

SHOP_A, SHOP_B = "s3://shop-a/", "s3://shop-b/"


def test_another_shop_s_run_hides_none(world, caplog):
    """Two shops that took turns once upscaled everything again each night."""
    world.finish("a1", SHOP_A)
    world.finish("a-trial", SHOP_A, limit=3)
    world.finish("b1", SHOP_B)
    assert world.find(input=SHOP_A) == Found("a1", WHOLE_CATALOG, ("a-trial",))
    assert f"run b1 under {world.output} is of another catalog, {SHOP_B}" in caplog.text
    caplog.clear()
    assert world.find(input=SHOP_B) == Found("b1", WHOLE_CATALOG)
    assert not caplog.text
    assert world.find(input=SHOP_A, retry=("timeout",)) == Found("a1", WHOLE_CATALOG)


def test_a_catalog_without_a_run_looks_at_the_newest_of_another(world):
    """A bucket may have been renamed; results are matched by content."""
    world.finish("a1", SHOP_A)
    world.finish("a2", SHOP_A)
    world.finish("b1", SHOP_B, limit=3)
    assert world.find(input="s3://shop-c/") == Found("a2", WHOLE_CATALOG, ("b1",))
    with pytest.raises(RunError, match=r"--retry: there is no finished run of s3://shop-c/ under"):
        world.find(input="s3://shop-c/", retry=("timeout",))


def test_a_prefix_covers_those_within_it(world, caplog):
    world.finish("shoes1", "s3://shop/shoes/")
    world.finish("shop1", "s3://shop/")
    world.finish("shoes2", "s3://shop/shoes/")
    assert world.find(input="s3://shop/hats/").run_id == "shop1"
    assert world.find(input="s3://shop/shoes/") == Found("shoes2", WHOLE_CATALOG)
    caplog.clear()
    assert world.find(input="s3://shop/") == Found("shop1", WHOLE_CATALOG, ("shoes2",))
    assert not caplog.text
    # A replay takes the rows of its own catalog, not of a larger one.
    with pytest.raises(RunError, match="no finished run of s3://shop/hats/"):
        world.find(input="s3://shop/hats/", retry=("timeout",))


def test_a_manifest_with_the_date_in_its_name_is_one_catalog(world):
    world.finish("night1", "s3://shop/manifest-2026-11-26.csv")
    assert world.find(input="s3://shop/manifest-2026-11-27.csv") == Found("night1", WHOLE_CATALOG)
    again = world.find(input="s3://shop/manifest-2026-11-27.csv", retry=("timeout",))
    assert again.run_id == "night1"


def test_manifests_of_any_names_look_at_a_few_runs(world):
    """Of those with other names, which may be named by chance, the newest one is reused too."""
    for name in ("x1", "x2", "x3"):
        world.finish(name, f"s3://shop/{name}.csv")
    assert world.find(input="s3://shop/x4.csv") == Found("x3", WHOLE_CATALOG)
    assert world.find(input="s3://shop/x2.csv") == Found("x2", WHOLE_CATALOG, ("x3",))
    assert world.find(input="s3://shop/") == Found("x3", WHOLE_CATALOG)
