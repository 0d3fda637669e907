"""Pages of a listing: every key as it is, nothing but listings taken for one."""

import dataclasses
import itertools

import pytest

from pipeline.records import RunError
from pipeline.storage import retries, s3_folders, s3_listing
from pipeline.storage.base import ListedPage, StorageConfig
from pipeline.storage.routing import open_storage
from pipeline.storage.s3_client import forget_connections
from tests.pipeline.fault_proxy import fault_proxy

NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
STRANGE = [
    *("a b", "a+b", "a%20b", "a&b<c>\"d'", "ü/x", "日本/品.jpg", "tab\tx", "\x01\x1f", "%"),
    *("#", "?q=1", "a//b", "😀", "\u00e9", "e\u0301", "trailing "),
]


def page_xml(*objects: str, before: str = "", namespace: str = NAMESPACE) -> bytes:
    contents = "".join(f"<Contents>{one}</Contents>" for one in objects)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{namespace}>{before}'
        f"<IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    ).encode()


def one_object(key="a", etag='"e"', more="") -> str:
    return f"<Key>{key}</Key><ETag>{etag}</ETag><Size>3</Size>{more}"


@pytest.fixture
def proxy(bucket, monkeypatch):
    monkeypatch.setattr(retries, "FIRST_BACKOFF_S", 0.01)
    forget_connections()
    with fault_proxy(bucket.endpoint) as proxy:
        yield proxy


def with_pages_of(proxy, keys: int):
    """Storage behind a proxy that asks for pages of so many keys."""
    proxy.address = lambda path: f"{path}&max-keys={keys}" if "list-type=2" in path else path
    return open_storage(StorageConfig(proxy.endpoint, attempts=2))


@pytest.mark.parametrize("namespace", [NAMESPACE, ""])
def test_a_page_has_a_column_of_each_fact(namespace):
    owner = "<LastModified>2026-01-02T03:04:05.000Z</LastModified><Owner><ID>x</ID></Owner>"
    body = page_xml(
        one_object("a", "&quot;e1&quot;", owner),
        one_object("b", 'W/"e2"'),
        "<Size>0</Size><Key>c</Key>",
        before="<NextContinuationToken>a+b%20c&amp;</NextContinuationToken>",
        namespace=namespace,
    ).replace(b">false<", b"> true\n<")
    assert s3_listing.parse_page(body) == s3_listing.ListingPage(
        keys=["a", "b", "c"],
        etags=["e1", "e2", None],
        sizes_bytes=[3, 3, 0],
        modified=["2026-01-02T03:04:05.000Z", "", ""],
        prefixes=[],
        next_token="a+b%20c&",
        is_truncated=True,
    )


@pytest.mark.parametrize(
    ("is_encoded", "spelt", "key"),
    [
        (False, "a&amp;b&lt;&#39;&#x1F600;", "a&b<'😀"),
        (False, "a+b%20c", "a+b%20c"),
        (False, "  a ", "  a "),
        (True, "a+b%20c%2B%01%0D%F0%9F%98%80", "a b c+\x01\r😀"),
        (True, "plain/key.jpg", "plain/key.jpg"),
    ],
)
def test_a_key_is_decoded_as_the_server_spelt_it(is_encoded, spelt, key):
    before = "<EncodingType>url</EncodingType>" if is_encoded else ""
    page = s3_listing.parse_page(page_xml(one_object(spelt), before=before))
    assert page is not None and page.keys == [key]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Sign in</body></html>",
        b"<Error><Code>InternalError</Code></Error>",
        page_xml(one_object())[:-20],
        page_xml("<ETag>e</ETag><Size>3</Size>"),
        page_xml("<Key></Key><Size>3</Size>"),
        page_xml("<Key>a</Key>"),
        page_xml("<Key>a</Key><Size>many</Size>"),
        page_xml(one_object("\x01")),
    ],
)
def test_a_body_that_is_no_complete_listing_is_none(body):
    assert s3_listing.parse_page(body) is None


def test_strange_keys_are_listed_as_boto3_lists_them(bucket, proxy):
    for key in STRANGE:
        bucket.put(key, key.encode())
    for pages in (3, 1000):
        files = with_pages_of(proxy, pages)
        listed = list(files.list(bucket.uri("")))
        assert [item.uri for item in listed] == list(map(bucket.uri, bucket.keys()))
        assert sorted(item.uri for item in listed) == sorted(map(bucket.uri, STRANGE))
        for item in listed:
            found = files.identify(item.uri)
            assert dataclasses.replace(found, modified_at=item.modified_at) == item
            assert abs((found.modified_at - item.modified_at).total_seconds()) < 1.0


def test_pages_are_the_listing_s_objects_in_columns(bucket, proxy):
    for number in range(10):
        bucket.put(f"p/{number}", b"x" * number)
    bucket.put("p/3/", b"")
    bucket.put("p/folder/", b"")
    files = with_pages_of(proxy, 2)
    pages = list(files.list_pages(bucket.uri("p/")))
    assert all(isinstance(page, ListedPage) and 1 <= len(page) <= 2 for page in pages)
    items = list(itertools.chain.from_iterable(page.objects() for page in pages))
    assert items == list(files.list(bucket.uri("p/")))
    assert [item.size_bytes for item in items] == list(range(10))
    after = files.list_pages(bucket.uri("p/"), after=bucket.uri("p/6"))
    assert [uri for page in after for uri in page.uris] == [
        bucket.uri(f"p/{i}") for i in (7, 8, 9)
    ]


def test_local_pages_are_the_folder_s_files_in_columns(local_files, tmp_path):
    for number in range(1005):
        (tmp_path / f"{number:04d}").write_bytes(b"x")
    pages = list(local_files.list_pages(f"{tmp_path}/"))
    assert [len(page) for page in pages] == [1000, 5]
    items = list(itertools.chain.from_iterable(page.objects() for page in pages))
    assert items == list(local_files.list(f"{tmp_path}/"))


def test_a_page_that_is_cut_is_asked_for_again(bucket, proxy):
    bucket.put("a", b"x")
    cuts = [1]

    def cut(method, path, data):
        return data[:-30] if "list-type=2" in path and cuts and cuts.pop() else data

    proxy.change = cut
    assert [page.uris for page in with_pages_of(proxy, 5).list_pages(bucket.uri(""))] == [
        [bucket.uri("a")]
    ]
    assert not cuts


def test_a_listing_that_is_never_complete_says_why(bucket, proxy):
    """A server that does not encode keys, and a key that XML cannot hold."""
    bucket.put("aXb", b"x")
    proxy.change = lambda method, path, data: data.replace(b"aXb", b"a\x01b")
    files = with_pages_of(proxy, 5)
    with pytest.raises(RunError, match=r"cannot list.*control character in a key.*2 attempts"):
        list(files.list(bucket.uri("")))


def test_a_login_page_is_no_empty_bucket(bucket, proxy):
    bucket.put("a", b"x")
    proxy.change = lambda method, path, data: b"<html><body>Sign in</body></html>"
    files = with_pages_of(proxy, 5)
    with pytest.raises(RunError, match=r"cannot list s3://.*: the server's answer is no listing"):
        list(files.list(bucket.uri("")))


def test_a_token_that_comes_again_ends_the_run(bucket, proxy):
    for number in range(5):
        bucket.put(f"{number}", b"x")
    files = with_pages_of(proxy, 2)
    first = bucket.client.list_objects_v2(Bucket=bucket.name, MaxKeys=2)["NextContinuationToken"]

    def stuck(method, path, data):
        token = s3_listing.parse_page(data)
        assert token is not None
        return data.replace(token.next_token.encode(), first.encode())

    proxy.change = stuck
    with pytest.raises(RunError, match="does not advance"):
        list(files.list(bucket.uri("")))


def test_large_folders_are_listed_side_by_side(bucket, proxy, monkeypatch):
    """Of a real server, with names that are encoded in its answers."""
    monkeypatch.setattr(s3_folders, "_MIN_KEYS_PER_FOLDER", 3)
    folders = ("a b", "a+b", "a&<b", "\u00e9", "x//y")
    keys = [f"in/{folder}/{i}+&.jpg" for folder in folders for i in range(5)]
    keys = sorted([*keys, "in/a b.txt", "in/zz.txt"], key=str.encode)
    for key in keys:
        bucket.put(key, key.encode())
    bucket.put("in/a+b/", b"")
    files = with_pages_of(proxy, 2)
    listed = list(files.list(bucket.uri("in/")))
    assert [item.uri for item in listed] == list(map(bucket.uri, keys))
    assert [item.etag for item in listed] == [files.identify(item.uri).etag for item in listed]
    assert proxy.of("GET", "prefix=in%2Fa%2Bb%2F") and proxy.of("GET", "delimiter=%2F")
