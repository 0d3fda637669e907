"""The README's tables name what the code has, no more and no less."""

import datetime
import functools
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from model import presets, quality
from pipeline import gate, options
from pipeline.records import Reason, Status
from pipeline.rows import SCHEMA

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MEASURES = (ROOT / "docs/measures.md").read_text()


def first_cells(header):
    """Names in the first column of the table that starts with this header."""
    table = README.split(header, 1)[1].split("\n\n", 1)[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_option_is_described():
    parser = options._parser(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    known = [name for name in parser._option_string_actions if name not in ("-h", "--help")]
    assert sorted(first_cells("| option | default |")) == sorted(known)


def test_every_column_is_described():
    assert sorted(first_cells("| column | type |")) == sorted(SCHEMA.names)


def test_every_reason_is_described():
    assert sorted(first_cells("| reason | status |")) == sorted([*Reason, "gate:<rule>"])


def test_every_rule_of_the_gate_is_described_with_its_limits():
    """The README names the rules, `docs/measures.md` tells the limits."""
    rules = re.search(r"a measure was out of bounds: (.*) \|", README)[1]
    told = dict(re.findall(r"^\| `(\w+)` \| `\w+` is (.*?) \|", MEASURES, re.MULTILINE))
    checks = gate._checks(quality.Measures(), gate.GateLimits())
    assert re.findall(r"`(\w+)`", rules) == list(told) == [check.rule for check in checks]
    for check in checks:
        for limit in (check.lowest, check.highest):
            assert limit is None or f"{limit:g}" in told[check.rule], check.rule


def test_every_status_is_named():
    assert all(f"`{status}`" in README for status in Status)


def test_the_figures_are_the_presets_figures():
    for preset in presets.PRESETS.values():
        line = next(line for line in README.splitlines() if line.startswith(f"| `{preset.name}`"))
        assert f"{preset.set5_psnr_y_db:.2f}" in line and f"{preset.parameters:,}" in line


def test_files_named_in_the_documents_exist():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        named = re.findall(r"`((?:model|pipeline|benchmarks|tests)/[\w./-]*)`", text)
        linked = re.findall(r"\]\(([\w./-]+\.\w+)\)", text)
        for name in named + linked:
            assert (ROOT / name).exists(), (document, name)


DOCUMENTS = ["README.md", "CONTRIBUTING.md", "deploy/README.md", "deploy/dataflow/README.md"]
DOCUMENTS += [f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")]
# Other people's programs, which the tests of deploy/ check as far as that goes here.
OTHERS = {
    "pip",
    "gcloud",
    "docker",
    "IMAGE=europe-docker.pkg.dev/$PROJECT/shop/catalog-magnifier:0.1",
}


def commands():
    """Every command that stands by itself in a document, without its comment."""
    found = {}
    for document in DOCUMENTS:
        text = (ROOT / document).read_text().replace("\\\n", " ")
        fenced = re.sub(r"```\w*\n.*?```", "", text, flags=re.DOTALL)
        for line in re.findall(r"(?m)^ {4,}([\w$=./-]+ .*)$", fenced):
            found.setdefault(re.split(r" #| {3,}", line)[0].strip(), document)
    return found


def is_command(line):
    first = line.split()[0]
    return first in {"python", "make", *OTHERS} or line.startswith(("KERAS_BACKEND", "sudo"))


COMMANDS = [line for line in commands() if is_command(line)]


@functools.cache
def help_of(*program):
    done = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_documents_have_commands():
    assert len(COMMANDS) > 25


@pytest.mark.parametrize("line", [one for one in COMMANDS if one.startswith("make ")])
def test_make_knows_the_target(line):
    _, target, *variables = shlex.split(line)
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"(?m)^{target}:", makefile), line
    for variable in variables:
        assert re.search(rf"(?m)^{variable.partition('=')[0]} \?=", makefile), line


@pytest.mark.parametrize("line", [one for one in COMMANDS if "run_pipeline.py" in one])
def test_the_job_takes_the_command(line):
    """Places that a reader fills in are filled in."""
    words = shlex.split(line.partition("run_pipeline.py")[2])
    places = [word.replace("…", "s3://shop/x/") for word in words]
    if places.count("s3://shop/x/") == 2:
        places[-1] = "s3://shop/y"
    settings, rest = options.parse(places, datetime.datetime.now(datetime.UTC))
    assert rest == [] and settings.output


@pytest.mark.parametrize("line", [one for one in COMMANDS if " -m " in one])
def test_the_module_takes_the_options(line):
    words = shlex.split(line.partition("python ")[2])
    module, arguments = words[1], words[2:]
    assert importlib.util.find_spec(module) is not None, line
    if module == "deploy.dataflow.show_hints":
        return  # takes the job's; tests/test_dataflow.py runs it
    program = ["-m", module]
    if module == "benchmarks.cost_curves":
        program.append(arguments[0])
    told = help_of(*program)
    for argument in arguments:
        if argument.startswith("--"):
            assert argument.partition("=")[0] in told, line
