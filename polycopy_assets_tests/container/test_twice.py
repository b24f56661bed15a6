"""What is left out of every change: a second build of the image, and containers of podman."""

from pathlib import Path

import pytest

from polycopy_assets_tests.container.images import MARKS, MEMORY, Ended, Images, Run, missing
from polycopy_assets_tests.container.in_the_image import (
    nothing_but_the_volume_can_be_written,
    the_demo_needs_no_more_than_it_may_use,
)

pytestmark = MARKS
_LIMIT = """
for file in memory.max memory/memory.limit_in_bytes; do
  [ ! -e /sys/fs/cgroup/$file ] || cat /sys/fs/cgroup/$file
done
"""


def test_two_builds_give_the_same_image(images: Images):
    images.build("two")
    one, two = images.inspect("one"), images.inspect("two")
    assert (one["FromImageID"], one["FromImageDigest"]) == (
        two["FromImageID"],
        two["FromImageDigest"],
    )


@pytest.fixture(scope="module")
def in_podman(images: Images) -> Run:
    """Runs a command in a container of podman that may use `MEMORY` bytes."""
    lacking = missing("podman", "runc")
    assert not lacking, f"not installed: apt-get install {' '.join(lacking)}"

    def run(scratch: Path, *command: str) -> Ended:
        return images.attempt(
            *("podman", "run", "--rm", "--network", "none", "--cap-drop", "all"),
            *("--read-only", "--read-only-tmpfs=false", "--security-opt", "no-new-privileges"),
            *("--memory", str(MEMORY), "--memory-swap", str(MEMORY)),
            *("--volume", f"{scratch}:/scratch", "one", *command),
        )

    limit = run(images.root, "sh", "-c", _LIMIT)
    if limit.returncode != 0 or limit.stdout.strip() != str(MEMORY):
        said = (limit.stderr or limit.stdout).strip()[-500:]
        pytest.skip(f"this machine gives podman no cgroup, nothing is limited: {said}")
    return run


def test_the_demo_runs_in_a_container_with_a_limit_of_512_mb(in_podman: Run, scratch: Path):
    the_demo_needs_no_more_than_it_may_use(in_podman, scratch)


def test_nothing_but_the_volume_of_a_container_can_be_written(in_podman: Run, scratch: Path):
    nothing_but_the_volume_can_be_written(in_podman, scratch)
