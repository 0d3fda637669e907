import csv
import dataclasses
import io
import json
import re
import shlex
import shutil

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import job
from pipeline.read import __main__ as command
from pipeline.read import export
from pipeline.read.images import RunImage, list_images
from pipeline.read.names import NamedImage, name_images
from pipeline.runs import reader
from tests.pipeline.conftest import image_bytes, make_settings


def test_a_run_is_exported_under_safe_names(finished, tmp_path):
    folder = tmp_path / "deep/exported"
    assert command.main([str(finished), str(folder), "--run_id", "r1"]) == 0
    names = sorted(path.name for path in folder.iterdir())
    for index in ("images.csv", "pictures.csv"):
        names.remove(index)
    assert len(names) == 3
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEF0123456789._-%")
        assert not name.startswith(".")
        assert Image.open(folder / name).size == (80, 80)


def test_one_uri_or_a_missing_one(finished, tmp_path, capsys):
    uri = (finished.parent / "in/a b.png").as_uri()
    assert command.main([str(finished), str(tmp_path / "one"), "--uri", uri]) == 0
    assert capsys.readouterr().out == f"1 image of run r1 in {tmp_path / 'one'}/\n"
    assert len(list((tmp_path / "one").iterdir())) == 3
    assert command.main([str(finished), str(tmp_path / "none"), "--uri", "s3://b/none"]) == 1
    assert "no image of s3://b/none" in capsys.readouterr().err


@pytest.mark.parametrize(
    "form", ["{}/a b.png", "file://{}/a b.png", "{}/../in/a b.png", "a b.png"]
)
@pytest.mark.parametrize("is_link", [False, True])
def test_a_local_path_names_its_image(finished, tmp_path, capsys, monkeypatch, form, is_link):
    (tmp_path / "in").symlink_to(finished.parent / "in")
    source = (tmp_path if is_link else finished.parent) / "in"
    monkeypatch.chdir(source)
    arguments = [str(finished), str(tmp_path / "out"), "--uri"]
    assert command.main([*arguments, form.format(source)]) == 0
    assert capsys.readouterr().out.startswith("1 image of run r1")
    assert command.main([*arguments, f"{source}/none.png"]) == 1
    error = capsys.readouterr().err
    assert error == f"pipeline.read: run r1 has no image of {source}/none.png\n"


def test_a_path_names_an_image_of_a_manifest_with_paths(tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a b.png", "c.png"):
        (source / name).write_bytes(image_bytes(40, 40, file_format="PNG"))
    (tmp_path / "m.txt").write_text(f"in/a b.png\n{source}/c.png\n")
    output = str(tmp_path / "out")
    assert job.run(["--input", str(tmp_path / "m.txt"), "--output", output, "--run_id", "r1"]) == 0
    capsys.readouterr()
    for i, name in enumerate(("a b.png", "c.png")):
        to = str(tmp_path / str(i))
        assert command.main([output, to, "--run_id", "r1", "--uri", str(source / name)]) == 0
        assert capsys.readouterr().out.startswith("1 image of run r1")


@pytest.mark.parametrize("run_id", [[], ["--run_id", "zz"]])
def test_no_run_is_one_clear_line(run_id, tmp_path, capsys):
    assert command.main([str(tmp_path / "empty"), str(tmp_path / "x"), *run_id]) == 1
    printed = capsys.readouterr()
    assert "there is no finished run" in printed.err and printed.out == ""
    assert not (tmp_path / "x").exists()


def test_a_run_of_another_id_is_not_exported(finished, tmp_path, capsys):
    assert command.main([str(finished), str(tmp_path / "x"), "--run_id", "zz"]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"pipeline.read: there is no finished run zz under {finished}\n"
    assert printed.out == "" and not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_written_is_one_clear_line(finished, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert command.main([str(finished), str(tmp_path / "file/folder")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pipeline.read: ") and error.count("\n") == 1


def index_of(folder, name="images.csv"):
    with (folder / name).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


FORMULAS = ("=HYPERLINK(1)", "@SUM(1+1)", "+1", "-1", "\t=1", "\r=1")


@pytest.mark.parametrize("uri", FORMULAS)
def test_no_cell_of_an_index_is_a_formula(uri, local_files, tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    image = RunImage(uri, str(tmp_path / "a.png"), "png", "0" * 64, ("=2", "p"))
    named = NamedImage(image, ("=1.png",))
    assert export.export(local_files, [named], str(tmp_path / "out")) == []
    assert index_of(tmp_path / "out") == [
        ["uri", "product_ids", "file"],
        [f"'{uri}", "'=2;p", "'=1.png"],
    ]
    assert index_of(tmp_path / "out", "pictures.csv") == [["uri", "file"], [f"'{uri}", "'=1.png"]]


def test_other_cells_of_the_index_stay_as_they_are():
    for uri in ("s3://shop/=1.jpg", "a,b.jpg", "ü'\"=.jpg", ""):
        assert export.as_cell(uri) == uri


def test_a_run_is_exported_under_the_names_of_its_sources(finished, tmp_path, capsys):
    folder = tmp_path / "by%20source"
    assert command.main([str(finished), folder.as_uri(), "--names", "source"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3 images of run r1 in ") and out.count("\n") == 1
    names = {path.name for path in folder.iterdir()}
    assert names == {"a b.png", "x.png", "ü;$(rm).png", "images.csv", "pictures.csv"}
    assert {row[2] for row in index_of(folder)[1:]} == names - {"images.csv", "pictures.csv"}
    one = tmp_path / "one"
    uri = (finished.parent / "in/x..png").as_uri()
    assert command.main([str(finished), str(one), "--names", "source", "--uri", uri]) == 0
    assert (one / "x.png").read_bytes() == (folder / "x.png").read_bytes()


def test_a_run_is_exported_under_its_product_ids(tmp_path, capsys):
    for i, name in enumerate(("b2.png", "b10.png", "c.jpg", "C.png")):
        file_format = "JPEG" if name.endswith("jpg") else "PNG"
        (tmp_path / name).write_bytes(image_bytes(40, 40, file_format=file_format, seed=i))
    lines = ["product_id,uri", "Größe 7/8,b10.png", "Größe 7/8,b2.png", ",c.jpg", ",C.png"]
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    places = ["--input", str(tmp_path / "m.csv"), "--output", str(tmp_path / "out")]
    options = ["--run_id", "r1", "--image_format", "webp", "--images", "files", "--report", "no"]
    assert job.run([*places, *options]) == 0
    out = capsys.readouterr().out
    assert f"images:  {tmp_path}/out/images/" in out
    assert f"look at: python -m pipeline.report {tmp_path}/out --serve --run_id r1" in out
    (line,) = [line for line in out.splitlines() if line.startswith("by name: ")]
    words = shlex.split(line.removeprefix("by name: "))
    assert words[:3] == ["python", "-m", "pipeline.read"]
    folder = tmp_path / "named"
    words = [str(folder) if word == "exported/" else word for word in words[3:]]
    assert command.main([*words, "--names", "product"]) == 0
    told = capsys.readouterr().out
    assert "2 images of the run without a product id: named by source" in told
    assert "2 files of the run would have had the name of another" in told
    files = {uri: (ids, name) for uri, ids, name in index_of(folder)[1:]}
    assert files["b2.png"] == ("Größe 7/8", "Größe 7_8-1.webp")
    assert files["b10.png"] == ("Größe 7/8", "Größe 7_8-2.webp")
    assert re.fullmatch(r"c-[0-9a-f]{8}\.webp", files["c.jpg"][1])
    assert re.fullmatch(r"C-[0-9a-f]{8}\.webp", files["C.png"][1])
    for _, name in files.values():
        assert Image.open(folder / name).format == "WEBP"


def test_a_run_is_exported_to_s3(finished, bucket, s3_endpoint):
    places = [str(finished), bucket.uri("named/")]
    assert command.main([*places, "--names", "source", "--s3_endpoint_url", s3_endpoint]) == 0
    names = ("a b.png", "x.png", "ü;$(rm).png", "images.csv", "pictures.csv")
    assert sorted(bucket.keys()) == sorted(f"named/{name}" for name in names)
    assert Image.open(io.BytesIO(bucket.get("named/a b.png"))).size == (80, 80)


def test_images_of_one_name_and_another_content_lose_no_file(local_files, tmp_path):
    images = []
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"%d" % i)
        place, key = str(tmp_path / f"{i}.png"), f"ab12cd34{i:024}"
        images.append(RunImage(f"s3://shop/{i}/main.jpg", place, "png", key))
    named = name_images(images, "content", "s3://shop/").images
    assert export.export(local_files, named, str(tmp_path / "out")) == []
    files = {uri: (tmp_path / "out" / name) for uri, _, name in index_of(tmp_path / "out")[1:]}
    assert len(files) == 3
    for i, one in enumerate(images):
        assert files[one.uri].read_bytes() == b"%d" % i


@pytest.mark.parametrize("place", ["in", "in/", "link"])
def test_an_export_never_replaces_a_source(place, finished, tmp_path, capsys):
    sources = finished.parent / "in"
    (tmp_path / "link").symlink_to(sources)
    before = (sources / "a b.png").read_bytes()
    folder = {"in": f"{sources}", "in/": f"{sources}/", "link": f"{tmp_path}/link"}[place]
    assert command.main([str(finished), folder, "--names", "source"]) == 1
    error = capsys.readouterr().err
    assert "would be written over a source of the run" in error and error.count("\n") == 1
    assert (sources / "a b.png").read_bytes() == before
    assert not (sources / "images.csv").exists()


def test_sources_on_s3_and_in_a_manifests_folder_are_not_replaced(tmp_path):
    for uri, folder, base in (
        ("s3://shop/a/x.png", "s3://shop/a/", "s3://shop/a/"),
        ("a/x.png", str(tmp_path / "a"), str(tmp_path / "m.csv")),
    ):
        named = [NamedImage(RunImage(uri, "s3://o/1", "png", "0" * 64), ("x.png",))]
        with pytest.raises(ValueError, match=r"x\.png would be written over"):
            export.check_sources(named, folder, [uri], base)
        export.check_sources(named, f"{folder}/b", [uri], base)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A run over a manifest: one upscaled image, others skipped and failed, and a reference."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("large", "broken", "stored", "true"):
        (folder / name).mkdir()
    (folder / "a.gif").write_bytes(image_bytes(40, 40, mode="L", file_format="GIF"))
    (folder / "large/a.png").write_bytes(image_bytes(90, 90, file_format="PNG"))
    (folder / "broken/a.png").write_bytes(b"\x89PNG")
    (folder / "stored/a.png").write_bytes(image_bytes(90, 90, file_format="PNG", seed=2))
    (folder / "link.png").symlink_to(folder / "stored/a.png")
    (folder / "true/a.png").write_bytes(image_bytes(80, 80, file_format="PNG"))
    sources = ("a.gif,true/a.png", "large/a.png,", "broken/a.png,", "link.png,", "lost/a.png,")
    lines = ["uri,reference_uri", *sources]
    (folder / "images.csv").write_text("\n".join(lines))
    places = ["--input", str(folder / "images.csv"), "--output", str(folder / "out")]
    options = ["--run_id", "r1", "--report", "no", "--max_failure_rate", "1"]
    assert job.run([*places, *options, "--max_side", "60"]) == 0
    return folder


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("place", ["large", "broken", "stored", "true", "lost"])
@pytest.mark.parametrize("chosen", [[], ["--uri", "a.gif"]])
def test_no_source_is_replaced_whatever_became_of_it(place, chosen, shop, capsys):
    before = contents(shop)
    arguments = [str(shop / "out"), str(shop / place), "--names", "source"]
    assert command.main([*arguments, *chosen]) == 1
    error = capsys.readouterr().err
    name = str(shop / place / "a.png")
    assert error.startswith(f"pipeline.read: {name} would be written over a source of the run")
    assert error.count("\n") == 1 and contents(shop) == before


def test_a_source_that_is_not_chosen_is_not_replaced(tmp_path, capsys):
    for name in ("a.gif", "a.png"):
        file_format = name[2:].upper()
        (tmp_path / name).write_bytes(image_bytes(40, 40, mode="L", file_format=file_format))
    (tmp_path / "m.csv").write_text("product_id,uri\n,a.gif\n4711,a.png\n")
    places = ["--input", str(tmp_path / "m.csv"), "--output", str(tmp_path / "out")]
    assert job.run([*places, "--report", "no"]) == 0
    before = contents(tmp_path)
    arguments = [str(tmp_path / "out"), str(tmp_path), "--names", "product"]
    capsys.readouterr()
    assert command.main([*arguments, "--uri", "a.gif"]) == 1
    assert "a.png would be written over a source of the run" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_the_manifest_of_the_run_is_not_replaced(shop, tmp_path, capsys):
    before = contents(shop)
    assert command.main([str(shop / "out"), str(shop)]) == 1
    error = capsys.readouterr().err
    assert f"{shop}/images.csv would be written over a manifest of the run" in error
    assert error.count("\n") == 1 and contents(shop) == before
    assert command.main([str(shop / "out"), str(tmp_path / "new")]) == 0
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_manifests_on_s3_of_one_pattern_are_not_replaced(bucket, s3_endpoint, tmp_path, capsys):
    image = bucket.put("shop/a.png", image_bytes(40, 40, file_format="PNG"))
    bucket.put("lists/pictures.csv", b"uri\n" + image.encode())
    server = ["--s3_endpoint_url", s3_endpoint]
    places = ["--input", bucket.uri("lists/*.csv"), "--output", str(tmp_path / "out")]
    assert job.run([*places, *server, "--report", "no"]) == 0
    for folder in ("lists", "lists/"):
        assert command.main([str(tmp_path / "out"), bucket.uri(folder), *server]) == 1
        assert "would be written over a manifest of the run" in capsys.readouterr().err
    assert sorted(bucket.keys()) == ["lists/pictures.csv", "shop/a.png"]
    assert command.main([str(tmp_path / "out"), bucket.uri("lists/new"), *server]) == 0
    assert len(bucket.keys("lists/new/")) == 3


def test_an_index_replaces_no_source(bucket, s3_endpoint, tmp_path, capsys):
    bucket.put("shop/a.png", image_bytes(40, 40, file_format="PNG"))
    bucket.put("shop/images.csv", b"of the shop")
    server = ["--s3_endpoint_url", s3_endpoint]
    places = ["--input", bucket.uri("shop/"), "--output", str(tmp_path / "out")]
    assert job.run([*places, *server, "--report", "no"]) == 0
    assert command.main([str(tmp_path / "out"), bucket.uri("shop"), *server]) == 1
    assert "shop/images.csv would be written over a source" in capsys.readouterr().err
    assert sorted(bucket.keys()) == ["shop/a.png", "shop/images.csv"]


def test_links_in_a_circle_and_sources_of_no_file_stop_no_export(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    named = [NamedImage(RunImage("a.png", "s3://o/1", "png", "0" * 64), ("a.png",))]
    sources = [*("circle", "circle/a.png", "file://elsewhere/a.png", "a\0.png", ""), "x" * 5000]
    sources.append("S3://shop/x/a.png")
    export.check_sources(named, str(tmp_path / "out"), sources, str(tmp_path / "m.csv"))
    with pytest.raises(ValueError, match="would be written over a source"):
        export.check_sources(named, "s3://shop/x", sources, str(tmp_path / "m.csv"))


def test_a_trial_since_is_not_what_a_command_takes(finished, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copytree(finished, output)
    places = ["--input", str(finished.parent / "in"), "--output", str(output)]
    for trial in (["--limit", "1"], ["--sample", "4"]):
        assert job.run([*places, *trial, "--run_id", f"trial{trial[0]}", "--report", "no"]) == 0
    latest = json.loads((output / "runs/latest.json").read_text())["run_id"]
    capsys.readouterr()
    assert command.main([str(output), str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out.startswith(f"3 images of run {latest} in ")
    shutil.rmtree(output / "runs/r1")  # where there are trials only, the newest
    assert command.main([str(output), str(tmp_path / "y")]) == 0
    assert capsys.readouterr().out.startswith("3 images of run trial--sample in ")


def test_an_image_that_is_gone_costs_no_other(finished, tmp_path, local_files):
    found = list(list_images(local_files, str(finished), "r1"))
    gone = dataclasses.replace(found[1], image_uri=str(tmp_path / "gone.png"))
    named = name_images([found[0], gone, found[2]], "source", str(tmp_path))
    ((image, error),) = export.export(local_files, named.images, str(tmp_path / "out"))
    assert image == gone and error.reason == "not_found"
    assert len(index_of(tmp_path / "out")) == 3


def test_each_row_group_of_images_is_read_once(tmp_path, local_files, monkeypatch):
    (tmp_path / "in").mkdir()
    for i in range(13):
        content = image_bytes(40, 40, file_format="PNG", seed=i)
        (tmp_path / f"in/{i}.png").write_bytes(content)
    places = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert job.run([*places, "--run_id", "r1", "--partitions", "1"]) == 0
    (part,) = (tmp_path / "out/rows/run_id=r1").iterdir()
    pq.write_table(pq.read_table(part), part, row_group_size=2)
    groups = []

    def read(*args, read_row_group=reader.read_row_group):
        first, table = read_row_group(*args)
        groups.append(first)
        return first, table

    monkeypatch.setattr(reader, "read_row_group", read)
    assert command.main([str(tmp_path / "out"), str(tmp_path / "exported")]) == 0
    assert groups == [0, 2, 4, 6, 8, 10, 12]
    assert len(index_of(tmp_path / "exported")) == 1 + 13


def test_the_command_names_the_server_only_for_a_bucket():
    at = {"s3_endpoint_url": "http://localhost:9000"}
    assert "--s3_endpoint_url" not in export.command(make_settings(output="/shop/out", **at))
    assert export.command(make_settings(output="s3://shop/out", **at)).endswith(
        " --s3_endpoint_url http://localhost:9000"
    )
