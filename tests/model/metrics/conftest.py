import pytest

from model.scenes import drawing


@pytest.fixture(scope="module")
def scene():
    return drawing.draw_scene(12, 120, 136)
