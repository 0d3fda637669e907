"""The README's tables name what the code has, no more and no less."""

import re
from pathlib import Path

from model.metrics import quality
from model.network import presets
from pipeline.output.schema import SCHEMA
from pipeline.records import Reason, Status
from pipeline.settings import OPTIONS
from pipeline.upscale import quality_gate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MEASURES = (ROOT / "docs/measures.md").read_text()


def first_cells(header):
    """Names in the first column of the table that starts with this header."""
    table = README.split(header, 1)[1].split("\n\n", 1)[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_option_is_described():
    assert sorted(first_cells("| option | default |")) == sorted(f"--{name}" for name in OPTIONS)


def test_the_defaults_are_the_declared_ones():
    table = README.split("| option | default |", 1)[1].split("\n\n", 1)[0]
    told = dict(re.findall(r"^\| `--(\w+)` \| (.*?) ?\|", table, re.MULTILINE))
    assert {name: default.strip("`") for name, default in told.items()} == {
        name: "required" if option.is_required else option.default_name
        for name, option in OPTIONS.items()
    }


def test_every_choice_is_described():
    for option in OPTIONS.values():
        row = re.search(rf"^\| `--{option.name}` .*$", README, re.MULTILINE)[0]
        assert all(f"`{choice}`" in row for choice in option.choices), option.name


def test_every_column_is_described():
    assert sorted(first_cells("| column | type |")) == sorted(SCHEMA.names)


def test_every_reason_is_described():
    assert sorted(first_cells("| reason | status |")) == sorted([*Reason, "gate:<rule>"])


def test_every_rule_of_the_gate_is_described_with_its_limits():
    """The README names the rules, `docs/measures.md` tells the limits."""
    rules = re.search(r"a measure was out of bounds: (.*) \|", README)[1]
    told = dict(re.findall(r"^\| `(\w+)` \| `\w+` is (.*?) \|", MEASURES, re.MULTILINE))
    checks = quality_gate._checks(quality.Measures(), quality_gate.GateLimits())
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
