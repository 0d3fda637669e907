"""A run's Parquet files: complete ones, old ones, and what is none."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.shard_writer import ShardWriter
from pipeline.records import Reason, RunError
from pipeline.runs import reader
from pipeline.runs.layout import Layout
from pipeline.runs.reader import UnreadableRowsError
from pipeline.storage.base import StorageError
from tests.pipeline.conftest import make_row


@pytest.fixture(params=["s3", "local"])
def place(request, tmp_path):
    """(storage, layout) of a run."""
    if request.param == "local":
        return request.getfixturevalue("local_files"), Layout(str(tmp_path / "out"), "night1")
    uri = request.getfixturevalue("bucket").uri("out")
    return request.getfixturevalue("s3_files"), Layout(uri, "night1")


def write_part(files, layout, *names, image=None):
    writer = ShardWriter(files, layout.rows)
    for name in names:
        writer.add(make_row(f"s3://b/{name}", image=image))
    shard = writer.close()
    part = f"{layout.rows}/part-0.parquet"
    files.move(shard.uri, part)
    return part


def parquet(columns):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue().to_pybytes()


def test_rows_come_in_batches_with_their_numbers(place):
    files, layout = place
    part = write_part(files, layout, *"abcde")
    found = [
        (uri, first, batch.to_pydict())
        for uri, first, batch in reader.read_batches(files, [part], ["uri"], batch_rows=2)
    ]
    assert found == [
        (part, 0, {"uri": ["s3://b/a", "s3://b/b"]}),
        (part, 2, {"uri": ["s3://b/c", "s3://b/d"]}),
        (part, 4, {"uri": ["s3://b/e"]}),
    ]
    assert reader.count_rows(files, part) == 5


def test_a_column_that_an_older_file_lacks_is_null(place):
    files, layout = place
    part = f"{layout.rows}/part-0.parquet"
    files.write(part, parquet({"uri": ["s3://b/a"], "status": ["failed"]}))
    table = reader.read_columns(files, [part], ["uri", "self_gain_db"])
    assert table.to_pydict() == {"uri": ["s3://b/a"], "self_gain_db": [None]}
    assert table.schema.field("self_gain_db").type == pa.float32()


def test_no_files_are_an_empty_table(local_files):
    assert reader.read_columns(local_files, [], ["uri", "width"]).num_rows == 0


def test_only_parts_are_rows(place):
    files, layout = place
    assert reader.parts_of(files, layout) == []
    part = write_part(files, layout, "a")
    for name in ("part-0.parquet.crc", "_SUCCESS", "notes.txt", "other.parquet"):
        files.write(f"{layout.rows}/{name}", b"x")
    assert [uri.rpartition("/")[2] for uri in reader.parts_of(files, layout)] == ["part-0.parquet"]
    assert reader.parts_of(files, layout)[0].endswith(part.rpartition("/")[2])


def test_the_row_group_of_a_row(place):
    files, layout = place
    part = write_part(files, layout, *"abc", image=b"image")
    first, group = reader.read_row_group(files, part, 2, ["uri", "image"])
    assert (first, group["uri"].to_pylist()[2]) == (0, "s3://b/c")
    assert group["image"].to_pylist()[2]["bytes"] == b"image"
    with pytest.raises(UnreadableRowsError, match="it has no row 3"):
        reader.read_row_group(files, part, 3, ["uri"])


def damaged(data, how):
    return {
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "without its end": data[:-1],
        "zeros": bytes(len(data)),
        "zeros within": data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :],
        "foreign": b"<html>404</html>",
        "another table": parquet({"name": ["a"], "price": [1]}),
        "wrong types": parquet({"uri": [["a", "b"]], "status": ["failed"]}),
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        *("empty", "truncated", "without its end", "zeros", "zeros within", "foreign"),
        *("another table", "wrong types"),
    ],
)
def test_a_file_that_is_no_complete_file_of_rows_is_named(place, how):
    files, layout = place
    part = write_part(files, layout, *(f"{i:05}" for i in range(3000)))
    files.write(part, damaged(files.read(part), how))
    with pytest.raises(UnreadableRowsError, match=rf"cannot read the rows in .*{layout.rows}"):
        reader.read_columns(files, [part], ["uri", "status"])


def test_a_missing_file_is_named(place):
    files, layout = place
    with pytest.raises(UnreadableRowsError, match=r"part-9\.parquet"):
        reader.count_rows(files, f"{layout.rows}/part-9.parquet")


def test_a_storage_that_does_not_answer_is_no_damage():
    """Nothing is called gone on a guess: the run stops instead."""

    class Silent:
        def identify(self, uri):
            raise StorageError(Reason.TIMEOUT, "no answer")

    with pytest.raises(RunError, match="no answer") as caught:
        reader.count_rows(Silent(), "s3://b/part-0.parquet")
    assert not isinstance(caught.value, UnreadableRowsError)


@pytest.mark.parametrize(
    ("image_uri", "pointer"),
    [
        (
            "s3://b/out/rows/run_id=n/part-0.parquet#row=7",
            ("s3://b/out/rows/run_id=n/part-0.parquet", 7),
        ),
        ("s3://b/out/images/ab/abc.png", None),
        ("s3://b/odd#row=/x.png", None),
    ],
)
def test_pointers(image_uri, pointer):
    assert reader.split_pointer(image_uri) == pointer
    assert pointer is None or reader.image_pointer(*pointer) == image_uri


S3_PART = "s3://b/out/rows/run_id=n2/part-0.parquet"
LOCAL_PART = "file:///a%20b/out/rows/run_id%3Dn2/part-0.parquet"


@pytest.mark.parametrize(
    ("part", "place", "pointer"),
    [
        (S3_PART, "s3://b/out/images/ab/abc.png", "images/ab/abc.png"),
        (S3_PART, f"{S3_PART}#row=7", "rows/run_id=n2/part-0.parquet#row=7"),
        (S3_PART, "s3://b/other/images/ab/abc.png", "s3://b/other/images/ab/abc.png"),
        (S3_PART, "s3://b/outside.png", "s3://b/outside.png"),
        (LOCAL_PART, f"{LOCAL_PART}#row=7", "rows/run_id=n2/part-0.parquet#row=7"),
        (LOCAL_PART, "/a b/out/images/ab/abc.png", "images/ab/abc.png"),
        (LOCAL_PART, "/elsewhere/images/ab/abc.png", "/elsewhere/images/ab/abc.png"),
        ("/out/rows/run_id=n/part-0.parquet", "/out/images/a.png", "images/a.png"),
        ("/no/part.parquet", "/no/images/a.png", "/no/images/a.png"),
    ],
)
def test_a_pointer_is_relative_to_the_output_and_leads_back(part, place, pointer):
    assert reader.relative_pointer(part, place) == pointer
    found = reader.absolute_pointer(part, pointer)
    assert reader.relative_pointer(part, found) == pointer
    assert unquoted(found) == unquoted(place)


def unquoted(place):
    """One spelling: a path and a file:// URI may name the same place."""
    return place.removeprefix("file://").replace("%20", " ").replace("%3D", "=")


def test_absolute_pointers_of_older_rows_stay_as_they_are():
    for image_uri in ("s3://b/old/rows/run_id=n/part-0.parquet#row=1", "file:///x.png", "/x.png"):
        assert reader.absolute_pointer(S3_PART, image_uri) == image_uri
