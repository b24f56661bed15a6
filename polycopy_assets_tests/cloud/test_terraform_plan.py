"""`deploy/terraform` as Google's provider takes it: validated and planned, and nothing is made.

Only by `make test-cloud`, where `terraform` or `tofu` is installed: the provider comes from the
network.
"""

import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from google.cloud import storage

from polycopy_assets_tests.cloud.projects import LOCATION
from polycopy_assets_tests.cloud.test_terraform import FOLDER

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(3_600)]
IMAGE = f"europe-docker.pkg.dev/proj/polycopy/polycopy@sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def terraform(cloud: storage.Bucket, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The tool, and a copy of the folder that it has initialised."""
    del cloud  # only where there is a project
    tool = shutil.which("terraform") or shutil.which("tofu")
    if tool is None:
        pytest.skip("neither terraform nor tofu on PATH")
    folder = tmp_path_factory.mktemp("terraform") / "copy"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    run(tool, folder, "init", "-input=false")
    return tool, folder


def run(tool: str, folder: Path, *args: str) -> str:
    """What the tool writes; it must end well."""
    done = subprocess.run(
        [tool, f"-chdir={folder}", *args, "-no-color"],
        env={**os.environ, "CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_files_are_valid(terraform: tuple[str, Path]):
    assert "The configuration is valid" in run(*terraform, "validate")


@pytest.mark.parametrize(
    ("switches", "made"),
    [
        ((), "google_bigquery_table.trades"),
        ((f"image={IMAGE}",), "google_cloud_scheduler_job.nightly[0]"),
        ((f"image={IMAGE}", "database=true"), "google_sql_database_instance.record[0]"),
        (("load_via=dts",), "google_bigquery_data_transfer_config.batches[0]"),
    ],
    ids=["tables", "job", "database", "transfers"],
)
def test_a_project_without_it_would_get_all_of_it(
    cloud: storage.Bucket, terraform: tuple[str, Path], switches: tuple[str, ...], made: str
):
    unique = f"t{uuid.uuid4().hex[:12]}"
    names = (f"name={unique}", f"bucket={unique}", f"dataset={unique}", f"location={LOCATION}")
    wanted = (f"project={cloud.client.project}", *names, *switches)
    planned = run(
        *terraform, "plan", "-input=false", "-lock=false", *(f"-var={each}" for each in wanted)
    )
    assert f"# {made} will be created" in planned
    assert re.search(r"Plan: \d+ to add, 0 to change, 0 to destroy", planned)
