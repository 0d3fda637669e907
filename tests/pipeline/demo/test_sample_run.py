"""The sample catalog, and the whole demo as `make run` starts it."""

import json

import pyarrow.dataset as ds
import pytest
from PIL import Image

from model.imaging.decode import decode
from model.imaging.errors import ImageError
from pipeline.demo import sample_run
from pipeline.demo.sample_catalog import manifest_csv, sample_catalog


@pytest.fixture(scope="module")
def catalog():
    return sample_catalog()


def test_the_catalog_is_small_and_holds_what_it_promises(catalog):
    data = [sample.data for sample in catalog.samples if sample.data is not None]
    assert 45 <= len(catalog.samples) <= 60
    assert sum(map(len, [*data, *catalog.references.values()])) < 4_000_000
    found = set()
    for sample in catalog.samples:
        if sample.expected_status != "upscaled":
            continue
        header, image = decode(sample.data, max_pixels=10**6)
        found.add((header.format, header.mode))
        assert 32 <= min(image.height, image.width) <= 1000, sample.key
    assert found >= {
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("PNG", mode) for mode in ("RGB", "RGBA", "P", "I;16")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("GIF", "P"), ("BMP", "RGB"), ("TIFF", "RGB")),
    }


def test_the_broken_ones_are_broken(catalog):
    broken = [s for s in catalog.samples if s.expected_status == "failed" and s.data]
    assert broken
    for sample in broken:
        with pytest.raises(ImageError) as caught:
            decode(sample.data, max_pixels=10**6)
        assert caught.value.reason == sample.expected_reason


def test_the_manifest_names_one_image_twice(catalog):
    lines = manifest_csv(catalog, "shop").decode().splitlines()
    assert len(lines) == len(catalog.samples) + 2
    assert lines[1] == lines[-1]
    assert lines[1].startswith("s3://shop/paired/0.png,R0,s3://shop/references/0.png")


def test_the_demo(catalog, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sample_run, "OUTPUT", tmp_path / "demo-output")
    assert sample_run.main([]) == 0
    rows = {
        row["uri"]: row
        for row in ds.dataset(tmp_path / "demo-output/rows", partitioning="hive")
        .to_table()
        .to_pylist()
    }
    assert len(rows) == len(catalog.samples)
    for sample in catalog.samples:
        row = rows[f"s3://{sample_run.BUCKET}/{sample.key}"]
        found = (row["status"], row["reason"])
        assert found == (sample.expected_status, sample.expected_reason), (
            sample.key,
            row["detail"],
        )
        assert (row["reference_psnr_db"] is not None) == (sample.reference_key is not None)
        if row["reference_psnr_db"] is not None:
            assert row["reference_psnr_db"] > row["reference_bicubic_psnr_db"] + 1.5
    summary = json.loads((tmp_path / "demo-output/runs/demo/summary.json").read_text())
    assert summary["repeats"] == 1
    images = list((tmp_path / "demo-output/images").rglob("*.*"))
    made = sum(row["status"] == "upscaled" for row in rows.values())
    assert len(images) == made - 1  # two URIs have the same content
    with Image.open(tmp_path / "demo-output/before_after.png") as sheet:
        assert sheet.width == 4 * sample_run._SHEET_CROP_PX
    assert str(tmp_path / "demo-output") in capsys.readouterr().out
