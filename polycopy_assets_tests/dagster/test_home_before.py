"""A home, store and table of the version before the packages: what upgrading does to them."""

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus as S

from polycopy_assets.automation.situation import fetch_situation
from polycopy_assets.definitions import build
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.guard import exclusive
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.older_runs import SILENT_SECONDS, is_older
from polycopy_assets_tests.deployment import Deployment, records_of, sample_api, truth
from polycopy_assets_tests.of_trades import record_in
from polycopy_assets_tests.old_home import (
    BEFORE_PACKAGES,
    FEED_ENDED,
    cast,
    unpack,
    world_before_packages,
)

pytestmark = pytest.mark.files

UNFINISHED = dg.RunsFilter(
    statuses=[S.QUEUED, S.NOT_STARTED, S.STARTING, S.STARTED, S.CANCELING, S.CANCELED]
)


@contextmanager
def moved_in(root: Path) -> Iterator[tuple[World, Served, Deployment]]:
    """The world, the sample API over it, and the older version's deployment, unpacked."""
    world = world_before_packages()
    with sample_api(world) as served:
        yield world, served, unpack(root, served.url, BEFORE_PACKAGES)


def all_requests(served: Served) -> int:
    counts = served.state.counts
    return counts.trade_requests + sum(counts.count_requests.values())


def content(deployment: Deployment) -> list[tuple[object, ...]]:
    """The table with every column, in a fixed order."""
    return deployment.rows("SELECT * FROM {}trades ORDER BY ALL")


def stored_files(deployment: Deployment) -> set[str]:
    """All but the wanted list, which the first backfill makes of `traders`."""
    every = (deployment.root / "store").rglob("*")
    return {str(path) for path in every if path.is_file() and path.parent.name != "wanted"}


def test_the_archive_holds_what_it_is_about(tmp_path: Path):
    world, deployment = world_before_packages(), unpack(tmp_path, "", BEFORE_PACKAGES)
    story = cast(world)
    held, served = deployment.table(), truth(world)
    assert held < served, "there is nothing left to refresh"
    late = [row for row in held if isinstance(row[1], int) and row[1] > FEED_ENDED[1]]
    assert late, "the last refresh brought nothing"
    for wallet in story.taken_over:
        assert deployment.store.read(f"trades/{wallet}.jsonl")
    names = [item.name for item in deployment.store.list("trades/")]
    assert max(sum(wallet.lower() in name for name in names) for wallet in world.wallets()) >= 3
    assert len(list(deployment.store.list("combined/manifests/"))) >= 3
    with deployment.instance() as instance:
        (killed,) = instance.get_runs(UNFINISHED)
        assert (killed.job_name, killed.status) == ("fetch", S.STARTED)
        assert killed.tags["polycopy/worker"].startswith(f"{killed.run_id[:8]}@")
        note = instance.daemon_cursor_storage.get_cursor_values({"polycopy/turn/source"})
        assert note["polycopy/turn/source"] == f"held {killed.tags['polycopy/worker']}"
        place = instance.event_log_storage.get_concurrency_info("source")
        assert place.active_run_ids == {killed.run_id}
        failed = instance.get_run_records(dg.RunsFilter(job_name="fetch", statuses=[S.FAILURE]))
        assert len(failed) == 2


def test_status_tells_the_truth_about_an_older_home(tmp_path: Path):
    with moved_in(tmp_path) as (world, served, deployment):
        held = deployment.table().total()
        code, said = deployment.here("status", "--json")
        assert code == 0
        assert (
            json.loads(said).items()
            >= {
                "total": len(world.wallets()),
                "complete": len(world.wallets()),
                "complete_without_trades": _without_trades(deployment, world),
                "remaining": 0,
                "failed": 1,
                "trades": held,
                "table_rows": held,
            }.items()
        )
        assert all_requests(served) == 0


def _without_trades(deployment: Deployment, world: World) -> int:
    filled = {row[0] for row in deployment.rows("SELECT DISTINCT wallet_address FROM {}trades")}
    return sum(wallet.lower() not in filled for wallet in world.wallets())


def test_a_backfill_on_an_older_home_asks_for_nothing_and_changes_no_row(tmp_path: Path):
    with moved_in(tmp_path) as (world, served, deployment):
        before = content(deployment)
        stored = stored_files(deployment)
        done = deployment.polycopy("backfill", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["complete"], report["requests"]) == (len(world.wallets()), 0)
        assert (report["errors"], report["failed_checks"]) == ([], [])
        assert all_requests(served) == 0
        assert content(deployment) == before
        assert stored_files(deployment) == stored
        assert "is of an older version" in done.stderr


def test_a_refresh_of_an_older_home_brings_what_is_newer_and_nothing_twice(tmp_path: Path):
    with moved_in(tmp_path) as (world, served, deployment):
        before = deployment.table()
        with deployment.instance() as instance:
            wallets = [wallet.lower() for wallet in world.wallets()]
            until = {r.wallet: r.covered_until for r in records_of(instance, wallets)}
        done = deployment.polycopy("backfill", "--refresh", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["trades_fetched"] == (truth(world) - before).total() > 0
        assert served.state.counts.rows.total() == report["trades_fetched"], "rows came twice"
        assert set(served.state.counts.requests) == set(wallets)
        for asked in served.state.counts.log:
            assert asked.start >= until[asked.wallet], "covered time was requested again"
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}
        assert deployment.backfill().requests == 0


@pytest.mark.parametrize("options", [(), ("--verify",), ("--apply",)])
def test_an_older_home_reconciles_clean(tmp_path: Path, options: tuple[str, ...]):
    with moved_in(tmp_path) as (world, served, deployment):
        before = content(deployment)
        told = deployment.reconcile(*options)
        assert told["counts"] == {"consistent": len(world.wallets())}
        assert (told["refused"], told["broken_batches"], told["failed_checks"]) == ([], [], [])
        assert all_requests(served) == 0
        assert content(deployment) == before


def test_the_class_names_in_an_older_dagster_yaml_import(tmp_path: Path):
    deployment = unpack(tmp_path, "http://127.0.0.1:9", BEFORE_PACKAGES)
    written = yaml.safe_load((tmp_path / "dagster" / "dagster.yaml").read_text())
    named = {
        kind: (value["module"], value["class"])
        for kind, value in written.items()
        if isinstance(value, dict) and "module" in value
    }
    assert named == {
        "event_log_storage": ("polycopy_assets.event_log", "PooledSqliteEventLogStorage"),
        "run_storage": ("polycopy_assets.run_storage", "PatientSqliteRunStorage"),
        "schedule_storage": ("polycopy_assets.run_storage", "PatientSqliteScheduleStorage"),
    }
    with deployment.instance() as instance:
        for used, (module, name) in (
            (instance.event_log_storage, named["event_log_storage"]),
            (instance.run_storage, named["run_storage"]),
            (instance.schedule_storage, named["schedule_storage"]),
        ):
            assert type(used) is getattr(importlib.import_module(module), name)


def test_a_killed_run_of_an_older_home_is_ended_by_its_silence_alone(tmp_path: Path):
    with moved_in(tmp_path) as (_, _, deployment), deployment.instance() as instance:
        (killed,) = instance.get_run_records(UNFINISHED)
        run_id = killed.dagster_run.run_id
        (line,) = instance.get_records_for_run(run_id, limit=1, ascending=False).records
        last = line.event_log_entry.timestamp
        assert end_dead_runs(instance, lambda: last + SILENT_SECONDS) == {}
        assert fetch_situation(record_in(instance)).under_way, (
            "it may live: nothing fetches beside it"
        )
        ended = end_dead_runs(instance, lambda: last + SILENT_SECONDS + 1)
        assert ended == {
            run_id: "it is of an older version, and has written nothing into its log for 301 s"
        }
        run = instance.get_run_by_id(run_id)
        assert run
        assert run.status == S.FAILURE
        assert fetch_situation(record_in(instance)).under_way is None
        assert end_dead_runs(instance) == {}


def test_older_runs_that_ended_stay_as_they_are(tmp_path: Path):
    with moved_in(tmp_path) as (_, _, deployment), deployment.instance() as instance:
        ended = {run.run_id: run.status for run in instance.get_runs() if run.is_finished}
        assert set(ended.values()) == {S.SUCCESS, S.FAILURE}
        assert len(end_dead_runs(instance)) == 1
        left = {run.run_id: run.status for run in instance.get_runs()}
        assert ended.items() <= left.items()


def test_a_retry_that_inherits_the_tag_of_an_older_run_is_not_taken_for_it(tmp_path: Path):
    with moved_in(tmp_path) as (_, _, deployment), deployment.instance() as instance:
        (older,) = instance.get_runs(UNFINISHED)
        job = build(deployment.settings).resolve_job_def("fetch")
        retry = instance.create_run_for_job(
            job, tags=older.tags, root_run_id=older.run_id, parent_run_id=older.run_id
        )
        assert is_older(older)
        assert not is_older(retry)


def test_older_notes_of_who_holds_what_are_read_for_what_they_say(tmp_path: Path):
    with moved_in(tmp_path) as (_, _, deployment), deployment.instance() as instance:
        assert exclusive._released(instance, "source") is None, "its holder was killed"
        freed = exclusive._released(instance, "warehouse")
        (load,) = instance.get_run_records(dg.RunsFilter(job_name="load"), limit=1)
        assert freed
        assert load.start_time
        assert load.end_time
        assert load.start_time < freed < load.end_time
