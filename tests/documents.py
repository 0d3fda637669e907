"""The project's documents, as their tests read them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Relative to ROOT. The changelog describes the past: its commands need not run.
CHANGELOG = "CHANGELOG.md"
DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md"),
    *(
        str(path.relative_to(ROOT))
        for folder in ("deploy", "docs", "model/weights")
        for path in sorted((ROOT / folder).rglob("*.md"))
    ),
]


def text_of(document):
    return (ROOT / document).read_text(encoding="utf-8")


def table(document, header):
    """Rows of the table whose header line begins so, each a list of its cells."""
    _, found, rest = text_of(document).partition(f"\n{header}")
    assert found, f"{document} has no table {header}"
    rows = rest.split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in rows]


def names_in(cell):
    """The words in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def python_blocks(document):
    return re.findall(r"```python\n(.*?)```", text_of(document), re.DOTALL)
