"""The container image: built from Debian's packages, and run with as little as it needs."""

import json
from pathlib import Path

from polycopy_assets_tests.container.images import MARKS, SECRETS, Images
from polycopy_assets_tests.container.in_the_image import (
    nothing_but_the_volume_can_be_written,
    the_demo_needs_no_more_than_it_may_use,
)

pytestmark = MARKS
_SPECIAL = "find / -xdev -type f \\( -perm -4000 -o -perm -2000 -o -perm -0002 \\)"


def test_the_demo_runs_in_512_mb_and_a_second_one_fetches_nothing(images: Images, scratch: Path):
    the_demo_needs_no_more_than_it_may_use(images.run, scratch)


def test_nothing_but_the_volume_can_be_written(images: Images, scratch: Path):
    nothing_but_the_volume_can_be_written(images.run, scratch)


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
