"""--dry_run: what the run would do, and nothing of it."""

import json
import re

import pytest
from PIL import Image

from pipeline import job
from pipeline.output.shard_writer import ShardWriter, count_shards
from pipeline.runs import estimation
from pipeline.upscale.machine import count_cores
from tests.pipeline.conftest import image_bytes, make_plan, make_row, make_settings

PIXELS = estimation.Pixels(1000, 1000, 4000)


def test_a_target_size_makes_work_of_its_own_for_each_image():
    plan = make_plan(target_side=150)
    once = estimation.Pixels.of(60, 80, plan)  # to 120 x 160, then to 113 x 150
    twice = estimation.Pixels.of(30, 40, plan)  # to 60 x 80, to 120 x 160, then the same
    assert once == (4800, 4800, 112 * 150)
    assert twice == (1200, 1200 + 4800, 112 * 150)
    assert once.plus(twice) == (6000, 10800, 2 * 112 * 150)


@pytest.fixture
def shop(bucket):
    """Images to upscale, one twice, and others that a run skips or fails."""
    for i in range(6):
        bucket.put(f"in/{i}.png", image_bytes(40, 50, file_format="PNG", seed=i))
    bucket.put("in/twin.png", image_bytes(40, 50, file_format="PNG", seed=0))
    bucket.put("in/icon.png", image_bytes(20, 20, file_format="PNG"))
    bucket.put("in/large.jpg", image_bytes(1100, 900))
    bucket.put("in/broken.jpg", b"no image")
    return bucket


def run(bucket, *options):
    arguments = ["--input", bucket.uri("in/"), "--output", bucket.uri("out")]
    arguments += ["--s3_endpoint_url", bucket.endpoint, "--max_failure_rate", "1"]
    return job.run([*arguments, *options])


def estimate(bucket, run_id):
    return json.loads(bucket.get(f"out/runs/{run_id}/estimate.json"))


def test_it_counts_what_the_run_then_does_and_writes_nothing_else(shop, capsys):
    prices = ["--price_core_hour", "0.05", "--price_1000_reads", "0.4"]
    assert run(shop, "--run_id", "dry", "--dry_run", *prices) == 0
    told = capsys.readouterr().out
    assert [key for key in shop.keys("out/")] == ["out/runs/dry/estimate.json"]
    found = estimate(shop, "dry")
    assert found["by_status"] == {"to_upscale": 7, "skipped": 2, "failed": 1}
    assert (found["uris"], found["pictures_to_magnify"]) == (10, 6)
    assert found["megapixels_to_magnify"] == pytest.approx(6 * 40 * 50 / 1e6)
    assert found["calibration"]["images"] == 6
    assert found["expected"]["hours"] > 0 and found["expected"]["gigabytes_of_pictures"] > 0
    expected = found["expected"]
    assert expected["core_hours"] == pytest.approx(expected["hours"] * count_cores(), abs=1e-6)
    assert expected["cost"]["cores"] == pytest.approx(0.05 * expected["core_hours"], abs=1e-6)
    reads = expected["s3_requests"]["head"] + expected["s3_requests"]["get"]
    assert expected["cost"]["reads"] == pytest.approx(0.4 * reads / 1000) and reads > 0
    assert "\nS3 requests, about: 1 list" in told
    assert " core hours, " in told and "\ncost: " in told
    assert (
        "7 to upscale" in told
        and re.search(r"expected: \d+(\.\d)? s, ", told)
        and "1 too_small" in told
    )

    assert run(shop, "--run_id", "real") == 0
    summary = json.loads(shop.get("out/runs/real/summary.json"))
    assert summary["by_reason"] == found["by_reason"]
    assert summary["by_status"]["upscaled"] == found["by_status"]["to_upscale"]


def test_finished_work_costs_nothing(shop):
    assert run(shop, "--run_id", "real") == 0
    shop.put("in/new.png", image_bytes(60, 50, file_format="PNG", seed=9))
    assert run(shop, "--run_id", "dry", "--dry_run") == 0
    found = estimate(shop, "dry")
    assert found["by_status"]["to_upscale"] == 1 and found["by_status"]["unchanged"] == 7
    assert found["expected"]["s3_requests"] == {
        "list": 1,
        "head": 0,
        "get": 1,
        "put_copy_delete": 3 * count_shards(1 + 0.02 * 11),
    }


def test_the_storage_is_that_of_the_images(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / f"in/{i}.png").write_bytes(image_bytes(48, 48, file_format="PNG", seed=i))
    arguments = ["--input", f"{tmp_path}/in/", "--output", f"{tmp_path}/out", "--images", "files"]
    assert job.run([*arguments, "--run_id", "dry", "--dry_run"]) == 0
    assert not (tmp_path / "out/images").exists()
    expected = json.loads((tmp_path / "out/runs/dry/estimate.json").read_text())["expected"]
    assert job.run([*arguments, "--run_id", "real"]) == 0
    written = sum(path.stat().st_size for path in (tmp_path / "out/images").rglob("*.png"))
    assert expected["gigabytes_of_pictures"] * 1e9 == pytest.approx(written, abs=1000)
    assert expected["s3_requests"] == {"list": 0, "head": 0, "get": 0, "put_copy_delete": 0}


def test_nothing_to_do_takes_no_time(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "icon.png")
    (tmp_path / "m.txt").write_text("icon.png\nmissing.png\n")
    arguments = ["--input", f"{tmp_path}/m.txt", "--output", f"{tmp_path}/out", "--run_id", "dry"]
    assert job.run([*arguments, "--dry_run"]) == 0
    found = json.loads((tmp_path / "out/runs/dry/estimate.json").read_text())
    assert found["by_reason"] == {"too_small": 1, "not_found": 1}
    assert found["calibration"] is None and found["expected"]["hours"] == 0


def test_shards_are_counted_as_the_writer_closes_them(local_files, tmp_path):
    writer = ShardWriter(local_files, str(tmp_path))
    closed = [writer.add(make_row(f"s3://b/{i}", inference_ms=1.0)) for i in range(300)]
    closed.append(writer.close())
    assert sum(shard is not None for shard in closed) == count_shards(300)


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "m.txt").write_text("missing.png\n")
    (tmp_path / "file").touch()
    arguments = ["--input", f"{tmp_path}/m.txt", "--output", f"{tmp_path}/file/out"]
    for options in (["--dry_run"], []):
        assert job.run([*arguments, *options, "--run_id", "night1"]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"{tmp_path}/file/out" in error


def test_an_estimate_without_a_rate_says_so():
    counted = estimation.add_up([estimation.ProbedJob((("to_upscale", None),), PIXELS, 1, None)])
    counted = estimation.Counted(counted.verdicts, 1, PIXELS, 1, [])
    files = _Kept()
    found = estimation.write(files, make_settings(), counted, None)
    assert found["expected"]["hours"] is None and json.loads(files.data) == found
    assert "none of the images tried could be decoded" in estimation.describe(
        found, make_settings()
    )


class _Kept:
    def write(self, uri, data):
        self.data = data
