import threading

import pytest

from pipeline.runtime.look_ahead import LookAhead


@pytest.fixture
def look_ahead():
    opened = []

    def open_one(function, *, items=2, threads=4):
        opened.append(LookAhead(function, items=items, threads=threads))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_every_item_gets_its_result(look_ahead):
    ahead = look_ahead(lambda number: number**2)
    found = [result for number in range(50) for result in ahead.submit(number)]
    assert sorted([*found, *ahead.drain()]) == [number**2 for number in range(50)]
    assert list(ahead.drain()) == []


def test_submit_waits_only_when_too_many_items_are_under_way(look_ahead):
    may_end = threading.Event()
    ahead = look_ahead(lambda number: may_end.wait(60) and number, items=2)
    assert list(ahead.submit(1)) == [] and list(ahead.submit(2)) == []
    threading.Timer(0.2, may_end.set).start()
    assert set(ahead.submit(3)) <= {1, 2, 3} and may_end.is_set()


def test_an_error_reaches_the_caller(look_ahead):
    def fail(number):
        raise ValueError(number)

    ahead = look_ahead(fail, items=0)
    with pytest.raises(ValueError, match="7"):
        list(ahead.submit(7))


def test_a_new_bundle_does_not_get_results_of_a_failed_one(look_ahead):
    may_end = threading.Event()
    ahead = look_ahead(lambda number: may_end.wait(60) and number)
    assert list(ahead.submit(1)) == []
    ahead.forget()
    may_end.set()
    assert sorted([*ahead.submit(2), *ahead.drain()]) == [2]
