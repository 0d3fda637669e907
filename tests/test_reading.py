"""Runs the documents' lines of Python, which read a run's rows, as they are written."""

import ast
import importlib
import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.schema import to_batch
from pipeline.records import Status
from pipeline.runs.finished import name_latest
from pipeline.storage.local import LocalStorage
from tests.documents import DOCUMENTS, python_blocks, text_of
from tests.pipeline.conftest import NOW, image_bytes, make_row

REFERENCE = "docs/reference.md"
RUNS = ("n1", "n2")
# Rows of version 0.1.0 lack it.
NEW_COLUMN = "source_found_jpeg_quality"


def library_of(line):
    """The first name of a line's value: the library that the reader has imported."""
    names = (node.id for node in ast.walk(line.value) if isinstance(node, ast.Name))
    return next(name for name in names if name not in ("rows", "open"))


def lines_of(document):
    """Lines by the library that they use, of the one block of a document."""
    (block,) = python_blocks(document)
    return {library_of(line): ast.unparse(line) for line in ast.parse(block).body}


LINES = lines_of(REFERENCE)
# Submodules that a line needs beside the library it begins with.
SUBMODULE = {"pyarrow": "pyarrow.dataset", "pyspark": "pyspark.sql"}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Two runs, each with one upscaled image and one that failed; the second is an older one."""
    folder = tmp_path_factory.mktemp("reading") / "demo-output"
    png = image_bytes(30, 40, file_format="PNG")
    upscaled = make_row("s3://b/1", Status.UPSCALED, NOW, image={"bytes": png, "path": "1.png"})
    failed = make_row("s3://b/2", Status.FAILED, NOW, reason="not_found")
    for run in RUNS:
        partition = folder / f"rows/run_id={run}"
        partition.mkdir(parents=True)
        table = pa.Table.from_batches([to_batch([upscaled, failed])])
        if run == RUNS[1]:
            table = table.drop_columns(NEW_COLUMN)
        pq.write_table(table, partition / "part-0.parquet")
        (folder / "runs" / run).mkdir(parents=True)
        (folder / "runs" / run / "_SUCCESS").touch()
    finish(folder, RUNS[0])
    return folder


@pytest.fixture
def read(output, monkeypatch, tmp_path):
    def read(name, rows=None):
        module = pytest.importorskip(SUBMODULE.get(name, name))
        monkeypatch.chdir(output.parent)
        if name == "datasets":
            monkeypatch.setattr(module.config, "HF_DATASETS_CACHE", tmp_path)
        names = {name: importlib.import_module(name), "rows": rows or newest_rows()}
        return eval(LINES[name], names)

    return read


def test_all_six_are_shown():
    assert set(LINES) == {"json", "pandas", "duckdb", "pyarrow", "pyspark", "datasets"}


def test_no_other_document_has_python():
    """test_library_docs.py runs the scripts of docs/library.md."""
    found = {name for name in DOCUMENTS if python_blocks(name)}
    assert found == {"README.md", REFERENCE, "docs/library.md"}


@pytest.mark.parametrize("newest", RUNS)
def test_the_readme_reads_the_newest_run_only(output, monkeypatch, newest):
    (block,) = python_blocks("README.md")
    *lines, last = ast.parse(block).body
    names = {name: importlib.import_module(name) for name in ("json", "pandas", "pathlib")}
    monkeypatch.chdir(output.parent)
    finish(output, newest)
    for line in lines:
        exec(ast.unparse(line), names)
    assert names["latest"]["run_id"] == newest
    assert eval(ast.unparse(last), names).to_dict() == {"failed": 1, "upscaled": 1}


@pytest.mark.parametrize("newest", RUNS)
def test_the_reference_finds_the_newest_run(output, monkeypatch, newest):
    monkeypatch.chdir(output.parent)
    finish(output, newest)
    assert newest_rows() == f"demo-output/rows/run_id={newest}"


def finish(output, newest):
    """Lets a run be the one that finished last, whatever its name."""
    for run in RUNS:
        ended_at = 2e9 if run == newest else 1e9
        os.utime(output / "runs" / run / "_SUCCESS", (ended_at, ended_at))
    name_latest(LocalStorage(), str(output))


def newest_rows():
    """The folder that the first line of the reference finds."""
    names = {"json": json}
    exec(LINES["json"], names)
    return names["rows"]


def test_pandas(read):
    counts = read("pandas")
    assert counts["failed", "not_found"] == 1 and counts.sum() == 2


def test_duckdb(read):
    found = read("duckdb").fetchall()
    assert sorted(found, key=str) == [("failed", "not_found", 1), ("upscaled", None, 1)]


def test_duckdb_reads_all_columns_of_all_runs_as_the_reference_says(output, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    assert "DuckDB needs `union_by_name=True` for it" in text_of(REFERENCE)
    monkeypatch.chdir(output.parent)
    found = duckdb.read_parquet("demo-output/rows/*/*.parquet", union_by_name=True)
    assert NEW_COLUMN in found.columns and len(found.fetchall()) == 4


def test_pyarrow(read):
    assert read("pyarrow") == 2


def test_spark(read, capfd):
    read("pyspark")
    assert re.search(r"failed\|\s+1\|", capfd.readouterr().out)


def test_hugging_face(read):
    row = read("datasets")
    assert row["uri"] == "s3://b/1" and row["image"].size == (40, 30)


def test_kept_columns_are_read_as_the_reference_says(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    assert "`catalog->>'brand'` in DuckDB" in text_of(REFERENCE)
    assert '`rows["catalog"].map(json.loads)` in pandas' in text_of(REFERENCE)
    catalog = '{"sku": "4711", "brand": "Größe \\"S\\""}'
    rows = [make_row("s3://shop/1", catalog=catalog), make_row("s3://shop/2")]
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), tmp_path / "part-0.parquet")
    found = duckdb.read_parquet(str(tmp_path / "part-0.parquet")).project("catalog->>'brand'")
    assert found.fetchall() == [('Größe "S"',), (None,)]
    read = pytest.importorskip("pandas").read_parquet(tmp_path / "part-0.parquet")
    assert read["catalog"].dropna().map(json.loads)[0] == json.loads(catalog)
