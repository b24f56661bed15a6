"""What a command refuses at its start, a run that Dagster starts refuses too, in one line."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.assembly import build
from polycopy_assets.automation.sensors import new_wallets
from polycopy_assets.cli.runs import why_failed
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.resources.chosen import open_warehouse, store_resource, warehouse_resource
from polycopy_assets_tests.cloud.google import PROJECT, GoogleDeployment
from polycopy_assets_tests.deployment import sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS

WORLD = generate(43, 3, most_trades=9)
Spoil = Callable[[Double, GoogleDeployment], Callable[[], None]]


def far(double: Double, deployment: GoogleDeployment) -> Callable[[], None]:
    """The dataset is where no load job can read the bucket; returns what undoes it."""
    place = PROJECT, deployment.name
    before = double.engine.datasets[place]
    double.engine.datasets[place] = "asia-east1"
    return lambda: double.engine.datasets.update({place: before})


def hidden(name: str) -> Spoil:
    """A policy shows some rows of a table only."""

    def spoil(double: Double, deployment: GoogleDeployment) -> Callable[[], None]:
        table = double.engine.tables[PROJECT, deployment.name, name]
        table.shown = "wallet_address < '0x5'"
        return lambda: setattr(table, "shown", None)

    return spoil


SPOILED = {
    "place": (
        far,
        r"bigquery://\S+ is in asia-east1, and the bucket in \S+: load jobs cannot read",
    ),
    "trades": (hidden("trades"), r"not all rows of table trades in bigquery://\S+ can be read"),
    "traders": (hidden("traders"), r"not all rows of table traders in bigquery://\S+ can be read"),
}


@pytest.fixture
def served() -> Iterator[Served]:
    with sample_api(WORLD) as running:
        yield running


@pytest.fixture
def deployment(tmp_path: Path, served: Served, gcs: GCS, double: Double) -> GoogleDeployment:
    """A deployment with its tables, and wallets that are not fetched yet."""
    made = GoogleDeployment(tmp_path, served.url, gcs, double.url)
    made.want(WORLD.wallets())
    open_warehouse(made.settings, "trades").check_writable()
    return made


def run(instance: dg.DagsterInstance, deployment: GoogleDeployment, job: str) -> str:
    """A run of `job` as Dagster's launcher makes it, past our command; why it failed."""
    result = (
        build(deployment.settings)
        .resolve_job_def(job)
        .execute_in_process(instance=instance, raise_on_error=False)
    )
    return "" if result.success else why_failed(result)


@pytest.mark.parametrize(("spoil", "told"), SPOILED.values(), ids=SPOILED)
def test_each_run_refuses_in_one_line_and_goes_on_when_it_is_put_right(
    deployment: GoogleDeployment, served: Served, double: Double, spoil: Spoil, told: str
):
    with deployment.instance() as instance:
        restore = spoil(double, deployment)
        assert re.fullmatch(f"{told}.*", run(instance, deployment, "fetch"))
        assert not served.state.counts.requests, "nothing is fetched for such a table"
        restore()
        assert run(instance, deployment, "fetch") == ""
        restore = spoil(double, deployment)
        for job in ("load", "reconcile"):
            assert re.fullmatch(f"{told}.*", run(instance, deployment, job)), job
        assert double.done("load") == []
        restore()
        assert run(instance, deployment, "load") == ""
    assert deployment.table() == truth(WORLD)


def test_a_run_looks_once_and_a_sensor_reads_no_wallets_that_are_shown_in_part(
    deployment: GoogleDeployment, double: Double
):
    with deployment.instance() as instance:
        assert run(instance, deployment, "fetch") == ""
        double.requests.clear()
        assert run(instance, deployment, "load") == ""
        looks = [path for _, path in double.requests if "/tables/traders/data" in path]
        assert len(looks) == 1, "two steps and their checks, and one look"
        hidden("traders")(double, deployment)
        resources = {
            "warehouse": warehouse_resource(deployment.settings),
            "store": store_resource(deployment.settings),
        }
        with dg.build_sensor_context(instance, resources=resources) as context:
            tick = new_wallets(context)
    assert isinstance(tick, dg.SensorResult)
    assert "`traders` was not read: not all rows of table traders" in str(tick.skip_reason)


def test_a_table_that_cannot_be_reached_does_not_hold_up_a_fetch(
    deployment: GoogleDeployment, served: Served, double: Double
):
    with deployment.instance() as instance:
        dataset = double.engine.datasets.pop((PROJECT, deployment.name))
        assert run(instance, deployment, "fetch") == ""
        assert served.state.counts.requests
        assert "Not found: Dataset" in run(instance, deployment, "load")
        double.engine.datasets[PROJECT, deployment.name] = dataset
        assert run(instance, deployment, "load") == ""
    assert deployment.table() == truth(WORLD)
