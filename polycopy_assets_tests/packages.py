"""The package as it is built: from which files, and which packages its requirements bring."""

import re
import shutil
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def linked_sources(folder: Path) -> Path:
    """Gives `folder` what a wheel and an sdist are built from, so that `build` stays out of the
    checkout."""
    folder.mkdir(exist_ok=True)
    for name in ("polycopy_assets", "docs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    for file in (*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "setup.py", ROOT / "MANIFEST.in"):
        shutil.copy(file, folder)
    return folder


def named(text: str) -> str:
    return re.sub(r"[-_.]+", "-", Requirement(text).name).lower()


def brought(roots: list[str]) -> set[str]:
    """The packages that `pip install` of `roots` brings, as far as they are installed here."""
    found: set[tuple[str, str]] = set()
    left = [Requirement(root) for root in roots]
    while left:
        wanted = left.pop()
        name = named(wanted.name)
        for extra in {"", *wanted.extras} - {extra for known, extra in found if known == name}:
            found.add((name, extra))
            try:
                needs = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            left += [
                need
                for need in map(Requirement, needs)
                if need.marker is None or need.marker.evaluate({"extra": extra})
            ]
    return {name for name, _ in found}
