"""Reuse of a previous run's results, of damaged and half-deleted ones, too."""

import pytest

from pipeline.output import publishing
from pipeline.output.shard_writer import ShardWriter
from pipeline.runs import reader, reuse
from pipeline.runs.layout import Layout
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


def found(files, part):
    """Content keys of the results that a part offers."""
    return sorted(result.content_key for result in reuse.read_previous_results(part, files))


def row(name, image=None, **columns):
    made = {"image_format": "png", "image_bytes": 5}
    return make_row(f"s3://b/{name}", image=image, content_key=name, **(made | columns))


def test_images_in_the_rows_are_pointed_to(world):
    files, output = world
    part = publish(files, Layout(output, "night1"), row("a", b"image"), row("b", b"image"))
    results = list(reuse.read_previous_results(part, files))
    at = reuse.REUSED_COLUMNS.index("image_uri")
    name = part.rpartition("/")[2]
    assert [result.columns[at] for result in results] == [
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
    layout = Layout(str(tmp_path / "out"), "night1")
    names = [f"{i}" for i in range(9)]
    for name in names:
        local_files.write(f"{layout.images}/ab/ab{name}.png", b"image")
    part = publish(
        local_files,
        layout,
        *(row(name, image_uri=f"{layout.images}/ab/ab{name}.png") for name in names),
    )

    class Forgetful:
        def __getattr__(self, name):
            return getattr(local_files, name)

        def list(self, prefix, after=""):
            return (item for item in local_files.list(prefix) if not item.uri.endswith("ab3.png"))

    assert found(Forgetful(), part) == names


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
