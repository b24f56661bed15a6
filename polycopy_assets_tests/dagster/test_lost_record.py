"""Somebody tidies DAGSTER_HOME: what may go, and what is said when the record is gone."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from polycopy_assets.cli.runs import why_failed
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.record.lost_record import warning
from polycopy_assets.settings.instance import with_driver
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.trades.coverage import Covered
from polycopy_assets_tests.deployment import Deployed, Deployment, sample_api, truth
from polycopy_assets_tests.fakes.counting import CountingStore
from polycopy_assets_tests.fakes.postgres import PASSWORD, new_database
from polycopy_assets_tests.instances import on_postgres
from polycopy_assets_tests.leaks import traces
from polycopy_assets_tests.of_trades import Directory

pytestmark = pytest.mark.exhaustive

WORLD = generate(51, 8, most_trades=20)
REBUILD = "Run `polycopy reconcile --apply`"


def _filled(tmp_path: Path, served: Served) -> Deployment:
    deployment = Deployment(tmp_path, served.url)
    deployment.want(WORLD.wallets())
    deployment.backfill()
    served.state.counts.reset()
    return deployment


def _prune(deployment: Deployment, pattern: str) -> None:
    pruned = list(Path(deployment.settings.home).glob(pattern))
    assert pruned, pattern
    for path in pruned:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _delete_runs(deployment: Deployment) -> None:
    """As somebody does who tidies in the UI: Dagster deletes their events, and so the record."""
    with deployment.instance() as instance:
        for run in instance.get_runs():
            instance.delete_run(run.run_id)


def _where(deployment: Deployment) -> str:
    if url := deployment.environ.get("POLYCOPY_INSTANCE"):
        parts = urlsplit(url)
        host = f"{parts.hostname}:{parts.port}"
        return f"Dagster's record in the Postgres database {parts.path[1:]!r} on {host} is empty"
    return f"Dagster's record in DAGSTER_HOME={deployment.settings.home!r} is empty"


@pytest.mark.parametrize(
    "pattern",
    [
        "runs",
        *(
            pytest.param(files, marks=pytest.mark.files)
            for files in ("history/runs/*.db", "history/runs/index.db*", "history", "../dagster")
        ),
    ],
)
def test_a_record_that_is_gone_is_named_and_rebuilt_before_anything_is_asked(
    tmp_path: Path, pattern: str
):
    with sample_api(WORLD) as served:
        deployment = _filled(tmp_path, served)
        if pattern == "runs":
            _delete_runs(deployment)
        else:
            _prune(deployment, pattern)
        said = deployment.polycopy("status", "--json")
        (line,) = said.stderr.splitlines()
        assert _where(deployment) in line
        assert f"the table {truth(WORLD).total():,} rows" in line
        assert REBUILD in line
        assert json.loads(said.stdout)["complete"] == 0
        refused = deployment.polycopy("backfill", "--refresh")
        assert refused.returncode == 1
        assert REBUILD in refused.stderr.splitlines()[-1]
        with deployment.instance() as instance:
            job = build(deployment.settings).resolve_job_def("fetch")
            result = job.execute_in_process(instance=instance, raise_on_error=False)
            assert REBUILD in why_failed(result)
        assert deployment.polycopy("reconcile", "--apply").returncode == 0
        assert served.state.counts.trade_requests == 0
        again = deployment.polycopy("backfill")
        assert again.returncode == 0, again.stderr
        assert served.state.counts.trade_requests == 0
        assert deployment.polycopy("status").stderr == ""
    assert deployment.table() == truth(WORLD)


@pytest.mark.files
@pytest.mark.parametrize(
    "pattern", ["history/runs/*-*.db*", "history/runs.db*", "schedules", "storage", "logs"]
)
def test_what_the_docs_call_prunable_can_be_pruned(tmp_path: Path, pattern: str):
    with sample_api(WORLD) as served:
        deployment = _filled(tmp_path, served)
        (tmp_path / "dagster" / "logs").mkdir(exist_ok=True)
        _prune(deployment, pattern)
        said = deployment.polycopy("status", "--json")
        assert said.stderr == ""
        assert json.loads(said.stdout)["complete"] == len(WORLD.wallets())
        assert deployment.polycopy("backfill").returncode == 0
        assert served.state.counts.trade_requests == 0
        assert deployment.reconcile()["counts"] == {"consistent": len(WORLD.wallets())}
    assert deployment.table() == truth(WORLD)


def test_segments_of_a_first_fetch_that_was_killed_are_no_reason_to_stop(tmp_path: Path):
    with sample_api(WORLD) as served:
        deployment = _filled(tmp_path, served)
        deployment.lose_record()
        shutil.rmtree(tmp_path / "store" / "combined")
        (tmp_path / "warehouse.duckdb").unlink()
        deployment.want(WORLD.wallets())
        (line,) = deployment.polycopy("status").stderr.splitlines()
        assert "`polycopy backfill` continues it" in line
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(WORLD)


def test_with_nothing_left_to_rebuild_it_from_the_line_says_what_helps(deployed: Deployed):
    with deployed(WORLD) as (deployment, served):
        deployment.want(WORLD.wallets())
        deployment.backfill()
        deployment.lose_record()
        store = Path(deployment.settings.store)
        for folder in ("trades", "coverage"):
            shutil.rmtree(store / folder, ignore_errors=True)
        served.state.counts.reset()
        refused = deployment.polycopy("backfill")
        assert refused.returncode == 1
        (line,) = [each for each in refused.stderr.splitlines() if "nothing was fetched" in each]
        assert "holds nothing to rebuild it from" in line
        assert served.state.counts.trade_requests == 0
        told = re.search(r"move (\S+) elsewhere", line)
        assert told
        Path(told[1]).rename(store.parent / "elsewhere")
        assert deployment.polycopy("backfill").returncode == 0
        assert deployment.table() == truth(WORLD)


def test_a_table_of_an_older_job_is_no_lost_record(deployed: Deployed):
    with deployed(WORLD) as (deployment, _):
        deployment.want(WORLD.wallets()[:1])
        deployment.execute("INSERT INTO trades (wallet_address, id) VALUES ('0xabc', '1')")
        (line,) = deployment.polycopy("status").stderr.splitlines()
        assert "If an older job wrote them, all is well" in line
        assert deployment.polycopy("backfill").returncode == 0


def test_whether_the_store_holds_coverage_is_told_by_names_alone(tmp_path: Path):
    CoverageWriter(Directory(tmp_path), "run").add([Covered(WORLD.wallets()[0], 0, 5, 9)])
    store = CountingStore(tmp_path)
    with Deployment(tmp_path / "new", "http://127.0.0.1:9").instance() as instance:
        assert "holds segments" in warning(instance, store, 0, "home")
    assert not store.reads


@pytest.mark.parametrize("named_by", ["POLYCOPY_INSTANCE", "dagster.yaml"])
def test_an_empty_record_in_postgres_is_named_by_its_database_and_host_without_the_password(
    deployment: Deployment, server: str, named_by: str
):
    url = deployment.environ["POLYCOPY_INSTANCE"] = new_database(server)
    assert PASSWORD in url
    where, checked = _where(deployment), "POLYCOPY_INSTANCE and POLYCOPY_STORE"
    if named_by == "dagster.yaml":
        on_postgres(deployment, server, url=with_driver(url))
        checked = "the database in dagster.yaml, and POLYCOPY_STORE"
    with deployment.instance() as instance:
        rows = warning(instance, deployment.store, 5, "home")
        CoverageWriter(deployment.store, "run").add([Covered(WORLD.wallets()[0], 0, 5, 9)])
        segments = warning(instance, deployment.store, 5, "home")
    assert rows.startswith(f"{where}, and so is the store")
    assert rows.endswith(f"otherwise check {checked}")
    assert segments.startswith(f"{where}, but ")
    for said in (rows, segments):
        assert "DAGSTER_HOME" not in said
        assert not traces(PASSWORD, said)
