import concurrent.futures
import random

import pytest

from pipeline.catalog.etags import identify_all
from pipeline.records import CatalogEntry, Reason
from tests.pipeline.fault_proxy import fault_proxy


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def counted(bucket):
    from pipeline.storage.base import StorageConfig  # noqa: PLC0415
    from pipeline.storage.routing import open_storage  # noqa: PLC0415

    with fault_proxy(bucket.endpoint) as proxy:
        yield open_storage(StorageConfig(proxy.endpoint, attempts=2)), proxy


def entry(uri, position=0, **fields):
    return CatalogEntry(uri, uri, position, **fields)


def fill(bucket, names):
    return {name: bucket.put(name, name.encode()) for name in names}


def as_asked(bucket, uri):
    head = bucket.client.head_object(Bucket=bucket.name, Key=uri.partition(f"{bucket.name}/")[2])
    return head["ETag"].strip('"'), head["ContentLength"]


def test_a_listing_tells_the_same_as_requests(bucket, counted, threads):
    files, proxy = counted
    uris = list(
        fill(bucket, [f"p/{i:03d}.png" for i in range(60)] + ["p/ü~.png", "p/a b"]).values()
    )
    wanted = random.Random(1).sample(uris, 40)
    found = list(identify_all(files, map(entry, wanted), threads))
    assert [one.uri for one in found] == wanted
    for one in found:
        assert (one.etag, one.size_bytes) == as_asked(bucket, one.uri)
    assert len(proxy.of("HEAD", "/p/")) == 1
    assert len(proxy.of("GET", "list-type")) == 1


@pytest.mark.parametrize("missing", ["p/000", "p/zzz", "p/005x", "p/", "o/1"])
def test_what_the_listing_does_not_have_is_not_found(bucket, counted, threads, missing):
    files, _ = counted
    uris = list(fill(bucket, [f"p/{i:03d}.png" for i in range(30)]).values())
    *found, lost = identify_all(files, map(entry, [*uris, bucket.uri(missing)]), threads)
    assert all(one.etag for one in found)
    assert lost.reason == Reason.NOT_FOUND and lost.detail


def test_a_few_wanted_among_many_are_asked_for_one_by_one(bucket, counted, threads):
    files, proxy = counted
    for i in range(1200):
        bucket.put(f"p/{i:04d}", b"x")
    wanted = [bucket.uri(f"p/{i:04d}") for i in range(0, 1200, 300)]
    wanted += [bucket.uri(f"p/{i:04d}") for i in range(1180, 1197)]
    found = list(identify_all(files, map(entry, wanted), threads))
    assert all(one.size_bytes == 1 for one in found)
    assert len(proxy.of("GET", "list-type")) == 1  # its first page held 3 of the wanted ones
    assert len(proxy.of("HEAD", "/p/")) == len(wanted) - 3
    proxy.requests.clear()
    list(identify_all(files, map(entry, wanted[:4]), threads))
    assert not proxy.of("GET", "list-type") and len(proxy.of("HEAD", "/p/")) == 4


def test_a_listing_that_is_not_allowed_is_no_reason_to_stop(bucket, counted, threads):
    files, proxy = counted
    uris = list(fill(bucket, [f"p/{i:03d}.png" for i in range(30)]).values())
    proxy.fault = lambda method, path: "500" if "list-type" in path else None
    assert all(one.etag for one in identify_all(files, map(entry, uris), threads))


def test_known_rejected_local_and_references(bucket, s3_files, threads, tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    uri, reference = bucket.put("a", b"lr"), bucket.put("hr", b"reference")
    entries = [
        entry("known", etag="listed", size_bytes=3),
        entry("line", 1).rejected(Reason.BAD_LINE, "line 2"),
        entry(str(tmp_path / "a"), 2),
        entry(uri, 3, reference_location=reference),
        entry(uri, 4, reference_location=bucket.uri("none")),
    ]
    known, rejected, local, paired, unpaired = identify_all(s3_files, entries, threads)
    assert (known, rejected) == tuple(entries[:2])
    assert (len(local.etag), local.size_bytes) == (32, 7)
    assert paired.reference_etag == as_asked(bucket, reference)[0]
    assert unpaired.reference_etag is None and unpaired.etag == paired.etag
    assert unpaired.reason is None
