import datetime

import pyarrow as pa
import pytest

from pipeline import cli, planning
from pipeline.catalog import batches, manifest
from pipeline.catalog.sharpening_table import SharpeningTable, read_table
from pipeline.records import RunError
from tests.pipeline.conftest import image_bytes

SHOPS = SharpeningTable(
    (("s3://shop/", 0.1), ("s3://shop/a/", 0.75), ("s3://shop/a/old/", None), ("s3://c/x/", 1.0))
)


@pytest.mark.parametrize(
    ("location", "number"),
    [
        ("s3://shop/a/1.jpg", 0.75),
        ("s3://shop/a/deep/down/1.jpg", 0.75),
        ("s3://shop/a/old/1.jpg", None),
        ("s3://shop/ab/1.jpg", 0.1),
        ("s3://shop/a", 0.1),
        ("s3://shop//1.jpg", 0.1),
        ("s3://c/1.jpg", None),
        ("s3://c/x/line\nbreak.jpg", 1.0),
        ("/shop/a/1.jpg", None),
        ("", None),
    ],
)
def test_the_longest_prefix_decides(location, number):
    assert SHOPS.number_of(location) == number
    entries = batches.from_columns(1, uri=pa.array([location]), position=pa.array([0]))
    filled = batches.fill_sharpening(entries, SHOPS.number_of)
    assert filled["source_sharpening"].to_pylist() == [number]


def test_a_number_of_the_manifest_wins():
    numbers = pa.array([0.2, None, None])
    uris = pa.array([f"s3://shop/a/{name}.jpg" for name in range(3)])
    where = pa.array([None, None, "s3://c/x/elsewhere.jpg"])
    entries = batches.from_columns(
        3, uri=uris, location=where, position=pa.array(range(3)), source_sharpening=numbers
    )
    filled = batches.fill_sharpening(entries, SHOPS.number_of)
    assert filled.schema == batches.SCHEMA
    assert filled["source_sharpening"].to_pylist() == [0.2, 0.75, 1.0]


def test_local_images_are_found_however_they_are_spelled(local_files, tmp_path):
    """As listed, by relative paths, absolute paths and file URIs; names with odd characters."""
    folder = tmp_path / "ä b%"
    (folder / "x").mkdir(parents=True)
    (folder / "x/1.png").write_bytes(image_bytes(40, 40, file_format="PNG"))
    names = ["ä b%/x/1.png", f"{folder}/x/1.png", (folder / "x/1.png").as_uri()]
    names += ["../ä b%/x/1.png".replace("..", f"../{tmp_path.name}"), f"{folder}/./y/../x/1.png"]
    (tmp_path / "m.txt").write_text("\n".join(names))
    for prefix in (f"{folder}/x/", f"{(folder / 'x').as_uri()}/", f"{folder}/y/.././/x/"):
        (tmp_path / "shops.csv").write_text(f"prefix,source_sharpening\n{prefix},0.5\n")
        table = read_table(local_files, str(tmp_path / "shops.csv"))
        for source in (str(tmp_path / "m.txt"), f"{folder}/"):
            (found,) = manifest.read_batches(local_files, source)
            found = batches.fill_sharpening(found, table.number_of)
            assert set(found["source_sharpening"].to_pylist()) == {0.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"s3://shop/a/,0.5\n", "line 1 must be prefix,source_sharpening"),
        (b"", "line 1 must be prefix,source_sharpening"),
        (b"prefix,source_sharpening\ns3://shop/a/,3\n", "line 2: the number must be empty or"),
        (b"prefix,source_sharpening\ns3://shop/a,0\n", "line 2: a prefix ends in /"),
        (b"prefix,source_sharpening\n\na/,0\n", "s3://bucket/prefix/ or an absolute folder: a/"),
        (
            b"prefix,source_sharpening\nhttps://shop/a/,0\n",
            "or an absolute folder: https://shop/a/",
        ),
        (b"prefix,source_sharpening\ns3://s p/a/,0\n", "or an absolute folder: s3://s p/a/"),
        (b"prefix,source_sharpening\n\xff/,0\n", "is not UTF-8"),
        (
            b"prefix,source_sharpening\n/a/,0\nfile:///a/,1\n",
            "names /a/ in two ways, also as file:",
        ),
        (
            b"prefix,source_sharpening\nS3://shop/,0\ns3://shop/,1\n",
            "names s3://shop/ in two ways",
        ),
        (None, "no such file"),
    ],
)
def test_a_bad_table_ends_the_run_with_its_name(local_files, tmp_path, content, message):
    path = tmp_path / "shops.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError) as error:
        read_table(local_files, str(path))
    assert f"--sharpening_table {path}: " in str(error.value) and message in str(error.value)


def plan(folder, *options, source=""):
    now = datetime.datetime.now(datetime.UTC)
    places = ["--input", f"{folder}/{source}", "--output", f"{folder}-out"]
    arguments = ["--sharpening_table", str(folder / "shops.csv"), *places, *options]
    return planning.make_plan(cli.parse(arguments, now)[0], now, is_local=True)


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(image_bytes(40, 40, file_format="PNG"))
    (tmp_path / "shops.csv").write_text(f"prefix,source_sharpening\n{tmp_path}/a/,0.5\n")
    return tmp_path


def test_a_network_that_cannot_be_told_is_refused_before_the_run(shop):
    assert plan(shop).sharpening_table.number_of(f"{shop}/a/1.png") == 0.5
    with pytest.raises(RunError, match="rdn-small, --sharpening_table: rdn-small was not trained"):
        plan(shop, "--model", "rdn-small")


def test_numbers_of_a_manifest_are_refused_before_the_run_too(shop):
    (shop / "m.csv").write_text("uri,source_sharpening\na/1.png,0.5\n")
    (shop / "shops.csv").write_text("prefix,source_sharpening\n")
    assert plan(shop, source="m.csv").workers == 1
    with pytest.raises(RunError, match="the manifest's source_sharpening: rdn-small was not"):
        plan(shop, "--model", "rdn-small", source="m.csv")


def test_a_table_of_other_images_is_told(shop, caplog):
    plan(shop)
    assert "--sharpening_table" not in caplog.text
    (shop / "shops.csv").write_text("prefix,source_sharpening\ns3://shop/,0.5\n")
    plan(shop)
    assert "shops.csv has no prefix below --input: it gives no image a number" in caplog.text


def test_a_table_may_lie_on_s3(s3_files, bucket):
    uri = bucket.uri("shops.csv")
    s3_files.write(uri, b"\xef\xbb\xbfprefix,source_sharpening\r\nS3://shop/a b/,\r\n")
    table = read_table(s3_files, uri)
    assert table.numbers == (("s3://shop/a b/", None),)
    assert table.overlaps("s3://shop/") and table.overlaps("S3://shop/a b/c/")
    assert not table.overlaps("s3://shop/a/")
