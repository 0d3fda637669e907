import io
import os

import pytest
from botocore.exceptions import IncompleteReadError

from pipeline.records import Reason, RunError
from pipeline.storage import s3
from pipeline.storage.base import StorageConfig, StorageError
from pipeline.storage.ranged import RangedFile, open_file
from pipeline.storage.routing import list_if_any, open_storage
from pipeline.storage.s3 import S3Storage


@pytest.fixture(params=["s3", "local"])
def place(request, tmp_path):
    """(storage, folder) for both kinds; the same promises hold for each."""
    if request.param == "local":
        return request.getfixturevalue("local_files"), str(tmp_path)
    return request.getfixturevalue("s3_files"), request.getfixturevalue("bucket").uri("folder")


def test_what_is_written_is_read_identified_and_listed(place):
    files, folder = place
    files.write(f"{folder}/a b.bin", b"0123456789")
    assert files.read(f"{folder}/a b.bin") == b"0123456789"
    assert files.read(f"{folder}/a b.bin", 2, 5) == b"234"
    assert files.read(f"{folder}/a b.bin", 8) == b"89"
    assert files.read(f"{folder}/a b.bin", 8, 100) == b"89"
    assert files.read(f"{folder}/a b.bin", 3, 3) == b""
    found = files.identify(f"{folder}/a b.bin")
    assert found.size_bytes == 10 and found.etag
    (listed,) = files.list(f"{folder}/")
    assert listed.size_bytes == 10 and files.read(listed.uri) == b"0123456789"


def test_equal_content_has_an_equal_etag(place):
    files, folder = place
    for name, data in (("1", b"same"), ("2", b"same"), ("3", b"other")):
        files.write(f"{folder}/{name}", data)
    etags = [files.identify(f"{folder}/{name}").etag for name in "123"]
    assert etags[0] == etags[1] != etags[2]


def test_missing_objects(place):
    files, folder = place
    for call in (files.identify, files.read):
        with pytest.raises(StorageError) as caught:
            call(f"{folder}/none")
        assert caught.value.reason == Reason.NOT_FOUND
    files.delete(f"{folder}/none")
    assert list_if_any(files, f"{folder}/none") == []


def test_write_file_and_move(place, tmp_path):
    files, folder = place
    source = tmp_path / "source"
    source.write_bytes(b"shard")
    files.write_file(f"{folder}/staged", source)
    files.move(f"{folder}/staged", f"{folder}/final/part")
    assert files.read(f"{folder}/final/part") == b"shard"
    with pytest.raises(StorageError):
        files.read(f"{folder}/staged")
    files.move(f"{folder}/staged", f"{folder}/final/part")  # a second try finds it done
    with pytest.raises(StorageError):
        files.move(f"{folder}/staged", f"{folder}/final/another")


def test_open_file_seeks(place):
    files, folder = place
    files.write(f"{folder}/m", b"abc" * 1000)
    with open_file(files, f"{folder}/m") as file:
        file.seek(2998)
        assert file.read() == b"bc"


def test_a_failed_local_write_leaves_nothing(local_files, tmp_path, monkeypatch):
    def no_space(self, data):
        with open(self, "wb") as file:  # noqa: PTH123
            file.write(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", no_space)
    with pytest.raises(StorageError, match="No space left"):
        local_files.write(str(tmp_path / "out/a"), b"abcdef")
    assert list((tmp_path / "out").iterdir()) == []


def test_pipes_devices_and_giants_do_not_hang(local_files, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero", str(tmp_path)):
        with pytest.raises(StorageError) as caught:
            local_files.identify(path)
        assert caught.value.reason == Reason.NOT_FOUND
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(1 << 38)
    assert local_files.identify(str(tmp_path / "giant")).size_bytes == 1 << 38


def test_a_changed_object_is_refused(s3_files, bucket):
    uri = bucket.put("a", b"old")
    etag = s3_files.identify(uri).etag
    assert s3_files.read(uri, etag=etag) == b"old"
    bucket.put("a", b"new")
    with pytest.raises(StorageError) as caught:
        s3_files.read(uri, etag=etag)
    assert caught.value.reason == Reason.CHANGED


def test_keys_are_literal(s3_files, bucket):
    for key in ("a?b", "a#b", "a[1]*", "a%20b", "a b", "ü/..x", "a+b"):
        uri = bucket.put(key, key.encode())
        assert s3_files.read(uri) == key.encode()
        assert uri in [item.uri for item in s3_files.list(bucket.uri(""))]


def test_another_bucket_that_is_missing_is_the_image_s_trouble(s3_files):
    with pytest.raises(StorageError) as caught:
        s3_files.read("s3://no-such-bucket-here/a.jpg")
    assert caught.value.reason == Reason.NOT_FOUND


def test_a_missing_bucket_stops_a_listing(s3_files):
    with pytest.raises(RunError, match="bucket's name"):
        list(s3_files.list("s3://no-such-bucket-here/p/"))


def test_a_wrong_endpoint_stops_a_listing():
    files = open_storage(StorageConfig("http://127.0.0.1:9", attempts=1))
    with pytest.raises(RunError, match="--s3_endpoint_url"):
        list(files.list("s3://bucket/p/"))
    with pytest.raises(StorageError) as caught:
        files.read("s3://bucket/p")
    assert caught.value.reason == Reason.TIMEOUT


def test_missing_credentials_stop_the_run(s3_endpoint, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    files = open_storage(StorageConfig(s3_endpoint, connections=3))
    for call in (files.read, files.identify, lambda uri: list(files.list(uri))):
        with pytest.raises(RunError, match="credentials"):
            call("s3://bucket/p")


class FlakyClient:
    """Answers, but the body breaks off a number of times."""

    def __init__(self, failures):
        self.failures = failures
        self.requests = 0

    def get_object(self, **_):
        self.requests += 1
        return {"Body": self}

    def read(self):
        if self.requests <= self.failures:
            raise IncompleteReadError(actual_bytes=3, expected_bytes=9)
        return b"whole"


@pytest.mark.parametrize(("failures", "succeeds"), [(0, True), (4, True), (5, False)])
def test_a_body_that_breaks_off_is_fetched_again(monkeypatch, failures, succeeds):
    monkeypatch.setattr(s3, "_FIRST_BACKOFF_S", 0)
    client = FlakyClient(failures)
    monkeypatch.setattr(S3Storage, "_client", client)
    files = S3Storage(StorageConfig())
    if succeeds:
        assert files.read("s3://bucket/a") == b"whole"
        return
    with pytest.raises(StorageError, match="5 attempts") as caught:
        files.read("s3://bucket/a")
    assert caught.value.reason == Reason.TIMEOUT


class CountingStorage:
    """Remembers which ranges were read; the rest is the real thing."""

    def __init__(self, files):
        self._files = files
        self.ranges = []

    def read(self, uri, start=0, stop=None, etag=None):
        self.ranges.append((start, stop))
        return self._files.read(uri, start, stop, etag)


def test_ranged_file_fetches_only_the_blocks_that_are_read(local_files, tmp_path):
    data = bytes(i % 251 for i in range(300_000))
    (tmp_path / "big").write_bytes(data)
    counting = CountingStorage(local_files)
    file = RangedFile(counting, str(tmp_path / "big"), len(data), None)
    assert file.read(1000) == data[:1000]
    assert file.read(10) == data[1000:1010]
    assert counting.ranges == [(0, 65536)]
    file.seek(-5, io.SEEK_END)
    assert file.read() == data[-5:]
    assert counting.ranges == [(0, 65536), (262144, 300_000)]
    file.seek(65_530)
    assert file.read(100) == data[65_530:65_630]
    assert file.whole() == data
    assert counting.ranges[2:] == [(65536, 131072), (131072, 300_000)]


def test_a_small_file_is_whole_after_its_first_block(local_files, tmp_path):
    (tmp_path / "small").write_bytes(b"x" * 5000)
    counting = CountingStorage(local_files)
    file = RangedFile(counting, str(tmp_path / "small"), 5000, None)
    file.read(10)
    assert file.whole() == b"x" * 5000
    assert counting.ranges == [(0, 5000)]
