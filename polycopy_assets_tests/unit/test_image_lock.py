"""The lock of the container image: the versions of the other lock, each with its checksum."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = {"pip", "setuptools"}
_LINE = re.compile(r"([A-Za-z0-9._-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def _image() -> dict[str, str]:
    """The versions of the image's packages; raises if a line has no checksum."""
    found = {}
    for line in (ROOT / "deploy" / "requirements.lock").read_text().splitlines():
        parts = _LINE.fullmatch(line)
        assert parts, line
        found[_name(parts[1])] = parts[2]
    return found


def _development() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = [line.partition(" ")[0].partition("==") for line in lines if line[:1].isalnum()]
    return {_name(name): version for name, _, version in pairs}


def test_the_image_has_the_versions_that_the_tests_run_with():
    image, development = _image(), _development()
    assert len(image) > 100
    assert {name: image[name] for name in image if name not in TOOLS} == {
        name: development.get(name) for name in image if name not in TOOLS
    }


def test_the_image_has_what_kubernetes_and_postgres_need_and_nothing_of_the_tests():
    image = set(_image())
    assert {"dagster", "dagster-k8s", "dagster-postgres", "duckdb", "polars"} <= image
    assert image & {"pytest", "hypothesis", "ruff", "pyright", "kubernetes-validate"} == set()
