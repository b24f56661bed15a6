"""The image of `deploy/build`, twice, and containers of it."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets_tests.container.isolated import command_in
from polycopy_assets_tests.dev import ROOT

PROGRAMS = ("buildah", "mmdebstrap", "podman", "runc")
BUILD = ROOT / ".container"
MEMORY = 512 * 2**20
"""What a container may use, in bytes."""
SECRETS = {
    "DOME_API_KEY": "k3y-of-the-source-7e1a",
    "POLYCOPY_INSTANCE": "postgresql://polycopy:pssst-7e1a@db.example.com/polycopy",
}
"""What is in the environment of whoever builds the image."""

_LIMIT = """
for file in memory.max memory/memory.limit_in_bytes; do
  [ ! -e /sys/fs/cgroup/$file ] || cat /sys/fs/cgroup/$file
done
"""
# Works as root in a container as well: no systemd, and no right to raise a limit.
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Images:
    """Images and containers of a storage of their own, below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "containers.conf").write_text(_CONTAINERS_CONF)
        (root / "storage.conf").write_text(
            f'[storage]\ndriver = "{_driver(root)}"\n'
            f'graphroot = "{root}/images"\nrunroot = "{root}/run"\n'
        )
        self.environ = {
            **os.environ,
            **SECRETS,
            "CONTAINERS_CONF": str(root / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(root / "storage.conf"),
            "CONTAINER_BUILD": str(BUILD),
            "BUILDAH_ISOLATION": "chroot",
            "SOURCE_DATE_EPOCH": "1764000000",
        }

    def build(self, name: str) -> None:
        """Builds the image under that name."""
        self._run([str(ROOT / "deploy" / "build"), name])

    def inspect(self, name: str) -> Mapping[str, Any]:
        """What podman knows about an image."""
        return json.loads(self._run(["podman", "image", "inspect", name]))[0]

    def run(self, scratch: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in `one` as production does: what it may not do is off."""
        return (
            self.run_with_limit(scratch, *command)
            if self.limited
            else self.run_without(scratch, *command)
        )

    def run_with_limit(self, scratch: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs it in a container of podman, which may use `MEMORY` bytes."""
        return self._try(
            *("podman", "run", "--rm", "--network", "none", "--cap-drop", "all"),
            *("--read-only", "--read-only-tmpfs=false", "--security-opt", "no-new-privileges"),
            *("--memory", str(MEMORY), "--memory-swap", str(MEMORY)),
            *("--volume", f"{scratch}:/scratch", "one", *command),
        )

    def run_without(self, scratch: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs it where podman may not start a container: nothing limits its memory."""
        root = Path(self._run(["podman", "image", "mount", "one"]).strip())
        return self._try(*command_in(root, scratch, self.inspect("one")["Config"]["Env"], command))

    @cached_property
    def limited(self) -> bool:
        """Whether this machine lets podman limit a container's memory; says so."""
        done = self.run_with_limit(self.root, "sh", "-c", _LIMIT)
        limited = done.returncode == 0 and done.stdout.strip() == str(MEMORY)
        print(
            "\nmemory: a limit of 512 MB that Linux enforces"
            if limited
            else "\nmemory: measured, NOT limited, because this machine gives podman no cgroup: "
            + (done.stderr or done.stdout).strip()[-500:]
        )
        return limited

    def _try(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,  # podman leaves a file `oom` where it is started, if the limit is hit
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-4000:]}"
        return done.stdout


def _driver(root: Path) -> str:
    """How layers are kept: `vfs`, which copies each of them, where Linux cannot stack them."""
    for name in ("lower", "upper", "work", "whole"):
        (root / name).mkdir()
    options = f"lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(root / "whole")]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return "vfs"
    subprocess.run(["umount", str(root / "whole")], check=True)
    return "overlay"


def _remove(root: Path) -> None:
    """Removes the storage, and first what is mounted in it, the innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([each for each in mounts if Path(each).is_relative_to(root)]):
        subprocess.run(["umount", mount], check=True)
    shutil.rmtree(root)


@pytest.fixture(scope="package")
def images() -> Iterator[Images]:
    """Two builds of the image at the same time: `one` and `two`."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    assert not missing, f"not installed: apt-get install {' '.join(missing)}"
    BUILD.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(dir=BUILD))
    try:
        every = Images(root)
        with ThreadPoolExecutor() as builders:
            list(builders.map(every.build, ("one", "two")))
        yield every
    finally:
        _remove(root)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory on a disk, for the volume; it belongs to the image's account."""
    folder = Path(tempfile.mkdtemp(dir=BUILD))
    os.chown(folder, 10001, 10001)
    yield folder
    shutil.rmtree(folder)
