"""The documented IAM policy allows what whole runs ask for, and nothing else.

The requests are recorded between the job and an S3 server on loopback.
"""

import fnmatch
import json
import uuid
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import moto.settings
import pytest

from pipeline import job
from pipeline.compare import __main__ as compare
from pipeline.demo.loopback import loopback_s3, made_up_credentials
from pipeline.read import __main__ as read
from pipeline.report import __main__ as report
from pipeline.storage.base import StorageConfig, StorageError
from pipeline.storage.routing import open_storage
from pipeline.storage.s3_client import forget_connections
from tests.documents import ROOT, text_of
from tests.pipeline.conftest import image_bytes
from tests.pipeline.fault_proxy import fault_proxy

POLICY = json.loads((ROOT / "deploy/iam-policy.json").read_text())
LARGE_BYTES = 17 << 20  # in two parts


def actions_of(method, path):
    """(action, resource) that AWS asks for a request.

    Source: Amazon S3 user guide, "Required permissions for Amazon S3 API operations".
    """
    parts = urlsplit(path)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    query = parse_qs(parts.query, keep_blank_values=True)
    if not key:
        assert (
            bucket
            and method in ("GET", "HEAD")
            and set(query) - {"list-type"}
            <= {
                *("prefix", "delimiter", "encoding-type", "continuation-token", "max-keys"),
                *("start-after",),
            }
        ), f"what permission does it need? {method} {path}"
        return "s3:ListBucket", f"arn:aws:s3:::{bucket}"
    if method == "DELETE":
        action = "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
    else:
        action = {
            **{"GET": "s3:GetObject", "HEAD": "s3:GetObject"},
            **{"PUT": "s3:PutObject", "POST": "s3:PutObject"},  # POST: uploads in parts
        }[method]
    assert set(query) <= {"uploadId", "uploads", "partNumber", "x-id"}, f"{method} {path}"
    return action, f"arn:aws:s3:::{bucket}/{key}"


def many(value):
    return [value] if isinstance(value, str) else value


def pairs(policy):
    """(action, pattern of resources) that the policy allows, each on its own."""
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in many(statement["Action"]):
            yield from ((action, resource) for resource in many(statement["Resource"]))


ALLOWED = list(pairs(POLICY))


def refused(needed, allowed):
    """Those of the needed (action, resource) that no pair allows."""
    return [
        (action, resource)
        for action, resource in sorted(needed)
        if not any(
            action == name and fnmatch.fnmatchcase(resource, pattern) for name, pattern in allowed
        )
    ]


class Job:
    """Runs the job on the documents' bucket, through the recording proxy."""

    def __init__(self, client, endpoint):
        self.client = client
        self.storage = ["--s3_endpoint_url", endpoint]

    def put(self, name, data):
        self.client.put_object(Bucket="shop", Key=name, Body=data)

    def run(self, run_id, *options, source="s3://shop/images/"):
        places = ["--input", source, "--output", "s3://shop/upscaled", "--run_id", run_id]
        return job.run([*places, "--max_failure_rate", "1", *self.storage, *options])


def run_nights(runs, monkeypatch, tmp_path):
    """First night, increments, a resume, a replay, a dry run, and the commands for results."""
    for i in range(4):
        runs.put(f"images/{i}.png", image_bytes(40, 50, file_format="PNG", seed=i))
    runs.put(
        "images/large.png", image_bytes(400, 400, file_format="PNG", seed=9, compress_level=0)
    )
    runs.put("images/broken.jpg", b"no image")
    runs.put("manifest.csv", b"uri\ns3://shop/images/0.png\ns3://shop/images/gone.png\n")
    assert runs.run("night0", "--dry_run") == job.DONE
    assert runs.run("night1", "--images", "both") == job.DONE
    runs.put("images/0.png", image_bytes(40, 50, file_format="PNG", seed=11))
    runs.put("images/new.png", image_bytes(40, 50, file_format="PNG", seed=12))
    with monkeypatch.context() as broken:
        broken.setattr("pipeline.runs.summary.publishing.publish", lambda *_: 1 / 0)
        with pytest.raises(Exception, match="division by zero"):
            runs.run("night2", "--images", "both")
    assert runs.run("night2", "--images", "both") == job.DONE  # goes on from its shards
    assert runs.run("night2", "--images", "both") == job.DONE  # finished already
    assert runs.run("night3", "--retry", "unsupported_format") == job.DONE
    assert runs.run("night4", source="s3://shop/manifest.csv") == job.DONE
    output = ["s3://shop/upscaled", *runs.storage]
    assert read.main([*output[:1], str(tmp_path / "images"), *output[1:]]) == 0
    assert report.main(output) == 0
    both = [f"s3://shop/upscaled/runs/night{i}" for i in (1, 2)]
    assert compare.main([*both, *runs.storage]) == 0


def write_a_large_shard(proxy, tmp_path):
    """A shard above 16 MiB goes up in parts, which are dropped if one cannot be written."""
    path = tmp_path / "shard"
    path.write_bytes(bytes(LARGE_BYTES))
    files = open_storage(StorageConfig(proxy.endpoint, connections=2, attempts=1))
    files.write_file("s3://shop/upscaled/runs/night5/staging/1.parquet", path)
    proxy.fault = lambda method, path: "AccessDenied" if "partNumber=2" in path else None
    with pytest.raises(StorageError):
        files.write_file("s3://shop/upscaled/runs/night5/staging/2.parquet", path)


@pytest.fixture(scope="module")
def needed(tmp_path_factory):
    """What the requests of the runs need, as (action, resource)."""
    tmp_path = tmp_path_factory.mktemp("iam")
    with (
        made_up_credentials(),
        loopback_s3() as endpoint,
        fault_proxy(endpoint) as proxy,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        client = boto3.client("s3", endpoint_url=endpoint)  # the shop's own, not recorded
        client.create_bucket(Bucket="shop")
        run_nights(Job(client, proxy.endpoint), monkeypatch, tmp_path)
        write_a_large_shard(proxy, tmp_path)
        forget_connections()
        asked = {actions_of(*request) for request in proxy.requests}
        copied = {f"arn:aws:s3:::{unquote(source)}" for source in proxy.copied}
        delete_bucket(client)
    assert copied, "shards are published by copies"
    return asked | {("s3:GetObject", source) for source in copied}


@pytest.mark.slow
def test_the_policy_allows_all_requests_of_the_runs(needed):
    assert refused(needed, ALLOWED) == []


@pytest.mark.slow
@pytest.mark.parametrize("left_out", ALLOWED)
def test_the_policy_allows_nothing_that_no_run_needs(needed, left_out):
    fewer = [pair for pair in ALLOWED if pair != left_out]
    assert refused(needed, fewer)


def delete_bucket(client):
    """Deletes the bucket with its objects: servers within one process share their content."""
    for one in client.list_objects_v2(Bucket="shop")["Contents"]:
        client.delete_object(Bucket="shop", Key=one["Key"])
    client.delete_bucket(Bucket="shop")


class EnforcingServer:
    """An S3 server that lets a user do what the policy of IAM says, and nothing else.

    Args:
        endpoint: of a server within this process.
        monkeypatch: ends the enforcement with the test.
    """

    def __init__(self, endpoint, monkeypatch):
        self.endpoint, self._monkeypatch = endpoint, monkeypatch
        self.s3 = boto3.client("s3", endpoint_url=endpoint)
        self._iam = boto3.client("iam", endpoint_url=endpoint)
        self._user = f"job-{uuid.uuid4()}"  # the server keeps users after its end
        self._iam.create_user(UserName=self._user)

    def run(self, policy, *options):
        """Runs the job as the user."""
        document = json.dumps(policy)
        self._iam.put_user_policy(UserName=self._user, PolicyName="job", PolicyDocument=document)
        key = self._iam.create_access_key(UserName=self._user)["AccessKey"]
        with self._monkeypatch.context() as enforced:
            enforced.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
            enforced.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            enforced.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
            forget_connections()
            places = ["--input", "s3://shop/images/", "--output", "s3://shop/upscaled"]
            status = job.run([*places, "--s3_endpoint_url", self.endpoint, *options])
        forget_connections()
        return status


@pytest.fixture
def enforcing(monkeypatch):
    with made_up_credentials(), loopback_s3() as endpoint:
        server = EnforcingServer(endpoint, monkeypatch)
        server.s3.create_bucket(Bucket="shop")
        icon = image_bytes(20, 20, file_format="PNG")
        server.s3.put_object(Bucket="shop", Key="images/icon.png", Body=icon)
        yield server
        delete_bucket(server.s3)


def without(action, resource):
    """The policy without one action on one resource."""
    left = [
        {"Effect": "Allow", "Action": name, "Resource": pattern}
        for name, pattern in ALLOWED
        if (name, pattern) != (action, f"arn:aws:s3:::{resource}")
    ]
    assert len(left) == len(ALLOWED) - 1
    return {"Version": POLICY["Version"], "Statement": left}


@pytest.mark.slow
def test_a_server_that_enforces_the_policy_lets_the_job_run(enforcing, capsys):
    assert enforcing.run(POLICY, "--run_id", "night1") == job.DONE
    assert "1 too_small" in capsys.readouterr().out
    images = without("s3:GetObject", "shop/images/*")
    assert enforcing.run(images, "--run_id", "night2", "--previous", "none") == 3
    assert "1 access_denied" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:ListBucket", "shop"),
        ("s3:GetObject", "shop/upscaled/*"),
        ("s3:PutObject", "shop/upscaled/*"),
        ("s3:DeleteObject", "shop/upscaled/*"),
    ],
)
def test_an_action_less_ends_the_run_with_its_name(enforcing, capsys, action, resource):
    assert enforcing.run(without(action, resource)) == 1
    assert f"the credentials need {action} there" in capsys.readouterr().err


def test_the_document_names_what_the_policy_allows():
    text = text_of("docs/operating.md")
    assert "(../deploy/iam-policy.json)" in text
    for action, _ in ALLOWED:
        assert f"`{action}`" in text, action


def test_a_bucket_takes_the_lifecycle_rule_and_drops_uploads_of_the_output():
    rules = json.loads((ROOT / "deploy/s3-lifecycle.json").read_text())
    with loopback_s3() as endpoint, made_up_credentials():
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="shop")
        client.put_bucket_lifecycle_configuration(Bucket="shop", LifecycleConfiguration=rules)
        (rule,) = client.get_bucket_lifecycle_configuration(Bucket="shop")["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert ("s3:AbortMultipartUpload", f"arn:aws:s3:::shop/{rule['Filter']['Prefix']}*") in ALLOWED
    assert "Expiration" not in rule  # no rows or images
    assert "(../deploy/s3-lifecycle.json)" in text_of("docs/operating.md")
