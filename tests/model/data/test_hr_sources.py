import io

import boto3
import numpy as np
import pytest
from PIL import ExifTags, Image

from model.data import hr_sources
from model.data.hr_sources import (
    HrArray,
    HrFile,
    HrScene,
    find_images,
    list_images,
    make_pairs,
)
from model.data.object_store import open_s3
from model.data.processes import forked
from model.imaging import resampling
from model.scenes.drawing import draw_scene
from pipeline.demo.loopback import loopback_s3, made_up_credentials


@pytest.fixture
def folder(tmp_path):
    for name, size in (("b.png", (40, 60)), ("a.jpg", (41, 61)), ("small.png", (10, 60))):
        Image.fromarray(draw_scene(1, *[max(16, s) for s in size])[: size[0]]).save(
            tmp_path / name
        )
    (tmp_path / "notes.md").write_text("no image")
    return tmp_path


def test_a_folder_s_images_are_listed_by_name(folder):
    assert [image.name for image in list_images(str(folder))] == [
        "a.jpg",
        "b.png",
        "small.png",
    ]
    assert list_images(str(folder))[1].read().shape == (40, 60, 3)


def test_a_list_names_files_beside_it(folder, tmp_path_factory):
    absolute = tmp_path_factory.mktemp("other") / "c.png"
    Image.fromarray(draw_scene(2, 20, 30)).save(absolute)
    chosen = folder / "chosen.txt"
    chosen.write_text(f"# mine\nb.png\n\n{absolute}\n")
    images = list_images(str(chosen), shrink_first=2)
    assert [image.name for image in images] == ["b.png", "c.png"]
    assert images[1].read().shape == (10, 15, 3)


def test_an_s3_prefix(folder, monkeypatch):
    with loopback_s3() as endpoint, made_up_credentials():
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="photographs")
        for name in ("a.jpg", "b.png", "notes.md"):
            client.upload_file(str(folder / name), "photographs", f"photos/{name}")
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        open_s3.cache_clear()
        images = list_images("s3://photographs/photos/")
        assert [image.uri for image in images] == [
            "s3://photographs/photos/a.jpg",
            "s3://photographs/photos/b.png",
        ]
        np.testing.assert_array_equal(images[1].read(), hr_sources.read_rgb(folder / "b.png"))
        with pytest.raises(OSError, match=r"s3://photographs/photos/none\.png"):
            HrFile("s3://photographs/photos/none.png").read()
        with pytest.raises(FileNotFoundError, match="s3://photographs/empty/"):
            list_images("s3://photographs/empty/")
        with pytest.raises(OSError, match="no-such-bucket"):
            list_images("s3://no-such-bucket/")


def test_a_fork_reads_s3_by_connections_of_its_own():
    with made_up_credentials():
        open_s3()
        with forked(1) as pool:
            assert pool.submit(clients).result() == 0
    assert clients() == 1


def clients():
    return open_s3.cache_info().currsize


class FakeStore:
    """A storage that a caller hands in."""

    def __init__(self, content):
        self.content = content

    def list_uris(self, prefix):
        return [uri for uri in self.content if uri.startswith(prefix)]

    def read(self, uri):
        return self.content[uri]


def test_a_storage_that_is_handed_in_serves_all_reads(folder):
    store = FakeStore({"s3://photographs/b.png": (folder / "b.png").read_bytes()})
    (pair,) = make_pairs("s3://photographs/", scale=2, store=store)
    np.testing.assert_array_equal(pair.hr, hr_sources.read_rgb(folder / "b.png"))
    with pytest.raises(OSError, match=r"s3://photographs/none\.png"):
        HrFile("s3://photographs/none.png", store=store).read()


def test_places_without_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="no images"):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list_images(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        list_images(str(tmp_path / "none.txt"))


def test_a_file_is_no_folder(folder):
    image = folder / "b.png"
    with pytest.raises(FileNotFoundError, match=r"b\.png is a file: name a folder$"):
        find_images(image)
    with pytest.raises(FileNotFoundError, match=r"b\.png is a file: .* or a \.txt list of images"):
        list_images(str(image))


def test_an_image_is_read_as_the_pipeline_decodes_it(tmp_path):
    scene = Image.fromarray(draw_scene(1, 24, 32))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    scene.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(hr_sources.read_rgb(tmp_path / "turned.png"), scene)
    levels = np.array([[0, 257, 25700, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert hr_sources.read_rgb(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 100, 255]
    cut_out = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    cut_out.save(tmp_path / "cut.png")
    assert hr_sources.read_rgb(tmp_path / "cut.png").tolist() == [[[255, 255, 255]]]
    scene.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (32, 24))])
    assert hr_sources.read_rgb(tmp_path / "moving.gif").mean() > 50


@pytest.mark.parametrize("content", [b"no image", b"", None])
def test_a_broken_image_is_named(tmp_path, content):
    if content is None:
        buffer = io.BytesIO()
        Image.fromarray(draw_scene(1, 60, 60)).save(buffer, "PNG")
        content = buffer.getvalue()[:-3000]
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(OSError, match=r"broken\.png"):
        list(make_pairs(tmp_path, scale=2, min_lr_side=8))


def test_pairs_are_made_and_small_images_left_out_with_a_note(folder, caplog):
    pairs = list(make_pairs(folder, scale=2, min_lr_side=12))
    assert [pair.name for pair in pairs] == ["a.jpg", "b.png"]
    assert "skipped small.png: 60 x 10" in caplog.text
    assert pairs[0].hr.shape == (40, 60, 3) and pairs[0].lr.shape == (20, 30, 3)
    np.testing.assert_array_equal(
        pairs[1].lr, resampling.to_uint8(resampling.shrink(pairs[1].hr, 2))
    )
    with pytest.raises(FileNotFoundError, match="at least 1000 x 1000"):
        list(make_pairs(folder, scale=2, min_lr_side=500))


def test_compressed_images_are_shrunk_before_they_serve_as_hr(folder):
    (first, *_) = make_pairs(folder, scale=2, min_lr_side=2, shrink_first=2)
    assert first.hr.shape == (20, 30, 3) and first.lr.shape == (10, 15, 3)


def test_drawn_and_held_images():
    scene = HrScene(3, 48)
    np.testing.assert_array_equal(scene.read(), draw_scene(3, 48, 48))
    assert HrArray(scene.name, scene.read()).read() is not None and scene.name == "scene-3"
