import pytest
from PIL import Image

from model.scenes.drawing import draw_scene


@pytest.fixture
def folder(tmp_path):
    """Two images, one that is small, and a file that is none."""
    for name, size in (("b.png", (40, 60)), ("a.jpg", (41, 61)), ("small.png", (10, 60))):
        Image.fromarray(draw_scene(1, *[max(16, s) for s in size])[: size[0]]).save(
            tmp_path / name
        )
    (tmp_path / "notes.md").write_text("no image")
    return tmp_path
