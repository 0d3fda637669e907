"""Deletion of old runs: what stays, what may go, and what a kill in between leaves."""

import datetime
import hashlib
import json
import os
import re

import pyarrow.parquet as pq
import pytest
from moto.s3 import models as moto_models

from pipeline.output import publishing
from pipeline.output.shard_writer import ShardWriter
from pipeline.prune import __main__ as command
from pipeline.prune import compaction, deletion, inventory
from pipeline.prune.inventory import State
from pipeline.prune.lock import pruning, refuse_while_pruning
from pipeline.read import images
from pipeline.read.images import ImageReader
from pipeline.records import Reason, RunError, Status
from pipeline.runs import finished, reader
from pipeline.runs.layout import Layout
from pipeline.runs.lock import Timing
from pipeline.runtime.holder import Holder
from pipeline.storage import locations
from pipeline.storage.base import StorageError
from pipeline.storage.ranged import open_file
from tests.pipeline.conftest import make_row

QUICK = Timing(beat_s=0.02, dead_after_s=0.2, settle_s=0.0)


class Outputs:
    """Writes runs to an output, the first one the oldest."""

    def __init__(self, files, output):
        self.files, self.output = files, output
        self.server_ahead_s = 0

    def layout(self, run_id):
        return Layout(self.output, run_id)

    def add(self, run_id, new=(), unchanged=None, *, as_files=(), is_finished=True, **summary):
        """A run with images of its own, pointers of rows by image, and more for its summary."""
        rows = [upscaled(name) for name in new]
        for name in as_files:
            self.files.write(f"{self.output}/{image_file(name)}", image(name))
            rows.append(upscaled(name, image=None, image_uri=image_file(name)))
        for name, pointer in (unchanged or {}).items():
            rows.append(upscaled(name, Status.UNCHANGED, image=None, image_uri=pointer))
        layout = self.layout(run_id)
        self.files.write(layout.started, b"{}")
        writer = ShardWriter(self.files, layout.staging)
        shards = [shard for row in rows if (shard := writer.add(row))]
        shards += filter(None, [writer.close()])
        if not is_finished:
            return
        publishing.publish(self.files, shards, layout.rows)
        publishing.clear(self.files, layout.staging)
        summary = {"rows": len(rows), "selection": None} | summary
        self.files.write(layout.summary, json.dumps(summary).encode())
        self.files.write(layout.success, b"")
        self._age()
        finished.name_latest(self.files, self.output)

    def _age(self):
        """The storage's clock goes on: S3's has seconds only."""
        self.server_ahead_s += 1

    def pointers(self, run_id):
        """Relative pointers of a run's rows by image, those into its own rows included."""
        found = {}
        parts = reader.parts_of(self.files, self.layout(run_id))
        columns = ["uri", "image_uri", "image_bytes"]
        for part, first, batch in reader.read_batches(self.files, parts, columns):
            for number, row in enumerate(batch.to_pylist(), start=first):
                here = reader.image_pointer(part, number)
                pointer = row["image_uri"] or reader.relative_pointer(part, here)
                found[row["uri"].rpartition("/")[2]] = pointer
        return found

    def images(self, run_id):
        """All images of a run by name, wherever they lie."""
        image_reader = ImageReader(self.files)
        listed = images.list_images(self.files, self.output, run_id)
        return {one.uri.rpartition("/")[2]: image_reader.read(one.image_uri) for one in listed}

    def names(self):
        """Paths of all files below the output."""
        found = self.files.list(f"{self.output}/")
        return {locations.path_below(self.output, item.uri) for item in found}

    def run_ids(self):
        return {run.run_id for run in inventory.read_runs(self.files, self.output)}

    def prune(self, *options):
        endpoint = []
        if locations.scheme_of(self.output) == "s3":
            endpoint = ["--s3_endpoint_url", self.endpoint]
        return command.main([self.output, *options, *endpoint])


def image(name):
    return f"image {name}".encode() * 10


def image_file(name):
    """As the job names a file of its own: by content key."""
    key = hashlib.md5(name.encode()).hexdigest()
    return f"images/{key[:2]}/{key}.png"


def upscaled(name, status=Status.UPSCALED, **columns):
    data = image(name)
    made = {
        "image": data,
        "image_bytes": len(data),
        "image_format": "png",
        "image_sha256": hashlib.sha256(data).hexdigest(),
        "content_key": f"{name:>08}",
    }
    return make_row(f"s3://b/{name}", status, **(made | columns))


@pytest.fixture(params=["s3", "local"])
def outputs(request, tmp_path, monkeypatch):
    if request.param == "local":
        made = Outputs(request.getfixturevalue("local_files"), str(tmp_path / "out put"))
    else:
        bucket = request.getfixturevalue("bucket")
        made = Outputs(request.getfixturevalue("s3_files"), bucket.uri("out"))
        made.endpoint = bucket.endpoint
        now = moto_models.utcnow

        def ahead():
            return now() + datetime.timedelta(seconds=made.server_ahead_s)

        monkeypatch.setattr(moto_models, "utcnow", ahead)
    return made


@pytest.fixture
def three_nights(outputs):
    """The newest run has two images in the oldest one, and none in the one between."""
    outputs.add("n1", "abc")
    first = outputs.pointers("n1")
    outputs.add("n2", "d", {name: first[name] for name in "abc"})
    outputs.add("n3", "e", {name: first[name] for name in "ab"})
    return outputs


def test_without_options_it_lists_and_changes_nothing(three_nights, capsys):
    before = three_nights.names()
    assert three_nights.prune() == 0
    newest, middle, oldest = capsys.readouterr().out.splitlines()
    assert newest.startswith("n3 ") and "3 rows, 2 of its images in run n1" in newest
    assert middle.startswith("n2 ") and "4 rows, 3 of its images in run n1" in middle
    assert oldest.startswith("n1 ") and "3 rows, referred to by n3, n2" in oldest
    assert three_nights.names() == before


def test_unreferenced_runs_go_and_referenced_ones_stay(three_nights, capsys):
    images_before = three_nights.images("n3")
    assert three_nights.prune("--keep", "1") == 0
    said = capsys.readouterr().out
    assert "deleted run n2" in said and "kept run n1: holds 2 images of run n3" in said
    assert three_nights.run_ids() == {"n1", "n3"}
    assert not [name for name in three_nights.names() if "n2" in name]
    assert three_nights.images("n3") == images_before == {n: image(n) for n in "abe"}


def test_runs_that_hold_images_of_runs_that_stay_only_for_theirs_stay_too(outputs):
    """n2 stays for an image of n3; its own rows point to n1."""
    outputs.add("n1", "a")
    outputs.add("n2", "b", {"a": outputs.pointers("n1")["a"]})
    outputs.add("n3", "c", {"b": outputs.pointers("n2")["b"]})
    runs = inventory.read_runs(outputs.files, outputs.output)
    choice = deletion.choose(runs, keep=1)
    assert choice.goes == () and set(choice.stays) == {"n1", "n2", "n3"}


def test_so_many_stay_in_any_case(outputs):
    for run_id in ("n1", "n2", "n3"):
        outputs.add(run_id, "a")
    for keep in (9, 3, 2, 1):
        assert outputs.prune("--keep", str(keep)) == 0
        assert outputs.run_ids() == set(("n3", "n2", "n1")[:keep])


def test_a_trial_on_a_few_images_lets_no_full_run_go(outputs, capsys):
    outputs.add("n1", "ab")
    outputs.add("n2", "ab")
    outputs.add("try1", "a", selection={"limit": 1})
    outputs.add("try2", "a", selection={"limit": 1})
    latest = json.loads(outputs.files.read(outputs.layout("n2").latest))
    assert latest["run_id"] == "n2"
    assert outputs.prune("--keep", "1") == 0
    assert "1 row of a part of the catalog: --limit 1" in capsys.readouterr().out
    assert outputs.run_ids() == {"n2", "try2"}
    outputs.add("n3", "ab")  # has all that the trial has
    assert outputs.prune("--keep", "1") == 0
    assert outputs.run_ids() == {"n3"}


def test_the_first_runs_of_an_output_may_be_trials(outputs):
    outputs.add("try1", "a", selection={"sample": 1})
    latest = outputs.layout("try1").latest
    assert json.loads(outputs.files.read(latest))["run_id"] == "try1"


def test_the_order_of_copying_does_not_make_a_run_the_newest(outputs):
    """After `aws s3 sync`, `cp -r` or a restore the files' times are those of the copy."""
    outputs.add("n2", "a", finished_at="2026-11-26T03:00:00+00:00")
    outputs.add("n1", "a", finished_at="2026-11-01T03:00:00+00:00")
    assert outputs.prune("--keep", "1") == 0
    assert outputs.run_ids() == {"n2"}
    latest = json.loads(outputs.files.read(outputs.layout("n2").latest))
    assert latest["run_id"] == "n2"


def test_a_run_on_another_catalog_lets_none_go(outputs, capsys):
    for run_id in ("a1", "a2"):
        outputs.add(run_id, "a", input="s3://shop-a/")
    outputs.add("b1", "b", input="s3://shop-b/")
    assert outputs.prune("--keep", "1") == 0
    assert outputs.run_ids() == {"a2", "b1"}
    assert "kept run a2: one of the newest 1 of s3://shop-a/\n" in capsys.readouterr().out
    outputs.add("m1", "a", input="s3://shop-a/manifest-2026-11-26.csv")
    outputs.add("m2", "a", input="s3://shop-a/manifest-2026-11-27.csv")
    assert outputs.prune("--keep", "1") == 0
    assert outputs.run_ids() == {"a2", "b1", "m2"}
    outputs.add("ab", "ab", input="s3://shop-a/images/")
    assert outputs.prune("--keep", "1") == 0
    assert outputs.run_ids() == {"a2", "b1", "m2", "ab"}  # it saw a part of shop a
    outputs.add("a3", "a", input="s3://shop-a/")
    assert outputs.prune("--keep", "1") == 0
    assert outputs.run_ids() == {"a3", "b1", "m2"}


def test_nights_that_are_catalogs_of_their_own_are_told(outputs, capsys):
    def told(keep):
        """What a dry run prints, and then the command itself."""
        for options in (("--dry_run",), ()):
            assert outputs.prune("--keep", keep, *options) == 0
            yield capsys.readouterr().out

    for number in (7, 8, 9):
        outputs.add(f"n{number}", "a", input=f"s3://shop/export-{number}x.csv")
    assert not any("no run can go" in one for one in told("3"))
    says = "no run can go: they are of 3 catalogs, each of which keeps"
    assert all(says in one for one in told("2"))
    outputs.add("n99", "a", input="s3://shop/export-9x.csv")
    assert not any("no run can go" in one for one in told("1"))


def test_a_run_without_its_summary_deletes_nothing(three_nights, capsys):
    three_nights.files.delete(three_nights.layout("n3").summary)
    before = three_nights.names()
    assert three_nights.prune("--keep", "1") == 1
    assert "summary.json is missing or damaged" in capsys.readouterr().err
    assert three_nights.names() == before


def test_compaction_lets_older_runs_go(three_nights, capsys):
    before, rows = three_nights.images("n3"), rows_without_pointers(three_nights, "n3")
    assert three_nights.prune("--compact", "--keep", "1") == 0
    assert "copied 2 images" in capsys.readouterr().out
    assert three_nights.run_ids() == {"n3"}
    assert three_nights.images("n3") == before
    assert rows_without_pointers(three_nights, "n3") == rows
    assert finished.is_finished(three_nights.files, three_nights.layout("n3"))
    pointers = three_nights.pointers("n3")
    assert pointers["a"].startswith("runs/n3/images/part-")
    # The next night refers to the copies, and another compaction moves them on.
    three_nights.add("n4", "f", {name: pointers[name] for name in "ab"})
    assert three_nights.prune("--keep", "1") == 0
    assert three_nights.run_ids() == {"n3", "n4"}
    assert three_nights.prune("--keep", "1", "--compact") == 0
    assert three_nights.run_ids() == {"n4"}
    assert three_nights.images("n4") == {name: image(name) for name in "abf"}


def rows_without_pointers(outputs, run_id):
    """All columns but image_uri, in the order of the files."""
    rows = []
    for part in reader.parts_of(outputs.files, outputs.layout(run_id)):
        with open_file(outputs.files, part) as file:
            rows += pq.read_table(file).drop_columns("image_uri").to_pylist()
    return rows


def test_compaction_again_changes_nothing(three_nights):
    layout = three_nights.layout("n3")
    assert compaction.compact(three_nights.files, layout, check=lambda: None).images == 2
    names, pointers = three_nights.names(), three_nights.pointers("n3")
    assert compaction.compact(three_nights.files, layout, check=lambda: None).images == 0
    assert (three_nights.names(), three_nights.pointers("n3")) == (names, pointers)


def test_equal_images_are_copied_once_into_files_of_bounded_size(outputs, monkeypatch):
    monkeypatch.setattr(compaction, "ROW_GROUP_BYTES", 150)
    outputs.add("n1", "abcd")
    first = outputs.pointers("n1")
    outputs.add("n2", "", {**first, "twin": first["a"]})
    layout = outputs.layout("n2")
    done = compaction.compact(outputs.files, layout, check=lambda: None, shard_bytes=1)
    assert (done.images, done.lost) == (4, 0)
    copies = {p.partition("#")[0] for p in outputs.pointers("n2").values()}
    assert len(copies) == 2
    outputs.prune("--keep", "1")
    found = outputs.images("n2")
    assert found.pop("twin") == image("a") and found == {n: image(n) for n in "abcd"}


def test_images_that_are_gone_or_others_are_not_copied(outputs, caplog):
    outputs.add("n1", "ab")
    first = outputs.pointers("n1")
    wrong = {"a": first["b"], "b": first["b"], "c": "rows/run_id=n0/part-0.parquet#row=3"}
    outputs.add("n2", "", wrong)
    done = compaction.compact(outputs.files, outputs.layout("n2"), check=lambda: None)
    assert (done.images, done.lost) == (0, 2) or (done.images, done.lost) == (1, 1)
    assert "not copied" in caplog.text
    assert outputs.pointers("n2")["c"] == wrong["c"]


def test_images_in_files_stay_unless_no_row_names_them(outputs, capsys):
    outputs.add("n1", as_files="ab")
    outputs.add("n2", as_files="bc")
    outputs.files.write(f"{outputs.output}/{image_file('left over')}", b"x")
    assert outputs.prune("--keep", "1") == 0
    assert {name for name in outputs.names() if name.startswith("images/")} == {
        image_file(name) for name in ("a", "b", "c", "left over")
    }
    assert outputs.prune("--images", "--dry_run") == 0
    assert "would delete 2 files" in capsys.readouterr().out
    assert outputs.prune("--images") == 0
    assert {name for name in outputs.names() if name.startswith("images/")} == {
        image_file(name) for name in "bc"
    }
    assert outputs.images("n2") == {name: image(name) for name in "bc"}


@pytest.mark.parametrize("outputs", ["local"], indirect=True)
def test_what_killed_processes_left_half_written_goes(outputs, capsys):
    outputs.add("n1", as_files="a")
    folder = locations.local_path(outputs.output)
    left = [
        folder / f"{image_file('a')[: len('images/ab')]}/.x.png.partial-12-345",
        folder / "runs/.latest.json.partial-1-2",
        folder / "rows/run_id=n1/.part-0.parquet.partial-1-2",
    ]
    theirs = folder / "notes/.a.txt.partial-1-2"
    theirs.parent.mkdir()
    for path in [*left, theirs]:
        path.write_bytes(b"half")
    assert outputs.prune("--keep", "1", "--dry_run") == 0
    assert "would delete 3 files, 12 bytes, that killed processes" in capsys.readouterr().out
    assert all(path.exists() for path in left)
    assert outputs.prune("--keep", "1") == 0
    assert "deleted 3 files, 12 bytes, that killed processes" in capsys.readouterr().out
    assert not any(path.exists() for path in left)
    assert theirs.exists() and outputs.images("n1") == {"a": image("a")}
    assert outputs.prune("--keep", "1") == 0
    assert "half written" not in capsys.readouterr().out


def test_files_that_the_job_did_not_write_stay(outputs):
    """`images/` is a usual name: a shop's own may lie there, too."""
    outputs.add("n1", as_files="a")
    key = image_file("b").rpartition("/")[2].removesuffix(".png")
    theirs = {
        *("images/shoe.jpg", "images/ab/shoe.jpg", f"images/{key}.png", f"images/zz/{key}.png"),
        *(
            f"images/{key[:2]}/{key}",
            f"images/{key[:2]}/{key}.png.bak",
            f"images/x/{key[:2]}/{key}.png",
        ),
        f"images/{key[:2]}/{key[:-1]}.png",
    }
    for name in theirs:
        outputs.files.write(f"{outputs.output}/{name}", b"x")
    assert outputs.prune("--keep", "1", "--images") == 0
    left = {name for name in outputs.names() if name.startswith("images/")}
    assert left == {image_file("a"), *theirs}


def test_absolute_pointers_of_older_versions_keep_what_they_may_mean(outputs):
    """Of rows written before the output was moved here."""
    outputs.add("n1", "a", as_files="b")
    old = {"a": outputs.pointers("n1")["a"], "b": image_file("b")}
    moved = {name: f"file:///elsewhere/out/{pointer}" for name, pointer in old.items()}
    outputs.add("n2", "c", moved)
    assert outputs.prune("--keep", "1", "--images") == 0
    assert outputs.run_ids() == {"n1", "n2"} and image_file("b") in outputs.names()


def test_an_unfinished_run_and_what_it_points_to_stay(outputs, capsys):
    outputs.add("n1", "a")
    outputs.add("n2", "b", {"a": outputs.pointers("n1")["a"]}, is_finished=False)
    outputs.add("n3", "c")
    outputs.files.write(outputs.layout("dry").estimate, b"{}")
    assert outputs.prune("--keep", "1") == 0
    assert "kept run n2: not finished: continue it with --run_id n2" in capsys.readouterr().out
    assert outputs.run_ids() == {"n1", "n2", "n3", "dry"}
    assert outputs.prune("--keep", "1", "--unfinished") == 0
    assert outputs.run_ids() == {"n3", "dry"}


def test_a_dry_run_says_what_would_go(three_nights, capsys):
    before = three_nights.names()
    assert three_nights.prune("--keep", "1", "--dry_run") == 0
    said = capsys.readouterr().out
    assert "would delete run n2" in said and "would copy" not in said
    assert "would keep run n3: one of the newest 1\n" in said
    assert "would keep run n1: holds 2 images of run n3\n" in said
    assert three_nights.names() == before


def test_a_dry_run_of_a_compaction_says_what_the_command_does(outputs, capsys):
    outputs.add("n1", "abc", as_files="uv")
    first = outputs.pointers("n1")
    outputs.add("n2", "d", {"b": first["b"]}, is_finished=False)
    outputs.add("n3", "e", {name: first[name] for name in "ab"}, as_files="w")
    third = outputs.pointers("n3")
    unchanged = {**third, "a": first["a"], "b": first["b"], "twin": first["a"], "v": first["v"]}
    outputs.add("n4", "f", unchanged)

    def said(*options):
        """Lines about what changes, in the words of the command itself."""
        assert outputs.prune("--compact", "--images", *options) == 0
        lines = capsys.readouterr().out.splitlines()
        words = {"would copy": "copied", "would delete": "deleted", "would keep": "kept"}
        for foretold, done in words.items():
            lines = [line.replace(foretold, done) for line in lines]
        lines = [line for line in lines if line.split()[0] in words.values()]
        # The bytes of the copies are known when they are read.
        return [re.sub(r", \d+ bytes into", " into", line) for line in lines]

    before = outputs.names()
    for options in (["--keep", "1"], ["--keep", "1", "--unfinished"]):
        foretold = said(*options, "--dry_run")
        assert outputs.names() == before
        done = said(*options)
        assert foretold == done, options
        before = outputs.names()
    assert outputs.run_ids() == {"n4"}
    assert outputs.images("n4").keys() == {*"abefwv", "twin"}


def test_rows_that_cannot_be_read_delete_nothing(three_nights, capsys):
    (part,) = reader.parts_of(three_nights.files, three_nights.layout("n3"))
    three_nights.files.write(part, b"damaged")
    before = three_nights.names()
    assert three_nights.prune("--keep", "1") == 1
    error = capsys.readouterr().err
    assert error.startswith("pipeline.prune: nothing is deleted: cannot read the rows in ")
    assert three_nights.names() == before


def test_no_run_is_one_clear_line(outputs, capsys):
    assert outputs.prune("--keep", "1") == 1
    assert capsys.readouterr().err == f"pipeline.prune: there is no run under {outputs.output}\n"
    if locations.scheme_of(outputs.output) != "s3":
        assert not locations.local_path(outputs.output).exists()


@pytest.mark.parametrize("options", [["--keep", "0"], ["--unfinished"], ["--keep", "x"]])
def test_a_wrong_command_line_is_status_2(options):
    with pytest.raises(SystemExit) as caught:
        command.main(["out", *options])
    assert caught.value.code == 2


# Never while a run is going on, and no run meanwhile.


def test_it_refuses_while_a_run_is_going_on(three_nights, capsys):
    layout = three_nights.layout("n4")
    three_nights.files.write(layout.lock, Holder.here("its").to_bytes())
    before = three_nights.names()
    assert three_nights.prune("--keep", "1", "--compact", "--images") == 1
    error = capsys.readouterr().err
    assert f"run n4 is already going on: process {os.getpid()}" in error
    assert "nothing is deleted while a run is going on" in error
    assert three_nights.names() == before
    assert three_nights.prune() == 0  # it may look


def test_a_run_that_starts_while_the_runs_are_read_is_seen(three_nights, capsys, monkeypatch):
    """Reading them takes minutes; a run begins in that time and sees no lock of the command."""
    files, layout = three_nights.files, three_nights.layout("n4")
    read_runs = inventory.read_runs

    def meanwhile(*arguments):
        runs = read_runs(*arguments)
        files.write(layout.lock, Holder.here("its").to_bytes())
        refuse_while_pruning(files, three_nights.output)
        files.write(f"{three_nights.output}/{image_file('new')}", b"in no row yet")
        return runs

    monkeypatch.setattr(command, "read_runs", meanwhile)
    before = three_nights.names()
    assert three_nights.prune("--keep", "1", "--images", "--unfinished") == 1
    assert "nothing is deleted while a run is going on: run n4" in capsys.readouterr().err
    new = {image_file("new"), "runs/n4/lock.json"}
    assert three_nights.names() == before | new


def test_a_dead_run_s_lock_is_no_hindrance(three_nights):
    dead = Holder("t", "h", Holder.here("").boot, Holder.here("").pid_space, 2**22 + 1, "1")
    three_nights.files.write(three_nights.layout("n4").lock, dead.to_bytes())
    assert three_nights.prune("--keep", "1") == 0
    assert three_nights.run_ids() == {"n1", "n3", "n4"}


def test_no_run_starts_meanwhile_and_no_second_prune(three_nights):
    files, output = three_nights.files, three_nights.output
    refuse_while_pruning(files, output)
    with pruning(files, output, QUICK) as check:
        check()
        with pytest.raises(RunError, match=r"pipeline.prune is deleting runs under .*start again"):
            refuse_while_pruning(files, output)
        with (
            pytest.raises(RunError, match="another process prunes it"),
            pruning(files, output, QUICK),
        ):
            pass
    refuse_while_pruning(files, output)
    assert not [name for name in three_nights.names() if "lock.json" in name]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (StorageError(Reason.TIMEOUT, "no answer"), "cannot read the lock {}: no answer"),
        (RunError("s3.example.com did not answer for 20 s"), "s3.example.com did not answer"),
    ],
)
def test_a_lock_that_cannot_be_read_is_told_as_such(three_nights, error, says):
    """Neither by a traceback nor as the lock of another process."""
    files, output = three_nights.files, three_nights.output
    mine, theirs = Layout(output, ".prune").lock, Layout(output, "n4").lock
    files.write(theirs, b"")

    class Silent:
        def __init__(self, unread):
            self._unread = unread

        def __getattr__(self, name):
            return getattr(files, name)

        def read(self, uri, *more):
            if uri == self._unread:
                raise error
            return files.read(uri, *more)

    with pytest.raises(RunError, match=says.format(mine)):
        refuse_while_pruning(Silent(mine), output)
    with (
        pytest.raises(RunError, match=says.format(theirs)),
        pruning(Silent(theirs), output, QUICK),
    ):
        pass


def test_whoever_is_taken_for_dead_deletes_nothing_more(three_nights):
    files, output = three_nights.files, three_nights.output
    before = three_nights.names()
    slow = Timing(beat_s=60, dead_after_s=300, settle_s=0)
    with pruning(files, output, slow) as check:
        lock = Layout(output, ".prune").lock
        files.write(lock, Holder.here("another").to_bytes())
        (run,) = [r for r in inventory.read_runs(files, output) if r.run_id == "n2"]
        with pytest.raises(RunError, match="another process took over"):
            deletion.delete_run(files, output, run, check=check)
    files.delete(lock)
    assert three_nights.names() == before


# A kill at any moment.


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


class Deadly:
    """A storage whose process dies before or after its n-th change."""

    def __init__(self, files, kill_at):
        self._files, self._left = files, kill_at

    def __getattr__(self, name):
        return getattr(self._files, name)

    def _change(self, name, *arguments):
        self._step()
        result = getattr(self._files, name)(*arguments)
        self._step()
        return result

    def _step(self):
        self._left -= 1
        if self._left <= 0:
            raise Killed

    def write(self, *arguments):
        return self._change("write", *arguments)

    def write_file(self, *arguments):
        return self._change("write_file", *arguments)

    def delete(self, *arguments):
        return self._change("delete", *arguments)


def steps_until_done(outputs, prune):
    """Kills `prune` at each change in turn, until it gets through; yields after each kill."""
    for kill_at in range(1, 400):
        try:
            prune(Deadly(outputs.files, kill_at))
        except Killed:
            yield kill_at
        else:
            return
    raise AssertionError("it never ended")


def everything(outputs, run_id="n3"):
    """Compacts the newest run and deletes what can go, as the command does."""

    def prune(files):
        compaction.compact(files, outputs.layout(run_id), check=lambda: None)
        choice = deletion.choose(inventory.read_runs(files, outputs.output), keep=1)
        for run in choice.goes:
            deletion.delete_run(files, outputs.output, run, check=lambda: None)

    return prune


def test_a_kill_at_any_moment_loses_no_image_of_the_run_that_stays(three_nights):
    wanted, kills = three_nights.images("n3"), 0
    rows = rows_without_pointers(three_nights, "n3")
    for _ in steps_until_done(three_nights, everything(three_nights)):
        kills += 1
        assert three_nights.images("n3") == wanted
        assert rows_without_pointers(three_nights, "n3") == rows
        assert finished.latest_finished(three_nights.files, three_nights.output) == "n3"
        for run in inventory.read_runs(three_nights.files, three_nights.output):
            # A run that is still finished has all its rows, and they lead to images.
            if run.state is State.FINISHED and run.run_id != "n3":
                assert set(three_nights.images(run.run_id)) >= set("abc")
    assert kills > 10
    assert three_nights.run_ids() == {"n3"}
    assert three_nights.images("n3") == wanted
    assert not [name for name in three_nights.names() if "n1" in name or "n2" in name]


def test_a_half_deleted_run_that_begins_again_is_a_run(outputs):
    outputs.add("n1", "a")
    outputs.add("n2", "b")
    run = inventory.read_runs(outputs.files, outputs.output)[1]
    with pytest.raises(Killed):
        deletion.delete_run(Deadly(outputs.files, 8), outputs.output, run, check=lambda: None)
    (half,) = [r for r in inventory.read_runs(outputs.files, outputs.output) if r.run_id == "n1"]
    assert half.state is State.REMAINS
    outputs.add("n1", "c", is_finished=False)
    (again,) = [r for r in inventory.read_runs(outputs.files, outputs.output) if r.run_id == "n1"]
    assert again.state is State.UNFINISHED
