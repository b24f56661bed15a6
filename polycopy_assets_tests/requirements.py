"""Which packages a requirement brings."""

import re
from importlib import metadata

from packaging.requirements import Requirement


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
