"""Who may import whom: imports go down, never up and never in a circle.

The lists say what each room may import of the project, from the bottom to the top. Imports within
functions and those for type checkers count like any other.
"""

import ast
import graphlib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BEAM = ("apache_beam",)
FRAMEWORKS = ("tensorflow", "keras", "apache_beam")

# From the bottom to the top. A room may import those before it, and itself.
MODEL = [
    *("model.version", "model.command_line", "model.startup", "model.files", "model.imaging"),
    *("model.metrics", "model.network", "model.inference", "model.scenes", "model.data"),
    *("model.evaluate", "model.train", "model.sharpening", "model.upscale_plan"),
    *("model.upscale", "model.api"),
]
PIPELINE = [
    *("pipeline.redaction", "pipeline.text", "pipeline.records", "pipeline.row"),
    "pipeline.columns",
    *("pipeline.storage", "pipeline.catalog", "pipeline.options", "pipeline.settings"),
    *("pipeline.runtime", "pipeline.output", "pipeline.upscale", "pipeline.runs"),
    *("pipeline.signals", "pipeline.read", "pipeline.prune"),
    *("pipeline.report", "pipeline.compare", "pipeline.config_file", "pipeline.cli"),
    *("pipeline.planning", "pipeline.dofns", "pipeline.conclusion", "pipeline.graph"),
    *("pipeline.library", "pipeline.job", "pipeline.demo"),
]
ROOMS = [*MODEL, *PIPELINE]
# Rooms that a small process loads, and what must stay out of it.
WITHOUT = {
    "model.imaging": FRAMEWORKS,
    "model.metrics": FRAMEWORKS,
    "model": BEAM,
    "pipeline.records": FRAMEWORKS,
    "pipeline.storage": FRAMEWORKS,
    "pipeline.catalog": FRAMEWORKS,
    "pipeline.settings": FRAMEWORKS,
    "pipeline.output": FRAMEWORKS,
    "pipeline.upscale": BEAM,
    "pipeline.runs": BEAM,
    "pipeline.signals": FRAMEWORKS,
    "pipeline.config_file": FRAMEWORKS,
    "pipeline.read": FRAMEWORKS,
    "pipeline.prune": FRAMEWORKS,
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path):
    """Yields the dotted names that a file imports, down to the imported object."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


IMPORTS = {
    module_name(path): set(imported_by(path))
    for package in ("model", "pipeline")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def room_of(name):
    return ".".join(name.split(".")[:2])


def is_within(name, package):
    return name == package or name.startswith(f"{package}.")


def test_every_room_has_its_level():
    rooms = {room_of(module) for module in IMPORTS} - {"model", "pipeline"}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below(room):
    allowed = {*ROOMS[: ROOMS.index(room) + 1], "model", "pipeline"}
    upwards = {
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if room_of(module) == room
        for name in names
        if name.split(".")[0] in ("model", "pipeline") and room_of(name) not in allowed
    }
    assert not upwards


@pytest.mark.parametrize("package", ["model", "pipeline"])
def test_importing_a_package_imports_none_of_its_rooms(package):
    assert not {name for name in IMPORTS[package] if is_within(name, package)}


@pytest.mark.parametrize("room", WITHOUT)
def test_a_room_stays_free_of_frameworks(room):
    heavy = {
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if is_within(module, room)
        for name in names
        if name.split(".")[0] in WITHOUT[room]
    }
    assert not heavy


def test_no_module_imports_itself_through_others():
    modules = set(IMPORTS)
    graph = defaultdict(set)
    for module, names in IMPORTS.items():
        for name in names:
            found = name if name in modules else name.rpartition(".")[0]
            if found in modules and found != module:
                graph[module].add(found)
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize("package", ["model", "pipeline"])
def test_no_folder_is_flat_again(package):
    """A newcomer finds their module in a listing of one screen."""
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    sizes = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    assert max(sizes.values()) <= 15, max(sizes, key=sizes.get)


def body_lines(function):
    """Lines of a function without its signature, docstring and nested comments."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


@pytest.mark.parametrize("package", ["model", "pipeline"])
def test_modules_and_functions_stay_short(package):
    long = []
    for path in sorted((ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 360:
            long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and body_lines(node) > 50:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not long
