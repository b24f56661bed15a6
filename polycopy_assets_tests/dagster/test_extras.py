"""A plain installation: without Google Cloud, Postgres and charts, which say what to install.

What the extras bring cannot be imported in the processes below, as if it were not there.
"""

import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from setuptools import build_meta

from polycopy_assets.assets.charts import NO_CHART
from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, Deployment
from polycopy_assets_tests.packages import ROOT, brought, linked_sources, named

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


PLAIN = brought(PROJECT["dependencies"])
MORE = brought([*EXTRAS["google"], *EXTRAS["charts"], *EXTRAS["postgres"]]) - PLAIN
MODULES = sorted(
    {
        module
        for module, packages in metadata.packages_distributions().items()
        if module != "google" and MORE & {named(package) for package in packages}
    }
    | {"google.api_core", "google.auth", "google.cloud"}
)

WITHOUT = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if any(f"{{name}}.".startswith(f"{{each}}.") for each in {MODULES!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def test_a_plain_installation_is_small_and_the_extras_are_the_rest():
    heavy = {"dagster-gcp", "pandas", "pyarrow", "numpy", "matplotlib", "google-cloud-storage"}
    assert heavy & PLAIN == set()
    assert heavy <= MORE
    assert len(PLAIN) <= 85
    assert "dagster_gcp" in MODULES
    dev = {named(text): text for text in EXTRAS["dev"]}
    for extra in ("google", "charts"):
        assert all(dev[named(text)] == text for text in EXTRAS[extra]), "dev has all of it"
    makefile = (ROOT / "Makefile").read_text()
    assert "--editable '.[google,charts]'" in makefile, "the first command of the README has both"


@pytest.mark.files
def test_a_plain_installation_collects_wallets_and_names_the_extras(deployed: Deployed):
    world = generate(31, 12, most_trades=8)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        done = deployment.polycopy("backfill", "--json", first=WITHOUT, new=True)
        assert done.returncode == 0, done.stderr
        assert f'"table_rows":{world.count()},' in done.stdout.replace(" ", "")
        with deployment.instance() as instance:
            (event,) = instance.fetch_materializations(dg.AssetKey("trades"), limit=1).records
            materialization = event.asset_materialization
            assert materialization
            shown = [str(value.value) for value in materialization.metadata.values()]
        assert NO_CHART in shown


@pytest.mark.files
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"POLYCOPY_STORE": "gs://some-bucket"}, "POLYCOPY_STORE='gs://some-bucket'"),
        (
            {
                "POLYCOPY_STORE": "gs://some-bucket",
                "POLYCOPY_WAREHOUSE": "bigquery://some-project/d",
            },
            "",
        ),
    ],
)
def test_google_cloud_without_its_extra_is_one_line_that_says_what_to_install(
    deployment: Deployment, settings: dict[str, str], said: str
):
    deployment.environ |= settings
    # A UI without them would start, and show a code location that does not load.
    for command in (["status"], ["dev", "--port", "65534"]):
        failed = deployment.polycopy(*command, first=WITHOUT, new=True)
        assert failed.returncode == 2
        (line,) = failed.stderr.splitlines()
        assert said in line
        assert "needs the extra for Google Cloud: pip install 'polycopy-assets[google]'" in line


def test_the_packages_that_are_built_hold_what_runs_and_what_people_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(linked_sources(tmp_path))
    with zipfile.ZipFile(tmp_path / build_meta.build_wheel(str(tmp_path))) as wheel:
        inside = set(wheel.namelist())
        about = next(name for name in inside if name.endswith("/METADATA"))
        said = wheel.read(about).decode()
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "polycopy_assets").rglob("*")
        if path.suffix in {".py", ".sql", ".yaml"} or path.name == "py.typed"
    }
    assert files <= inside
    assert not any(name.startswith("polycopy_assets_tests") for name in inside)
    share = "data/data/share/doc/polycopy-assets"
    pages = {name.partition("data/data/")[2] for name in inside if share in name}
    assert {f"{share[10:]}/docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= pages
    assert "Provides-Extra: google" in said
    with tarfile.open(tmp_path / build_meta.build_sdist(str(tmp_path))) as source:
        held = {name.partition("/")[2] for name in source.getnames()}
    assert {"CHANGELOG.md", "README.md", "SECURITY.md", "pyproject.toml"} <= held
    assert files <= held
    example = "examples/dagster_project"
    assert {
        "examples/trades_a_day.sql",
        f"{example}/.dagster/dagster.yaml",
        f"{example}/my_project/defs/polymarket/defs.yaml",
        f"{example}/my_project/definitions.py",
    } <= held
    assert not any(name.endswith(".pyc") for name in held)
