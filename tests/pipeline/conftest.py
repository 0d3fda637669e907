"""A real S3 server over HTTP on loopback, and small real images."""

import dataclasses
import datetime
import functools
import io
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import numpy as np
import pytest
from PIL import Image

from pipeline import columns, dofns
from pipeline.demo.loopback import loopback_s3, made_up_credentials
from pipeline.records import Shard, Status, Totals
from pipeline.row.row import Row
from pipeline.runs import counting, summary
from pipeline.runs.counting import RowCounts
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import Storage, StorageConfig
from pipeline.storage.routing import open_storage
from pipeline.storage.s3_client import forget_connections
from pipeline.upscale import machine

NOW = datetime.datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=datetime.UTC)


def image_bytes(height=60, width=80, *, mode="RGB", file_format="JPEG", seed=1, **save) -> bytes:
    """A smooth random image with an edge, so that its bytes depend on the seed."""
    generator = np.random.default_rng(seed)
    small = generator.integers(80, 190, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((250, 250, 250), (0, 0, width, height // 3))
    image = image.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize((width, height)))
    buffer = io.BytesIO()
    image.save(buffer, file_format, **save)
    return buffer.getvalue()


@pytest.fixture(scope="session", autouse=True)
def runs_share_their_decoders() -> Iterator[None]:
    """Each run would start two processes, which import Pillow and numpy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dofns, "open_decoders", functools.cache(dofns.open_decoders))
        yield


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with loopback_s3() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def credentials() -> Iterator[None]:
    with made_up_credentials():
        yield


@pytest.fixture
def no_credentials(credentials, tmp_path, monkeypatch) -> Iterator[None]:
    """A machine on which nobody has set up AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_connections()  # those of earlier tests have credentials
    yield
    forget_connections()


@pytest.fixture(autouse=True)
def one_process(monkeypatch) -> None:
    """Tests' images are small: to start processes for them would take most of the time."""
    monkeypatch.setattr(machine, "WORTH_PROCESSES", 1000)


@dataclasses.dataclass
class Bucket:
    """A fresh bucket on the loopback server."""

    name: str
    endpoint: str
    client: Any

    def put(self, key: str, data: bytes) -> str:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)
        return self.uri(key)

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()


@pytest.fixture
def bucket(s3_endpoint: str) -> Bucket:
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(name, s3_endpoint, client)


@pytest.fixture
def s3_files(s3_endpoint: str) -> Storage:
    return open_storage(StorageConfig(s3_endpoint, connections=4, attempts=2))


@pytest.fixture
def local_files() -> Storage:
    return open_storage(StorageConfig())


def make_settings(**changes: Any) -> Settings:
    """Settings of a run that a test does not start through the command line."""
    defaults = {
        "input": "/nowhere/manifest.csv",
        "output": "/nowhere/out",
        "run_id": "test",
    }
    return Settings(**(defaults | changes))


def make_plan(**changes: Any) -> RunPlan:
    """A resolved plan; takes fields of `RunPlan` and of its settings alike."""
    names = {field.name for field in dataclasses.fields(RunPlan)} - {"workers"}
    resolved = {
        "started_at": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "model_sha256": "0" * 64,
        "workers": changes.pop("workers", 1),
        "compute_dtype": "float32",
    }
    resolved |= {name: changes.pop(name) for name in names & changes.keys()}
    return RunPlan(make_settings(**changes), **resolved)


def finish_run(files: Storage, plan: RunPlan, shards: list[Shard], totals: Totals) -> Any:
    """Publishes, counts and checks the shards of a run, as the pipeline's last steps do."""
    counts, uris = RowCounts(), []
    for part in summary.publish_shards(files, plan, shards):
        uris += [columns.pack(batch) for batch in counting.count_part(files, part, counts)]
    before = [
        columns.pack(batch)
        for part in plan.previous_parts
        for batch in counting.read_uris(files, part)
    ]
    compared = counting.compare_uris(uris, before)
    return summary.finish_run(files, plan, counting.add_counts([counts]), compared, totals)


def make_row(uri: str, status: Status = Status.UPSCALED, at: Any = NOW, **columns: Any) -> Row:
    """A row with these values by column; an image by its bytes alone."""
    if isinstance(columns.get("image"), bytes):
        columns["image"] = {"bytes": columns["image"], "path": "a.png"}
    return Row.from_columns({"uri": uri, "status": status, "processed_at": at, **columns})
