"""The run's lock: who is taken for dead, and who may publish."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.records import Reason, RunError
from pipeline.runs import lock
from pipeline.runs.layout import Layout
from pipeline.runs.lock import RunLock, Timing
from pipeline.runtime.holder import Holder
from pipeline.storage.base import StorageError

QUICK = Timing(beat_s=0.02, dead_after_s=0.4, settle_s=0.1)
SLOW = Timing(beat_s=60, dead_after_s=300, settle_s=0)


@pytest.fixture(params=["s3", "local"])
def place(request, tmp_path):
    """(storage, layout) of a run."""
    if request.param == "local":
        return request.getfixturevalue("local_files"), Layout(str(tmp_path / "out"), "night1")
    uri = request.getfixturevalue("bucket").uri("out")
    return request.getfixturevalue("s3_files"), Layout(uri, "night1")


def locked(files, layout, timing=SLOW, on_lost=lambda: None):
    return RunLock(files, layout, on_lost, timing)


def exists(files, layout):
    return any(item.uri.endswith("/lock.json") for item in files.list(f"{layout.folder}/"))


def elsewhere(**changes):
    """A process on a machine that this one knows nothing of."""
    return dataclasses.replace(
        Holder.here("other"), **({"host": "elsewhere", "boot": "theirs"} | changes)
    )


def test_the_second_of_two_runs_refuses(place):
    files, layout = place
    with locked(files, layout):
        with pytest.raises(RunError, match=rf"night1 is already going on: process {os.getpid()}"):
            locked(files, layout).__enter__()
        assert exists(files, layout)
    assert not exists(files, layout)
    with locked(files, layout):
        pass


def test_of_many_that_start_at_once_one_gets_it(place):
    files, layout = place
    refused, held, barrier = [], [], threading.Barrier(8)

    def start():
        one = locked(files, layout)
        barrier.wait()
        try:
            held.append(one.__enter__())
        except RunError as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 7)
    held[0].release()


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize(
    ("changes", "alive"),
    [
        ({}, True),  # silent or not, its process is there: a stopped one, perhaps
        ({"started": "1"}, False),  # another process that got the same number
        ({"boot": "before the last start"}, None),
        ({"pid_space": "another container"}, None),
        ({"boot": ""}, None),  # no Linux
    ],
)
def test_this_machine_knows_its_own_processes_only(changes, alive):
    """Another boot of a machine of the same name may be another machine."""
    assert dataclasses.replace(Holder.here("other"), **changes).is_alive() is alive


def test_a_dead_process_s_lock_is_taken_over_at_once(place):
    files, layout = place
    holder = dataclasses.replace(Holder.here("other"), pid=dead_pid())
    files.write(layout.lock, holder.to_bytes())
    with locked(files, layout, dataclasses.replace(SLOW, settle_s=0)):
        assert json.loads(files.read(layout.lock))["pid"] == os.getpid()


@pytest.mark.parametrize("content", [elsewhere().to_bytes(), b"", b'{"pid": 1}', b"\xff garbage"])
def test_a_lock_that_does_not_change_while_it_is_watched_is_taken_over(place, content):
    """Whatever stands in it: garbage does not block a run for ever."""
    files, layout = place
    files.write(layout.lock, content)
    with locked(files, layout, QUICK) as held:
        lock.check(files, layout, held.token)


class Beating:
    """A holder elsewhere that writes its heartbeat, and a clock that nobody looks at."""

    def __init__(self, files, layout):
        self.files, self.layout, self.ended = files, layout, threading.Event()
        self.files.write(layout.lock, elsewhere().to_bytes())
        self.thread = threading.Thread(target=self.beat)

    def beat(self):
        beats = 0
        while not self.ended.wait(0.02):
            beats += 1
            self.files.write(self.layout.lock, elsewhere(beats=beats).to_bytes())

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def test_a_heartbeat_that_changes_is_a_live_process_whatever_its_clock_says(place):
    files, layout = place
    with (
        Beating(files, layout),
        pytest.raises(RunError, match=r"already going on: process .* on elsewhere"),
    ):
        locked(files, layout, dataclasses.replace(QUICK, dead_after_s=60)).__enter__()


def test_a_process_notices_that_it_lost_the_run(local_files, tmp_path):
    layout, lost = Layout(str(tmp_path / "out"), "night1"), threading.Event()
    with locked(local_files, layout, QUICK, lost.set) as held:
        first = local_files.read(layout.lock)
        while local_files.read(layout.lock) == first:
            pass
        theirs = elsewhere().to_bytes()
        while not lost.wait(0.01):
            local_files.write(layout.lock, theirs)  # again if a beat came in between
        with pytest.raises(RunError, match="another process took over run night1"):
            lock.check(local_files, layout, held.token)
    assert local_files.read(layout.lock) == theirs  # and does not remove the other's lock


def test_a_run_without_its_lock_may_not_publish(place):
    files, layout = place
    with locked(files, layout) as held:
        files.delete(layout.lock)
        with pytest.raises(RunError, match="took over"):
            lock.check(files, layout, held.token)


def test_a_job_that_goes_on_without_this_process_keeps_the_lock(place):
    files, layout = place
    with locked(files, layout) as held:
        held.leave()
    lock.check(files, layout, held.token)
    with pytest.raises(RunError, match=r"was submitted to a runner .* delete .*lock\.json"):
        locked(files, layout, QUICK).__enter__()
    lock.check(files, layout, held.token)
    lock.remove(files, layout, "another token")
    assert exists(files, layout)
    lock.remove(files, layout, held.token)
    assert not exists(files, layout)


def test_a_job_that_has_ended_before_this_process_left_it_has_no_lock(place):
    files, layout = place
    with locked(files, layout) as held:
        lock.remove(files, layout, held.token)
        held.leave()
    assert not exists(files, layout)


def test_a_finished_job_that_removed_its_lock_is_not_lost(local_files, tmp_path):
    layout, lost = Layout(str(tmp_path / "out"), "night1"), threading.Event()
    with locked(local_files, layout, QUICK, lost.set) as held:
        local_files.write(layout.success, b"")
        lock.remove(local_files, layout, held.token)
        assert not lost.wait(0.3)


class Away:
    """A storage whose endpoint does not answer the next requests."""

    def __init__(self, files):
        self._files, self.unanswered = files, 0

    def __getattr__(self, name):
        if self.unanswered:
            self.unanswered -= 1
            raise RunError("the endpoint does not answer")
        return getattr(self._files, name)


def test_a_lock_is_left_once_the_endpoint_answers_again(local_files, tmp_path, monkeypatch):
    layout, files, pauses_s = Layout(str(tmp_path / "out"), "night1"), Away(local_files), []
    monkeypatch.setattr(lock.time, "sleep", pauses_s.append)
    with locked(files, layout) as held:
        files.unanswered = 2
        held.leave()
    assert Holder.from_bytes(local_files.read(layout.lock)).is_left
    assert pauses_s == [SLOW.beat_s] * 2


def test_a_lock_that_cannot_be_removed_is_a_warning(local_files, tmp_path, caplog):
    files = Away(local_files)
    with locked(files, Layout(str(tmp_path / "out"), "night1")):
        files.unanswered = 9
    assert "cannot remove the lock" in caplog.text


class IgnoresConditions:
    """A server that answers every conditional write with success."""

    def __init__(self, files):
        self._files = files

    def __getattr__(self, name):
        return getattr(self._files, name)

    def honours_conditions(self, folder):
        return False

    def create(self, uri, data):
        self._files.write(uri, data)
        return True


def test_where_conditions_are_ignored_one_of_two_gets_the_lock(local_files, tmp_path, caplog):
    layout = Layout(str(tmp_path / "out"), "night1")
    files, barrier, held, refused = IgnoresConditions(local_files), threading.Barrier(2), [], []

    def start():
        one = locked(files, layout, dataclasses.replace(SLOW, settle_s=0.5))
        barrier.wait()
        try:
            held.append(one.__enter__())
        except RunError:
            refused.append(one)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 1)
    lock.check(files, layout, held[0].token)
    assert "ignores conditional writes" in caplog.text
    held[0].release()


def test_an_output_that_cannot_be_written_is_named(local_files, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    layout = Layout(str(tmp_path / "file/out"), "night1")
    with pytest.raises(RunError, match=r"--output .*/file/out cannot be written"):
        locked(local_files, layout).__enter__()


def test_a_storage_fault_during_a_heartbeat_is_a_warning(local_files, tmp_path, caplog):
    layout, asked = Layout(str(tmp_path / "out"), "night1"), threading.Event()

    class Failing(IgnoresConditions):
        is_down = False

        def honours_conditions(self, folder):
            return True

        def create(self, uri, data):
            return self._files.create(uri, data)

        def read(self, *arguments, **options):
            if self.is_down:
                asked.set()
                raise StorageError(Reason.TIMEOUT, "no answer")
            return self._files.read(*arguments, **options)

    files = Failing(local_files)
    with locked(files, layout, QUICK) as held:
        files.is_down = True
        assert asked.wait(60)
        files.is_down = False
        lock.check(files, layout, held.token)
    assert "cannot renew the lock" in caplog.text


def test_a_finished_run_keeps_no_lock_of_a_dead_process(local_files, tmp_path):
    layout = Layout(str(tmp_path), "night1")
    dead = dataclasses.replace(Holder.here("token"), pid=2**22 + 1, started="1")
    half = Path(layout.folder, ".report.html.partial-12-345")
    for holder, stays in ((dead, False), (Holder.here("token"), True)):
        local_files.write(layout.lock, holder.to_bytes())
        half.write_bytes(b"half")
        lock.remove_if_dead(local_files, layout)
        assert Path(layout.lock).exists() is stays
        assert half.exists() is stays
