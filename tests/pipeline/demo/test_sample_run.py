"""The sample catalog, and the whole demo as `make run` starts it."""

import dataclasses
import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.imaging.decode import decode
from model.imaging.errors import ImageError
from pipeline import text
from pipeline.demo import __main__ as command
from pipeline.demo import sample_run
from pipeline.demo.before_after import BLOCK_PX, ZOOM, draw_sheet, max_detail_block
from pipeline.demo.options import BUCKET
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


@pytest.fixture
def small(catalog):
    """Every kind of sample, but few of the plain images that differ in size only."""
    few = [one for one in catalog.samples if not re.match(r"images/00([12]|0[5-9])", one.key)]
    return dataclasses.replace(catalog, samples=few)


def test_the_demo(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "OUTPUT", tmp_path / "demo-output")
    monkeypatch.setattr(sample_run, "sample_catalog", lambda: small)
    (tmp_path / "demo-output").mkdir()
    (tmp_path / "demo-output/of-the-last-demo").touch()
    assert command.main([]) == 0
    assert not (tmp_path / "demo-output/of-the-last-demo").exists()
    rows = {
        row["uri"]: row
        for row in ds.dataset(tmp_path / "demo-output/rows", partitioning="hive")
        .to_table()
        .to_pylist()
    }
    assert len(rows) == len(small.samples)
    for sample in small.samples:
        row = rows[f"s3://{BUCKET}/{sample.key}"]
        found = (row["status"], row["reason"])
        assert found == (sample.expected_status, sample.expected_reason), (
            sample.key,
            row["detail"],
        )
        assert (row["reference_psnr_db"] is not None) == (sample.reference_key is not None)
        if row["reference_psnr_db"] is not None:
            # A blend with bicubic gives up a part of the gain; see docs/measures.md.
            gain_db = 1.5 if row["network_share"] == 1 else 0.5
            assert row["reference_psnr_db"] > row["reference_bicubic_psnr_db"] + gain_db
    summary = json.loads((tmp_path / "demo-output/runs/demo/summary.json").read_text())
    assert summary["repeats"] == 1
    images = list((tmp_path / "demo-output/images").rglob("*.*"))
    made = sum(row["status"] == "upscaled" for row in rows.values())
    assert len(images) == made - 1  # two URIs have the same content
    with Image.open(tmp_path / "demo-output/before_after.png") as sheet:
        assert 4 * BLOCK_PX * ZOOM < sheet.width < 5 * BLOCK_PX * ZOOM
        assert sheet.height > 3 * BLOCK_PX * ZOOM
    printed = capsys.readouterr().out
    assert text.count(len(small.samples), "sample image") in printed
    # The server is gone: all that is named is on this disk, the report last.
    _, _, of_the_run = printed.partition("manifest.csv\n")
    assert "s3://" not in of_the_run
    last = of_the_run.splitlines()[-1]
    assert last == f"report: {tmp_path / 'demo-output/runs/demo/report.html'}"
    assert (tmp_path / "demo-output/runs/demo/report.html").is_file()


def test_the_sheet_shows_the_max_detail_block():
    pixels = np.full((300, 400, 3), 255, np.uint8)
    pixels[200:240, 300:340] = np.random.default_rng(1).integers(0, 256, (40, 40, 3))
    rows, columns = max_detail_block(pixels, 100)
    assert rows.start <= 200 and rows.stop >= 240 and rows.stop - rows.start == 100
    assert columns.start <= 300 and columns.stop >= 340
    rows, columns = max_detail_block(pixels[:, :50], 100)  # a narrow image
    assert (columns.start, columns.stop) == (0, 50)


def sheet_of(tmp_path, name):
    """The sheet of one mostly blank image, whose detail is in a corner."""
    pixels = np.full((200, 220, 3), 255, np.uint8)
    pixels[150:190, 170:210] = np.random.default_rng(1).integers(0, 200, (40, 40, 3))
    source, result = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(source, "JPEG", quality=95)
    Image.fromarray(pixels.repeat(2, 0).repeat(2, 1)).save(result, "PNG")
    row = {"uri": f"s3://shop/{name}", "status": "upscaled", "source_format": "JPEG"}
    row |= {"model": "ours", "image": {"bytes": result.getvalue(), "path": "a.png"}}
    folder = tmp_path / name
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([row]), folder / "part.parquet")
    return draw_sheet(folder, {row["uri"]: source.getvalue()})


def test_each_panel_of_the_sheet_shows_detail_below_its_name(tmp_path):
    one, two = sheet_of(tmp_path, "shirt.jpg"), sheet_of(tmp_path, "trousers.jpg")
    differs = np.argwhere((one != two).any(axis=2))
    panels = one.shape[0] - BLOCK_PX * ZOOM
    assert len(differs) and differs[:, 0].max() < panels  # the names alone, above the panels
    middle = one.shape[1] // 2
    assert differs[:, 1].min() < middle < differs[:, 1].max()
    for side in (slice(None, middle), slice(middle, None)):
        assert (one[panels:, side] < 200).any(axis=2).mean() > 0.1


@pytest.mark.parametrize(
    "options", [["--help"], ["--version"], ["--max_syde", "200"], ["--min_side", "x"]]
)
def test_options_without_a_run_delete_nothing(options, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "demo-output/images/mine.png"
    kept.parent.mkdir(parents=True)
    kept.touch()
    monkeypatch.setattr(command, "OUTPUT", tmp_path / "demo-output")
    with pytest.raises(SystemExit) as stopped:
        command.main(options)
    assert stopped.value.code == (2 if options[0] not in ("--help", "--version") else 0)
    assert kept.exists()
