"""A storage that fails: faults, images that change, credentials that end, secrets."""

import io
import json
import logging
import time

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import job
from pipeline.records import Reason, RunError
from pipeline.runs.layout import Layout
from pipeline.runs.lock import RunLock
from pipeline.storage import base, retries
from pipeline.storage.base import StorageConfig, StorageError
from pipeline.storage.routing import open_storage
from pipeline.storage.s3 import S3Storage
from tests.pipeline.conftest import image_bytes
from tests.pipeline.fault_proxy import FAULTS, fault_proxy, random_faults

SECRET = "planted-secret-5tQ"


@pytest.fixture
def proxy(bucket):
    with fault_proxy(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """The same retries with short pauses."""
    monkeypatch.setattr(retries, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(retries, "FIRST_THROTTLED_BACKOFF_S", 0.01)


def proxied_storage(proxy, **changes):
    return open_storage(StorageConfig(proxy.endpoint, **changes))


def run_job(bucket, proxy, *arguments):
    places = ("--input", bucket.uri("in/"), "--output", bucket.uri("out"), "--run_id", "night1")
    return job.run([*places, "--s3_endpoint_url", proxy.endpoint, *arguments])


def read_rows(bucket):
    """Rows of the only run, past the proxy."""
    rows = [
        row
        for key in bucket.keys("out/rows/")
        for row in pq.read_table(io.BytesIO(bucket.get(key))).to_pylist()
    ]
    found = {row["uri"]: row for row in rows}
    assert len(found) == len(rows)
    return {uri.removeprefix(bucket.uri("in/")): row for uri, row in found.items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_retried_and_its_attempts_are_told(bucket, proxy, fault):
    uri = bucket.put("in/a", b"x" * 1000)
    left = [2]

    def fail_twice(method, path):
        left[0] -= 1
        return fault if left[0] >= 0 else None

    proxy.fault = fail_twice
    assert proxied_storage(proxy).read(uri) == b"x" * 1000
    assert len(proxy.of("GET", "/in/a")) == 3
    proxy.requests.clear()
    proxy.fault = lambda method, path: fault if "/in/a" in path else None
    with pytest.raises(StorageError, match=r"5 attempts") as caught:
        proxied_storage(proxy).read(uri)
    assert caught.value.reason in (Reason.TIMEOUT, Reason.STORAGE_ERROR)
    assert len(proxy.of("GET", "/in/a")) == 5


def test_what_will_not_get_better_is_asked_once(bucket, proxy):
    with pytest.raises(StorageError) as caught:
        proxied_storage(proxy).read(bucket.uri("none"))
    assert caught.value.reason == Reason.NOT_FOUND and "attempts" not in caught.value.detail
    assert len(proxy.of("GET", "/none")) == 1


def test_a_lock_whose_answer_got_lost_is_ours(bucket, proxy):
    """The object was created, the answer was not heard, and the retry finds it there."""
    lost = []

    def lose_first_answer(method, path):
        if method == "PUT" and "lock" in path and not lost:
            lost.append(path)
            return "lost_answer"
        return None

    proxy.fault = lose_first_answer
    files, layout = proxied_storage(proxy), Layout(bucket.uri("out"), "night1")
    with RunLock(files, layout, on_lost=lambda: None):
        assert lost and files.read(layout.lock)


@pytest.mark.timeout(900)
def test_faults_at_a_fifth_of_all_calls_lose_nothing(bucket, proxy):
    for i in range(24):
        bucket.put(f"in/{i:02d}.jpg", image_bytes(36, 40, seed=i))
    bucket.put("in/broken.jpg", image_bytes(90, 90)[:400])
    bucket.put("in/icon.png", image_bytes(20, 20, file_format="PNG"))
    proxy.fault = random_faults(0.2, seed=4)
    assert run_job(bucket, proxy, "--images", "both") == 0
    assert proxy.injected > 10
    rows = read_rows(bucket)
    assert len(rows) == 26
    assert rows["broken.jpg"]["reason"] == "unreadable"
    assert rows["icon.png"]["reason"] == "too_small"
    upscaled = [row for row in rows.values() if row["status"] == "upscaled"]
    assert len(upscaled) >= 23  # five attempts all fail once in 3,000 calls
    for row in upscaled:
        assert bucket.get(f"out/{row['image_uri']}") == row["image"]["bytes"]
    assert not bucket.keys("out/runs/night1/staging/")


def test_an_outage_of_two_seconds_costs_no_image(bucket, proxy, caplog):
    for i in range(12):
        bucket.put(f"in/{i:02d}.png", image_bytes(36, 40, file_format="PNG", seed=i))
    away = []

    def fault(method, path):
        if "/in/" in path and len(proxy.of("GET", "/in/")) > 4 and not away:
            away.append(time.monotonic())
        return "reset" if away and time.monotonic() - away[0] < 2 else None

    proxy.fault = fault
    assert run_job(bucket, proxy, "--report", "no") == 0
    assert away and proxy.injected
    assert [row["status"] for row in read_rows(bucket).values()] == ["upscaled"] * 12
    assert "answers again" in caplog.text


def test_an_image_that_cannot_be_fetched_at_all_is_a_failed_row_and_can_be_retried(bucket, proxy):
    for name in ("good", "bad"):
        bucket.put(f"in/{name}.jpg", image_bytes(36, 40, seed=len(name)))
    proxy.fault = lambda method, path: "SlowDown" if "/in/bad" in path else None
    assert run_job(bucket, proxy, "--max_failure_rate", "0.1") == 3
    row = read_rows(bucket)["bad.jpg"]
    assert (row["status"], row["reason"]) == ("failed", "storage_error")
    assert row["detail"] == "S3 answered SlowDown to GetObject, 5 attempts"
    proxy.fault = lambda method, path: None
    proxy.requests.clear()
    assert run_job(bucket, proxy, "--run_id", "night2", "--retry", "storage_error,timeout") == 0
    assert not proxy.of("GET", "/in/good")
    summary = json.loads(bucket.get("out/runs/night2/summary.json"))
    assert (summary["by_status"]["upscaled"], summary["by_status"]["unchanged"]) == (1, 1)


@pytest.mark.parametrize("lost", ["an image", "the rows"])
def test_previous_results_that_the_storage_does_not_give_are_upscaled_again(
    bucket, proxy, caplog, lost
):
    """One HEAD that failed for good ended the run with a traceback."""
    for seed in range(2):
        bucket.put(f"in/{seed}.png", image_bytes(36, 40, file_format="PNG", seed=seed))
    options = ("--images", "files", "--report", "no")
    assert run_job(bucket, proxy, *options) == 0
    (image, _), (rows,) = bucket.keys("out/images/"), bucket.keys("out/rows/")

    def fault(method, path):
        if lost == "the rows":
            return "500" if path.endswith(rows.partition("=")[2]) else None
        is_written = proxy.of("PUT", image)  # again, by this night
        return "500" if method == "HEAD" and path.endswith(image) and not is_written else None

    proxy.requests.clear()
    proxy.fault = fault
    assert run_job(bucket, proxy, *options, "--run_id", "night2") == 0
    assert proxy.injected
    summary = json.loads(bucket.get("out/runs/night2/summary.json"))
    done_again = 1 if lost == "an image" else 2
    assert summary["by_status"]["upscaled"] == done_again
    assert summary["by_status"]["unchanged"] == 2 - done_again
    assert "upscaled again" in caplog.text
    is_said = "; its URIs that disappeared are not counted" in caplog.text
    assert is_said == (lost == "the rows")


def test_an_image_that_changes_between_probe_and_read_is_taken_as_it_is_now(bucket, proxy):
    old, new = (image_bytes(300, 300, file_format="PNG", seed=i, quality=95) for i in (1, 2))
    # Larger than a probe's block, so that a second request follows.
    old, new = (data + bytes(100_000) for data in (old, new))
    bucket.put("in/a.png", old)

    def rewrite(method, path):
        if method == "GET" and "/in/a.png" in path and not rewritten:
            asked.append(path)
            if len(asked) == 2:
                rewritten.append(bucket.put("in/a.png", new))

    asked, rewritten = [], []
    proxy.before = rewrite
    assert run_job(bucket, proxy) == 0
    assert rewritten
    row = read_rows(bucket)["a.png"]
    assert row["status"] == "upscaled"
    etag = bucket.client.head_object(Bucket=bucket.name, Key="in/a.png")["ETag"].strip('"')
    assert row["source_etag"] == etag
    shrunk = Image.open(io.BytesIO(row["image"]["bytes"])).resize((300, 300))
    truth = Image.open(io.BytesIO(new)).convert("RGB")
    assert (
        max(
            abs(a - b)
            for a, b in zip(shrunk.getpixel((9, 250)), truth.getpixel((9, 250)), strict=True)
        )
        < 12
    )
    # The next night knows it under its new identity; only a report would read it, to show it.
    proxy.requests.clear()
    assert run_job(bucket, proxy, "--run_id", "night2", "--report", "no") == 0
    assert not proxy.of("GET", "/in/a.png")


def test_an_image_that_never_stands_still_fails_as_changed(bucket, proxy):
    count = [0]

    def rewrite(method, path):
        if method == "GET" and "/in/a.png" in path:
            count[0] += 1
            bucket.put("in/a.png", image_bytes(40, 40, file_format="PNG", seed=100 + count[0]))

    bucket.put("in/a.png", image_bytes(40, 40, file_format="PNG"))
    proxy.before = rewrite
    assert run_job(bucket, proxy, "--max_failure_rate", "1") == 0
    assert read_rows(bucket)["a.png"]["reason"] == "changed"


def test_credentials_that_end_in_the_middle_stop_the_run_and_it_goes_on_later(
    bucket, proxy, capsys
):
    for i in range(12):
        bucket.put(f"in/{i:02d}.png", image_bytes(36, 40, file_format="PNG", seed=i))
    said = "cannot read s3://shop/a.png: the AWS credentials have expired (ExpiredToken)"
    original = S3Storage.read
    reads = []

    def expire(self, uri, *arguments, **options):
        reads.append(uri)
        if "/in/" in uri and len([one for one in reads if "/in/" in one]) > 9:
            raise RunError(said)
        return original(self, uri, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(S3Storage, "read", expire)
        assert run_job(bucket, proxy, "--look_ahead", "1") == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == f"run_pipeline.py: {said}"
    proxy.requests.clear()
    assert run_job(bucket, proxy, "--report", "no") == 0  # a report reads what it shows
    assert 0 < len(proxy.of("GET", "/in/")) < 12
    assert len(read_rows(bucket)) == 12


@pytest.mark.parametrize(
    "line", ["a.jpg,\ns3://some-bucket/x.jpg,", "a.jpg,s3://some-bucket/x.jpg"]
)
def test_a_local_run_that_lacks_credentials_names_the_uri_that_needs_them(
    no_credentials, tmp_path, capsys, line
):
    (tmp_path / "a.jpg").write_bytes(image_bytes(36, 40))
    (tmp_path / "mix.csv").write_text(f"uri,reference_uri\n{line}\n")
    places = ["--input", str(tmp_path / "mix.csv"), "--output", str(tmp_path / "out")]
    assert job.run([*places, "--model", "rdn-small"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(
        "run_pipeline.py: no usable AWS credentials to read s3://some-bucket/x.jpg ("
    )


def test_no_secret_reaches_rows_logs_errors_or_the_summary(
    bucket, proxy, monkeypatch, caplog, capfd
):
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    caplog.set_level(logging.WARNING)
    bucket.put("in/a.jpg", image_bytes(36, 40))
    bucket.put("in/b.jpg", image_bytes(36, 41))
    a, b = bucket.uri("in/a.jpg"), bucket.uri("in/b.jpg")
    lines = [
        *(
            f"{a},https://shop/p?X-Amz-Signature={SECRET}",
            f"{b},7",
            f"https://u:{SECRET}@shop/x,8",
        ),
        *(f"https://shop/x.jpg?sig={SECRET},", f"https://shop/x.jpg#access_token={SECRET},"),
        *(f"ftp://user:{SECRET}@shop/x.jpg,", f"s3://KEY:{SECRET}@{bucket.name}/in/a.jpg,"),
        *(f"{a};sig={SECRET},", f"{a}?X-Amz-Security-Token={SECRET}&X-Amz-Date=1,"),
    ]
    bucket.put("m.csv", "\n".join(["uri,product_id", *lines]).encode())
    proxy.fault = lambda method, path: "503" if "/in/b" in path else None
    arguments = ("--input", bucket.uri("m.csv"), "--max_failure_rate", "1")
    assert run_job(bucket, proxy, *arguments) == 0
    assert len(read_rows(bucket)) == len(lines)
    proxy.fault = lambda method, path: "500"
    monkeypatch.setattr(base, "_START_OUTAGE_S", 0.2)
    assert run_job(bucket, proxy, *arguments, "--run_id", "night2") == 1
    for option, value in (
        ("--s3_endpoint_url", f"http://user:{SECRET}@127.0.0.1:9"),
        ("--input", f"{bucket.uri('m.csv')}?X-Amz-Signature={SECRET}&x=.csv"),
        ("--model", f"https://shop/ours.keras?X-Amz-Signature={SECRET}"),
    ):
        with pytest.raises(SystemExit):
            run_job(bucket, proxy, *arguments, option, value)
    written = b"".join(bucket.get(key) for key in bucket.keys("out/"))
    assert len(bucket.keys("out/")) >= 4
    said = capfd.readouterr()
    assert said.err.count("carry credentials") == 3
    for text in (written, said.out.encode(), said.err.encode(), caplog.text.encode()):
        assert SECRET.encode() not in text
