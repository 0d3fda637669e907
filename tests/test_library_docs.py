"""docs/library.md: its scripts run as they are written, and its tables name what the code has."""

import dataclasses
import inspect
import subprocess
import sys

import pytest
from PIL import Image

from catalog_magnifier import UpscaledFile, UpscaleError, UpscaleImages, upscale
from model.scenes.drawing import draw_cutout, draw_scene
from tests.documents import ROOT, names_in, python_blocks, text_of

LIBRARY = "docs/library.md"
IN_MEMORY, IN_BEAM = python_blocks(LIBRARY)


@pytest.fixture
def run(tmp_path):
    """Runs a script in a reader's folder."""
    images = tmp_path / "images"
    images.mkdir()
    for folder in (tmp_path, images):
        Image.fromarray(draw_scene(1, 40, 56)).save(folder / "shoe.jpg")
        Image.fromarray(draw_cutout(2, 30, 30)).save(folder / "cup.png")
    (images / "notes.jpg").write_text("no image")

    def run(script):
        (tmp_path / "script.py").write_text(script)
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return run


@pytest.mark.slow
def test_the_script_for_images_in_memory(run, tmp_path):
    run(IN_MEMORY)
    assert Image.open(tmp_path / "shoe_x2.png").size == (112, 80)


@pytest.mark.slow
def test_the_script_with_a_pipeline(run, tmp_path):
    run(IN_BEAM)
    found = {path.name: Image.open(path) for path in (tmp_path / "upscaled").iterdir()}
    assert {name: (image.mode, image.size) for name, image in found.items()} == {
        "shoe.jpeg": ("RGB", (112, 80)),
        "cup.png": ("RGBA", (60, 60)),
    }
    (errors,) = tmp_path.glob("errors*.txt")
    assert errors.read_text().startswith("notes: unsupported_format: not an image")


def tables(header):
    """The tables of the document that begin so, each a list of rows of cells."""
    for part in text_of(LIBRARY).split(f"\n{header}")[1:]:
        rows = part.split("\n\n", 1)[0].splitlines()[2:]
        yield [[cell.strip() for cell in row[1:-1].split("|")] for row in rows]


def test_the_arguments_are_those_of_the_code():
    of_function, of_transform = tables("| argument | default |")
    declared = {
        name: "required" if one.default is inspect.Parameter.empty else str(one.default)
        for name, one in inspect.signature(upscale).parameters.items()
    }
    assert {names_in(row[0])[0]: row[1].strip("`") for row in of_function} == declared
    fields = {one.name: str(one.default) for one in dataclasses.fields(UpscaleImages)}
    assert {names_in(row[0])[0]: row[1].strip("`") for row in of_transform} == fields


def test_the_fields_are_those_of_the_code():
    (rows,) = tables("| record | field |")
    found = [names_in(row[1])[0] for row in rows]
    assert found == [*UpscaledFile._fields, *UpscaleError._fields]
