import pytest

from pipeline.read.images import ImageReader, list_images
from pipeline.storage.base import StorageError


def test_rows_without_an_image_and_beyond_the_end(finished, local_files):
    (part,) = (finished / "rows/run_id=r1").iterdir()
    reader = ImageReader(local_files)
    found = []
    for number in range(4):
        try:
            found.append(reader.read(f"{part}#row={number}"))
        except StorageError as error:
            assert "holds no image" in error.detail
    assert len(set(found)) == 3
    with pytest.raises(StorageError, match="no row 4"):
        reader.read(f"{part}#row=4")


def test_the_images_of_a_run_in_the_order_of_its_rows(finished, local_files):
    found = list(list_images(local_files, str(finished), "r1"))
    assert [one.image_format for one in found] == ["png"] * 3
    assert {one.uri.rpartition("/")[2] for one in found} == {
        *("a%20b.png", "..x.png", "%C3%BC%3B%24%28rm%29.png")
    }
    reader = ImageReader(local_files)
    assert len({reader.read(one.image_uri) for one in found}) == 3
    assert all(one.content_key and one.product_ids == () for one in found)
