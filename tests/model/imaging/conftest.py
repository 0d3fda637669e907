import pytest
from PIL import Image, PngImagePlugin

from model.imaging.header import lift_pillow_limits


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    """As in the processes that decode."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_CHUNK)
    lift_pillow_limits()
