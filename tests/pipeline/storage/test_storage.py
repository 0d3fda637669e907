import errno
import io
import os
import resource

import pytest

from model import files as whole_files
from pipeline.records import Reason, RunError
from pipeline.storage import local, ranged
from pipeline.storage.base import StorageConfig, StorageError
from pipeline.storage.ranged import open_file, open_object
from pipeline.storage.routing import list_if_any, open_storage


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
    assert list(list_if_any(files, f"{folder}/none")) == []


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


def test_a_copy_without_room_for_it_names_the_folder(local_files, tmp_path):
    (tmp_path / "m").write_bytes(bytes(2 << 20))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # as a full disk does
    try:
        with pytest.raises(RunError, match=r"cannot write temporary files .* set TMPDIR"):
            open_file(local_files, str(tmp_path / "m"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_open_file_seeks(place):
    files, folder = place
    files.write(f"{folder}/m", b"abc" * 1000)
    with open_file(files, f"{folder}/m") as file:
        file.seek(2998)
        assert file.read() == b"bc"


@pytest.fixture
def failing_disk(monkeypatch):
    """Lets each write of bytes to this machine's files fail half way, with an error number."""

    def fail_with(number):
        def fail(self, data):
            with open(self, "wb") as file:  # noqa: PTH123
                file.write(data[:3])
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("pathlib.Path.write_bytes", fail)

    return fail_with


@pytest.mark.parametrize("operation", ["write", "create"])
def test_a_failed_local_write_leaves_nothing(local_files, tmp_path, failing_disk, operation):
    failing_disk(errno.EIO)
    with pytest.raises(StorageError, match="Input/output error"):
        getattr(local_files, operation)(str(tmp_path / "out/a"), b"abcdef")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "No space left on device; free space there, or name another folder"),
        (errno.EDQUOT, "Disk quota exceeded; free space there, or name another folder"),
        (errno.EROFS, "Read-only file system; name another folder"),
    ],
)
@pytest.mark.parametrize("operation", ["write", "create"])
def test_a_disk_that_takes_nothing_stops_the_run(
    local_files, tmp_path, failing_disk, operation, number, told
):
    failing_disk(number)
    with pytest.raises(RunError) as caught:
        getattr(local_files, operation)(str(tmp_path / "out/a"), b"abcdef")
    assert str(caught.value) == f"cannot write {tmp_path}/out/a: {told}"
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


def test_names_that_are_not_utf8_are_read_by_the_uri_that_lists_them(local_files, tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9 %.jpg")).write_bytes(b"x")
    (listed,) = local_files.list(f"{tmp_path}/")
    assert listed.uri.endswith("caf%E9%20%25.jpg")
    assert local_files.read(listed.uri) == b"x" and local_files.identify(listed.uri).etag


@pytest.mark.parametrize("uri", ["file:///tmp/a%00b.jpg", "file://[abc/x.jpg", "file://host/a"])
def test_a_uri_that_names_no_file_is_one_bad_uri(local_files, uri):
    for call in (local_files.identify, local_files.read):
        with pytest.raises(StorageError) as caught:
            call(uri)
        assert caught.value.reason == Reason.BAD_URI


def test_a_file_uri_has_no_query_and_no_fragment(local_files, tmp_path):
    (tmp_path / "a?b#c").write_bytes(b"x")
    assert local_files.read(f"file://{tmp_path}/a?b#c") == b"x"
    assert local_files.read(f"file://localhost{tmp_path}/a%3Fb%23c") == b"x"


def test_files_that_vanish_while_they_are_listed_are_left_out(local_files, tmp_path):
    for name in ("a", "b", "c", "d/e", "f"):
        local_files.write(str(tmp_path / name), b"x")
    listing = local_files.list(f"{tmp_path}/")
    assert next(listing).uri.endswith("/a")
    (tmp_path / "b").unlink()
    (tmp_path / "d/e").unlink()
    (tmp_path / "d").rmdir()
    assert [item.uri[-1] for item in listing] == ["c", "f"]


def test_a_local_file_that_was_rewritten_is_refused(local_files, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    etag = local_files.identify(str(path)).etag
    assert local_files.read(str(path), 1, 3, etag) == b"ld"
    path.write_bytes(b"new, and longer")
    with pytest.raises(StorageError) as caught:
        local_files.read(str(path), 1, 3, etag)
    assert caught.value.reason == Reason.CHANGED
    assert local_files.read(str(path), etag=local_files.identify(str(path)).etag)


def test_unfinished_files_are_not_listed(local_files, tmp_path):
    (tmp_path / ".a.jpg.partial-12-345").write_bytes(b"ha")
    (tmp_path / ".hidden.jpg").write_bytes(b"x")
    assert [item.uri.rpartition("/")[2] for item in local_files.list(f"{tmp_path}/")] == [
        ".hidden.jpg"
    ]


def test_unfinished_files_are_found_in_all_folders_and_removed(local_files, tmp_path):
    local_files.write(str(tmp_path / "a b/.c/x.parquet"), b"x")
    left = ["a b/.c/.x.parquet.partial-12-345", "a b/.y.keras.partial-1-2.keras"]
    for path in left:
        (tmp_path / path).write_bytes(b"half")
    (tmp_path / ".folder.partial-1-2").mkdir()
    (tmp_path / ".link.partial-1-2").symlink_to(tmp_path / "a b/.c/x.parquet")
    for folder in (str(tmp_path), tmp_path.as_uri()):
        found = local.unfinished_files(folder)
        assert [(item.uri, item.size_bytes) for item in found] == [
            ((tmp_path / path).as_uri(), 4) for path in left
        ]
    local.remove_unfinished(str(tmp_path))
    assert local.unfinished_files(str(tmp_path)) == []
    assert (tmp_path / "a b/.c/x.parquet").exists() and (tmp_path / ".link.partial-1-2").exists()
    assert local.unfinished_files(str(tmp_path / "missing")) == []


def test_a_creator_is_not_disturbed_by_who_tidies_up(local_files, tmp_path, monkeypatch):
    flush = whole_files.flush_to_disk

    def tidied_up_meanwhile(path):
        flush(path)
        monkeypatch.undo()
        local.remove_unfinished(str(tmp_path))

    monkeypatch.setattr(whole_files, "flush_to_disk", tidied_up_meanwhile)
    assert local_files.create(str(tmp_path / "lock"), b"mine")
    assert local_files.read(str(tmp_path / "lock")) == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_one_creator_wins(place):
    files, folder = place
    assert files.create(f"{folder}/lock", b"mine")
    assert not files.create(f"{folder}/lock", b"theirs")
    assert files.read(f"{folder}/lock") == b"mine"
    assert files.honours_conditions(folder)
    assert len(list(list_if_any(files, folder))) == 1


def test_a_file_system_without_links_creates_exclusively(local_files, tmp_path, monkeypatch):
    def no_links(self, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", no_links)
    assert local_files.create(str(tmp_path / "lock"), b"mine")
    assert not local_files.create(str(tmp_path / "lock"), b"theirs")
    assert local_files.read(str(tmp_path / "lock")) == b"mine"


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


def test_an_impossible_bucket_is_named_without_a_request(s3_files):
    with pytest.raises(RunError, match="My bucket/: no bucket can have this name"):
        list(s3_files.list("s3://My bucket/"))


def test_a_wrong_endpoint_stops_a_listing():
    waiting = open_storage(StorageConfig("http://127.0.0.1:9", attempts=1, outage_s=0.1))
    for call in (waiting.read, waiting.identify, lambda uri: list(waiting.list(uri))):
        with pytest.raises(RunError, match="--s3_endpoint_url"):
            call("s3://bucket/p/")
    files = open_storage(StorageConfig("http://127.0.0.1:9", attempts=1, outage_s=0))
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
        uri = "s3://bucket/a b\n.jpg?X-Amz-Signature=planted"
        with pytest.raises(RunError, match=r"no usable AWS credentials to \w+ s3://bucket/a \("):
            call("s3://bucket/a")
        with pytest.raises(RunError) as caught:
            call(uri)
        assert "planted" not in str(caught.value) and "\n" not in str(caught.value)


class ShrunkStorage:
    """An object that lost its end after it was identified, on a server without If-Match."""

    def __init__(self, files, left):
        self._files, self._left = files, left

    def read(self, uri, start=0, stop=None, etag=None):
        return self._files.read(uri, start, min(stop, self._left))


@pytest.mark.parametrize("left", [0, 100, 65_536])
def test_an_object_that_shrank_is_changed_and_no_endless_loop(local_files, tmp_path, left):
    (tmp_path / "big").write_bytes(bytes(70_000))
    file = open_object(ShrunkStorage(local_files, left), str(tmp_path / "big"), 70_000, None)
    with pytest.raises(StorageError) as caught:
        io.BufferedReader(file).read()
    assert caught.value.reason == Reason.CHANGED


def test_an_object_of_many_slow_blocks_is_given_up(local_files, tmp_path, monkeypatch):
    monkeypatch.setattr(ranged, "_DEADLINE_S", -1e9)
    (tmp_path / "big").write_bytes(bytes(70_000))
    file = open_object(local_files, str(tmp_path / "big"), 70_000, None)
    with pytest.raises(StorageError) as caught:
        file.whole()
    assert caught.value.reason == Reason.TIMEOUT
