"""Runs the documents' lines of Python, which read a run's rows, as they are written."""

import ast
import importlib
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.schema import to_batch
from pipeline.records import Status
from tests.documents import DOCUMENTS, python_blocks
from tests.pipeline.conftest import NOW, image_bytes, make_row

REFERENCE = "docs/reference.md"
RUNS = ("n1", "n2")
# Rows of version 0.1.0 lack it.
NEW_COLUMN = "source_found_jpeg_quality"


def library_of(line):
    """The first name of a line: the library that the reader has imported."""
    return next(node.id for node in ast.walk(line) if isinstance(node, ast.Name))


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
    """test_library_docs.py runs the scripts of docs/library.md."""
    found = {name for name in DOCUMENTS if python_blocks(name)}
    assert found == {"README.md", "docs/operating.md", REFERENCE, "docs/library.md"}


def test_the_readme_reads_the_newest_run_only(output, monkeypatch):
    """The run that finished last, whatever its name."""
    (block,) = python_blocks("README.md")
    *lines, last = ast.parse(block).body
    names = {name: importlib.import_module(name) for name in ("os", "pandas", "pathlib")}
    monkeypatch.chdir(output.parent)
    for newest in RUNS:
        for run in RUNS:
            ended_at = 2e9 if run == newest else 1e9
            os.utime(output / "runs" / run / "_SUCCESS", (ended_at, ended_at))
        for line in lines:
            exec(ast.unparse(line), names)
        assert names["newest"].parent.name == newest
        assert eval(ast.unparse(last), names).to_dict() == {"failed": 1, "upscaled": 1}


def test_operating_shows_which_runs_are_pointed_to(read):
    found = read("pyarrow", lines_of("docs/operating.md"))
    assert found.column_names == ["image_uri"] and len(found) == 4


def test_pandas(read):
    counts = read("pandas")
    assert counts["failed", "not_found"] == 2 and counts.sum() == 4


def test_duckdb(read):
    found = read("duckdb").fetchall()
    assert sorted(found, key=str) == [("failed", "not_found", 2), ("upscaled", None, 2)]


def test_duckdb_reads_all_columns_of_all_runs(read):
    line = LINES["duckdb"]
    everything = line[: line.index(".aggregate(")]
    found = read("duckdb", {"duckdb": everything})
    assert NEW_COLUMN in found.columns and len(found) == 4


def test_pyarrow(read):
    assert read("pyarrow") == 4


def test_spark(read, capfd):
    read("pyspark")
    assert re.search(r"failed\|\s+2\|", capfd.readouterr().out)


def test_hugging_face(read):
    row = read("datasets")
    assert row["uri"] == "s3://b/1" and row["image"].size == (40, 30)
