import concurrent.futures
import random
import re

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from pipeline.catalog import batches, manifest
from pipeline.catalog.etags import identify_all, identify_batches
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
    assert len(proxy.of("HEAD", "/p/")) == 1  # to try the listing's ETags
    assert len(proxy.of("GET", "list-type")) == 1


@pytest.mark.parametrize("missing", ["p/000", "p/zzz", "p/005x", "p/", "o/1"])
def test_what_the_listing_does_not_have_is_asked_for(bucket, counted, threads, missing):
    files, proxy = counted
    uris = list(fill(bucket, [f"p/{i:03d}.png" for i in range(30)]).values())
    *found, lost = identify_all(files, map(entry, [*uris, bucket.uri(missing)]), threads)
    assert all(one.etag for one in found)
    assert lost.reason == Reason.NOT_FOUND and lost.detail
    assert proxy.of("HEAD", f"/{bucket.name}/{missing}")


def test_a_listing_out_of_byte_order_hides_no_image(bucket, counted, threads):
    """As of a gateway that lists p/i00/alt.jpg before p/i00.jpg."""
    files, proxy = counted
    names = [f"p/i{i:02d}.jpg" for i in range(30)]
    uris = list(fill(bucket, [*names, *(f"p/i{i:02d}/alt.jpg" for i in range(30))]).values())

    def disorder(method, path, data):
        entries = re.findall(rb"<Contents>.*?</Contents>", data, re.DOTALL)
        in_order = b"".join(entries)
        mixed = sorted(entries, key=lambda entry: (b"alt" not in entry, entry[::-1]))
        return data.replace(in_order, b"".join(mixed)) if in_order in data else data

    proxy.change = disorder
    found = list(identify_all(files, map(entry, uris[:30]), threads))
    assert [(one.reason, one.etag, one.size_bytes) for one in found] == [
        (None, *as_asked(bucket, uri)) for uri in uris[:30]
    ]


@pytest.mark.parametrize("hidden", [b"p/00", b"p/"])
def test_a_listing_that_leaves_objects_out_hides_no_image(bucket, counted, threads, hidden):
    files, proxy = counted
    uris = list(fill(bucket, [f"p/{i:03d}.png" for i in range(30)]).values())

    def leave_out(method, path, data):
        return re.sub(
            rb"<Contents><Key>" + hidden + rb".*?</Contents>", b"", data, flags=re.DOTALL
        )

    proxy.change = leave_out
    found = list(identify_all(files, map(entry, uris), threads))
    assert [one.etag for one in found] == [as_asked(bucket, uri)[0] for uri in uris]


def test_etags_that_only_the_listing_knows_are_not_taken(bucket, counted, threads):
    files, proxy = counted
    uris = list(fill(bucket, [f"p/{i:03d}.png" for i in range(30)]).values())
    proxy.change = lambda method, path, data: (
        re.sub(rb"<ETag>.*?</ETag>", b"<ETag>listed</ETag>", data) if "list-type" in path else data
    )
    found = list(identify_all(files, map(entry, uris), threads))
    assert [one.etag for one in found] == [as_asked(bucket, uri)[0] for uri in uris]
    listed = list(manifest.read_catalog(files, bucket.uri("p/")))
    assert [(one.uri, one.etag, one.size_bytes) for one in listed] == [
        (uri, None, None) for uri in uris
    ]


def test_a_few_wanted_among_many_are_asked_for_one_by_one(bucket, counted, threads):
    files, proxy = counted
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # of the bucket's server; by HTTP it takes 20 s
    for i in range(1020):
        store.put_object(bucket.name, f"p/{i:04d}", b"x")
    wanted = [bucket.uri(f"p/{i:04d}") for i in range(0, 1000, 300)]
    wanted += [bucket.uri(f"p/{i:04d}") for i in range(1001, 1018)]
    found = list(identify_all(files, map(entry, wanted), threads))
    assert all(one.size_bytes == 1 for one in found)
    assert len(proxy.of("GET", "list-type")) == 1  # its first page held 4 of the wanted ones
    assert len(proxy.of("HEAD", "/p/")) == len(wanted) - 4 + 1
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


def in_batches(files, entries, threads, *, size):
    """The entries as `identify_batches` knows them, in order."""
    some = [entries[i : i + size] for i in range(0, len(entries), size)]
    waiting = [batch for one in some for batch in batches.from_entries(one)]
    found = identify_batches(files, waiting, threads)
    return sorted(
        (one for batch in found for one in batches.to_entries(batch)), key=lambda one: one.position
    )


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_tell_the_same_as_entries(bucket, counted, threads, tmp_path, size):
    files, proxy = counted
    (tmp_path / "a").write_bytes(b"content")
    listed = list(fill(bucket, [f"p/{i:03d} ü.png" for i in range(60)]).values())
    few = list(fill(bucket, [f"q/{i}.png" for i in range(5)]).values())
    uris = [*listed, *few, bucket.uri("p/missing"), bucket.uri("q/missing"), str(tmp_path / "a")]
    random.Random(size).shuffle(uris)
    entries = [entry(uri, position) for position, uri in enumerate(uris)]
    entries += [
        entry("known", len(uris), etag="listed", size_bytes=3),
        entry("line", len(uris) + 1).rejected(Reason.BAD_LINE, "line 2"),
        entry("under another name", len(uris) + 2)._replace(location=listed[3]),
        entry(few[0], len(uris) + 3, reference_uri="hr", reference_location=few[1]),
    ]
    expected = list(identify_all(files, entries, threads))
    proxy.requests.clear()
    assert in_batches(files, entries, threads, size=size) == expected
    assert len(proxy.of("GET", "list-type")) == 1  # of the folder with many, whatever the batches


def test_a_folder_whose_listing_is_not_allowed_in_batches(bucket, counted, threads):
    files, proxy = counted
    uris = list(fill(bucket, [f"p/{i:03d}.png" for i in range(30)]).values())
    proxy.fault = lambda method, path: "500" if "list-type" in path else None
    found = in_batches(files, [entry(uri, i) for i, uri in enumerate(uris)], threads, size=10)
    assert [one.uri for one in found] == uris and all(one.etag for one in found)


def test_etags_that_only_the_listing_knows_are_not_taken_in_batches(bucket, counted, threads):
    files, proxy = counted
    uris = list(fill(bucket, [f"p/{i:03d}.png" for i in range(30)]).values())
    proxy.change = lambda method, path, data: (
        re.sub(rb"<ETag>.*?</ETag>", b"<ETag>listed</ETag>", data) if "list-type" in path else data
    )
    found = in_batches(files, [entry(uri, i) for i, uri in enumerate(uris)], threads, size=10)
    assert [one.etag for one in found] == [as_asked(bucket, uri)[0] for uri in uris]
