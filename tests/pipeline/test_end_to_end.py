"""The whole job through its command line: s3:// to s3:// over HTTP, rows read back."""

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from PIL import Image

from pipeline import job
from pipeline.output.schema import SCHEMA
from pipeline.row.parts import TIMED_STAGES
from tests import malformed
from tests.image_data import CATALOG, needs_catalog
from tests.pipeline.conftest import image_bytes

ROOT = Path(__file__).parents[2]


def png(array, **save):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **save)
    return buffer.getvalue()


def gif(frames):
    images = [
        Image.open(io.BytesIO(image_bytes(40, 40, file_format="PNG", seed=i)))
        for i in range(frames)
    ]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:])
    return buffer.getvalue()


def exif_turned():
    exif = Image.Exif()
    exif[0x0112] = 8
    return image_bytes(50, 70, exif=exif)


GREY_16 = np.linspace(0, 65535, 40 * 50).astype(np.uint16).reshape(40, 50)

# key: (content, status, reason, (source mode, result's mode)); None is an object that is missing.
IMAGES = {
    "good/rgb.jpg": (image_bytes(70, 90), "upscaled", None, ("RGB", "RGB")),
    "good/odd.jpg": (image_bytes(33, 57, quality=70), "upscaled", None, ("RGB", "RGB")),
    "good/grey.jpg": (image_bytes(40, 40, mode="L"), "upscaled", None, ("L", "L")),
    "good/cmyk.jpg": (image_bytes(40, 40, mode="CMYK"), "upscaled", None, ("CMYK", "RGB")),
    "good/turned.jpg": (exif_turned(), "upscaled", None, ("RGB", "RGB")),
    "good/alpha.png": (
        image_bytes(40, 40, mode="RGBA", file_format="PNG"),
        "upscaled",
        None,
        ("RGBA", "RGBA"),
    ),
    "good/palette.png": (
        image_bytes(40, 40, mode="P", file_format="PNG"),
        "upscaled",
        None,
        ("P", "RGB"),
    ),
    "good/grey16.png": (png(GREY_16), "upscaled", None, ("I;16", "L")),
    "good/lossy.webp": (image_bytes(40, 40, file_format="WEBP"), "upscaled", None, ("RGB",) * 2),
    "good/single.gif": (gif(1), "upscaled", None, ("P", "RGB")),
    "skip/one_pixel.png": (png(np.zeros((1, 1, 3), np.uint8)), "skipped", "too_small", None),
    "skip/icon.png": (image_bytes(31, 99, file_format="PNG"), "skipped", "too_small", None),
    "skip/large.jpg": (image_bytes(40, 1001), "skipped", "large_enough", None),
    "skip/animated.gif": (gif(3), "skipped", "animated", None),
    "bad/none.jpg": (None, "failed", "not_found", None),
    "bad/denied.jpg": (image_bytes(41, 41), "failed", "access_denied", None),
    "bad/empty.jpg": (b"", "failed", "unreadable", None),
    "bad/truncated.jpg": (image_bytes(99, 99)[:700], "failed", "unreadable", None),
    "bad/truncated.png": (
        image_bytes(99, 99, file_format="PNG")[:700],
        "failed",
        "unreadable",
        None,
    ),
    "bad/page.jpg": (b"<html>404</html>", "failed", "unsupported_format", None),
    "bad/pixels.png": (png(np.zeros((300, 400), np.uint8)), "failed", "too_many_pixels", None),
}


@pytest.fixture
def catalog(bucket):
    """IMAGES in a bucket, with a manifest that also repeats, twins, refers and breaks."""
    for key, (data, *_) in IMAGES.items():
        if data is not None:
            bucket.put(key, data)
    bucket.put("good/twin.jpg", IMAGES["good/rgb.jpg"][0])
    hr = np.asarray(Image.open(io.BytesIO(image_bytes(100, 120, file_format="PNG"))))
    lr = Image.fromarray(hr).resize((60, 50), Image.Resampling.BICUBIC)
    bucket.put("good/lr.png", png(np.asarray(lr)))
    bucket.put("hr.png", png(hr))
    deny = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{bucket.name}/bad/denied.jpg",
            }
        ],
    }
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(deny))
    lines = [f"{bucket.uri(key)},product {key},," for key in IMAGES]
    lines += [
        f"{bucket.uri('good/twin.jpg')},twin,,",
        f"{bucket.uri('good/rgb.jpg')},mentioned again,,",
        f"{bucket.uri('good/lr.png')},paired,{bucket.uri('hr.png')},",
        "https://shop/x.jpg?token=planted-secret,,,",
        "too,few",
    ]
    text = "\n".join(["uri,product_id,reference_uri,unused", *lines])
    return bucket.put("manifest.csv", text.encode())


def run_job(bucket, *arguments):
    return job.run([*arguments, "--s3_endpoint_url", bucket.endpoint, "--run_id", "night1"])


def read_rows(bucket, folder):
    """Downloads OUT and reads OUT/rows as one partitioned dataset."""
    for key in bucket.keys("out/"):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.get(key))
    return ds.dataset(folder / "out/rows", partitioning="hive").to_table()


def test_from_s3_to_s3(bucket, catalog, tmp_path, capfd):
    status = run_job(
        bucket,
        *("--input", catalog, "--output", bucket.uri("out"), "--images", "both"),
        *("--max_pixels", "100000", "--max_failure_rate", "0.5"),
    )
    assert status == 0
    table = read_rows(bucket, tmp_path)
    assert table.schema.names == [*SCHEMA.names, "run_id"]
    assert set(table["run_id"].to_pylist()) == {"night1"}
    rows = {row["uri"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows == len(IMAGES) + 4

    for key, (data, expected_status, reason, modes) in IMAGES.items():
        row = rows.pop(bucket.uri(key))
        assert (row["status"], row["reason"]) == (expected_status, reason), (key, row["detail"])
        assert row["product_id"] == f"product {key}"
        if expected_status != "upscaled":
            assert row["image"] is None and row["detail"], key
            continue
        check_image(bucket, row, data, modes)

    twin = rows.pop(bucket.uri("good/twin.jpg"))
    assert (twin["status"], twin["product_id"]) == ("upscaled", "twin")
    paired = rows.pop(bucket.uri("good/lr.png"))
    assert paired["reference_psnr_db"] > paired["reference_bicubic_psnr_db"] > 25
    assert 0.9 < paired["reference_ssim"] <= 1
    (web,) = [rows.pop(uri) for uri in list(rows) if uri.startswith("https://shop/x.jpg?blake2b=")]
    assert (web["status"], web["reason"]) == ("failed", "scheme_not_allowed")
    (broken,) = rows.values()
    assert (broken["status"], broken["reason"]) == ("failed", "bad_line")
    assert f"line {len(IMAGES) + 6}:" in broken["detail"]

    check_summary(bucket, table)
    everything = b"".join(bucket.get(key) for key in bucket.keys("out/"))
    assert b"planted-secret" not in everything
    out = capfd.readouterr().out
    assert "25 images: 12 upscaled, 4 skipped, 9 failed" in out
    assert "Traceback" not in out


def check_image(bucket, row, data, modes):
    """What an upscaled row promises, against the source's bytes and the written file."""
    name = row["uri"]
    assert (row["source_mode"], row["source_bytes"]) == (modes[0], len(data)), name
    result = Image.open(io.BytesIO(row["image"]["bytes"]))
    assert result.mode == modes[1], name
    assert result.size == (row["width"], row["height"])
    assert result.size == (2 * row["source_width"], 2 * row["source_height"])
    assert row["image_bytes"] == len(row["image"]["bytes"])
    assert row["image_uri"].startswith("images/")
    key = row["image_uri"]
    assert bucket.get(f"out/{key}") == row["image"]["bytes"]
    assert row["content_key"] in key and row["content_key"] in row["image"]["path"]
    by_whom = "rdn-product" if row["network_share"] == 1 else "rdn-product blended"
    assert row["model"] == by_whom and row["scale"] == 2
    assert row["roundtrip_psnr_db"] > 25, name
    assert np.isfinite(row["self_gain_db"])
    assert row["inference_ms"] > 0


def check_metrics(metrics, table, statuses, reasons):
    assert metrics["counters"] == {"rows": statuses, "reasons": reasons}
    for stage in TIMED_STAGES:
        counted, column = metrics["distributions"]["stages"][stage], table[stage].drop_null()
        assert counted["count"] == len(column) > 0
        assert counted["max"] == round(pc.max(column).as_py())


def check_summary(bucket, table):
    summary = json.loads(bucket.get("out/runs/night1/summary.json"))
    assert (summary["uris"], summary["rows"], summary["repeats"]) == (25, 25, 1)
    statuses = Counter(table["status"].to_pylist())
    assert {k: v for k, v in summary["by_status"].items() if v} == statuses
    assert summary["by_reason"] == Counter(table["reason"].drop_null().to_pylist())
    check_metrics(summary["beam_metrics"], table, statuses, summary["by_reason"])
    median = pc.quantile(table["self_gain_db"])[0].as_py()
    assert summary["percentiles"]["self_gain_db"]["p50"] == pytest.approx(median, abs=1e-3)
    control = [key for key in bucket.keys("out/runs/")]
    assert sorted(key.rpartition("/")[2] for key in control) == [
        "_SUCCESS",
        "latest.json",
        "report.html",
        "run.json",
        "summary.json",
    ]


def test_pandas_reads_the_rows_and_the_images(bucket, tmp_path):
    bucket.put("in/a.png", image_bytes(40, 44, file_format="PNG"))
    bucket.put("in/b.png", png(np.zeros((1, 1, 3), np.uint8)))
    assert run_job(bucket, "--input", bucket.uri("in/"), "--output", bucket.uri("out")) == 0
    read_rows(bucket, tmp_path)
    frame = pd.read_parquet(tmp_path / "out/rows").set_index("uri")
    assert frame.loc[bucket.uri("in/b.png"), "reason"] == "too_small"
    image = frame.loc[bucket.uri("in/a.png"), "image"]
    assert Image.open(io.BytesIO(image["bytes"])).size == (88, 80)
    assert frame["self_gain_db"].dtype == np.float32


def test_more_failures_than_allowed_is_status_3(bucket, capsys):
    bucket.put("in/a.jpg", image_bytes(40, 40))
    bucket.put("in/b.jpg", b"no image")
    arguments = ("--input", bucket.uri("in/"), "--output", bucket.uri("out"))
    assert run_job(bucket, *arguments) == 3
    assert "50.0%" in capsys.readouterr().err
    assert "out/runs/night1/_SUCCESS" in bucket.keys("out/")


@needs_catalog
def test_real_images(tmp_path):
    names = sorted(path.name for path in CATALOG.iterdir())
    chosen = names[:1] + names[-2:]
    manifest = tmp_path / "manifest.txt"
    manifest.write_text("".join(f"{(CATALOG / name).resolve()}\n" for name in chosen))
    places = ["--input", str(manifest), "--output", str(tmp_path / "out")]
    assert job.run([*places, "--report", "no"]) == 0
    table = ds.dataset(tmp_path / "out/rows", partitioning="hive").to_table()
    assert table["status"].to_pylist() == ["upscaled"] * 3
    for row in table.to_pylist():
        assert (row["width"], row["height"]) == (2 * row["source_width"], 2 * row["source_height"])
        assert row["roundtrip_psnr_db"] > 32  # the noise that it removes counts against it
        assert row["self_gain_db"] > 0


@pytest.mark.timeout(900)
def test_hundreds_of_hostile_files_among_good_ones(tmp_path):
    """Each ends in one row, the good ones are upscaled, and the process lives."""
    folder = tmp_path / "in"
    folder.mkdir()
    files = [*malformed.malformed_files(), *malformed.foreign_files().items()]
    assert len(files) > 300
    for number, (name, data) in enumerate(files):
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
        (folder / f"bad-{number:03d}-{safe}").write_bytes(data)
    for seed in range(5):
        (folder / f"good-{seed}.jpg").write_bytes(image_bytes(40, 44, seed=seed))
    # Names outside the output, devices, and schemes that nobody allowed.
    lines = [f"in/{path.name}" for path in sorted(folder.iterdir())]
    lines += [
        "../../../etc/passwd",
        "/dev/zero",
        "gs://b/x.jpg",
        "ftp://h/x.jpg",
        "in/",
        "\x01.jpg",
    ]
    (tmp_path / "m.txt").write_text("\n".join(lines))
    output = tmp_path / "out"
    arguments = ("--input", str(tmp_path / "m.txt"), "--output", str(output))
    arguments += ("--max_failure_rate", "1", "--max_pixels", "4000000", "--images", "both")
    assert job.run([*arguments, "--run_id", "r"]) == 0
    rows = ds.dataset(output / "rows", partitioning="hive").to_table().to_pylist()
    assert sorted(row["uri"] for row in rows) == sorted(lines)
    for row in rows:
        if "good-" in row["uri"]:
            assert row["status"] == "upscaled"
        elif row["status"] != "upscaled":
            assert row["reason"] and row["detail"] and "\n" not in row["detail"], row
        assert row["image_uri"] is None or row["image_uri"].startswith("images/")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "m.txt", "out"}
    assert {path.name for path in output.iterdir()} == {"rows", "runs", "images"}


def cli(*arguments, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "run_pipeline.py"), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        timeout=240,
        check=False,
    )


def last_line(text):
    return text.strip().splitlines()[-1]


def test_fatal_errors_are_one_clear_line(bucket, tmp_path, capsys, monkeypatch):
    """Each ends the run at once, with the right status and without a traceback."""
    monkeypatch.setattr("pipeline.storage.base._START_OUTAGE_S", 0.5)
    bucket.put("empty.csv", b"")
    bucket.put("headless.csv", b"url\nx\n")
    bucket.put("ok.txt", b"s3://shop/a.jpg\n")
    good = ("--input", bucket.uri("ok.txt"), "--output", bucket.uri("out"))
    endpoint = ("--s3_endpoint_url", bucket.endpoint)
    for arguments, says in (
        (("--input", "s3://no-such-bucket-x/p/", *good[2:], *endpoint), "bucket"),
        (("--input", "s3://no-such-bucket-x/m.csv", *good[2:], *endpoint), "manifest"),
        (
            ("--input", bucket.uri("none.csv"), *good[2:], *endpoint),
            "none.csv: S3 answered 404 to HeadObject: there is no such object or bucket",
        ),
        (("--input", bucket.uri("empty.csv"), *good[2:], *endpoint), "no images"),
        (("--input", bucket.uri("nothing-here/"), *good[2:], *endpoint), "no images"),
        (("--input", bucket.uri("headless.csv"), *good[2:], *endpoint), "no column uri"),
        ((*good[:2], "--output", "s3://no-such-bucket-x/out", *endpoint), "no-such-bucket-x"),
        ((*good, "--s3_endpoint_url", "http://127.0.0.1:9"), "endpoint"),
        ((*good, *endpoint, "--model", "rdn-huge"), "rdn-small"),
        ((*good, *endpoint, "--model", bucket.uri("ok.txt")), "no saved RDN"),
    ):
        assert job.run(list(arguments)) == 1, arguments
        error = capsys.readouterr().err
        assert says in error, error
        assert error.startswith("run_pipeline.py: ") and error.count("\n") == 1, error


def test_no_credentials_is_one_clear_line(bucket, tmp_path):
    done = cli(
        *("--input", bucket.uri("p/"), "--output", bucket.uri("out")),
        *("--s3_endpoint_url", bucket.endpoint),
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        AWS_EC2_METADATA_DISABLED="true",
        HOME=str(tmp_path),
    )
    assert done.returncode == 1
    assert "credentials" in last_line(done.stderr)
    assert "Traceback" not in done.stderr


def test_a_misspelt_option_is_usage():
    done = cli("--input", "x.csv", "--output", "out", "--max_sidee", "9")
    assert done.returncode == 2
    assert "did you mean --max_side" in last_line(done.stderr)
