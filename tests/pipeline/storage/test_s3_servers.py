"""Servers that are slow, away, or do less than S3; each promise of the storage all the same."""

import logging
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.records import Reason, RunError
from pipeline.storage import retries, s3, s3_body
from pipeline.storage.base import UNKNOWN_TIME, StorageConfig, StorageError
from pipeline.storage.ranged import open_object, open_ranged
from pipeline.storage.routing import open_storage
from pipeline.storage.s3_client import forget_connections, open_connection
from pipeline.storage.s3_errors import sort_error
from tests.pipeline.fault_proxy import fault_proxy


@pytest.fixture
def proxy(bucket):
    with fault_proxy(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(retries, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(retries, "FIRST_THROTTLED_BACKOFF_S", 0.01)
    forget_connections()


def through(proxy, **changes):
    return open_storage(StorageConfig(proxy.endpoint, **changes))


def reason_of(call, *arguments, **options):
    with pytest.raises(StorageError) as caught:
        call(*arguments, **options)
    return caught.value.reason


# A short outage.


def _told(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "pipeline.storage.retries"]


def test_an_outage_is_waited_for_and_costs_no_object(bucket, proxy, caplog):
    uris = [bucket.put(f"{i}", b"x" * i) for i in range(1, 30)]
    files, found = through(proxy), {}
    caplog.set_level(logging.WARNING)
    files.read(uris[0])
    # It lasts until somebody waits, however slow this machine is.
    proxy.fault = lambda method, path: None if _told(caplog) else "reset"
    threads = [
        threading.Thread(target=lambda uri=uri: found.update({uri: files.read(uri)}))
        for uri in uris
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found[uri]) for uri in uris] == list(range(1, 30))
    told = _told(caplog)
    assert len(told) == 2 and "waiting" in told[0] and "answers again" in told[1]
    # Few questions, not all requests again and again.
    assert len(proxy.of("GET", "max-keys=1")) < 30


@pytest.mark.parametrize("can_continue", [True, False])
def test_an_outage_that_does_not_end_is_the_run_s(bucket, proxy, can_continue):
    uri = bucket.put("a", b"x")
    proxy.fault = lambda method, path: "503"
    files = through(proxy, outage_s=0.2, can_continue=can_continue)
    with pytest.raises(RunError, match=r"did not answer for 0 s.*can it be reached\?") as caught:
        files.read(uri)
    assert ("The run goes on with its --run_id" in str(caught.value)) == can_continue
    asked = len(proxy.requests)
    with pytest.raises(RunError):  # whoever comes later does not wait once more
        files.read(uri)
    assert len(proxy.requests) - asked < 15
    proxy.fault = lambda method, path: None
    assert files.read(uri) == b"x"


def test_an_object_that_alone_fails_costs_its_row_only(bucket, proxy):
    good, bad = bucket.put("good", b"x"), bucket.put("bad", b"y")
    proxy.fault = lambda method, path: "500" if path.endswith("/bad") else None
    files = through(proxy)
    with pytest.raises(StorageError, match=r"S3 answered InternalError to GetObject, 5 attempts"):
        files.read(bad)
    assert files.read(good) == b"x"


def test_attempts_before_and_after_an_outage_count(bucket, proxy, caplog):
    """The endpoint is away during the first attempts and the first questions only."""
    bad, calls = bucket.put("bad", b"y"), []

    def fault(method, path):
        calls.append(path)
        is_away = len(calls) < 12
        return "500" if is_away or path.endswith("/bad") else None

    proxy.fault = fault
    files = through(proxy, attempts=3)
    with pytest.raises(StorageError) as caught:
        files.read(bad)
    sent = len(proxy.of("GET", "/bad"))
    assert "answers again" in caplog.text and sent == 6
    assert caught.value.detail.endswith(f"{sent} attempts")


@pytest.mark.parametrize("fault", ["RequestLimitExceeded", "Timeout"])
@pytest.mark.parametrize("operation", ["read", "identify"])
def test_a_status_that_passes_is_retried_whatever_its_code(bucket, proxy, operation, fault):
    """429 and 408: each kind of server has a code of its own, and HEAD has none."""
    uri, left = bucket.put("a", b"x"), [2]

    def fail_twice(method, path):
        left[0] -= 1
        return fault if left[0] >= 0 else None

    proxy.fault = fail_twice
    getattr(through(proxy), operation)(uri)
    assert left[0] < 0


@pytest.mark.parametrize("fault", ["SlowDown", "503", "RequestLimitExceeded"])
@pytest.mark.parametrize("operation", ["read", "identify"])
def test_a_throttled_request_waits_longer(bucket, proxy, operation, fault, monkeypatch):
    """HEAD has no code, only a status."""
    uri, found = bucket.put("a", b"x"), []

    def note(error, *purpose):
        found.append(sort_error(error, *purpose))
        return found[-1]

    monkeypatch.setattr(s3, "sort_error", note)
    proxy.fault = lambda *_: None if found else fault
    getattr(through(proxy), operation)(uri)
    assert [error.throttled for error in found] == [True]


def test_a_missing_object_can_be_deleted_on_a_server_that_says_so(bucket, proxy):
    """S3 answers 204; others 404, as to the second attempt whose first answer got lost."""
    proxy.fault = lambda method, path: "NoSuchKey" if method == "DELETE" else None
    through(proxy).delete(bucket.uri("gone"))
    proxy.fault = lambda method, path: "NoSuchBucket" if method == "DELETE" else None
    assert reason_of(through(proxy).delete, bucket.uri("gone")) == Reason.NOT_FOUND


@pytest.mark.parametrize("operation", ["list", "identify", "write", "move", "delete", "create"])
def test_every_operation_is_retried(bucket, proxy, operation):
    uri, left = bucket.put("a", b"x"), [2]

    def fail_twice(method, path):
        left[0] -= 1
        return "503" if left[0] >= 0 else None

    proxy.fault = fail_twice
    files = through(proxy)
    {
        "list": lambda: list(files.list(bucket.uri(""))),
        "identify": lambda: files.identify(uri),
        "write": lambda: files.write(uri, b"y"),
        "move": lambda: files.move(uri, bucket.uri("b")),
        "delete": lambda: files.delete(uri),
        "create": lambda: files.create(bucket.uri("c"), b"z"),
    }[operation]()
    assert left[0] < 0


# Bodies.


def test_a_body_that_trickles_is_given_up(bucket, proxy, monkeypatch):
    monkeypatch.setattr(s3_body, "_DEADLINE_S", 0.3)
    monkeypatch.setattr(s3_body, "MIN_BYTES_PER_S", 10**9)
    uri = bucket.put("a", b"x" * 1000)
    proxy.fault = lambda method, path: "trickle" if path.endswith("/a") else None
    files = through(proxy)
    with pytest.raises(StorageError, match=r"too slow: \d+ of 1000 bytes") as caught:
        files.read(uri)
    assert caught.value.reason == Reason.TIMEOUT
    assert len(proxy.of("GET", "/a")) == 1


def test_a_body_with_a_wrong_checksum_is_fetched_again(bucket, proxy, monkeypatch):
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_supported")
    bucket.client.put_object(
        Bucket=bucket.name, Key="a", Body=b"x" * 100, ChecksumAlgorithm="SHA256"
    )
    seen = []

    def damage(method, path, data):
        if method == "GET" and path.endswith("/a"):
            seen.append(path)
            return b"y" + data[1:] if len(seen) == 1 else data
        return data

    proxy.change = damage
    assert through(proxy).read(bucket.uri("a")) == b"x" * 100
    assert len(seen) == 2


def test_a_server_that_ignores_ranges_and_conditions(bucket, proxy):
    proxy.strip = frozenset({"range", "if-match"})
    uri, files = bucket.put("a", b"0123456789"), through(proxy)
    old = files.identify(uri).etag
    assert files.read(uri, 2, 5) == b"234" and files.read(uri, 8) == b"89"
    bucket.put("a", b"another")
    assert reason_of(files.read, uri, etag=old) == Reason.CHANGED
    assert reason_of(files.read, uri, 2, 5, old) == Reason.CHANGED


def test_a_column_of_many_blocks_costs_few_requests(bucket, proxy):
    images = [np.random.default_rng(i).bytes(500_000) for i in range(8)]
    table = pa.table({"image": images})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="none", use_dictionary=False)
    uri = bucket.put("a", buffer.getvalue().to_pybytes())
    fault = iter(["reset", "short_body"])
    proxy.fault = lambda method, path: next(fault, None) if method == "GET" else None
    with open_ranged(through(proxy), uri) as file:
        assert pq.ParquetFile(file).read_row_group(0) == table
    # Two that failed, the footer, the column, and the block at its end for the buffer.
    assert len(proxy.of("GET", "/a")) <= 6


def test_an_object_that_shrank_ends_the_read(bucket, proxy):
    proxy.strip = frozenset({"if-match"})
    uri, files = bucket.put("a", bytes(200_000)), through(proxy)
    for left in (b"", b"short", bytes(100_000)):
        bucket.put("a", left)
        assert reason_of(open_object(files, uri, 200_000, None).whole) == Reason.CHANGED
        bucket.put("a", bytes(200_000))


# Whose fault.


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("RequestTimeTooSkewed", "clock"),
        ("ExpiredToken", "expired"),
        ("SignatureDoesNotMatch", "refused"),
    ],
)
def test_what_concerns_all_requests_stops_the_run_also_after_a_mute_head(
    bucket, proxy, code, told
):
    uri, files = bucket.put("a", b"x"), through(proxy)
    proxy.fault = lambda method, path: code
    for call in (files.read, files.identify, lambda uri: list(files.list(uri))):
        with pytest.raises(RunError, match=told):
            call(uri)


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "RequestTimeTooSkewed"])
def test_one_key_that_the_server_cannot_verify_is_one_row(bucket, proxy, code):
    good, odd = bucket.put("good", b"x"), bucket.put("o d", b"y")
    proxy.fault = lambda method, path: code if "/o%20d" in path else None
    files = through(proxy)
    with pytest.raises(StorageError, match=code):
        files.read(odd)
    with pytest.raises(StorageError, match=code):
        files.identify(odd)
    assert files.read(good) == b"x"


def test_a_refused_head_of_an_object_that_may_be_read(bucket, proxy):
    uri = bucket.put("a", b"xyz")
    proxy.fault = lambda method, path: "AccessDenied" if method == "HEAD" else None
    assert through(proxy).identify(uri).size_bytes == 3
    proxy.fault = lambda method, path: "AccessDenied" if path.endswith("/a") else None
    assert reason_of(through(proxy).identify, uri) == Reason.ACCESS_DENIED


def test_errors_of_writes_name_code_and_bucket(bucket, proxy, tmp_path):
    (tmp_path / "big").write_bytes(bytes(20 << 20))
    proxy.fault = lambda method, path: "AccessDenied" if method in ("PUT", "POST") else None
    files = through(proxy)
    for call in (
        lambda: files.write(bucket.uri("a"), b"x"),
        lambda: files.write_file(bucket.uri("a"), tmp_path / "big"),
        lambda: files.create(bucket.uri("a"), b"x"),
    ):
        with pytest.raises(StorageError, match=f"bucket {bucket.name}: S3 answered AccessDenied"):
            call()


# Conditional writes, and what becomes of what is written.


def test_a_server_that_refuses_conditions(bucket, proxy):
    files = through(proxy)
    proxy.fault = refuse_conditions(proxy)
    assert files.create(bucket.uri("lock"), b"mine")
    assert not files.create(bucket.uri("lock"), b"theirs")
    assert bucket.get("lock") == b"mine"
    assert not files.honours_conditions(bucket.uri(""))
    assert bucket.keys() == ["lock"]


def refuse_conditions(proxy):
    """Answers 501 to every other PUT: the conditional one comes first, then the plain one."""
    seen = []

    def fault(method, path):
        if method == "PUT":
            seen.append(path)
            return "NotImplemented" if len(seen) % 2 else None
        return None

    return fault


def test_a_server_that_ignores_conditions(bucket, proxy):
    proxy.strip = frozenset({"if-none-match"})
    files = through(proxy)
    assert files.create(bucket.uri("lock"), b"mine")
    assert not files.create(bucket.uri("lock"), b"theirs")
    assert bucket.get("lock") == b"mine"
    assert not files.honours_conditions(bucket.uri(""))
    proxy.strip = frozenset()
    assert files.honours_conditions(bucket.uri(""))


def test_a_large_file_is_uploaded_in_parts(bucket, proxy, tmp_path):
    data = bytes(range(256)) * (160 << 10)
    (tmp_path / "shard").write_bytes(data)
    left = [2]

    def fail(method, path):
        if method == "PUT" and "partNumber=2" in path and left[0]:
            left[0] -= 1
            return "503"
        return None

    proxy.fault = fail
    through(proxy).write_file(bucket.uri("shard"), tmp_path / "shard")
    assert bucket.get("shard") == data
    assert len(proxy.of("PUT", "partNumber=1")) == 1 and len(proxy.of("PUT", "partNumber=2")) == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_an_answer_that_gets_lost_is_no_failure(bucket, proxy, tmp_path, method):
    """The server did it; the second attempt finds it done."""
    data = bytes(range(256)) * (100 << 10)
    (tmp_path / "shard").write_bytes(data)
    lost = set()

    def lose_each_once(verb, path):
        if verb == method and path not in lost:
            lost.add(path)
            return "lost_answer"
        return None

    proxy.fault = lose_each_once
    files = through(proxy)
    files.write_file(bucket.uri("shard"), tmp_path / "shard")
    files.move(bucket.uri("shard"), bucket.uri("part"))
    assert bucket.keys() == ["part"] and bucket.get("part") == data and lost


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"Content-Length": None, "Transfer-Encoding": "chunked"}, "no ContentLength"),
        ({"Content-Length": "ten"}, "a broken header"),
        ({"Last-Modified": "yesterday"}, "a broken header"),
    ],
)
def test_a_strange_answer_to_head_costs_one_object(bucket, proxy, headers, detail):
    uri = bucket.put("a", b"0123")
    proxy.headers = headers
    with pytest.raises(StorageError, match=detail) as caught:
        through(proxy).identify(uri)
    assert caught.value.reason == Reason.STORAGE_ERROR and "\n" not in caught.value.detail


def test_an_object_whose_time_the_server_does_not_say(bucket, proxy):
    uri = bucket.put("a", b"0123")
    proxy.headers = {"Last-Modified": None}
    found = through(proxy).identify(uri)
    assert (found.size_bytes, found.modified_at) == (4, UNKNOWN_TIME)


@pytest.mark.parametrize("body", [b"", b"<html>Sign in</html>", b"<!doctype html><br>Sign in"])
def test_an_upload_that_is_answered_with_no_id_costs_one_object(bucket, proxy, tmp_path, body):
    path = tmp_path / "large"
    path.write_bytes(bytes(17 << 20))
    proxy.change = lambda method, _, data: body if method == "POST" else data
    call = through(proxy).write_file
    assert reason_of(call, bucket.uri("large"), path) == Reason.STORAGE_ERROR
    assert not proxy.of("PUT", "partNumber")


def test_a_failed_upload_leaves_no_parts(bucket, proxy, tmp_path):
    (tmp_path / "shard").write_bytes(bytes(40 << 20))
    proxy.fault = lambda method, path: "AccessDenied" if "partNumber=2" in path else None
    with pytest.raises(StorageError):
        through(proxy).write_file(bucket.uri("shard"), tmp_path / "shard")
    uploads = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    assert not uploads.get("Uploads") and not bucket.keys()


@pytest.mark.parametrize("stored", [b"x", b"0123456789trailer", b"012345678_"])
def test_a_server_that_stores_something_else_is_found_out(bucket, proxy, stored):
    def replace(method, path):
        if method in ("GET", "HEAD") and path.endswith("/a"):
            bucket.put("a", stored)

    proxy.before = replace
    with pytest.raises(StorageError, match="does not keep what is written"):
        through(proxy).write(bucket.uri("a"), b"0123456789")


def test_a_cut_attempt_that_comes_last_is_written_over(bucket, proxy):
    """Of a repeated request s3rver may finish the first, cut one after the second."""
    cut = []

    def cut_once(method, path):
        if method == "HEAD" and path.endswith("/a") and not cut:
            cut.append(bucket.put("a", b""))

    proxy.before = cut_once
    through(proxy).write(bucket.uri("a"), b"0123456789")
    assert cut and bucket.client.get_object(Bucket=bucket.name, Key="a")["Body"].read() == (
        b"0123456789"
    )


# Answers whose code alone says little.


def test_an_archived_object_is_said_to_be_one(bucket, proxy):
    bucket.client.put_object(Bucket=bucket.name, Key="a", Body=b"x", StorageClass="GLACIER")
    with pytest.raises(StorageError, match="archived") as caught:
        through(proxy).read(bucket.uri("a"))
    assert caught.value.reason == Reason.STORAGE_ERROR


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ({"x-amz-bucket-region": "eu-west-1"}, "in the region eu-west-1: set AWS_DEFAULT_REGION"),
        ({}, "in another region: set AWS_DEFAULT_REGION"),
    ],
)
def test_a_bucket_in_another_region_is_said_to_be_there(bucket, proxy, refusal, says):
    uri = bucket.put("a", b"x")
    # botocore asks for the bucket's region, again and again where that is answered so, too.
    proxy.fault = lambda _, path: None if path == f"/{bucket.name}" else "PermanentRedirect"
    proxy.refusal = refusal
    for call in (through(proxy).read, through(proxy).identify):
        with pytest.raises(StorageError, match=says):
            call(uri)
    with pytest.raises(RunError, match=says):
        list(through(proxy).list(uri))


# Configuration.


@pytest.mark.parametrize(
    ("endpoint", "profile", "style", "checksums"),
    [
        ("http://127.0.0.1:9000", "", "path", "when_required"),
        (
            "https://s3.example.com",
            "request_checksum_calculation = when_supported\ns3 =\n  addressing_style = virtual\n",
            "virtual",
            "when_supported",
        ),
        (None, "", None, "when_supported"),
    ],
)
def test_the_aws_configuration_wins(tmp_path, monkeypatch, endpoint, profile, style, checksums):
    (tmp_path / "config").write_text(f"[default]\n{profile}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    connection = open_connection(StorageConfig(endpoint))
    settings = connection.client.meta.config
    assert (settings.s3 or {}).get("addressing_style") == style
    assert settings.request_checksum_calculation == checksums
    assert connection.is_aws == (endpoint is None)


def sent_headers(config):
    """The headers of requests that a configuration's client sends from here on."""
    headers = []
    client = open_connection(config).client
    client.meta.events.register(
        "before-send.s3", lambda request, **_: headers.append(request.headers)
    )
    return headers


def test_requester_pays_on_every_request(bucket, proxy):
    config = StorageConfig(proxy.endpoint, requester_pays=True)
    uri, headers, files = bucket.put("a", b"x"), sent_headers(config), open_storage(config)
    files.read(uri)
    files.identify(uri)
    list(files.list(bucket.uri("")))
    assert [h["x-amz-request-payer"] for h in headers] == [b"requester"] * 3


def test_unsigned_requests_carry_no_credentials(bucket, proxy):
    config = StorageConfig(proxy.endpoint, unsigned=True)
    uri, headers = bucket.put("a", b"x"), sent_headers(config)
    bucket.client.put_object_acl(Bucket=bucket.name, Key="a", ACL="public-read")
    assert open_storage(config).read(uri) == b"x"
    assert headers and all("Authorization" not in h for h in headers)


def test_a_malformed_endpoint_is_told_without_its_password(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "htp//user:planted@nowhere")
    with pytest.raises(RunError, match="AWS_ENDPOINT_URL_S3") as caught:
        open_storage(StorageConfig()).read("s3://bucket/a")
    assert "planted" not in str(caught.value)


def test_a_profile_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nightly")
    with pytest.raises(RunError, match=r"to read s3://bucket/a \(.*nightly"):
        open_storage(StorageConfig()).read("s3://bucket/a")


def test_a_listing_without_end_is_told(bucket, proxy):
    for i in range(3):
        bucket.put(f"p/{i}", b"x")

    def endless(method, path, data):
        end = b"<NextContinuationToken>same</NextContinuationToken></ListBucketResult>"
        return data.replace(b"<IsTruncated>false", b"<IsTruncated>true").replace(
            b"</ListBucketResult>", end
        )

    proxy.change = endless
    proxy.address = lambda path: path.replace("continuation-token=same", "max-keys=9")
    with pytest.raises(RunError, match="does not advance"):
        list(through(proxy).list(bucket.uri("p/")))
