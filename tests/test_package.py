"""What Beam's workers install with --setup_file holds everything they need."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_source_distribution_installs_with_code_and_weights(tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(
        ROOT,
        tree,
        ignore=shutil.ignore_patterns(".*", "tests", "demo-output", "__pycache__", "*.egg-info"),
    )
    python = [sys.executable]
    subprocess.run([*python, "setup.py", "-q", "sdist"], cwd=tree, check=True)
    (archive,) = (tree / "dist").iterdir()
    installed = tmp_path / "installed"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*python, *install, "--target", installed, archive], check=True, cwd=tmp_path)
    code = (
        "import model.presets, pipeline.transforms;"
        f"assert model.presets.__file__.startswith(r'{installed}');"
        "print(model.presets.load_by_name(model.presets.DEFAULT).halo_px)"
    )
    done = subprocess.run(
        [*python, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "20"
