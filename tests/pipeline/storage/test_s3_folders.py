"""Listings folder by folder: the same objects as one listing, whatever the server's order."""

import random
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import Reason
from pipeline.storage import s3_folders
from pipeline.storage.base import StorageError
from pipeline.storage.s3_listing import ListingPage

PAGE = 10


class FakeBucket:
    """ListObjectsV2 over some keys, as S3 or as a server with an order of its own."""

    def __init__(self, keys, *, order=str.encode, page_keys=PAGE, knows_delimiter=True):
        self.keys = sorted(keys, key=order)
        self.order, self.page_keys, self.knows_delimiter = order, page_keys, knows_delimiter
        self.requests, self.at_once, self.most_at_once = [], 0, 0
        self._lock = threading.Lock()
        self.pause_s = 0.0

    def ask(self, arguments):
        with self._lock:
            self.requests.append(arguments)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.pause_s)
        try:
            return self._page(**arguments)
        finally:
            with self._lock:
                self.at_once -= 1

    def _page(self, Prefix, ContinuationToken="0", StartAfter="", Delimiter=""):
        delimiter = Delimiter if self.knows_delimiter else ""
        names = {}
        for key in self.keys:
            if key.startswith(Prefix) and key.encode() > StartAfter.encode():
                head, found, _ = key[len(Prefix) :].partition(delimiter or "\0")
                names[Prefix + head + found if delimiter and found else key] = bool(
                    delimiter and found
                )
        start = int(ContinuationToken)
        some = list(names.items())[start : start + self.page_keys]
        keys = [name for name, is_folder in some if not is_folder]
        is_cut = start + self.page_keys < len(names)
        return ListingPage(
            keys=keys,
            etags=[f"e{key}" for key in keys],
            sizes_bytes=[len(key) for key in keys],
            modified=["" for _ in keys],
            prefixes=[name for name, is_folder in some if is_folder],
            next_token=str(start + self.page_keys) if is_cut else "",
            is_truncated=is_cut,
        )

    def list(self, prefix="", **options):
        """All keys that the pages have, after a check that the columns belong together."""
        found = []
        for page in s3_folders.list_pages(self.ask, prefix, **options):
            assert page.etags == [f"e{key}" for key in page.keys]
            assert page.sizes_bytes == [len(key) for key in page.keys]
            found += page.keys
        return found


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(s3_folders, "_MIN_KEYS_PER_FOLDER", 5)


def folders(count, files, start=""):
    return [f"{start}{i:03d}/{j:03d}.jpg" for i in range(count) for j in range(files)]


def test_folders_are_listed_side_by_side_in_the_order_of_one_listing():
    bucket = FakeBucket([*folders(40, 25, "p/"), "p/", "p/000.txt", "p/zz.txt", "q/x"])
    bucket.pause_s = 0.01
    assert bucket.list("p/") == [key for key in bucket.keys if key.startswith("p/")]
    assert 2 <= bucket.most_at_once <= 8
    asked = [arguments["Prefix"] for arguments in bucket.requests]
    assert asked.count("p/") == 4 + 5  # the first pages, and the folders' names
    assert {f"p/{i:03d}/" for i in range(40)} <= set(asked)


def test_a_large_folder_within_is_split_again():
    bucket = FakeBucket([*folders(12, 20, "p/all/"), *folders(2, 3, "p/few/"), "p/zz"])
    assert bucket.list("p/") == bucket.keys
    asked = [arguments["Prefix"] for arguments in bucket.requests]
    assert "p/all/007/" in asked and "p/few/001/" not in asked


@pytest.mark.parametrize(
    "keys",
    [
        folders(1, 35),  # few
        [f"{i:04d}.jpg" for i in range(300)],  # no folders
        folders(100, 2),  # small folders
    ],
)
def test_what_is_not_worth_it_stays_one_chain(keys):
    bucket = FakeBucket(keys)
    assert bucket.list() == bucket.keys
    assert all("Delimiter" not in arguments for arguments in bucket.requests)
    assert len(bucket.requests) == -(-len(keys) // PAGE)


def test_a_listing_behind_a_key_stays_one_chain():
    bucket = FakeBucket(folders(40, 25))
    assert bucket.list(after="020/") == bucket.keys[500:]
    assert bucket.most_at_once == 1


def test_a_server_that_knows_no_delimiter_is_listed_in_one_chain():
    bucket = FakeBucket(folders(40, 25), knows_delimiter=False)
    assert bucket.list() == bucket.keys
    assert len(bucket.requests) == 100 + 1


def test_too_many_folders_to_name_stay_one_chain(monkeypatch):
    monkeypatch.setattr(s3_folders, "_MAX_FOLDER_PAGES", 3)
    bucket = FakeBucket(folders(40, 25))
    assert bucket.list() == bucket.keys
    assert len(bucket.requests) == 100 + 4


def shuffled(key):
    """An order that has nothing to do with the bytes'."""
    return random.Random(key).random()


def by_parts(key):
    """As s3rver lists: `i/x` before `i.jpg`."""
    return [part.encode() for part in key.split("/")]


@pytest.mark.parametrize("order", [shuffled, by_parts])
def test_an_order_of_the_server_s_own_loses_and_doubles_no_object(order):
    keys = [*folders(30, 20), *(f"{i:03d}.jpg" for i in range(30)), "005/010/deep.jpg"]
    bucket = FakeBucket(keys, order=order)
    found = bucket.list()
    assert sorted(found) == sorted(keys)


NAMES = st.text("ab/. -", min_size=1, max_size=6)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    keys=st.sets(NAMES, min_size=1, max_size=150),
    prefix=st.sampled_from(["", "a", "a/", "b/a/"]),
    page_keys=st.integers(1, 4),
    order=st.sampled_from([str.encode, shuffled, by_parts]),
)
def test_any_keys_are_listed_once(keys, prefix, page_keys, order):
    bucket = FakeBucket(keys, page_keys=page_keys, order=order)
    found = bucket.list(prefix)
    wanted = [key for key in bucket.keys if key.startswith(prefix)]
    assert found == wanted if order is str.encode else sorted(found) == sorted(wanted)


def test_an_error_of_a_folder_is_the_listing_s():
    bucket = FakeBucket(folders(40, 25))
    ask = bucket.ask

    def fail(arguments):
        if arguments["Prefix"] == "030/":
            raise StorageError(Reason.ACCESS_DENIED, "no")
        return ask(arguments)

    bucket.ask, found = fail, []
    with pytest.raises(StorageError, match="no"):
        for page in s3_folders.list_pages(fail, ""):
            found += page.keys
    assert found == bucket.keys[: 30 * 25]


def test_whoever_stops_early_asks_for_little_more():
    bucket = FakeBucket(folders(400, 25))
    pages = s3_folders.list_pages(bucket.ask, "")
    next(pages)
    assert len(bucket.requests) == 1
    for _ in range(5):
        next(pages)
    pages.close()
    time.sleep(0.2)
    assert len(bucket.requests) < 4 + 40 + 60
