import csv

import pytest
from PIL import Image

from pipeline import job
from pipeline.read import __main__ as command
from pipeline.read import images
from pipeline.read.images import ImageReader
from pipeline.storage.base import StorageError
from tests.pipeline.conftest import image_bytes


@pytest.fixture
def finished(tmp_path):
    """An output with one run over images with awkward names."""
    source = tmp_path / "in"
    source.mkdir()
    for i, name in enumerate(("a b.png", "..x.png", "ü;$(rm).png")):
        (source / name).write_bytes(image_bytes(40, 40, file_format="PNG", seed=i))
    (source / "icon.png").write_bytes(image_bytes(20, 20, file_format="PNG"))
    output = tmp_path / "out"
    assert job.run(["--input", str(source), "--output", str(output), "--run_id", "r1"]) == 0
    return output


def test_a_run_is_exported_under_safe_names(finished, tmp_path):
    folder = tmp_path / "deep/exported"
    assert command.main([str(finished), str(folder), "--run_id", "r1"]) == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names.pop(names.index("pictures.csv"))
    assert len(names) == 3
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEF0123456789._-%")
        assert not name.startswith(".")
        assert Image.open(folder / name).size == (80, 80)


def test_one_uri_or_a_missing_one(finished, tmp_path, capsys):
    uri = (tmp_path / "in/a b.png").as_uri()
    assert command.main([str(finished), str(tmp_path / "one"), "--uri", uri]) == 0
    assert capsys.readouterr().out == f"1 image of run r1 in {tmp_path / 'one'}/\n"
    assert len(list((tmp_path / "one").iterdir())) == 2
    assert command.main([str(finished), str(tmp_path / "none"), "--uri", "s3://b/none"]) == 1
    assert "no image of s3://b/none" in capsys.readouterr().err


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


FORMULAS = ("=HYPERLINK(1)", "@SUM(1+1)", "+1", "-1", "\t=1", "\r=1")


@pytest.mark.parametrize("uri", FORMULAS)
def test_no_cell_of_the_index_is_a_formula(uri, local_files, tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    image = images.RunImage(uri, "=1.png", str(tmp_path / "a.png"))
    assert images.export(local_files, [image], tmp_path / "out") == []
    with (tmp_path / "out/pictures.csv").open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["uri", "file"]
    assert row == [f"'{uri}", "'=1.png"]


def test_other_cells_of_the_index_stay_as_they_are():
    for uri in ("s3://shop/=1.jpg", "a,b.jpg", "ü'\"=.jpg", ""):
        assert images.as_cell(uri) == uri


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
