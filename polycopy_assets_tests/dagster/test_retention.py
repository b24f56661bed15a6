"""`polycopy maintain`: everything that may go is deleted, and no reader of the record notices."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    CodeLocationOrigin,
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from polycopy_assets.assets.step_record import DOWN_TAG
from polycopy_assets.automation.situation import fetch_situation, load_situation
from polycopy_assets.definitions import build
from polycopy_assets.demo.server import Served
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.guard.ours import is_ours
from polycopy_assets.record import materializations
from polycopy_assets.record.private import stored_events
from polycopy_assets.retention import maintain as retention
from polycopy_assets.retention import ticks
from polycopy_assets.retention.maintain import maintain
from polycopy_assets.retention.old_runs import SETTLE_SECONDS
from polycopy_assets_tests.dagster.test_ours import of_ours, of_theirs
from polycopy_assets_tests.deployment import Deployed, Deployment, records_of
from polycopy_assets_tests.instances import on_postgres
from polycopy_assets_tests.of_trades import KEYS, record_in
from polycopy_assets_tests.years import (
    LAG,
    a_world,
    everything,
    interrupted,
    later,
    live,
    maintained,
)

pytestmark = pytest.mark.exhaustive

REFRESHES = 4
S = dg.DagsterRunStatus


@pytest.fixture(params=["sqlite", "postgres"])
def old(request: pytest.FixtureRequest, deployed: Deployed) -> Iterator[tuple[Deployment, Served]]:
    """A deployment with a past, in files and in Postgres."""
    world = a_world()
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        if request.param == "postgres":
            on_postgres(deployment, request.getfixturevalue("server"))
        live(deployment, served, world, REFRESHES)
        yield deployment, served


def test_everything_that_may_go_goes_and_nothing_is_missed(
    old: tuple[Deployment, Served], monkeypatch: pytest.MonkeyPatch
):
    deployment, served = old
    found = without_time(deployment.reconcile())
    later(monkeypatch)
    with deployment.instance() as instance:
        before = everything(deployment, instance)
        assert before["failed"]
        assert before["marked failed"]
        runs = instance.get_runs_count()
        freed = maintained(instance)
        after = everything(deployment, instance)
        left = instance.get_runs_count()
        again = maintained(instance)
    assert after == before
    assert runs - left == freed.runs >= REFRESHES
    assert freed.events > 4 * REFRESHES
    assert freed.check_results >= REFRESHES
    assert nothing(again)
    assert without_time(deployment.reconcile()) == found
    served.state.faults.set_wallets({})
    served.state.counts.reset()
    report = deployment.backfill()
    assert report.complete == report.wallets
    # The failed wallet is not due, and the others need nothing.
    assert report.requests == 0


def in_postgres(deployment: Deployment) -> bool:
    """Whether the instance is kept in Postgres, and not in files."""
    return deployment.settings.instance == "postgres"


def without_time(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "seconds"}


def nothing(freed: retention.Freed) -> bool:
    done = (freed.runs, freed.thinned_runs, freed.events, freed.check_results, freed.ticks)
    return not any((*done, freed.files))


@pytest.mark.files
def test_the_home_gets_smaller(deployed: Deployed, monkeypatch: pytest.MonkeyPatch):
    world = a_world()
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, REFRESHES)
        later(monkeypatch)
        code, said = deployment.here("maintain", "--keep-days", "0", "--json")
        assert code == 0
        freed = json.loads(said)
        assert freed["bytes_after"] < freed["bytes_before"] / 2
        assert freed["bytes_after"] <= freed["bytes_before"] - freed["file_bytes"]
        home = Path(deployment.settings.home)
        with deployment.instance() as instance:
            known = set(instance.get_run_ids())
        logs = {path.stem for path in (home / "history" / "runs").glob("*.db")} - {"index"}
        assert logs <= known
        code, said = deployment.here("maintain", "--keep-days", "0")
        assert code == 0
        assert "runs                      0" in said


def test_a_dry_run_says_the_same_and_changes_no_byte(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = a_world()
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, 3)
        later(monkeypatch)
        before = contents(Path(deployment.settings.home))
        code, said = deployment.here("maintain", "--keep-days", "0", "--dry-run", "--json")
        assert code == 0
        assert contents(Path(deployment.settings.home)) == before
        would = json.loads(said)
        done = json.loads(deployment.here("maintain", "--keep-days", "0", "--json")[1])
    counted = ("runs", "thinned_runs", "events", "check_results", "ticks", "files")
    assert [would[name] for name in counted] == [done[name] for name in counted]
    assert would["bytes_after"] == would["bytes_before"]


def contents(home: Path) -> dict[str, str]:
    """A checksum of each file, but for those that SQLite makes while a database is open."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_young_runs_are_left_alone(deployed: Deployed):
    world = a_world(4)
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, 2)
        with deployment.instance() as instance:
            assert nothing(maintained(instance))
            assert nothing(maintained(instance, keep_days=30))


@pytest.mark.parametrize("days", ["-1", "many", "1e9", "nan", "0.5", "100000"])
def test_a_wrong_age_is_refused(deployment: Deployment, days: str):
    ended = deployment.polycopy("maintain", "--keep-days", days)
    assert ended.returncode == 2
    assert "--keep-days" in ended.stderr


def test_without_the_rule_records_would_be_lost(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    """What the rule of `superseded.py` prevents: here everything old is deleted."""
    world = a_world()
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, 2)
    later(monkeypatch)
    with deployment.instance() as instance:
        before = everything(deployment, instance)
        monkeypatch.setattr(
            retention, "superseded", lambda instance, stored, page, checks=(): [e.id for e in page]
        )
        maintained(instance)
        assert record_in(instance).versions() != before["versions"]


def test_ended_anywhere_it_has_lost_nothing_and_goes_on(
    old: tuple[Deployment, Served], monkeypatch: pytest.MonkeyPatch
):
    deployment, _ = old
    later(monkeypatch)
    monkeypatch.setattr(stored_events, "PAGE", 7)
    with deployment.instance() as instance:
        before = everything(deployment, instance)
        steps = 1
        while interrupted(instance, steps):
            steps += 9
            assert everything(deployment, instance) == before
        assert steps > 20
        assert nothing(maintained(instance))


def test_runs_of_others_and_runs_under_way_stay(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    later(monkeypatch)
    with deployment.instance() as instance:
        theirs = of_theirs(instance, S.SUCCESS)
        under_way = [
            run
            for status in (S.STARTED, S.NOT_STARTED, S.CANCELING)
            for run in of_ours(instance, deployment, status)
        ]
        ended = of_ours(instance, deployment, S.FAILURE)
        assert all(map(is_ours, ended))
        assert not any(map(is_ours, theirs))
        maintained(instance)
        left = set(instance.get_run_ids())
        assert {run.run_id for run in (*theirs, *under_way)} <= left
        assert len(left & {run.run_id for run in ended}) < len(ended)


def test_runs_of_a_backfill_or_a_retry_that_goes_on_stay(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    later(monkeypatch)
    with deployment.instance() as instance:
        # The latest of each job decides: these are not.
        first, second, *others = of_ours(instance, deployment, S.FAILURE)
        third, fourth = others[0], others[1]
        for run, status in (
            (third, BulkActionStatus.REQUESTED),
            (fourth, BulkActionStatus.COMPLETED_SUCCESS),
        ):
            backfill = f"of {run.run_id[:8]}"  # Postgres keeps 32 characters
            instance.add_run_tags(run.run_id, {"dagster/backfill": backfill})
            instance.add_backfill(
                PartitionBackfill(
                    backfill_id=backfill,
                    status=status,
                    from_failure=False,
                    tags={},
                    backfill_timestamp=time.time(),
                )
            )
        of_ours(instance, deployment, S.SUCCESS)
        instance.run_storage.add_run(
            dg.DagsterRun(
                job_name="fetch",
                status=S.STARTED,
                root_run_id=first.run_id,
                parent_run_id=first.run_id,
            )
        )
        maintained(instance)
        left = set(instance.get_run_ids())
        assert {first.run_id, third.run_id} <= left
        assert not {second.run_id, fourth.run_id} & left


def test_the_runs_by_which_the_sensors_decide_stay(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    with deployment.instance() as instance:
        build_job = build(deployment.settings).resolve_job_def

        def ended(job: str, status: S, **tags: str) -> None:
            made = build_job(job)
            instance.create_run_for_job(made, status=status, tags={**made.run_tags, **tags})

        ended("fetch", S.SUCCESS)
        ended("load", S.SUCCESS)
        for _ in range(3):
            ended("fetch", S.FAILURE, **{DOWN_TAG: "1000"})
            ended("reconcile", S.SUCCESS)
            ended("load", S.FAILURE)
        later(monkeypatch)
        before = fetch_situation(record_in(instance)), load_situation(record_in(instance))
        assert len(before[0].empty_runs) == 3
        assert len(before[1].failures) == 3
        # All but the latest reconciliation decide something.
        assert maintained(instance).runs == 2
        assert (fetch_situation(record_in(instance)), load_situation(record_in(instance))) == before
        maintain(instance, keep_days=0)
        assert (fetch_situation(record_in(instance)), load_situation(record_in(instance))) != before


Location = Callable[[str], CodeLocationOrigin]


def loaded(module: str) -> CodeLocationOrigin:
    """A module that the daemon itself loads."""
    target = LoadableTargetOrigin(module_name=module)
    return ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=module)


def served(module: str) -> CodeLocationOrigin:
    """A module that a code server has loaded, as under `dagster dev`: its target is unknown."""
    return GrpcServerCodeLocationOrigin("localhost", socket="/run/code", location_name=module)


@pytest.mark.parametrize(
    ("kind", "location"),
    [
        (InstigatorType.SENSOR, loaded),
        (InstigatorType.SCHEDULE, loaded),
        (InstigatorType.SCHEDULE, served),
    ],
)
def test_old_ticks_of_ours_go_but_for_the_latest(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    kind: InstigatorType,
    location: Location,
):
    monkeypatch.setattr(ticks, "_PAGE", 3)
    now = time.time()
    with deployment.instance() as instance:
        ours = ticking(instance, kind, location("polycopy_assets.definitions"), now)
        theirs = ticking(instance, kind, location("risk.definitions"), now)
        assert maintained(instance, dry_run=True).ticks == 7
        assert maintained(instance).ticks == 7
        kept = instance.get_ticks(ours.instigator_origin_id, ours.selector_id)
        assert [round(now - tick.timestamp) for tick in kept] == [0, 100]
        assert len(instance.get_ticks(theirs.instigator_origin_id, theirs.selector_id)) == 9
        later(monkeypatch, 1e9)
        assert maintained(instance).ticks == 1
        # The scheduler continues from it.
        (tick,) = instance.get_ticks(ours.instigator_origin_id, ours.selector_id)
        assert tick.timestamp == pytest.approx(now)


def ticking(
    instance: dg.DagsterInstance, kind: InstigatorType, location: CodeLocationOrigin, now: float
) -> InstigatorState:
    """A sensor or schedule of a code location, with nine ticks: seven are old."""
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), "each")
    data: Any = SensorInstigatorData()
    if kind == InstigatorType.SCHEDULE:
        data = ScheduleInstigatorData("0 3 * * *")
    state = InstigatorState(origin, kind, InstigatorStatus.RUNNING, data)
    instance.add_instigator_state(state)
    for age in (*(5_000 + 1_000 * number for number in range(7)), 100, 0):
        instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name="each",
                instigator_type=kind,
                status=TickStatus.SKIPPED,
                timestamp=now - age,
                selector_id=state.selector_id,
            )
        )
    return state


RUN_PAGE = """
query($run: ID!, $wallet: [String!]) {
  runOrError(runId: $run) {
    ... on PythonError { message stack }
    ... on Run { status startTime endTime eventConnection { events { __typename } } }
  }
  assetNodeOrError(assetKey: {path: ["wallet_trades"]}) {
    ... on AssetNode {
      assetMaterializations(partitions: $wallet, limit: 10) { runId runOrError { __typename } }
      partitionStats { numMaterialized numFailed numPartitions }
    }
  }
}
"""


def test_the_pages_of_a_thinned_run_and_of_its_wallet_still_open(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = a_world()
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, 3)
    later(monkeypatch)
    with deployment.instance() as instance:
        wallets = record_in(instance).versions()
        first = {record.wallet: record.run_id for record in records_of(instance, wallets)}
        before = {run: len(events_of(instance, run)) for run in first.values()}
        freed = maintained(instance)
        thinned = next(run for run in before if len(events_of(instance, run)) < before[run])
        left = len(events_of(instance, thinned))
        wallet = next(wallet for wallet, run in first.items() if run == thinned)
        page = asked_of_ui(deployment, instance, run=thinned, wallet=[wallet])
    assert freed.thinned_runs
    assert page["runOrError"]["status"] in ("SUCCESS", "FAILURE")
    assert page["runOrError"]["endTime"]
    # In Postgres the events of a run and those of assets are the same rows: those that count stay.
    assert len(page["runOrError"]["eventConnection"]["events"]) == left
    assert (left > 0) == in_postgres(deployment)
    node = page["assetNodeOrError"]
    assert node["assetMaterializations"] == [
        {"runId": thinned, "runOrError": {"__typename": "Run"}}
    ]
    assert node["partitionStats"]["numPartitions"] == 8
    assert node["partitionStats"]["numFailed"] == 1


def events_of(instance: dg.DagsterInstance, run_id: str) -> list[Any]:
    return list(instance.all_logs(run_id))


def asked_of_ui(deployment: Deployment, instance: dg.DagsterInstance, **variables: object) -> Any:
    """What the UI gets for a query."""
    target = ModuleTarget(
        "polycopy_assets.definitions", attribute=None, working_directory=None, location_name=None
    )
    with (
        patch.dict(os.environ, deployment.process_environ(), clear=True),
        WorkspaceProcessContext(instance, target) as workspace,
    ):
        result = execute_dagster_graphql(workspace.create_request_context(), RUN_PAGE, variables)
    assert not result.errors, result.errors
    return result.data


def test_events_without_a_run_go_once_they_are_superseded(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = a_world(4)
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, 1)
        with deployment.instance() as instance:
            for found in list(record_in(instance).read()):
                wallet, record = found
                assert isinstance(record, materializations.Record)
                event = materializations.materialization(
                    TRADES, wallet, record.version, record.metadata
                )
                for _ in range(4):
                    instance.report_runless_asset_event(event)
            for rows in range(4):  # as the sensor that watches the table
                seen = dg.AssetObservation("traders", metadata={"dagster/row_count": rows})
                instance.report_runless_asset_event(seen)
            log = stored_events.StoredEvents(instance).run_file(stored_events.NO_RUN)
            maintained(instance)
            assert log is None or log.is_file(), "it was written a moment ago"
            later(monkeypatch)
            before = everything(deployment, instance)
            freed = maintained(instance)
            assert freed.events >= 3 * 3
            assert everything(deployment, instance) == before
            (kept,) = instance.fetch_observations(dg.AssetKey("traders"), limit=9).records
            assert kept.asset_observation
            assert kept.asset_observation.metadata["dagster/row_count"].value == 3
            for wallet in record_in(instance).versions():
                every = instance.fetch_materializations(
                    dg.AssetRecordsFilter(asset_key=KEYS.wallets, asset_partitions=[wallet]),
                    limit=100,
                ).records
                assert sum(not item.run_id for item in every) == 1


def test_files_of_runs_that_are_gone_go_too(deployed: Deployed, monkeypatch: pytest.MonkeyPatch):
    world = a_world(4)
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, 1)
        home = Path(deployment.settings.home)
        gone = "00000000-0000-4000-8000-000000000000"
        log = home / "history" / "runs" / f"{gone}.db"
        printed = home / "storage" / gone / "compute_logs" / "x.out"
        lock = home / "locks" / f"run-{gone}.lock"
        others = [home / "storage" / "wanted" / "file", home / "history" / "runs" / "mine.txt"]
        for path in (log, printed, lock, *others):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("left over")
        left = [printed.parent.parent]
        # An instance in Postgres keeps logs and locks in the database: such files are not its own.
        (others if in_postgres(deployment) else left).extend([log, lock])
        later(monkeypatch)
        with deployment.instance() as instance:
            assert maintained(instance).files >= len(left)
            assert maintained(instance).files == 0, "what stays is not counted as deleted"
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in others)


def test_the_job_does_what_the_command_does(deployed: Deployed, monkeypatch: pytest.MonkeyPatch):
    world = a_world(4)
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, 3)
        later(monkeypatch)
        with deployment.instance() as instance:
            runs = instance.get_runs_count()
            config = {"ops": {"delete_old": {"config": {"keep_days": 0}}}}
            job = build(deployment.settings).resolve_job_def("maintain")
            ended = job.execute_in_process(instance=instance, run_config=config)
            assert ended.success
            assert is_ours(ended.dagster_run)
            assert instance.get_runs_count() < runs
            assert instance.get_run_by_id(ended.run_id)


def test_a_run_is_left_alone_right_after_its_end():
    assert SETTLE_SECONDS >= 300, "its command reads its report, and Dagster may retry it"
