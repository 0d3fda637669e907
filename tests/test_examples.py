"""The examples in docstrings give what they show, and every public class has one."""

import ast
import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted(
    path for package in ("model", "pipeline") for path in (ROOT / package).rglob("*.py")
)
WITH_EXAMPLES = [path for path in PATHS if ">>> " in path.read_text(encoding="utf-8")]


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=name_of)
def test_examples_give_what_they_show(path):
    module = importlib.import_module(name_of(path))
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    for test in finder.find(module, extraglobs={"np": np}):
        runner.run(test)
    assert runner.failures == 0, f"{runner.failures} of {runner.tries}; see the captured output"


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_every_public_class_has_an_example(path):
    without = [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if "Example:" not in (ast.get_docstring(node) or "")
    ]
    assert not without
