"""The number of partitions, by the size of the catalog."""

import gzip

import pytest

from pipeline.catalog.partitions import choose_partitions

MANY = ("images/a.jpg\n" * 1_000_000).encode()


@pytest.mark.parametrize(
    ("files", "source", "partitions"),
    [
        ({"m.txt": b"a.jpg"}, "m.txt", 1),
        ({"m.txt": MANY}, "m.txt", 9),
        ({"m1.txt": MANY, "m2.txt": MANY}, "m?.txt", 17),
        ({}, "m?.txt", 64),
        ({"a.jpg": b"x"}, "", 64),
    ],
)
def test_the_size_of_a_manifest_decides(local_files, tmp_path, files, source, partitions):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    place = f"{tmp_path}/{source}"
    assert choose_partitions(local_files, place, wanted=None, known_uris=None) == partitions
    assert choose_partitions(local_files, place, wanted=7, known_uris=None) == 7
    assert choose_partitions(local_files, place, wanted=None, known_uris=50_000) == 3


def test_a_packed_manifest_is_larger_than_its_file(local_files, tmp_path):
    lines = "".join(f"s3://shop/images/{i * 7919 % 999983:06d}.jpg\n" for i in range(200_000))
    (tmp_path / "m.txt.gz").write_bytes(gzip.compress(lines.encode()))
    place = str(tmp_path / "m.txt.gz")
    assert 3 <= choose_partitions(local_files, place, wanted=None, known_uris=None) <= 20
