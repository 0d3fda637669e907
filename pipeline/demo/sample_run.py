"""Runs the job on the sample catalog, from s3:// to s3:// on loopback, and copies the output."""

import contextlib
import io
import shutil
from pathlib import Path

import boto3
from PIL import Image

from pipeline import job
from pipeline.demo import before_after
from pipeline.demo.loopback import loopback_s3, made_up_credentials
from pipeline.demo.options import BUCKET, RUN_ID, job_arguments
from pipeline.demo.sample_catalog import SampleCatalog, manifest_csv, sample_catalog

_PREFIX = "upscaled"


def run_demo(options: list[str], output: Path) -> int:
    """Runs the job on the sample catalog and describes its output.

    Args:
        options: further options of `run_pipeline.py`.
        output: local folder for the output; an existing one is replaced.

    Returns:
        The exit status: see `pipeline.job.run`.

    Raises:
        SystemExit: with status 2 for a wrong option.
    """
    catalog = sample_catalog()
    shutil.rmtree(output, ignore_errors=True)
    with loopback_s3() as endpoint, made_up_credentials():
        manifest = upload(endpoint, BUCKET, catalog)
        print(f"{len(catalog.samples)} sample images, some broken on purpose, in {manifest}")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            status = job.run(job_arguments(endpoint, options))
        download(endpoint, BUCKET, f"{_PREFIX}/", output)
    # The server is gone: name the copies.
    said = printed.getvalue().replace(f" --s3_endpoint_url {endpoint}", "")
    print(said.replace(f"s3://{BUCKET}/{_PREFIX}", str(output)), end="")
    _describe(catalog, output)
    return status


def upload(endpoint: str, bucket: str, catalog: SampleCatalog) -> str:
    """Creates a bucket with the catalog's images and manifest.

    Args:
        endpoint: URL of the S3 server.
        bucket: name of the bucket.
        catalog: see `sample_catalog`.

    Returns:
        The manifest's URI.
    """
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=bucket)
    objects = {sample.key: sample.data for sample in catalog.samples} | catalog.references
    for key, data in objects.items():
        if data is not None:
            client.put_object(Bucket=bucket, Key=key, Body=data)
    client.put_object(Bucket=bucket, Key="manifest.csv", Body=manifest_csv(catalog, bucket))
    return f"s3://{bucket}/manifest.csv"


def download(endpoint: str, bucket: str, prefix: str, folder: Path) -> None:
    """Copies all objects below a prefix to a folder.

    Args:
        endpoint: URL of the S3 server.
        bucket: name of the bucket.
        prefix: ends in `/`.
        folder: created if there is an object.
    """
    client = boto3.client("s3", endpoint_url=endpoint)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for item in (item for page in pages for item in page.get("Contents", ())):
        path = folder / item["Key"].removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, item["Key"], str(path))


def _describe(catalog: SampleCatalog, output: Path) -> None:
    """Draws the sheet and names the files to look at, the report last."""
    if not (output / "rows").is_dir():
        return
    sources = {f"s3://{BUCKET}/{sample.key}": sample.data or b"" for sample in catalog.samples}
    sheet = before_after.draw_sheet(output / "rows", sources)
    if sheet is not None:
        path = output / "before_after.png"
        Image.fromarray(sheet).save(path)
        print(f"\nbefore and after: {path.resolve()}")
    report = output / "runs" / RUN_ID / "report.html"
    if report.is_file():
        print(f"report: {report.resolve()}")
