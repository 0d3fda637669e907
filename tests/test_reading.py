"""The documents' lines of Python, which read a run's rows, each run as it stands there."""

import ast
import importlib
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.schema import to_batch
from pipeline.records import Status
from tests.pipeline.conftest import image_bytes, make_row
from tests.test_commands import DOCUMENTS

ROOT = Path(__file__).parents[1]


def lines_of(document):
    """Lines by the name that they begin with, of the one block of a document."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.S)
    return {
        next(node.id for node in ast.walk(line) if isinstance(node, ast.Name)): ast.unparse(line)
        for line in ast.parse(block).body
    }


LINES = lines_of("README.md")
# What must be imported beside the name that a line begins with.
SUBMODULE = {"pyarrow": "pyarrow.dataset", "pyspark": "pyspark.sql"}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Two runs of one image that was made and one that failed."""
    folder = tmp_path_factory.mktemp("reading") / "demo-output"
    png = image_bytes(30, 40, file_format="PNG")
    made = make_row("s3://b/1", Status.UPSCALED, image={"bytes": png, "path": "1.png"})
    failed = make_row("s3://b/2", Status.FAILED, reason="not_found")
    for run in ("n1", "n2"):
        partition = folder / f"rows/run_id={run}"
        partition.mkdir(parents=True)
        table = pa.Table.from_batches([to_batch([made, failed])])
        pq.write_table(table, partition / "part-0.parquet")
    return folder


@pytest.fixture
def read(output, monkeypatch, tmp_path):
    def read(name, lines=LINES):
        module = pytest.importorskip(SUBMODULE.get(name, name))
        monkeypatch.chdir(output.parent)
        if name == "datasets":
            monkeypatch.setattr(module.config, "HF_DATASETS_CACHE", tmp_path)
        return eval(lines[name], {name: importlib.import_module(name)})

    return read


def test_all_five_are_shown():
    assert set(LINES) == {"pandas", "duckdb", "pyarrow", "pyspark", "datasets"}


def test_no_other_document_has_python():
    found = [name for name in DOCUMENTS if "```python" in (ROOT / name).read_text()]
    assert found == ["README.md", "docs/operating.md"]


def test_operating_tells_which_runs_are_pointed_to(read):
    places = read("pyarrow", lines_of("docs/operating.md"))
    assert places.column_names == ["image_uri"] and len(places) == 4


def test_pandas(read):
    counts = read("pandas")
    assert counts["failed", "not_found"] == 2 and counts.sum() == 4


def test_duckdb(read):
    found = read("duckdb").fetchall()
    assert sorted(found, key=str) == [("failed", "not_found", 2), ("upscaled", None, 2)]


def test_pyarrow(read):
    assert read("pyarrow") == 4


def test_spark(read, capfd):
    read("pyspark")
    assert re.search(r"failed\|\s+2\|", capfd.readouterr().out)


def test_hugging_face(read):
    row = read("datasets")
    assert row["uri"] == "s3://b/1" and row["image"].size == (40, 30)
