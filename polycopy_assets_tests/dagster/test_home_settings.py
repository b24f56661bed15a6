"""After an upgrade: `status` says where a home's dagster.yaml is not as this version writes it."""

from pathlib import Path

import pytest

from polycopy_assets_tests.deployment import Deployment

pytestmark = pytest.mark.files


def said(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert deployment.here("status")[0] == 0
    return [line for line in capsys.readouterr().err.splitlines() if "dagster.yaml" in line]


def test_what_an_earlier_version_wrote_is_named_and_a_file_of_ones_own_is_not(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
):
    assert deployment.here("init")[0] == 0
    path = Path(deployment.settings.home) / "dagster.yaml"
    ours = path.read_text()
    assert said(deployment, capsys) == []
    path.write_text(ours.replace("max_retries: 3", "max_retries: 3  # three"))
    assert said(deployment, capsys) == [], "a comment is no difference"
    old = ours.replace("max_retries: 3", "max_retries: 2").replace(
        "telemetry:\n  enabled: false\n", ""
    )
    path.write_text(old)
    (line,) = said(deployment, capsys)
    assert "dagster.yaml: run_retries, telemetry not as this version writes it" in line
    path.write_text(old.partition("\n")[2])
    assert said(deployment, capsys) == [], "its first line is gone: somebody has made it their own"
    path.rename(path.with_suffix(".before"))
    assert deployment.here("init")[0] == 0
    assert path.read_text() == ours
    assert said(deployment, capsys) == []
