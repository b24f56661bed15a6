"""`PolymarketWallets` in a project of somebody else: `examples/dagster_project`, and its YAML."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest
import yaml

from polycopy_assets.components import PolymarketWallets, registration
from polycopy_assets.components.registration import JOB
from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.guard.ours import is_ours
from polycopy_assets.record.partitions import registered
from polycopy_assets.record.wanted import retire
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.store import wanted
from polycopy_assets.system import clock
from polycopy_assets_tests.dagster.test_dg import run
from polycopy_assets_tests.dagster.test_readme import shell_commands
from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.of_trades import record_in

pytestmark = pytest.mark.files

EXAMPLE = Path(__file__).parents[2] / "examples" / "dagster_project"
PAGE = EXAMPLE.parents[1] / "docs" / "components.md"
NAME = "polycopy_assets.components.PolymarketWallets"
WALLET = "0xeebde7a0e019a63e6b476eb425505b7b3e6eba30"
OTHER = f"0x{7:040x}"
PLACES = "store: data/store\n  warehouse: data/trades.duckdb\n"
SECRET = "hunter2-hunter2"

GOOD = {
    f"wallets: ['{WALLET}', '{WALLET.upper()}', ' {OTHER}']": [WALLET, OTHER],
    f"wallets: '{WALLET}'": [WALLET],
    "wallets: ['{{ env.TEST_WALLET }}']": [WALLET],
    "wallets: \"{{ env('TEST_WALLETS') }}\"": [WALLET, OTHER],
    "settings: {POLYCOPY_TIMEOUT: '5', POLYCOPY_CONCURRENCY: '{{ env.TEST_NUMBER }}'}": [],
}
"""Attributes beside the places, and the wallets that they name."""

BAD = {
    f"wallets: [{WALLET}]": f"wallets: {WALLET} is a number in YAML: write each wallet in quot",
    "wallets: ['0x12', 'x y']": "wallets: '0x12', 'x y' is not a wallet (expected 0x and 40 hex",
    "wallets: ['{{ env.NOWHERE }}']": "'{{ env.NOWHERE }}' is nothing: is the variable set?",
    "wallets: [null]": "attributes.wallets",
    "wallet: []": "attributes.wallet at",
    "store: s3://b\n  warehouse: w": "store='s3://b' is not accepted: expected the path of a dir",
    "store: ''\n  warehouse: w": "store: is empty: name a place",
    "store: 5\n  warehouse: w": "attributes.store at",
    "store: s": "attributes.warehouse at",
    f"store: s\n  warehouse: postgres://me:{SECRET}@h/d": "warehouse='postgres://…' is not accept",
    "store: s\n  warehouse: bigquery://p/d": "is not accepted: expected gs://BUCKET[/PREFIX]",
    "store: s\n  warehouse: ~no-one/w": "warehouse='~no-one/w' is not accepted: expected the pa",
    "settings: [1]": "attributes.settings",
    "settings: {POLYCOPY_RATE_LIMIT: fast}": "POLYCOPY_RATE_LIMIT='fast' is not accepted: expec",
    "settings: {POLYCOPY_TIMEOUT: true}": "POLYCOPY_TIMEOUT='True' is not accepted: expected a n",
    "settings: {POLYCOPY_TIMEOU: 5}": "POLYCOPY_TIMEOU is not a setting: did you mean POLYCOPY_TI",
    "settings: {TIMEOUT: 5}": "settings: 'TIMEOUT' is not a setting: docs/operations.md lists all",
    "settings: {POLYCOPY_STORE: s}": "settings: POLYCOPY_STORE is not accepted here: set `store`",
    "settings: {POLYCOPY_INSTANCE: ephemeral}": "settings: POLYCOPY_INSTANCE is not accepted here",
    f"settings: {{DOME_API_KEY: {SECRET}}}": "settings: DOME_API_KEY is not accepted here: it is",
    "settings: {DOME_API_KEY: '{{ env.TEST_SECRET }}'}": "settings: DOME_API_KEY is not accepted",
    f"settings: {{POLYCOPY_SOURCE_URL: 'http://a:{SECRET}@h'}}": "POLYCOPY_SOURCE_URL is not acc",
}
"""Attributes beside the places unless they name some, and what the one line about them says."""


class Project:
    """A copy of the example whose definitions are loaded in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.defs = root / "my_project" / "defs"
        shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("__pycache__", "data"))

    def write(self, attributes: str, folder: str = "polymarket") -> None:
        """Writes the YAML of a component."""
        places = "" if "store: " in attributes else f"  {PLACES}"
        (self.defs / folder).mkdir(exist_ok=True)
        (self.defs / folder / "defs.yaml").write_text(
            f"type: {NAME}\nattributes:\n{places}  {attributes}\n"
        )

    def load(self) -> dg.Definitions:
        """The definitions as Dagster loads them, jobs and all."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
            del sys.modules[name]
        from my_project.definitions import defs  # type: ignore[import-not-found]

        loaded: dg.Definitions = defs()
        loaded.get_repository_def().get_all_jobs()
        return loaded

    def refused(self) -> list[BaseException]:
        """The errors with which it does not load, the first cause last."""
        with pytest.raises(Exception, match="polymarket") as raised:
            self.load()
        found: list[BaseException] = [raised.value]
        while (cause := found[-1].__cause__) is not None:
            found.append(cause)
        return found

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance that the example brings along."""
        with dg.DagsterInstance.from_config(str(self.root / ".dagster")) as instance:
            yield instance


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in [name for name in os.environ if name.startswith(("POLYCOPY_", "DAGSTER_"))]:
        if not name.startswith("POLYCOPY_TEST_"):
            monkeypatch.delenv(name)
    found = Project(tmp_path / "project")
    monkeypatch.syspath_prepend(found.root)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # files change within a second
    monkeypatch.setenv("DAGSTER_HOME", str(found.root / ".dagster"))
    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_project"]:
        del sys.modules[name]


def test_each_value_is_accepted_or_refused_in_one_line_that_names_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    for name, value in (
        ("WALLET", WALLET),
        ("WALLETS", f"{WALLET}, {OTHER}"),
        ("NUMBER", "7"),
        ("SECRET", SECRET),
    ):
        monkeypatch.setenv(f"TEST_{name}", value)
    for attributes, wallets in GOOD.items():
        project.write(attributes)
        job = project.load().resolve_job_def(JOB)
        assert job.metadata["wallets"].value == len(wallets), attributes
    resources = project.load().resources or {}
    assert (resources["source"].timeout, resources["source"].concurrency) == (5.0, 7)
    assert resources["store"].url == str(project.root / "data" / "store")
    for attributes, line in BAD.items():
        project.write(attributes)
        causes = project.refused()
        ours = [each for each in causes if isinstance(each, ConfigurationError)]
        # What has the wrong type in YAML is refused by Dagster, which names file and line.
        texts = [str(each) for each in ours] or [str(causes[-1])]
        assert any(line in text for text in texts), (attributes, texts)
        assert all(len(text.splitlines()) == 1 for text in map(str, ours)), attributes
        assert ours or f"{project.defs}/polymarket/defs.yaml:" in texts[0], attributes
        assert SECRET not in "".join(map(str, causes))
    monkeypatch.setenv("POLYCOPY_INSTANCE", "ephemeral")
    project.write("wallets: []")
    assert "POLYCOPY_INSTANCE=ephemeral is for the command `polycopy`" in str(project.refused()[-1])


def test_the_yaml_of_the_docs_has_every_attribute_and_loads(project: Project):
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    given = yaml.safe_load(block)
    assert given["type"] == NAME
    assert set(given["attributes"]) == set(PolymarketWallets.model_fields)
    (project.defs / "polymarket" / "defs.yaml").write_text(block)
    loaded = project.load()
    resources = loaded.resources or {}
    assert (resources["source"].rate_limit, resources["source"].concurrency) == ("200/10", 8)
    assert all(f"`{name}`" in PAGE.read_text() for name in resources)


def test_two_components_in_one_project_are_refused_in_one_line(project: Project):
    project.write("settings: {}", "more")
    line = str(project.refused()[1])
    assert re.fullmatch(
        r"\S+/(polymarket|more): there are 2 components PolymarketWallets, and their assets have"
        r" the same names: put all wallets into one \(or .*\)",
        line,
    )


def test_no_secret_is_in_the_repr_of_a_component_or_of_its_resources(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DOME_API_KEY", SECRET)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@127.0.0.1:9")
    project.write("settings: {POLYCOPY_SOURCE: dome, POLYCOPY_TIMEOUT: 5}")
    loaded = project.load()
    assert SECRET not in repr(loaded)
    assert all(SECRET not in repr(each) for each in (loaded.resources or {}).values())
    given = PolymarketWallets(store="s", warehouse="w", settings={"DOME_API_KEY": SECRET})
    assert SECRET not in f"{given!r} {given!s}"


def test_the_sensor_registers_the_yaml_and_leaves_removed_wallets_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    project.write(f"wallets: ['{WALLET}', '{OTHER}']")
    loaded = project.load()
    job, resources = loaded.resolve_job_def(JOB), loaded.resources or {}
    sensor = loaded.get_repository_def().get_sensor_def("wallets_in_yaml")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    store, warehouse = resources["store"], resources["warehouse"]
    assert isinstance(store, StoreResource)
    assert isinstance(warehouse, WarehouseResource)
    with project.instance() as instance:

        def tick() -> object:
            with dg.build_sensor_context(instance=instance, resources=resources) as context:
                (found,) = sensor.evaluate_tick(context).run_requests or [None]
                return found.run_key if found else sensor.evaluate_tick(context).skip_message

        first = tick()
        assert first == tick(), "one run for the same wallets in an hour"
        assert "registered" not in str(first)
        with monkeypatch.context() as patch:
            now = clock.now() + 3_600
            patch.setattr(clock, "now", lambda: now)
            assert first != tick(), "a run that failed is started again an hour later"
        assert job.execute_in_process(instance=instance).success
        assert registered(instance) == [WALLET, OTHER]
        assert tick() == "all wallets of the YAML are registered"
        opened = store.open(instance)
        retire(instance, opened, warehouse.open_for(instance, opened, "test"), [OTHER])
        assert f"in the YAML, but removed by `polycopy wallets remove`: {OTHER}" in str(tick())
        assert job.execute_in_process(instance=instance).success
        assert registered(instance) == [WALLET], "the YAML does not undo a removal"
        # Removed after the job has read the list.
        stale = wanted.read_wanted(opened)
        monkeypatch.setattr(registration, "read_wanted", lambda store: replace(stale, entries={}))
        assert job.execute_in_process(instance=instance).success
        monkeypatch.undo()
        monkeypatch.setenv("DAGSTER_HOME", str(project.root / ".dagster"))
        assert registered(instance) == [WALLET], "nor does it at the same moment"
        monkeypatch.delenv("DAGSTER_HOME")
        failed = job.execute_in_process(instance=instance, raise_on_error=False)
        (event,) = [each for each in failed.all_events if each.is_step_failure]
        assert "DAGSTER_HOME is not set" in str(event.step_failure_data.user_failure_data)


@pytest.mark.timeout(400)
def test_the_example_project_collects_as_its_readme_says_and_what_dg_scaffolds_loads(
    project: Project,
):
    world = generate(62, 2, most_trades=20)
    as_served = world.wallets()[0]
    wallet = as_served.lower()
    written = project.defs / "polymarket" / "defs.yaml"
    written.write_text(written.read_text().replace(WALLET, wallet))
    commands = [
        [word.replace(WALLET, wallet) for word in words[1:]]
        for words in shell_commands(EXAMPLE / "README.md")
        if words[0] == "dg" and words[1] != "dev"
    ]
    assert len(commands) == 5
    with sample_api(world) as served:
        said = run(
            *commands,
            ["list", "components", "--json"],
            ["scaffold", "defs", NAME, "scaffolded"],
            environ={
                **Deployment(project.root, served.url).process_environ(),
                "DAGSTER_HOME": str(project.root / ".dagster"),
                "POLYCOPY_STORE": str(project.root / "not-used"),
                "MY_RATE_LIMIT": "100000/1",
                "PYTHONPATH": str(project.root),
                "VIRTUAL_ENV": str(project.root / ".venv"),
            },
            cwd=project.root,
        )
    assert f'"{NAME}"' in said
    assert truth(world, [as_served]) == _table(project)
    with duckdb.connect(project.root / "data" / "trades.duckdb", read_only=True) as database:
        assert database.execute("SELECT sum(trades) FROM daily_volume").fetchall() == [
            (len(world.truth(as_served)),)
        ]
    assert not (project.root / "not-used").exists(), "YAML wins over the environment"
    with project.instance() as instance:
        assert set(record_in(instance).versions()) == {wallet}
        runs = instance.get_runs()
        assert [each.status for each in runs] == [dg.DagsterRunStatus.SUCCESS] * 4
        ours = [each.asset_selection for each in runs if is_ours(each)]
        assert ours == [
            {dg.AssetKey("combined_trades"), dg.AssetKey("trades")},
            {dg.AssetKey("wallet_trades")},
        ], "runs of assets are seen by our sensors"
    shutil.rmtree(written.parent)
    loaded = project.load()
    assert dg.AssetKey("wallet_trades") in loaded.resolve_asset_graph().get_all_asset_keys()
    assert loaded.executor is dg.in_process_executor


def _table(project: Project) -> object:
    place = {"POLYCOPY_WAREHOUSE": str(project.root / "data" / "trades.duckdb")}
    return Deployment(project.root, "http://127.0.0.1:9", **place).table()
