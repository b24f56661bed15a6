"""The documents of the project, for the tests of them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in PAGES),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)


def queries(page: str) -> list[str]:
    """The SQL in the code blocks of a page in `docs/`."""
    return re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def prose(document: Path) -> list[str]:
    """A document's lines; those of code blocks are empty."""
    lines, fenced = [], False
    for line in document.read_text().splitlines():
        fence = line.lstrip().startswith("```")
        lines.append("" if fenced or fence else line)
        fenced = fenced != fence
    return lines
