"""The manifests of `deploy/kubernetes`: what Dagster's launcher and Kubernetes' schemas accept."""

import copy
import re
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._utils.merger import deep_merge_dicts
from dagster_k8s import K8sRunLauncher

from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.dev import ROOT
from polycopy_assets_tests.fakes.kubernetes import cluster
from polycopy_assets_tests.nightly import command_line

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30.0", "1.37.0")
PYTHON = "/opt/polycopy/bin/python"
IMAGE = "registry.example.com/polycopy:1"
_WHOLE = {"volumes", "volumeMounts", "securityContext", "resources", "labels"}
"""What the chart passes on as Kubernetes spells it; of the others it takes the names."""


def _values() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "values.yaml").read_text())


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _rendered(chosen: dict[str, Any]) -> dict[str, Any]:
    """The launcher's configuration as the chart's template makes it from the values."""
    written: dict[str, Any] = {}
    for name, value in chosen.items():
        if name in {"envConfigMaps", "envSecrets"}:
            written[_snake(name)] = [each["name"] for each in value]
        elif name == "runK8sConfig":
            written["run_k8s_config"] = {_snake(key): each for key, each in value.items()}
        else:
            assert name in _WHOLE or not isinstance(value, dict), name
            written[_snake(name)] = value
    values = _values()
    return {
        **written,
        "dagster_home": values["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "service_account_name": values["global"]["serviceAccountName"],
        "job_namespace": "polycopy",
    }


def _launcher_config() -> dict[str, Any]:
    launcher = _values()["runLauncher"]
    assert launcher["type"] == "K8sRunLauncher"
    return _rendered(launcher["config"]["k8sRunLauncher"])


def _problems(config: dict[str, Any]) -> list[str]:
    checked = process_config(K8sRunLauncher.config_type(), config)
    return [error.message for error in checked.errors or ()]


def _kept_apart(pod: dict[str, Any]) -> None:
    """Fails unless the pod runs as an ordinary account that can write to its volume alone."""
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"]["memory"]
    writable = [each["mountPath"] for each in container["volumeMounts"] if not _is_file(each)]
    assert writable == ["/scratch"]
    scratch = next(each for each in pod["volumes"] if each["name"] == "scratch")
    assert "emptyDir" in scratch


def test_the_home_of_dagster_is_a_volume_and_not_a_directory_below_one():
    values = _values()
    pods = [
        *values["dagster-user-deployments"]["deployments"],
        values["dagsterWebserver"],
        values["dagsterDaemon"],
        values["runLauncher"]["config"]["k8sRunLauncher"],
    ]
    for pod in pods:
        mounted = [each["mountPath"] for each in pod["volumeMounts"]]
        assert mounted == [values["global"]["dagsterHome"]]


def _is_file(mount: dict[str, Any]) -> bool:
    return "subPath" in mount


def test_the_launcher_accepts_the_values_and_refuses_a_misspelled_one():
    assert _problems(_launcher_config()) == []
    misspelled = {**_launcher_config(), "env_secret": ["polycopy-source"]}
    assert any("env_secret" in problem for problem in _problems(misspelled))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pod_of_a_run_is_one_that_kubernetes_accepts(
    deployment: Deployment, tmp_path: Path, version: str
):
    origin = JobPythonOrigin(
        job_name="fetch",
        repository_origin=RepositoryPythonOrigin(
            executable_path=PYTHON,
            code_pointer=ModuleCodePointer("polycopy_assets.definitions", "defs"),
            container_image=IMAGE,
        ),
    )
    with cluster(tmp_path) as found, deployment.instance() as instance:
        config = {
            **_launcher_config(),
            "load_incluster_config": False,
            "kubeconfig_file": str(found.kubeconfig),
        }
        launcher = K8sRunLauncher(**config)
        launcher.register_instance(instance)
        run = dg.DagsterRun(job_name="fetch", job_code_origin=origin)
        instance.add_run(run)
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        ((namespace, job),) = found.jobs
    assert namespace == "polycopy"
    kubernetes_validate.validate(job, version, strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    _kept_apart(pod)
    assert container["image"] == IMAGE
    assert container["args"][:5] == [PYTHON, "-m", "dagster", "api", "execute_run"]
    assert job["spec"]["backoffLimit"] == 0
    names = {
        name for each in container["envFrom"] for ref in each.values() for name in ref.values()
    }
    assert names == {"polycopy-settings", "polycopy-source"}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(_misspelled(job), version, strict=True)


def _misspelled(job: dict[str, Any]) -> dict[str, Any]:
    wrong: dict[str, Any] = {"spec": {"template": {"spec": {"runAsNonRoot": True}}}}
    return deep_merge_dicts(copy.deepcopy(job), wrong)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_nightly_backfill_is_a_cron_job_that_kubernetes_accepts(version: str):
    cron = yaml.safe_load((FOLDER / "backfill.yaml").read_text())
    kubernetes_validate.validate(cron, version, strict=True)
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    _kept_apart(pod)
    polycopy, *args = pod["containers"][0]["command"]
    assert polycopy == "polycopy"
    read = command_line(args)
    assert read["refresh"], "complete wallets would never be asked for news"
    assert read["older_than"] < 24 * 3600
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"


def test_all_pods_of_the_chart_are_one_image_and_may_do_as_little_as_the_runs():
    values = _values()
    (code,) = values["dagster-user-deployments"]["deployments"]
    for pod in (code, values["dagsterWebserver"], values["dagsterDaemon"]):
        assert f"{pod['image']['repository']}:{pod['image']['tag']}" == IMAGE
        assert pod["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["podSecurityContext"]["runAsUser"] == 10001
        assert pod["resources"]["limits"]["memory"] == "512Mi"
    assert code["dagsterApiGrpcArgs"] == ["--module-name", "polycopy_assets.definitions"]
    assert values["dagsterWebserver"]["service"]["port"] >= 1024, "its account is not root"
    assert code["includeConfigInLaunchedRuns"] == {"enabled": False}
    assert values["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    assert "POLYCOPY_INSTANCE" not in str(values), "the chart's dagster.yaml names the database"
