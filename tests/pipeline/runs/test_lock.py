import dataclasses
import datetime
import json
import os
import subprocess
import sys
import threading

import pytest

from pipeline.records import RunError
from pipeline.runs import lock
from pipeline.runs.lock import RunLock, describe_this_process

NOW = datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC)


@pytest.fixture(params=["s3", "local"])
def place(request, tmp_path):
    """(storage, URI of a lock)."""
    if request.param == "local":
        return request.getfixturevalue("local_files"), str(tmp_path / "runs/r/lock.json")
    return request.getfixturevalue("s3_files"), request.getfixturevalue("bucket").uri("lock.json")


def exists(files, uri):
    return bool(list(files.list(uri.rpartition("/")[0] + "/")))


def test_the_second_of_two_runs_refuses(place):
    files, uri = place
    with RunLock(files, uri, "night1"):
        with pytest.raises(RunError, match=rf"night1 is already going on: process {os.getpid()}"):
            RunLock(files, uri, "night1").__enter__()
        assert exists(files, uri)
    assert not exists(files, uri)
    with RunLock(files, uri, "night1"):
        pass


def test_of_many_that_start_at_once_one_gets_it(place):
    files, uri = place
    refused, held, barrier = [], [], threading.Barrier(8)

    def start():
        one = RunLock(files, uri, "night1")
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
    held[0].__exit__(None, None, None)


def other_process(**changes):
    return dataclasses.replace(describe_this_process("other", NOW), **changes)


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize(
    ("changes", "after_s", "dead"),
    [
        ({}, 0, False),
        ({}, 10_000, False),  # silent, but its process is there: a stopped machine, perhaps
        ({"started": "1"}, 0, True),  # another process that got the same number
        ({"boot": "before the last start"}, 0, True),
        ({"pid_space": "another container"}, 100, False),
        ({"pid_space": "another container"}, 130, True),
        ({"host": "elsewhere"}, 100, False),
        ({"host": "elsewhere"}, 130, True),
    ],
)
def test_who_is_taken_for_dead(changes, after_s, dead):
    assert other_process(**changes).is_dead(NOW + datetime.timedelta(seconds=after_s)) == dead


def test_a_dead_process_s_lock_is_taken_over_at_once(place):
    files, uri = place
    holder = other_process(pid=dead_pid(), beat_at=datetime.datetime.now(datetime.UTC).isoformat())
    files.write(uri, json.dumps(dataclasses.asdict(holder)).encode())
    with RunLock(files, uri, "night1"):
        assert json.loads(files.read(uri))["pid"] == os.getpid()


def test_it_gives_signs_of_life_and_notices_a_loss(local_files, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT_S", 0.01)
    interrupted = threading.Event()
    monkeypatch.setattr(lock._thread, "interrupt_main", interrupted.set)
    uri = str(tmp_path / "lock.json")
    with RunLock(local_files, uri, "night1") as held:
        first = local_files.read(uri)
        while local_files.read(uri) == first:
            pass
        theirs = json.dumps(dataclasses.asdict(other_process())).encode()
        while not interrupted.wait(0.01):
            local_files.write(uri, theirs)  # again if a beat came in between
        assert held.is_lost
    assert local_files.read(uri) == theirs
