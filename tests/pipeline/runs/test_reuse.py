"""Reuse of a previous run's results, of damaged and half-deleted ones, too."""

import pytest

from pipeline.output import publishing
from pipeline.output.shard_writer import ShardWriter
from pipeline.records import Reason, RunError
from pipeline.runs import reader, reuse
from pipeline.runs.layout import Layout
from pipeline.storage.base import StorageError
from tests.pipeline.conftest import make_row


@pytest.fixture(params=["s3", "local"])
def world(request, tmp_path):
    """(storage, output) that previous runs wrote to."""
    if request.param == "local":
        return request.getfixturevalue("local_files"), str(tmp_path / "out")
    return request.getfixturevalue("s3_files"), request.getfixturevalue("bucket").uri("out")


def publish(files, layout, *rows):
    writer = ShardWriter(files, layout.staging)
    for row in rows:
        writer.add(row)
    (part,) = publishing.publish(files, [writer.close()], layout.rows)
    return part


def read(files, part, column):
    """A column of the results that a part offers."""
    batches = reuse.read_previous_results(part, files)
    return [value for batch in batches for value in batch[column].to_pylist()]


def found(files, part):
    """Content keys of the results that a part offers."""
    return sorted(read(files, part, "content_key"))


def row(name, image=None, **columns):
    made = {"image_format": "png", "image_bytes": 5}
    return make_row(f"s3://b/{name}", image=image, content_key=name, **(made | columns))


def test_images_in_the_rows_are_pointed_to(world):
    files, output = world
    part = publish(files, Layout(output, "night1"), row("a", b"image"), row("b", b"image"))
    name = part.rpartition("/")[2]
    assert read(files, part, "image_uri") == [
        f"rows/run_id=night1/{name}#row={number}" for number in (0, 1)
    ]


@pytest.mark.parametrize("damage", ["gone", "truncated", "empty", "too few rows", "foreign"])
def test_rows_that_point_to_a_damaged_file_are_done_again(world, caplog, damage):
    files, output = world
    old, new = Layout(output, "night1"), Layout(output, "night2")
    holder = publish(files, old, row("a", b"image"), row("b", b"image"))
    part = publish(
        files,
        new,
        *(row(name, image_uri=f"{holder}#row={i}") for i, name in enumerate("ab")),
        row("c", b"image"),
    )
    assert found(files, part) == ["a", "b", "c"]
    data = files.read(holder)
    if damage == "gone":
        files.delete(holder)
    elif damage == "too few rows":
        files.delete(holder)
        other = publish(files, Layout(output, "other"), row("x", b"image"))
        files.write(holder, files.read(other))
    else:
        files.write(holder, {"truncated": data[:-100], "empty": b"", "foreign": b"<html>"}[damage])
    kept = ["a", "c"] if damage == "too few rows" else ["c"]
    assert found(files, part) == kept
    assert f"{3 - len(kept)} image" in caplog.text and "upscaled again" in caplog.text


@pytest.mark.parametrize("count", [2, 9])
def test_rows_whose_image_files_are_gone_are_done_again(world, caplog, count):
    """Few in a folder are asked for one by one, many by a listing."""
    files, output = world
    layout = Layout(output, "night1")
    names = [f"{i}" for i in range(count)]
    uris = {name: f"{layout.images}/ab/ab{name}.png" for name in names}
    for uri in uris.values():
        files.write(uri, b"image")
    part = publish(files, layout, *(row(name, image_uri=uris[name]) for name in names))
    assert found(files, part) == names
    assert not caplog.text
    files.delete(uris["1"])
    assert found(files, part) == [name for name in names if name != "1"]
    assert "1 image" in caplog.text and "upscaled again" in caplog.text


def test_an_image_that_a_listing_lacks_is_asked_for(local_files, tmp_path):
    names, part = image_files(local_files, str(tmp_path / "out"), 9)

    class Forgetful:
        def __getattr__(self, name):
            return getattr(local_files, name)

        def list(self, prefix, after=""):
            return (item for item in local_files.list(prefix) if not item.uri.endswith("ab3.png"))

    assert found(Forgetful(), part) == names


def image_files(files, output, count):
    """(names, part) of a run with so many images in files of one folder."""
    layout = Layout(output, "night1")
    uris = {f"{i}": f"{layout.images}/ab/ab{i}.png" for i in range(count)}
    for uri in uris.values():
        files.write(uri, b"image")
    part = publish(files, layout, *(row(name, image_uri=uri) for name, uri in uris.items()))
    return list(uris), part


class Refusing:
    """A storage that fails for all objects, or listings, whose URI ends like this."""

    def __init__(self, files, end, error):
        self._files, self._end, self._error = files, end, error

    def _checked(self, name, uri, *arguments):
        if uri.endswith(self._end):
            raise self._error
        return getattr(self._files, name)(uri, *arguments)

    def identify(self, uri):
        return self._checked("identify", uri)

    def read(self, uri, *arguments):
        return self._checked("read", uri, *arguments)

    def list(self, prefix, after=""):
        return self._checked("list", prefix, after)


@pytest.mark.parametrize("count", [2, 9])
@pytest.mark.parametrize(
    "reason", [Reason.STORAGE_ERROR, Reason.ACCESS_DENIED, Reason.TIMEOUT, Reason.CHANGED]
)
def test_an_image_that_the_storage_does_not_give_is_done_again(
    local_files, tmp_path, caplog, reason, count
):
    names, part = image_files(local_files, str(tmp_path / "out"), count)

    class Unlisted(Refusing):  # a name that a listing has needs no request
        def list(self, prefix, after=""):
            return (item for item in super().list(prefix) if not item.uri.endswith(self._end))

    error = StorageError(reason, "S3 answered 500 to HeadObject, 5 attempts")
    files = Unlisted(local_files, "ab1.png", error)
    assert found(files, part) == [name for name in names if name != "1"]
    assert f"1 image that {part} points to cannot be found or read; upscaled again" in caplog.text


def test_a_folder_that_may_not_be_listed_is_asked_for_each_image(local_files, tmp_path, caplog):
    names, part = image_files(local_files, str(tmp_path / "out"), 9)
    files = Refusing(local_files, "images/ab/", RunError("cannot list images/ab/: AccessDenied"))
    assert found(files, part) == names
    assert not caplog.text


@pytest.mark.parametrize("of", ["the images", "the rows"])
def test_rows_that_the_storage_does_not_give_are_done_again(s3_files, bucket, caplog, of):
    output = bucket.uri("out")
    holder = publish(s3_files, Layout(output, "night1"), row("a", b"image"))
    pointing = row("a", image_uri=f"{holder}#row=0")
    part = publish(s3_files, Layout(output, "night2"), pointing, row("b", b"image"))
    refused = part if of == "the rows" else holder
    error = StorageError(Reason.STORAGE_ERROR, "S3 answered 500 to GetObject, 5 attempts")
    assert found(Refusing(s3_files, refused, error), part) == (["b"] if refused == holder else [])
    warnings = {
        holder: f"1 image that {part} points to cannot be found or read; upscaled again",
        part: f"cannot read the rows in {part}: {error}; its images are upscaled again",
    }
    assert [record.getMessage() for record in caplog.records] == [warnings[refused]]


@pytest.mark.parametrize("count", [2, 9])
def test_a_storage_that_is_away_as_a_whole_ends_the_run(local_files, tmp_path, count):
    _, part = image_files(local_files, str(tmp_path / "out"), count)
    error = RunError("s3.example.com did not answer for 900 s")

    class Away(Refusing):
        def list(self, prefix, after=""):
            raise self._error

    with pytest.raises(RunError, match="did not answer for 900 s"):
        found(Away(local_files, ".png", error), part)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "gone"])
def test_a_damaged_part_offers_nothing_and_is_named(world, caplog, damage):
    files, output = world
    part = publish(files, Layout(output, "night1"), row("a", b"image"))
    data = files.read(part)
    if damage == "gone":
        files.delete(part)
    else:
        files.write(part, {"truncated": data[:-9], "empty": b"", "foreign": b"<html>"}[damage])
    assert found(files, part) == []
    assert f"cannot read the rows in {part}" in caplog.text


def test_results_without_an_image_need_none(world):
    files, output = world
    failed = make_row("s3://b/a", content_key="a", image_bytes=None, image_format=None)
    part = publish(files, Layout(output, "night1"), failed)
    assert found(files, part) == ["a"]
    assert reader.count_rows(files, part) == 1
