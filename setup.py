"""The package that Beam's workers install: `--setup_file=./setup.py`."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def _at_least(requirement: str) -> str:
    """A pinned, tested version as the lowest one that the package accepts."""
    return requirement.replace("==", ">=")


def _requirements(name: str) -> list[str]:
    """The lines of a requirements file that name packages."""
    lines = (HERE / name).read_text().splitlines()
    return [_at_least(line) for line in lines if line and not line.startswith(("#", "-r"))]


setup(
    name="catalog-magnifier",
    version=runpy.run_path(str(HERE / "model/version.py"))["VERSION"],
    description="Upscales the small images of a shop catalog with a Residual Dense Network",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=["catalog_magnifier", "model", "model.*", "pipeline", "pipeline.*"]
    ),
    package_data={
        "model": ["weights/*.keras", "weights/*.md"],
        "pipeline.report": ["templates/*"],
    },
    py_modules=["run_pipeline"],
    entry_points={
        "console_scripts": [
            "catalog-magnifier = catalog_magnifier.command:main",
            "catalog-magnifier-worker = pipeline.runtime.beam_worker:main",
        ]
    },
    install_requires=_requirements("requirements.txt"),
    extras_require={"train": _requirements("requirements-train.txt")},
)
