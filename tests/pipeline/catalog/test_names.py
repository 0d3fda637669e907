"""Ordinary files among the images of a folder or prefix."""

import pytest

from pipeline import job
from pipeline.catalog import manifest
from pipeline.catalog.names import why_no_image
from pipeline.records import Reason
from pipeline.runs import finished
from pipeline.runs.layout import Layout
from pipeline.storage.base import StorageConfig
from pipeline.storage.routing import open_storage
from tests.pipeline.conftest import image_bytes
from tests.pipeline.fault_proxy import fault_proxy

ORDINARY = [
    *(".DS_Store", "shoes/Thumbs.db", "shoes/._a.jpg", "__MACOSX/shoes/a.jpg", "_SUCCESS"),
    *("a.txt", "shoes/a.JSON", "a.xml", "a.pdf", "a.svg", ".git/objects/ab", "part-0.parquet"),
    *("shoes_$folder$", "Desktop.ini", ".hidden/a.jpg", "a.jpg.md5"),
]
MAY_BE_IMAGES = [
    "a.jpg",
    "a",
    "json",
    "txt/a.jpg",
    "a.b/c",
    "a.psd",
    "a.txt.jpg",
    "a.",
    "123.jpg!d",
]


@pytest.mark.parametrize("name", ORDINARY)
def test_names_that_are_no_images(name):
    assert why_no_image(name)


@pytest.mark.parametrize("name", MAY_BE_IMAGES)
def test_names_that_may_be_images(name):
    assert why_no_image(name) is None


def test_a_prefix_is_listed_without_a_request_for_ordinary_files(bucket):
    for name in (*ORDINARY, "shoes/b.jpg"):
        bucket.put(f"p/.x/{name}", b"x")
    with fault_proxy(bucket.endpoint) as proxy:
        files = open_storage(StorageConfig(proxy.endpoint, attempts=2))
        entries = list(manifest.read_catalog(files, bucket.uri("p/.x/")))
        assert len(proxy.of("HEAD", "/p/")) == 1 == len(proxy.of("HEAD", "/shoes/b.jpg"))
    images = [entry.uri for entry in entries if entry.reason is None]
    assert images == [bucket.uri("p/.x/shoes/b.jpg")]
    others = [entry for entry in entries if entry.reason is not None]
    assert {entry.reason for entry in others} == {Reason.NOT_AN_IMAGE}
    assert len(others) == len(ORDINARY) and all(entry.detail for entry in others)


def test_a_replay_of_a_prefix_reads_no_ordinary_file_either(bucket, s3_files):
    for name in ("a.json", "b.jpg"):
        bucket.put(f"in/{name}", image_bytes(40, 40))
    places = ["--input", bucket.uri("in/"), "--output", bucket.uri("out"), "--report", "no"]
    places += ["--s3_endpoint_url", bucket.endpoint]
    for run_id, *options in (["night1"], ["night2", "--retry", "timeout"]):
        assert job.run([*places, "--run_id", run_id, *options]) == 0
        summary = finished.read_summary(s3_files, Layout(bucket.uri("out"), run_id))
        assert summary["by_reason"]["not_an_image"] == 1
    assert summary["by_status"]["upscaled"] == 0


def test_a_manifest_s_named_files_are_tried(local_files, tmp_path):
    (tmp_path / "m.txt").write_text("\n".join(ORDINARY))
    entries = list(manifest.read_catalog(local_files, str(tmp_path / "m.txt")))
    assert [(entry.uri, entry.reason) for entry in entries] == [(name, None) for name in ORDINARY]


def test_a_folder_with_ordinary_files_fails_nothing(tmp_path, local_files):
    """Nights and replays agree, and a hidden link to nowhere is no failure either."""
    source, output = tmp_path / ".in", str(tmp_path / "out")
    for name in (*ORDINARY, "shoes/b.jpg"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"no image" if name in ORDINARY else image_bytes(40, 40))
    (source / ".#lock").symlink_to("nowhere")
    places = ["--input", f"{source}/", "--output", output, "--report", "no"]
    for run_id, *options in (["night1"], ["night2"], ["night3", "--retry", "timeout"]):
        assert job.run([*places, "--run_id", run_id, "--max_failure_rate", "0", *options]) == 0
        summary = finished.read_summary(local_files, Layout(output, run_id))
        assert summary["by_reason"].pop("same_content", 0) == (run_id != "night1")
        assert summary["by_reason"] == {"not_an_image": len(ORDINARY) + 1}
