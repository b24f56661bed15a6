"""Writes `requirements.lock` of the container image: each package with its version and checksum.

The versions are those of the `requirements.lock` at the root. The checksums are those of the files
that pip would install into the image: wheels for CPython 3.11 on Linux, x86-64.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "deploy" / "requirements.lock"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "linux_x86_64", "any")
TOOLS = ("pip", "setuptools")
"""What installs the others in the image, and is removed again."""


def resolve() -> list[dict[str, dict[str, object]]]:
    """What pip would install into the image, as its installation report lists it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        abis = [f"--abi={abi}" for abi in ("cp311", "abi3", "none")]
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
                *("--ignore-installed", "--report", str(report), "--target", folder),
                *("--only-binary=:all:", "--implementation=cp", "--python-version=3.11", *abis),
                *(f"--platform={platform}" for platform in PLATFORMS),
                *("--constraint", str(ROOT / "requirements.lock")),
                *(f"{ROOT}[google,charts,kubernetes]", *TOOLS),
            ],
            check=True,
            stderr=sys.stderr,
        )
        return json.loads(report.read_text())["install"]


def locked(installed: list[dict[str, dict[str, object]]]) -> str:
    """The lines of the file, sorted by name; this package itself has none."""
    lines = [
        f"{each['metadata']['name']}=={each['metadata']['version']} --hash=sha256:{_sha256(each)}\n"
        for each in installed
        if each["metadata"]["name"] != "polycopy-assets"
    ]
    return "".join(sorted(lines, key=str.lower))


def _sha256(each: dict[str, dict[str, object]]) -> str:
    archive = each["download_info"]["archive_info"]
    assert isinstance(archive, dict)
    return archive["hashes"]["sha256"]


if __name__ == "__main__":
    LOCK.write_text(locked(resolve()))
