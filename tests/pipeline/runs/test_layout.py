"""Paths of a run, as `docs/reference.md` promises them."""

import pytest

from pipeline.runs.layout import Layout, output_of
from tests.pipeline.conftest import make_settings


@pytest.mark.parametrize("output", ["s3://shop/out", "/data/out"])
def test_the_contract_s_paths(output):
    layout = Layout.of(make_settings(output=output, run_id="night1"))
    assert layout.rows == f"{output}/rows/run_id=night1"
    assert layout.images == f"{output}/images"
    assert [layout.summary, layout.success, layout.started, layout.lock, layout.report] == [
        f"{output}/runs/night1/{name}"
        for name in ("summary.json", "_SUCCESS", "run.json", "lock.json", "report.html")
    ]
    assert layout.staging == f"{output}/runs/night1/staging"
    assert layout.latest == f"{output}/runs/latest.json"
    assert layout.estimate == f"{output}/runs/night1/estimate.json"


@pytest.mark.parametrize(
    ("part", "output"),
    [
        ("s3://shop/out/rows/run_id=n/part-0.parquet", "s3://shop/out"),
        ("s3://shop/rows/run_id=a/rows/run_id=n/part-0.parquet", "s3://shop/rows/run_id=a"),
        ("file:///a%20b/out/rows/run_id%3Dn/part-0.parquet", "file:///a%20b/out"),
        ("s3://shop/out/runs/n/staging/0.parquet", None),
        ("s3://shop/out/rows/run_id=n", None),
    ],
)
def test_the_output_of_a_part(part, output):
    assert output_of(part) == output


def test_a_run_is_found_by_its_folder():
    layout = Layout("s3://shop/out", "night1")
    assert Layout.of_folder(layout.folder) == Layout.of_folder(f"{layout.folder}/") == layout
    for folder in ("s3://shop/out", "runs/", "out/runs/a/b"):
        with pytest.raises(ValueError, match="OUT/runs/<run_id>"):
            Layout.of_folder(folder)
