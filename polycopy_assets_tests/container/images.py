"""Images of `deploy/build` in a storage of their own, and commands in them."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets_tests.container.isolated import command_in
from polycopy_assets_tests.dev import ROOT

MARKS = [
    pytest.mark.container,
    pytest.mark.timeout(1_200),
    pytest.mark.xdist_group("container"),
]
"""Of each module with tests of the image."""

BUILD = ROOT / ".container"
MEMORY = 512 * 2**20
"""What a container may use, in bytes."""
SECRETS = {
    "DOME_API_KEY": "k3y-of-the-source-7e1a",
    "POLYCOPY_INSTANCE": "postgresql://polycopy:pssst-7e1a@db.example.com/polycopy",
}
"""What is in the environment of whoever builds the image."""

Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]
"""Runs a command in an image: `run(scratch, *command)`, with `scratch` as its volume."""

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
        self._done(str(ROOT / "deploy" / "build"), name)

    def inspect(self, name: str) -> Mapping[str, Any]:
        """What buildah knows about an image."""
        return json.loads(self._done("buildah", "inspect", "--type", "image", name))

    def run(self, scratch: Path, *command: str) -> Ended:
        """Runs a command in `one` in namespaces of its own: what production may not, it may not.

        Nothing limits its memory.
        """
        environ = self.inspect("one")["OCIv1"]["config"]["Env"]
        return self.attempt(*command_in(self._mounted, scratch, environ, command))

    @cached_property
    def _mounted(self) -> Path:
        """Where the files of `one` are."""
        container = self._done("buildah", "from", "--pull-never", "one").strip()
        return Path(self._done("buildah", "mount", container).strip())

    def attempt(self, *command: str) -> Ended:
        """Runs a command on this machine, whatever its exit code."""
        return subprocess.run(
            command,
            cwd=self.root,  # podman leaves a file `oom` where it is started, if the limit is hit
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def _done(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-4000:]}"
        return done.stdout


@contextmanager
def storage(root: Path) -> Iterator[Images]:
    """Images below `root`, which is removed with all that is in it."""
    try:
        yield Images(root)
    finally:
        _remove(root)


def missing(*programs: str) -> list[str]:
    """Those that are not installed."""
    return [program for program in programs if shutil.which(program) is None]


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
