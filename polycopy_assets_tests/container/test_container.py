"""The container image: built from Debian's packages, and run with as little as it needs."""

import json
import re
from pathlib import Path

import pytest

from polycopy_assets_tests.container.conftest import MEMORY, SECRETS, Images
from polycopy_assets_tests.container.isolated import PEAK

pytestmark = [
    pytest.mark.container,
    pytest.mark.timeout(1_200),
    pytest.mark.xdist_group("container"),
]
_SPECIAL = "find / -xdev -type f \\( -perm -4000 -o -perm -2000 -o -perm -0002 \\)"


def test_two_builds_give_the_same_image(images: Images):
    one, two = images.inspect("one"), images.inspect("two")
    assert (one["Id"], one["Digest"]) == (two["Id"], two["Digest"])


def test_the_demo_runs_in_512_mb_and_a_second_one_fetches_nothing(images: Images, scratch: Path):
    assert images.run(scratch, "id", "-u").stdout == "10001\n"
    first = images.run(scratch, "python3", "-c", PEAK, "polycopy", "demo")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "nothing was fetched again" not in first.stdout
    peak = int(first.stdout.splitlines()[-1])
    print(f"the demo used at most {peak / 2**20:.0f} MB")
    assert 50 * 2**20 < peak <= MEMORY
    again = images.run(scratch, "polycopy", "demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing was fetched again" in again.stdout
    told = images.run(scratch, "polycopy", "status", "--json")
    assert told.returncode == 0, told.stderr
    counts = json.loads(told.stdout)
    assert counts["remaining"] == counts["failed"] == 0
    assert counts["total"] == counts["complete"] > 0
    found = re.search(r"([\d,]+) rows in the table", again.stdout)
    assert found
    assert counts["table_rows"] == counts["trades"] == int(found[1].replace(",", ""))


@pytest.mark.parametrize("way", ["with a limit", "without"])
def test_nothing_but_the_volume_can_be_written(images: Images, scratch: Path, way: str):
    limited = way == "with a limit"
    if limited and not images.limited:
        pytest.skip("this machine gives podman no cgroup")
    run = images.run_with_limit if limited else images.run_without
    for place in ("/x", "/tmp/x", "/var/tmp/x", "/opt/polycopy/x", "/run/x"):
        refused = run(scratch, "touch", place)
        assert refused.returncode == 1, place
        assert re.search("Read-only file system|Permission denied|No such file", refused.stderr)
    assert run(scratch, "touch", "/scratch/x").returncode == 0
    assert (scratch / "x").stat().st_uid == 10001
    rights = run(scratch, "grep", "-E", "^(CapPrm|CapEff|NoNewPrivs):", "/proc/self/status").stdout
    assert rights.split()[1::2] == ["0" * 16, "0" * 16, "1"]


def test_the_image_has_no_secrets_no_installer_and_no_special_rights(images: Images, scratch: Path):
    config = json.dumps(images.inspect("one"))
    for secret in SECRETS.values():
        assert secret not in config
    looked = images.run(scratch, "grep", "-rlE", "7e1a@db|-7e1a", "/opt", "/etc", "/usr")
    assert (looked.returncode, looked.stdout) == (1, ""), looked.stdout + looked.stderr
    tools = images.run(scratch, "python3", "-c", "import pip")
    assert "No module named 'pip'" in tools.stderr
    special = images.run(scratch, "sh", "-c", f"{_SPECIAL} 2>/dev/null | sort")
    assert special.stdout == ""


def test_the_image_has_what_each_process_of_a_deployment_needs(images: Images, scratch: Path):
    for command in (
        ["dagster", "--version"],
        ["bash", "-c", "dagster-webserver --version"],  # as Dagster's Helm chart starts it
    ):
        done = images.run(scratch, *command)
        assert done.returncode == 0, done.stderr
    modules = "dagster_k8s, dagster_postgres, dagster_gcp, duckdb, google_crc32c, polars, psycopg2"
    code = f"import {modules}; print(google_crc32c.implementation)"
    loaded = images.run(scratch, "python3", "-c", code)
    assert (loaded.returncode, loaded.stdout) == (0, "c\n"), loaded.stderr
