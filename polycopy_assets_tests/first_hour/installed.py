"""The package as people install it: a wheel, in an environment of its own, outside of the checkout.

Downloading 90 packages would take most of the hour, so the environment links to what the tests
have of them. pip installs the wheel there, and finds that all it requires is there.
"""

import os
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePath

from polycopy_assets_tests.packages import ROOT, brought, linked_sources

_SITE = Path(sysconfig.get_path("purelib"))


def build_wheel(folder: Path) -> Path:
    """Builds a wheel of the checkout in `folder`, apart from it, so that nothing is left behind."""
    source = linked_sources(folder / "source")
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    built = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def new_environment(folder: Path, *extras: str) -> Path:
    """An environment that holds what the package requires, but not the package; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"]]
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    (site,) = folder.glob("lib/python*/site-packages")
    for name in sorted({each for package in brought(requirements) for each in _parts(package)}):
        link = site / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(_SITE / name)
    return folder / "bin" / "python"


def _parts(package: str) -> Iterator[PurePath]:
    """What a package has in `site-packages`: files, directories, and its parts of `google/`."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return  # not for this Python, or not for this system
    for file in files:
        first, *others = file.parts
        if first in {"..", "__pycache__"}:
            continue
        shared = others and first == "google"
        yield PurePath(*file.parts[:2]) if shared else PurePath(first)


def pip(*args: str, python: Path | None = None) -> str:
    """Runs the tests' pip, on the environment of `python`, without the network; what it said."""
    where = ["--python", str(python)] if python else []
    done = subprocess.run(
        [sys.executable, "-m", "pip", *where, *args, "--no-index", "--disable-pip-version-check"],
        env={**os.environ, "PIP_NO_INPUT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
