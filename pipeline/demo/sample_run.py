"""The whole job on a catalog that this project draws, from s3:// to s3:// on loopback.

    python -m pipeline.demo

An S3 server (moto's, over real HTTP) lives for the length of the run; what the job wrote to it is
left in `demo-output/`, with a sheet that shows some images before and after.
"""

import io
import shutil
import sys
from pathlib import Path

import boto3
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

import pipeline.runtime.startup  # noqa: F401 - first, for its effect
from model.imaging import resampling
from pipeline.demo.loopback import loopback_s3, made_up_credentials
from pipeline.demo.sample_catalog import SampleCatalog, manifest_csv, sample_catalog
from pipeline.job import run

OUTPUT = Path("demo-output")
BUCKET = "demo-shop"
_SHEET_CROP_PX = 220
_SHEET_IMAGES = 6


def upload(endpoint: str, bucket: str, catalog: SampleCatalog) -> str:
    """Makes a bucket with the catalog's images and manifest; returns the manifest's URI."""
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=bucket)
    objects = {sample.key: sample.data for sample in catalog.samples} | catalog.references
    for key, data in objects.items():
        if data is not None:
            client.put_object(Bucket=bucket, Key=key, Body=data)
    client.put_object(Bucket=bucket, Key="manifest.csv", Body=manifest_csv(catalog, bucket))
    return f"s3://{bucket}/manifest.csv"


def _download(endpoint: str, bucket: str, prefix: str, folder: Path) -> None:
    """Copies all objects below a prefix to a folder."""
    client = boto3.client("s3", endpoint_url=endpoint)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for item in (item for page in pages for item in page.get("Contents", ())):
        path = folder / item["Key"].removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, item["Key"], str(path))


def _write_sheet(rows_folder: Path, catalog: SampleCatalog, path: Path) -> None:
    """Centres of some images: bicubic on the left, the network's result on the right."""
    sources = {sample.key: sample.data for sample in catalog.samples}
    table = pq.read_table(rows_folder, columns=["uri", "status", "source_format", "image"])
    made = [
        row
        for row in table.to_pylist()
        if row["status"] == "upscaled" and row["source_format"] == "JPEG"
    ]
    made.sort(key=lambda row: row["uri"])
    chosen = made[:: max(1, len(made) // _SHEET_IMAGES)][:_SHEET_IMAGES]
    pairs = []
    for row in chosen:
        data = sources[row["uri"].removeprefix(f"s3://{BUCKET}/")]
        lr = np.asarray(Image.open(io.BytesIO(data or b"")).convert("RGB"))
        sr = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"))
        if (lr.shape[0] * 2, lr.shape[1] * 2) != sr.shape[:2]:
            continue  # turned upright: the plain reading above is not
        bicubic = resampling.to_uint8(resampling.bicubic(lr, *sr.shape[:2]))
        pairs.append(np.hstack([_centre(bicubic), _centre(sr)]))
    if pairs:
        half = (len(pairs) + 1) // 2
        columns = [np.vstack(pairs[:half]), np.vstack(pairs[half:] or pairs[:1])]
        height = min(column.shape[0] for column in columns)
        Image.fromarray(np.hstack([column[:height] for column in columns])).save(path)


def _centre(image: np.ndarray) -> np.ndarray:
    """uint8 [P, P, 3] from the middle, on white where the image is smaller."""
    side = _SHEET_CROP_PX
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    crop = image[top : top + side, left : left + side]
    framed = np.full((side, side, 3), 255, np.uint8)
    framed[: crop.shape[0], : crop.shape[1]] = crop
    return framed


def main(argv: list[str]) -> int:
    """Runs the demo with further options of `run_pipeline.py`; returns its exit status."""
    catalog = sample_catalog()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    with loopback_s3() as endpoint, made_up_credentials():
        manifest = upload(endpoint, BUCKET, catalog)
        print(f"{len(catalog.samples)} sample images, some broken on purpose, in {manifest}")
        arguments = ["--input", manifest, "--output", f"s3://{BUCKET}/upscaled"]
        arguments += ["--s3_endpoint_url", endpoint, "--images", "both", "--run_id", "demo"]
        status = run([*arguments, "--max_failure_rate", "0.2", *argv])
        _download(endpoint, BUCKET, "upscaled/", OUTPUT)
    if (OUTPUT / "rows").is_dir():
        sheet = OUTPUT / "before_after.png"
        _write_sheet(OUTPUT / "rows", catalog, sheet)
        print(f"\nThe S3 server is gone; all that it held is in {OUTPUT.resolve()}")
        print(f"  {sheet}: bicubic on the left of each pair, the network on the right")
        print(f"  {OUTPUT}/images/: the images   {OUTPUT}/rows/: the rows with all measures")
        print(f"  {OUTPUT}/runs/demo/summary.json: the summary")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
