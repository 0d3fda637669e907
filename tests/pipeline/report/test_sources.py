"""Commands about a finished run reach its sources as the run did."""

import errno
import os

import pytest

from pipeline import job
from pipeline.compare import __main__ as compare
from pipeline.read import __main__ as read
from pipeline.read import export
from pipeline.report import __main__ as report
from tests.pipeline.conftest import image_bytes, make_settings

COUNT = 2
SOURCES = [f"images/1/{i}-source.jpeg" for i in range(COUNT)]


@pytest.fixture
def output(bucket, no_credentials, tmp_path):
    """Of two local runs on a public bucket of another S3 server than AWS, without credentials."""
    for i in range(COUNT):
        image = {"Key": f"in/{i}.jpg", "Body": image_bytes(40, 60, seed=i)}
        bucket.client.put_object(Bucket=bucket.name, ACL="public-read", **image)
    places = ["--input", bucket.uri("in/"), "--output", str(tmp_path / "out")]
    places += ["--s3_endpoint_url", bucket.endpoint, "--s3_unsigned", "yes", "--report", "no"]
    for run_id, options in (("n1", ["--quality", "60"]), ("n2", [])):
        assert job.run([*places, "--model", "rdn-small", "--run_id", run_id, *options]) == 0
    return tmp_path / "out"


def test_sources_of_a_public_bucket_are_shown(output, tmp_path, capsys):
    capsys.readouterr()
    assert report.main([str(output), "--gallery", str(tmp_path / "pages")]) == 0
    assert all((tmp_path / "pages" / name).is_file() for name in SOURCES)
    assert report.main([str(output)]) == 0
    assert "cannot be shown" not in (output / "runs/n2/report.html").read_text()
    runs = [str(output / "runs" / run_id) for run_id in ("n1", "n2")]
    assert compare.main([*runs, "--max_worse", "1", "--page", str(tmp_path / "p.html")]) == 0
    assert "cannot be shown" not in (tmp_path / "p.html").read_text()
    assert capsys.readouterr().err == ""


def test_without_its_sources_a_run_is_shown_all_the_same(output, tmp_path, capsys):
    capsys.readouterr()
    signed = ["--s3_unsigned", "no"]
    assert report.main([str(output), "--gallery", str(tmp_path / "pages"), *signed]) == 0
    error = capsys.readouterr().err
    assert error.startswith("pipeline.report: no source is shown: no usable AWS credentials")
    assert error.count("\n") == 1
    names = {path.name for path in (tmp_path / "pages/images/1").iterdir()}
    assert names == {f"{i}-result.jpeg" for i in range(COUNT)}
    assert "the source cannot be shown: no usable" in (tmp_path / "pages/index.html").read_text()
    assert report.main([str(output), *signed]) == 0
    assert "no source is shown" in capsys.readouterr().err
    runs = [str(output / "runs" / run_id) for run_id in ("n1", "n2")]
    assert compare.main([*runs, *signed]) == 0
    assert "pipeline.compare: no source is looked at: no usable" in capsys.readouterr().err


def full_disk(monkeypatch, after):
    """Lets the writes to this machine's files fail, but the first ones."""
    written = []

    def fail(self, data):
        written.append(self)
        if len(written) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with open(self, "wb") as file:  # noqa: PTH123
            return file.write(data)

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_gallery_that_failed_leaves_nothing(output, tmp_path, capsys, monkeypatch, is_new):
    pages = tmp_path / "pages"
    if not is_new:
        pages.mkdir()
    with monkeypatch.context() as patch:
        full_disk(patch, after=3)
        capsys.readouterr()
        assert report.main([str(output), "--gallery", str(pages)]) == 1
    assert capsys.readouterr().err == (
        f"pipeline.report: cannot write {pages}/images/1/1-source.jpeg: No space left on device; "
        "free space there, or name another folder\n"
    )
    assert pages.is_dir() is not is_new and not list(tmp_path.glob("pages/*"))
    assert report.main([str(output), "--gallery", str(pages)]) == 0


def test_an_export_to_a_full_disk_names_the_file(output, tmp_path, capsys, monkeypatch):
    full_disk(monkeypatch, after=0)
    capsys.readouterr()
    assert read.main([str(output), str(tmp_path / "exported"), "--names", "source"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"pipeline.read: cannot write {tmp_path}/exported/")
    assert error.endswith(": No space left on device; free space there, or name another folder\n")


@pytest.mark.parametrize("option", ["--json", "--page"])
def test_a_file_that_cannot_be_written_is_named(output, tmp_path, capsys, option):
    runs = [str(output / "runs" / run_id) for run_id in ("n1", "n2")]
    assert compare.main([*runs, option, str(tmp_path / "none/p")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"pipeline.compare: cannot write {tmp_path}/none/p: No such file")


def test_the_printed_commands_reach_an_output_on_s3_as_the_run_did():
    at = {"s3_endpoint_url": "http://localhost:9000", "s3_requester_pays": "yes"}
    settings = make_settings(output="s3://shop/out", s3_unsigned="yes", **at)
    assert export.for_run(settings, "pipeline.report", "--serve") == (
        "python -m pipeline.report s3://shop/out --serve --run_id test "
        "--s3_endpoint_url http://localhost:9000 --s3_requester_pays yes --s3_unsigned yes"
    )
    plain = export.for_run(make_settings(output="s3://shop/out"), "pipeline.report", "--serve")
    assert plain.endswith(" --serve --run_id test")
