"""The storage's promises and a whole run over a second S3 server, by HTTP and by HTTPS."""

import concurrent.futures
import io
import uuid

import boto3
import pyarrow.parquet as pq
import pytest

from pipeline import job
from pipeline.catalog import manifest
from pipeline.catalog.etags import identify_all
from pipeline.records import CatalogEntry, Reason, RunError
from pipeline.storage import retries, s3_folders
from pipeline.storage.base import StorageConfig, StorageError
from pipeline.storage.ranged import open_file
from pipeline.storage.routing import list_if_any, open_storage
from pipeline.storage.s3_client import forget_connections
from tests.pipeline.conftest import Bucket, image_bytes
from tests.pipeline.fault_proxy import fault_proxy, random_faults
from tests.pipeline.second_server import ACCOUNT, second_server

# Collected here too, with this module's bucket and proxy: the same faults before this server.
from tests.pipeline.test_faults import (  # noqa: F401
    test_a_lock_whose_answer_got_lost_is_ours,
    test_an_image_that_cannot_be_fetched_at_all_is_a_failed_row_and_can_be_retried,
    test_an_image_that_changes_between_probe_and_read_is_taken_as_it_is_now,
    test_an_image_that_never_stands_still_fails_as_changed,
    test_an_outage_of_two_seconds_costs_no_image,
    test_credentials_that_end_in_the_middle_stop_the_run_and_it_goes_on_later,
    test_each_fault_is_retried_and_its_attempts_are_told,
    test_what_will_not_get_better_is_asked_once,
)


@pytest.fixture(scope="module", params=["http", "https"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3rver")
    with second_server(folder, is_tls=request.param == "https") as endpoint:
        yield endpoint, folder / "server.crt"


@pytest.fixture
def bucket(server, monkeypatch):
    endpoint, certificate = server
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ACCOUNT)
    monkeypatch.setattr(retries, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(retries, "FIRST_THROTTLED_BACKOFF_S", 0.01)
    if endpoint.startswith("https"):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    forget_connections()
    client = boto3.session.Session().client(  # the default one keeps other tests' credentials
        "s3",
        endpoint_url=endpoint,
        config=boto3.session.Config(
            request_checksum_calculation="when_required", s3={"addressing_style": "path"}
        ),
    )
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    yield Bucket(name, endpoint, client)
    forget_connections()


@pytest.fixture
def files(bucket):
    return open_storage(StorageConfig(bucket.endpoint, attempts=2))


def test_what_is_written_is_there(files, bucket, tmp_path):
    uri = bucket.uri("folder/a b.bin")
    files.write(uri, b"0123456789")
    assert files.read(uri) == b"0123456789" and files.read(uri, 2, 5) == b"234"
    assert files.read(uri, 8) == b"89"
    found = files.identify(uri)
    assert found.size_bytes == 10 and files.read(uri, etag=found.etag) == b"0123456789"
    files.write(uri, b"another")
    with pytest.raises(StorageError) as caught:
        files.read(uri, etag=found.etag)
    assert caught.value.reason == Reason.CHANGED
    for data in (b"shard" * 100, bytes(range(256)) * (160 << 10)):
        (tmp_path / "shard").write_bytes(data)
        files.write_file(bucket.uri("staged"), tmp_path / "shard")
        files.move(bucket.uri("staged"), bucket.uri("final/part"))
        files.move(bucket.uri("staged"), bucket.uri("final/part"))
        with open_file(files, bucket.uri("final/part")) as file:
            assert file.read() == data
    assert bucket.keys() == ["final/part", "folder/a b.bin"]
    files.delete(uri)
    files.delete(uri)
    assert list(list_if_any(files, bucket.uri("folder"))) == []


def test_an_object_is_created_once(files, bucket):
    assert files.create(bucket.uri("lock"), b"mine")
    assert not files.create(bucket.uri("lock"), b"theirs")
    assert files.read(bucket.uri("lock")) == b"mine"
    # It ignores If-None-Match: see docs/storage.md.
    assert not files.honours_conditions(bucket.uri("runs"))
    assert bucket.keys() == ["lock"]


def test_missing_objects_and_buckets(files, bucket):
    for call in (files.identify, files.read):
        for uri in (bucket.uri("none"), "s3://no-such-bucket-here/a"):
            with pytest.raises(StorageError) as caught:
                call(uri)
            assert caught.value.reason == Reason.NOT_FOUND
    with pytest.raises(RunError, match="bucket's name"):
        list(files.list("s3://no-such-bucket-here/p/"))


def test_keys_are_literal_and_listed_to_the_end(files, bucket):
    keys = [*("a b", "a#b", "a%20b", "a+b", "ü/x"), *(f"many/{i:04d}" for i in range(1005))]
    for key in keys:
        bucket.put(key, key.encode())
    for key in keys[:5]:
        assert files.read(bucket.uri(key)) == key.encode()
    listed = {item.uri: item for item in files.list(bucket.uri(""))}
    assert set(listed) == {bucket.uri(key) for key in keys}
    entries = list(manifest.read_catalog(files, bucket.uri("many/")))
    assert len(entries) == 1005
    assert entries[7].etag == files.identify(bucket.uri("many/0007")).etag


def test_its_folders_are_listed_side_by_side(files, bucket, monkeypatch):
    """Out of byte order, too: names of folders beside names of files."""
    monkeypatch.setattr(s3_folders, "_PAGES_ALONE", 1)
    monkeypatch.setattr(s3_folders, "_MIN_KEYS_PER_FOLDER", 1)
    keys = [f"p/i{i:03d}/{j}.jpg" for i in range(400) for j in range(3)]
    keys += [f"p/i{i:03d}.jpg" for i in range(5)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: bucket.put(key, key.encode()), keys))
    pages = list(files.list_pages(bucket.uri("p/")))
    assert sorted(uri for page in pages for uri in page.uris) == sorted(map(bucket.uri, keys))


def test_its_listing_out_of_byte_order_hides_no_image(files, bucket):
    names = [f"p/i{i:02d}.jpg" for i in range(30)]
    uris = [bucket.put(name, name.encode()) for name in names]
    for i in range(30):
        bucket.put(f"p/i{i:02d}/alt.jpg", b"another")
    listed = [item.uri for item in files.list(bucket.uri("p/"))]
    assert listed != sorted(listed) and len(listed) == 60
    entries = [CatalogEntry(uri, uri, position) for position, uri in enumerate(uris)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(identify_all(files, entries, threads))
    assert [(one.reason, one.size_bytes) for one in found] == [(None, len(n)) for n in names]


def test_checksum_trailers_that_it_stores_are_found_out(bucket, monkeypatch):
    """Over TLS boto3 appends checksums by default; this server keeps them as content."""
    if bucket.endpoint.startswith("http:"):
        pytest.skip("over HTTP boto3 sends them as headers")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    forget_connections()
    with pytest.raises(StorageError, match=r"does not keep what is written.*10 bytes were sent"):
        open_storage(StorageConfig(bucket.endpoint)).write(bucket.uri("a"), b"0123456789")


def test_an_unknown_certificate_is_told(bucket, monkeypatch):
    if bucket.endpoint.startswith("http:"):
        pytest.skip("HTTP has no certificate")
    monkeypatch.delenv("AWS_CA_BUNDLE")
    forget_connections()
    with pytest.raises(RunError, match="AWS_CA_BUNDLE"):
        open_storage(StorageConfig(bucket.endpoint)).read(bucket.uri("a"))


@pytest.fixture
def proxy(bucket):
    if bucket.endpoint.startswith("https"):
        pytest.skip("faults are injected into HTTP")
    with fault_proxy(bucket.endpoint) as proxy:
        yield proxy


def rows_of(bucket):
    rows = [
        row
        for key in bucket.keys("out/rows/")
        for row in pq.read_table(io.BytesIO(bucket.get(key))).to_pylist()
    ]
    return {row["uri"].rpartition("/")[2]: row for row in rows}


def run_job(bucket, endpoint, *arguments):
    places = ("--input", bucket.uri("in/"), "--output", bucket.uri("out"))
    return job.run([*places, "--s3_endpoint_url", endpoint, "--workers", "1", *arguments])


def test_a_whole_run_and_the_next(bucket):
    for i in range(3):
        bucket.put(f"in/{i}.jpg", image_bytes(36, 40, seed=i))
    bucket.put("in/broken.jpg", image_bytes(90, 90)[:400])
    arguments = ("--images", "both", "--max_failure_rate", "0.5", "--report", "no")
    assert run_job(bucket, bucket.endpoint, "--run_id", "night1", *arguments) == 0
    rows = rows_of(bucket)
    assert [rows[f"{i}.jpg"]["status"] for i in range(3)] == ["upscaled"] * 3
    assert rows["broken.jpg"]["reason"] == "unreadable"
    for i in range(3):
        row = rows[f"{i}.jpg"]
        assert bucket.get(f"out/{row['image_uri']}") == row["image"]["bytes"]
    assert run_job(bucket, bucket.endpoint, "--run_id", "night2", *arguments) == 0
    statuses = [
        row["status"]
        for key in bucket.keys("out/rows/run_id=night2")
        for row in pq.read_table(io.BytesIO(bucket.get(key))).to_pylist()
    ]
    assert sorted(statuses) == ["failed", *["unchanged"] * 3]


def test_faults_at_a_fifth_of_all_calls_lose_nothing(bucket, proxy):
    for i in range(12):
        bucket.put(f"in/{i:02d}.jpg", image_bytes(36, 40, seed=i))
    proxy.fault = random_faults(0.2, seed=4)
    assert run_job(bucket, proxy.endpoint, "--run_id", "night1", "--report", "no") == 0
    assert proxy.injected > 10
    assert [row["status"] for row in rows_of(bucket).values()] == ["upscaled"] * 12
