"""The nightly job on Cloud Run, in Terraform and as a manifest, held against Google's API."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from polycopy_assets.settings import read_settings
from polycopy_assets.settings.names import NAMES
from polycopy_assets_tests.cloud.run_jobs import MANIFEST
from polycopy_assets_tests.cloud.test_terraform import (
    FOLDER,
    bare,
    blocks,
    default,
    keys,
    local_value,
    parsed,
    resource,
)
from polycopy_assets_tests.fakes.image import Image
from polycopy_assets_tests.google_apis import faults
from polycopy_assets_tests.nightly import command_line

ARGS = ["backfill", "--refresh", "--older-than", "20h", "--for", "50m", "--json"]


def manifest() -> dict[str, Any]:
    return yaml.safe_load(MANIFEST.read_text())


def task() -> dict[str, Any]:
    return manifest()["spec"]["template"]["spec"]["template"]["spec"]


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def test_the_manifest_is_what_the_api_accepts():
    assert faults("run.v1", "Job", manifest()) == []


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("timeoutSeconds", "timeoutSeconds", "no such field"),
        ("maxRetries: 10", "maxRetries: ten", "is not of type integer"),
        ('cpu: "1"', "cpu: 1", "is not of type string"),
    ],
)
def test_a_mistake_in_the_manifest_is_found(wrong: str, right: str, said: str):
    text = MANIFEST.read_text()
    changed = text.replace(wrong, "timeoutSecond" if wrong == right else right)
    assert changed != text
    (fault,) = faults("run.v1", "Job", yaml.safe_load(changed))
    assert said in fault


def test_the_command_reads_the_arguments_and_its_limit_leaves_time_to_load():
    (container,) = task()["containers"]
    assert container["args"] == ARGS
    assert Image().command_line(container["command"], ARGS) == ["polycopy", *ARGS]
    read = command_line(container["args"])
    assert read["refresh"]
    assert read["older_than"] == 20 * 3600
    assert read["seconds"] + 600 == int(task()["timeoutSeconds"])


def test_what_a_container_starts_depends_on_the_entrypoint_of_its_image():
    ours, other = Image(), Image('ENTRYPOINT ["polycopy"]\nCMD ["--help"]')
    assert ours.command_line([], []) == ours.cmd == ["polycopy", "--help"]
    assert ours.command_line([], ["backfill"]) == ["backfill"]
    assert other.command_line([], ["backfill"]) == ["polycopy", "backfill"]
    assert other.command_line(["sh"], ["-c", "true"]) == ["sh", "-c", "true"]


def test_the_settings_of_the_manifest_are_accepted():
    (container,) = task()["containers"]
    settings = environment(container)
    kept_elsewhere = settings.pop("POLYCOPY_INSTANCE")
    assert kept_elsewhere == "ephemeral"
    assert settings.keys() <= {*NAMES, "DAGSTER_HOME"}
    read = read_settings(settings)
    assert 2 * read.memory == 1024
    assert container["resources"]["limits"]["memory"] == "1Gi"


# -- Terraform ---------------------------------------------------------------------------------

ONLY_TERRAFORM = {"count", "project", "location", "region", "deletion_protection", "depends_on"}
ONE = {"template", "resources", "volume_mounts"}


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def as_sent(tree: Any, lists: set[str]) -> Any:
    """A resource as the provider sends it: names, and blocks that there are only one of."""
    if isinstance(tree, list):
        return [as_sent(each, lists) for each in tree]
    if not isinstance(tree, dict):
        return tree
    sent: dict[str, Any] = {}
    for key, value in {**tree, **dynamic(tree)}.items():
        if key in {"dynamic", *ONLY_TERRAFORM}:
            continue
        is_block = isinstance(value, list) and value and isinstance(value[0], dict)
        inner = as_sent(value, lists)
        sent[camel(key)] = inner[0] if is_block and key not in lists else inner
    return sent


def dynamic(tree: dict[str, Any]) -> dict[str, list[Any]]:
    """The blocks that `dynamic` makes, each once."""
    found: dict[str, list[Any]] = {}
    for block in tree.get("dynamic", []):
        for label, body in block.items():
            found.setdefault(label, []).extend(body["content"])
    return found


def numbers(tree: Any) -> Any:
    """Expressions of variables that are numbers, as numbers."""
    if isinstance(tree, dict):
        return {key: numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [numbers(each) for each in tree]
    found = re.fullmatch(r"\$\{var\.(\w+)\}", tree) if isinstance(tree, str) else None
    value = default(found[1]) if found else None
    return value if isinstance(value, int) else tree


def job() -> Any:
    return resource("google_cloud_run_v2_job.backfill")


def test_the_job_has_only_fields_that_the_api_has():
    sent = numbers(as_sent(job(), {"containers", "env", "volumes", "volume_mounts"}))
    assert faults("run.v2", "GoogleCloudRunV2Job", sent) == []
    (container,) = sent["template"]["template"]["containers"]
    assert {"value", "valueSource"} == {key for each in container["env"] for key in each} - {"name"}
    broken = {**sent, "template": {**sent["template"], "maxRetries": 3}}
    assert faults("run.v2", "GoogleCloudRunV2Job", broken)


def test_the_schedule_has_only_fields_that_the_api_has():
    sent = numbers(as_sent(resource("google_cloud_scheduler_job.nightly"), set()))
    assert faults("cloudscheduler.v1", "Job", sent) == []
    uri = sent["httpTarget"]["uri"]
    assert uri.startswith("https://run.googleapis.com/v2/projects/${var.project}/locations/")
    assert uri.endswith("google_cloud_run_v2_job.backfill[0].name}:run")
    assert sent["httpTarget"]["oauthToken"]["serviceAccountEmail"] == (
        "${google_service_account.schedule[0].email}"
    )


def test_both_ways_make_the_same_job():
    (outer,) = job()["template"]
    (inner,) = outer["template"]
    (container,) = inner["containers"]
    minutes = str(default("job_fetch_minutes"))
    args = [each.replace("${var.job_fetch_minutes}", minutes) for each in container["args"]]
    assert args == ARGS
    assert container["command"] == task()["containers"][0]["command"] == ["polycopy"]
    assert inner["max_retries"] == "${var.job_retries}"
    assert default("job_retries") == task()["maxRetries"]
    assert inner["timeout"] == "${(var.job_fetch_minutes + var.job_load_minutes) * 60}s"
    seconds = (default("job_fetch_minutes") + default("job_load_minutes")) * 60
    assert seconds == int(task()["timeoutSeconds"])
    assert (outer["task_count"], outer["parallelism"]) == (1, 1)
    settings = local_value("settings")
    (ours,) = task()["containers"]
    for name in environment(ours):
        assert name in settings


def test_the_memory_that_polycopy_may_use_is_half_and_enough():
    assert (
        "POLYCOPY_MEMORY    = tostring(floor(var.job_memory / 2))"
        in (FOLDER / "job.tf").read_text()
    )
    (rule,) = blocks("variable")["job_memory"]["validation"]
    least = int(re.findall(r">= (\d+)", rule["condition"])[0])
    assert read_settings({"POLYCOPY_MEMORY": str(least // 2)}).memory == least // 2


@pytest.mark.parametrize(
    ("file", "switch"), [("job.tf", "local.job"), ("database.tf", "var.database")]
)
def test_job_and_database_exist_only_when_asked_for(file: str, switch: str):
    for block in parsed(FOLDER / file)["resource"]:
        for named in block.values():
            for name, body in named.items():
                own = bare(name) == "run_dome"
                assert own or body["count"] == f"${{{switch} ? 1 : 0}}", name
    assert default("image") == ""
    assert default("database") is False


def test_no_password_is_in_the_state():
    kinds = {address.split(".")[0] for address in blocks("resource")}
    assert kinds.isdisjoint(
        {"google_sql_user", "google_secret_manager_secret_version", "random_password"}
    )
    assert [key for key, _ in keys(blocks("resource")) if "password" in key] == []


def test_the_database_is_backed_up_protected_and_open_to_no_network():
    body = resource("google_sql_database_instance.record")
    (settings,) = body["settings"]
    assert body["deletion_protection"] is True
    assert settings["deletion_protection_enabled"] is True
    (backup,) = settings["backup_configuration"]
    assert backup["enabled"] is True
    assert backup["point_in_time_recovery_enabled"] is True
    (access,) = settings["ip_configuration"]
    assert "authorized_networks" not in access
    assert access["ssl_mode"] == "ENCRYPTED_ONLY"


def test_secrets_are_read_from_secret_manager_and_are_in_no_setting():
    text = (FOLDER / "job.tf").read_text()
    assert "google_secret_manager_secret.instance[0].secret_id" in text
    condition = bare(blocks("variable")["settings"])["validation"][0]["condition"]
    assert 'name != "POLYCOPY_INSTANCE"' in condition
    assert Path(MANIFEST).read_text().count("postgresql://") == 1  # in a comment, without a value


def test_the_service_of_systemd_starts_the_same_command_and_waits_long_enough():
    units = FOLDER.parent / "systemd"
    service = (units / "polycopy-backfill.service").read_text()
    (line,) = re.findall(r"^ExecStart=/opt/polycopy/bin/polycopy (.*)$", service, re.MULTILINE)
    read = command_line(line.split())
    assert read["refresh"]
    assert read["older_than"] == 20 * 3600
    assert read["seconds"]
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", service, re.MULTILINE)
    assert int(stop) > 10
    assert "Restart=on-failure\nRestartPreventExitStatus=2\n" in service
    analyze = shutil.which("systemd-analyze")
    if analyze:
        done = subprocess.run(
            [analyze, "verify", "--man=no", str(units / "polycopy-backfill.timer")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Unknown" not in done.stderr
