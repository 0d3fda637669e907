import pytest
from PIL import Image

from pipeline import job
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
    assert images.main([str(finished), str(folder), "--run_id", "r1"]) == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names.pop(names.index("pictures.csv"))
    assert len(names) == 3
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEF0123456789._-%")
        assert not name.startswith(".")
        assert Image.open(folder / name).size == (80, 80)


def test_one_uri_or_a_missing_one(finished, tmp_path, capsys):
    uri = (tmp_path / "in/a b.png").as_uri()
    assert images.main([str(finished), str(tmp_path / "one"), "--uri", uri]) == 0
    assert len(list((tmp_path / "one").iterdir())) == 2
    assert images.main([str(finished), str(tmp_path / "none"), "--uri", "s3://b/none"]) == 1
    assert "no image of s3://b/none" in capsys.readouterr().err


def test_no_run_is_one_clear_line(tmp_path, capsys):
    assert images.main([str(tmp_path / "empty"), str(tmp_path / "x")]) == 1
    assert "no finished run" in capsys.readouterr().err


def test_rows_without_a_image_and_beyond_the_end(finished, local_files):
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
