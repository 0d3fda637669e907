import pytest

from pipeline import job
from tests.pipeline.conftest import image_bytes


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """An output with one run over images with awkward names, beside it; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    source = folder / "in"
    source.mkdir()
    for i, name in enumerate(("a b.png", "x..png", "ü;$(rm).png")):
        (source / name).write_bytes(image_bytes(40, 40, file_format="PNG", seed=i))
    (source / "icon.png").write_bytes(image_bytes(20, 20, file_format="PNG"))
    output = folder / "out"
    assert job.run(["--input", str(source), "--output", str(output), "--run_id", "r1"]) == 0
    return output
