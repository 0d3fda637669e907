"""The number of partitions, by the size of the catalog."""

import gzip
import json

import pytest

from pipeline.catalog.partitions import choose_partitions
from pipeline.planning import make_plan
from pipeline.runs.layout import Layout
from tests.pipeline.conftest import NOW, image_bytes, make_settings

MANY = ("images/a.jpg\n" * 1_000_000).encode()


@pytest.mark.parametrize(
    ("files", "source", "partitions", "with_previous"),
    [
        ({"m.txt": b"a.jpg"}, "m.txt", 1, 3),
        ({"m.txt": MANY}, "m.txt", 9, 9),
        ({"m1.txt": MANY, "m2.txt": MANY}, "m?.txt", 17, 17),
        ({}, "m?.txt", 64, 3),
        ({"a.jpg": b"x"}, "", 64, 3),
    ],
)
def test_the_larger_of_manifest_and_previous_run_decides(
    local_files, tmp_path, files, source, partitions, with_previous
):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    place = f"{tmp_path}/{source}"
    assert choose_partitions(local_files, place, wanted=None, known_uris=None) == partitions
    assert choose_partitions(local_files, place, wanted=7, known_uris=None) == 7
    assert choose_partitions(local_files, place, wanted=None, known_uris=50_000) == with_previous


def test_a_packed_manifest_is_larger_than_its_file(local_files, tmp_path):
    lines = "".join(f"s3://shop/images/{i * 7919 % 999983:06d}.jpg\n" for i in range(200_000))
    (tmp_path / "m.txt.gz").write_bytes(gzip.compress(lines.encode()))
    place = str(tmp_path / "m.txt.gz")
    assert 3 <= choose_partitions(local_files, place, wanted=None, known_uris=None) <= 20


def test_the_size_of_another_prefix_is_no_guide(local_files, tmp_path):
    """It had 100 images; how many this one has nobody knows."""
    layout = Layout(str(tmp_path / "out"), "first")
    summary = {"input": f"{tmp_path}/shoes/", "uris": 100}
    local_files.write(layout.summary, json.dumps(summary).encode())
    local_files.write(layout.success, b"")
    found, counts = {}, {}
    for shop in ("shoes", "hats"):
        local_files.write(f"{tmp_path}/{shop}/1.jpg", image_bytes())
        settings = make_settings(input=f"{tmp_path}/{shop}/", output=layout.output)
        plan = make_plan(settings, NOW, is_local=True)
        found[shop], counts[shop] = plan.partitions, plan.counts_disappeared
    assert found == {"shoes": 1, "hats": 64}
    assert counts == {"shoes": True, "hats": False}  # nor has one of its images disappeared
