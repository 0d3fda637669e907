"""Where the tests find real images that the project does not ship.

The folder is named by the environment variable CATALOG_MAGNIFIER_TEST_DATA and holds `catalog/`
(shop images) and `eval/Set5`, `eval/Set14` (pairs `*_x2_HR.png`, `*_x2_LR.png`). By default it is
`shared/data` beside the project. Tests that need it are skipped where it is missing.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("CATALOG_MAGNIFIER_TEST_DATA", ROOT.parent / "shared/data"))
CATALOG = FOLDER / "catalog"
BENCHMARKS = FOLDER / "eval"

needs_catalog = pytest.mark.skipif(not CATALOG.is_dir(), reason=f"no shop images in {CATALOG}")
needs_benchmarks = pytest.mark.skipif(
    not BENCHMARKS.is_dir(), reason=f"no benchmark images in {BENCHMARKS}"
)
