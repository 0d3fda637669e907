"""Which previous runs a run reuses, among full ones and trials on parts of the catalog."""

import json
import os

import pytest

from pipeline.catalog.selection import WHOLE_CATALOG, Selection
from pipeline.records import RunError
from pipeline.runs import finished
from pipeline.runs.finished import PreviousRuns, find_previous
from pipeline.runs.layout import Layout
from tests.pipeline.conftest import make_settings


@pytest.fixture
def world(local_files, tmp_path):
    return World(local_files, str(tmp_path / "out"))


class World:
    """Finished runs under one output, one a second."""

    def __init__(self, files, output):
        self.files, self.output, self.seconds = files, output, 0

    def finish(self, run_id, **selection):
        layout = Layout(self.output, run_id)
        self.files.write(layout.summary, json.dumps({"selection": selection or None}).encode())
        self.files.write(layout.success, b"")
        self.seconds += 1
        os.utime(layout.success, (self.seconds, self.seconds))
        return layout

    def find(self, **options):
        settings = make_settings(output=self.output, run_id="tonight", **options)
        return find_previous(self.files, settings)


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
    everything = PreviousRuns("night1", WHOLE_CATALOG, ("trial3", "trial2"))
    assert world.find() == everything
    assert world.find(include=("shoes/",)) == everything
    assert world.find(limit=20) == PreviousRuns("trial3", Selection(limit=20))
    assert world.find(limit=50) == PreviousRuns("trial2", Selection(limit=50), ("trial3",))
    assert world.find(previous="night0") == PreviousRuns("night0", WHOLE_CATALOG)
    assert world.find(previous="none") is None


def test_after_trials_alone_the_first_full_run_reuses_them(world):
    world.finish("trial1", sample=5)
    world.finish("trial2", include=["shoes/"])
    assert world.find() == PreviousRuns("trial2", Selection(include=("shoes/",)), ("trial1",))


def test_nights_that_always_leave_something_out_look_at_one_run(world):
    for i in range(5):
        world.finish(f"night{i}", exclude=["thumbs/"])
    assert world.find(exclude=("thumbs/",)).run_id == "night4"
    assert world.find(exclude=("thumbs/",)).partial == ()
    assert world.find() == PreviousRuns("night4", Selection(exclude=("thumbs/",)))


def test_a_replay_takes_the_rows_of_one_run(world):
    world.finish("night1")
    world.finish("trial", limit=3)
    assert world.find(retry=("timeout",)) == PreviousRuns("night1", WHOLE_CATALOG)
    asked = world.find(retry=("timeout",), previous="trial")
    assert asked == PreviousRuns("trial", Selection(limit=3))


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


def test_a_damaged_summary_loses_no_results(world, caplog):
    world.finish("night1")
    damaged = world.finish("night2")
    world.files.write(damaged.summary, b"{")
    assert world.find() == PreviousRuns("night1", WHOLE_CATALOG, ("night2",))
    assert "night2" in caplog.text and "reused all the same" in caplog.text
    world.files.delete(Layout(world.output, "night1").success)
    assert world.find() == PreviousRuns("night2", WHOLE_CATALOG)
