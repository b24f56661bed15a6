"""The source's own count against ours: what only an outside witness can see."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import pytest
import stamina
from dagster._core.definitions.schedule_definition import ScheduleExecutionData
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from polycopy_assets.automation.schedules import daily_witness
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.guard.ours import OUR_TAGS
from polycopy_assets.ledger.source_counts import DAY, whole_days
from polycopy_assets.record import attempts, counts
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import wallets_partitions
from polycopy_assets_tests.deployment import (
    Deployed,
    Deployment,
    new_trades,
    records_of,
    sample_api,
    truth,
)
from polycopy_assets_tests.of_trades import KEYS, record_in

pytestmark = pytest.mark.exhaustive

WHALE = 3500
AGREES = dg.AssetCheckKey(KEYS.counts, "source_agrees")


def wallets_of(world: World) -> list[str]:
    return [wallet.lower() for wallet in world.wallets()]


@contextmanager
def complete(tmp_path: Path, world: World, **settings: str) -> Iterator[tuple[Deployment, Served]]:
    """A deployment in which every wallet of `world` is complete, as the source served it."""
    with sample_api(world) as served, stamina.set_testing(True, attempts=2):
        deployment = Deployment(tmp_path, served.url, **settings)
        deployment.want(world.wallets())
        deployment.backfill()
        yield deployment, served


def asked(served: Served) -> dict[str, int]:
    """How often each wallet's count was asked for since this was last told."""
    found = dict(served.state.counts.count_requests)
    served.state.counts.reset()
    return found


def test_what_a_source_left_out_at_a_pages_edge_is_named_and_healed(deployed: Deployed):
    world = generate(71, 6, whales=2, whale_trades=WHALE, most_trades=40)
    wallets = wallets_of(world)
    edge, whole = wallets[:2]
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({edge: "page_edge"})
        deployment.want(world.wallets())
        deployment.backfill()
        assert deployment.table() != truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": 6}
        assert asked(served) == {}

        told = deployment.reconcile("--source")
        have, lacking = len(world.truth(edge)), 3
        (differs,) = told["source"]["disagree"]
        assert (differs["wallet"], differs["source"]) == (edge, have)
        assert differs["table"] == have - lacking
        assert differs["refetched"] is None
        assert told["source"]["agree"] == 5
        assert asked(served) == dict.fromkeys(wallets, 1)

        served.state.faults.set_wallets({})
        told = deployment.reconcile("--source", "--apply")
        assert told["source"]["disagree"] == []
        assert (told["source"]["agree"], told["source"]["refetched"]) == (6, [edge])
        assert told["left"] == {"consistent": 6}
        log = [item.wallet for item in served.state.counts.log]
        assert set(log) == {edge}
        assert asked(served) == {edge: 1}
        assert deployment.table() == truth(world)

        told = deployment.reconcile("--source", "--apply")
        assert (told["source"]["agree"], told["source"]["refetched"]) == (6, [])
        assert asked(served) == {}
        assert not served.state.counts.trade_requests
    assert whole not in log


def test_it_is_said_in_words_and_is_no_reason_to_fail(tmp_path: Path):
    world = generate(72, 4, most_trades=60)
    wallets = wallets_of(world)
    with complete(tmp_path, world) as (deployment, served):
        served.state.faults.set_wallets({wallets[0]: "count_off"})
        done = deployment.polycopy("reconcile", "--source")
    have = len(world.truth(wallets[0]))
    assert done.returncode == 0
    assert (
        f"warning: {wallets[0]}: the source counts {have + 2} trades, {have} are in the table"
        in done.stderr
    )
    assert "3 wallets agree, 1 differ, 0 failed, 0 cannot be compared yet" in done.stdout


@pytest.mark.parametrize("lie", ["withheld", "dropped"])
def test_trades_that_come_late_or_go_later_are_named_and_followed(deployed: Deployed, lie: str):
    world = generate(73, 3, whales=1, whale_trades=900, most_trades=30)
    whale = wallets_of(world)[0]
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        lying: dict[str, dict[str, str]] = {lie: {whale: lie}, "none": {}}
        before, after = ("none", lie) if lie == "dropped" else (lie, "none")
        served.state.faults.set_wallets(lying[before])
        deployment.backfill()
        first = sum(deployment.table().values())
        served.state.faults.set_wallets(lying[after])
        (differs,) = deployment.reconcile("--source")["source"]["disagree"]
        told = deployment.reconcile("--source", "--apply")
        assert told["source"]["agree"] == 3
        assert (differs["source"] > differs["table"]) == (lie == "withheld")
        assert (sum(deployment.table().values()) > first) == (lie == "withheld")
        assert deployment.reconcile("--source")["source"]["disagree"] == []
        if lie == "withheld":
            assert deployment.table() == truth(world)


def test_what_a_full_refetch_does_not_change_stays_a_warning_and_is_not_fetched_again(
    tmp_path: Path,
):
    world = generate(74, 5, most_trades=60)
    wallets = wallets_of(world)
    with complete(tmp_path, world) as (deployment, served):
        served.state.faults.set_wallets({wallets[0]: "count_off"})
        told = deployment.reconcile("--source", "--apply")
        assert [item["wallet"] for item in told["source"]["disagree"]] == [wallets[0]]
        assert told["source"]["disagree"][0]["refetched"]
        assert told["source"]["refetched"] == [wallets[0]]
        assert deployment.table() == truth(world)
        asked(served)
        for _ in range(2):
            told = deployment.reconcile("--source", "--apply")
            assert [item["wallet"] for item in told["source"]["disagree"]] == [wallets[0]]
            assert told["source"]["refetched"] == []
            assert asked(served) == {}
        # Another day: it is asked for again, differs as before, and is left alone.
        with deployment.instance() as instance:
            witness(deployment, instance)
        assert asked(served) == dict.fromkeys(wallets, 1)
        told = deployment.reconcile("--source", "--apply")
        assert told["source"]["refetched"] == []
        assert told["source"]["disagree"][0]["refetched"]
        assert not served.state.counts.trade_requests
        # Also once it agrees it is remembered when it was fetched again, and no other was.
        served.state.faults.set_wallets({})
        with deployment.instance() as instance:
            witness(deployment, instance)
            latest = counts.latest(record_in(instance))
        assert all(count.agrees for count in latest.values())
        assert [wallet for wallet, count in latest.items() if count.refetched] == [wallets[0]]
        # Another day it differs by another number: the month is not over.
        served.state.faults.set_wallets({wallets[0]: "count_off"})
        told = deployment.reconcile("--source", "--apply")
        assert told["source"]["refetched"] == []
        assert not served.state.counts.trade_requests


def test_days_that_are_not_over_are_not_counted(tmp_path: Path):
    world = generate(76, 2, whales=2, whale_trades=30)
    wallets = wallets_of(world)
    today = whole_days(int(time.time()) - 3600)
    # One segment has trades in the last second of the day and in the first of the next.
    world.add(new_trades(wallets[0], today - 1, 6))
    world.add(new_trades(wallets[1], today - 2, 6))
    with complete(tmp_path, world) as (deployment, _):
        told = deployment.reconcile("--source")
        assert told["source"]["agree"] == 2
        with deployment.instance() as instance:
            found = counts.latest(record_in(instance))
            recorded = {item.wallet: item for item in records_of(instance, wallets)}
    for wallet, count in found.items():
        assert count.until == whole_days(recorded[wallet].covered_until)
        assert count.until % DAY == 0
        inside = [t for t in world.truth(wallet) if t.timestamp < count.until]
        assert count.source == count.ours == len(inside)
    assert found[wallets[0]].ours == len(world.truth(wallets[0])) - 3
    assert found[wallets[1]].ours == len(world.truth(wallets[1]))


def test_a_request_that_fails_is_a_failure_and_asked_again(tmp_path: Path):
    world = generate(77, 8, most_trades=30)
    wallets = wallets_of(world)
    with complete(tmp_path, world) as (deployment, served):
        served.state.faults.set_wallets({wallets[0]: "400", wallets[1]: "count_broken"})
        told = deployment.reconcile("--source", code=1)["source"]
        reasons = {item["wallet"]: item["reason"] for item in told["failures"]}
        assert reasons.keys() == {wallets[0], wallets[1]}
        assert "400" in reasons[wallets[0]]
        assert "trade_count" in reasons[wallets[1]]
        assert (told["agree"], told["disagree"], told["not_asked"]) == (6, [], 0)
        with deployment.instance() as instance:
            noted = instance.fetch_observations(
                dg.AssetRecordsFilter(asset_key=KEYS.counts), limit=10
            ).records
            checked = instance.event_log_storage.get_latest_asset_check_execution_by_key([AGREES])
        assert {each.partition_key for each in noted} == set(wallets[:2])
        assert checked[AGREES].status.value == "FAILED"
        asked(served)
        served.state.faults.set_wallets({})
        told = deployment.reconcile("--source")["source"]
        assert (told["agree"], told["failures"]) == (8, [])
        assert asked(served) == dict.fromkeys(wallets[:2], 1)


def test_a_source_that_is_down_is_asked_a_bounded_number_of_times(tmp_path: Path):
    world = generate(78, 60, most_trades=9)
    with complete(tmp_path, world, POLYCOPY_CONCURRENCY="4") as (deployment, served):
        served.state.down = True
        told = deployment.reconcile("--source", code=1)["source"]
        assert (told["agree"], told["disagree"]) == (0, [])
        assert len(told["failures"]) + told["not_asked"] == 60
        assert 8 <= len(told["failures"]) <= 8 + 4
        assert sum(asked(served).values()) <= 2 * (8 + 4)
        served.state.down = False
        assert deployment.reconcile("--source")["source"]["agree"] == 60


def test_a_failed_count_hides_no_failed_fetch_and_the_other_way_round(tmp_path: Path):
    world = generate(79, 3, whales=3, whale_trades=5)
    wallets = wallets_of(world)
    with complete(tmp_path, world) as (deployment, served):
        served.state.faults.set_wallets({wallets[0]: "400"})
        assert deployment.backfill(refresh=True).failed == 1
        deployment.reconcile("--source", code=1)
        served.state.faults.set_wallets({})
        deployment.reconcile("--source")
        with deployment.instance() as instance:
            assert attempts.failed(record_in(instance)) == [wallets[0]]
            assert counts.failures(record_in(instance)) == {}


def test_wallets_that_are_not_complete_or_not_loaded_are_not_compared(deployed: Deployed):
    world = generate(80, 5, whales=5, whale_trades=10)
    wallets = wallets_of(world)
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({wallets[0]: "400"})
        deployment.want(world.wallets())
        with stamina.set_testing(True, attempts=2):
            deployment.backfill()
        served.state.faults.set_wallets({})
        deployment.execute("DELETE FROM trades WHERE wallet_address = @wallet", wallet=wallets[1])
        told = deployment.reconcile("--source", code=1)
        assert told["counts"] == {"unloaded": 1, "remaining": 1, "consistent": 3}
        assert (told["source"]["agree"], told["source"]["not_compared"]) == (3, 2)
        assert wallets[0] not in asked(served)


def test_the_request_budget_is_kept(tmp_path: Path):
    world = generate(81, 40, most_trades=9)
    requests, seconds = 10, 0.5
    with complete(tmp_path, world) as (_, served):
        tight = Deployment(tmp_path, served.url, POLYCOPY_RATE_LIMIT=f"{requests}/{seconds}")
        asked(served)
        assert tight.reconcile("--source")["source"]["agree"] == 40
        arrivals = sorted(served.state.counts.count_arrivals)
    assert len(arrivals) == 40
    for start in arrivals:
        assert sum(start <= at < start + seconds for at in arrivals) <= requests


_LINES_AT_ONCE = """
from polycopy_assets.cli import display; display.LINE_EVERY_SECONDS = 0.1
from polycopy_assets.__main__ import main; main()
"""


def wait_until(true: Callable[[], bool], what: str) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError(f"for a minute, not {what}")


def test_it_waits_for_a_fetch_that_is_under_way_and_says_so(tmp_path: Path):
    world = generate(82, 30, most_trades=9)
    with complete(tmp_path, world) as (deployment, served):
        world.add(new_trades(world.wallets()[0], LAST + 1000, 3))
        served.state.latency = 3.0
        slow = Deployment(tmp_path, served.url, POLYCOPY_CONCURRENCY="2", POLYCOPY_TIMEOUT="60")
        asked(served)
        done: list[Any] = []
        fetch = threading.Thread(
            target=lambda: done.append(slow.polycopy("backfill", "--refresh", "--json"))
        )
        fetch.start()
        wait_until(lambda: served.state.counts.trade_requests > 0, "fetching")
        with deployment.instance() as instance:
            (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        said = tmp_path / "said"
        with (
            said.open("w") as stderr,
            subprocess.Popen(
                [sys.executable, "-c", _LINES_AT_ONCE, "reconcile", "--source", "--json"],
                env=deployment.process_environ(),
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=stderr,
            ) as waiting,
        ):
            line = f"Waiting for run {run.run_id[:8]}"
            wait_until(lambda: line in said.read_text() or bool(done), "a word about the wait")
            assert line in said.read_text()
            assert not done, "there was nothing to wait for any more"
            served.state.latency = 0.0
            told, _ = waiting.communicate(timeout=120)
        fetch.join()
        # The ledgers are read beside the fetch: what it has not loaded yet is a finding.
        source = json.loads(told)["source"]
        assert (source["failures"], source["not_asked"]) == ([], 0), said.read_text()
        assert min(served.state.counts.count_arrivals) > max(served.state.counts.arrivals)


def test_a_source_without_a_count_is_refused_in_one_line(tmp_path: Path):
    dome = Deployment(
        tmp_path, "http://127.0.0.1:9", POLYCOPY_SOURCE="dome", DOME_API_KEY="demo-key"
    )
    assert dome.polycopy("init").returncode == 0  # in an empty directory that would be said first
    done = dome.polycopy("reconcile", "--source")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "POLYCOPY_SOURCE='dome'" in line
    assert "polymarket" in line
    assert dome.polycopy("reconcile").returncode == 0
    with dome.instance() as instance:
        definitions = build(dome.settings)
        for job, config in (
            ("witness", {}),
            ("reconcile", {"reconciliation": {"config": {"source": True}}}),
        ):
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance, run_config={"ops": config}, raise_on_error=False
            )
            assert not result.success
        with patch.dict("os.environ", {"DOME_API_KEY": "demo-key"}):
            told = ticked(dome, instance)
    assert (told.run_requests, told.skip_message) == (
        [],
        "the source 'dome' has no count to compare with",
    )


# -- in Dagster -------------------------------------------------------------------------------


def witness(
    deployment: Deployment, instance: dg.DagsterInstance, **config: object
) -> dg.ExecuteInProcessResult:
    """A run of the job `witness`."""
    job = build(deployment.settings).resolve_job_def("witness")
    ops = {"ops": {"source_counts": {"config": config}}}
    return job.execute_in_process(instance=instance, run_config=ops, raise_on_error=False)


def ticked(deployment: Deployment, instance: dg.DagsterInstance) -> ScheduleExecutionData:
    """One evaluation of the schedule as the daemon does it, with the deployment's resources."""
    repository = build(deployment.settings).get_repository_def()
    resources = repository.get_top_level_resources()
    with dg.build_schedule_context(instance, repository_def=repository, resources=resources) as now:
        return repository.get_schedule_def("daily_witness").evaluate_tick(now)


def scheduled(deployment: Deployment, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """The run that the schedule asks for."""
    (request,) = list(ticked(deployment, instance).run_requests or [])
    job = build(deployment.settings).resolve_job_def("witness")
    return job.execute_in_process(
        instance=instance, run_config=request.run_config, raise_on_error=False
    )


def checked(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = result.get_asset_check_evaluations()
    assert (found.check_name, found.severity) == ("source_agrees", dg.AssetCheckSeverity.WARN)
    return found


def test_partitions_can_be_compared_by_name(deployed: Deployed):
    world = generate(84, 4, whales=4, whale_trades=6)
    wallets = wallets_of(world)
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({wallets[1]: "400"})
        deployment.want(world.wallets())
        with stamina.set_testing(True, attempts=2):
            deployment.backfill()
        done = deployment.dagster(
            "asset",
            "materialize",
            *("-m", "polycopy_assets.definitions", "--select", "source_counts"),
            *("--partition-range", f"{wallets[0]}...{wallets[2]}"),
        )
        assert done.returncode == 1
        assert asked(served) == {wallets[0]: 1, wallets[2]: 1}
        with deployment.instance() as instance:
            states = instance.get_status_by_partition(KEYS.counts, wallets, wallets_partitions)
            assert "fetch it first" in counts.failures(record_in(instance))[wallets[1]]
    assert states
    assert [states[w] for w in wallets] == [
        AssetPartitionStatus.MATERIALIZED,
        AssetPartitionStatus.FAILED,
        AssetPartitionStatus.MATERIALIZED,
        None,
    ]


def test_a_wallet_that_is_no_partition_is_refused_by_name(deployment: Deployment):
    with deployment.instance() as instance:
        result = witness(deployment, instance, wallets=["0x" + "1" * 40])
    (step,) = [event for event in result.all_events if event.is_step_failure]
    assert "no partitions: 0x1" in str(step.step_failure_data.error)


def test_the_check_goes_round_all_wallets_least_recently_asked_first(tmp_path: Path):
    world = generate(83, 10, whales=10, whale_trades=20)
    wallets = wallets_of(world)
    with complete(tmp_path, world) as (deployment, served), deployment.instance() as instance:
        # Neither one that always fails nor one that cannot be compared is in two samples in a row.
        gone = wallets[7]
        deployment.execute("DELETE FROM trades WHERE wallet_address = @wallet", wallet=gone)
        served.state.faults.set_wallets({wallets[0]: "400", wallets[5]: "count_off"})
        days, results = [], []
        for _ in range(5):
            results.append(checked(witness(deployment, instance, sample=2)))
            days.append(asked(served))
        assert sorted(wallet for day in days for wallet in day) == sorted(set(wallets) - {gone})
        assert [sum(day.values()) for day in days].count(2) == 4
        assert sum(int(result.metadata["not_compared"].value) for result in results) == 1
        have = len(world.truth(wallets[5]))
        (found,) = [r for r, day in zip(results, days, strict=True) if wallets[5] in day]
        assert not found.passed
        assert f"{wallets[5]}: {have + 2} trades by the source, {have} in the table" in str(
            found.description
        )
        table = found.metadata["first"]
        assert isinstance(table, dg.TableMetadataValue)
        (row,) = (item.data for item in table.records)
        assert (row["wallet"], row["source"], row["table"]) == (wallets[5], have + 2, have)
        served.state.faults.set_wallets({})
        done = checked(witness(deployment, instance))
        assert done.passed
        assert done.description == "9 wallets agree"


def test_the_schedule_goes_round_all_wallets_within_a_month(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    with deployment.instance() as instance:
        for wallets, sample in ((0, 200), (6_000, 200), (6_001, 201), (100_000, 3_334)):
            versions = dict.fromkeys(map(str, range(wallets)), "")
            monkeypatch.setattr(FeedRecord, "versions", lambda _, found=versions: found)
            (request,) = list(ticked(deployment, instance).run_requests or [])
            assert request.run_config["ops"]["source_counts"]["config"]["sample"] == sample


def test_the_schedule_is_off_and_asks_for_a_sample_that_runs(tmp_path: Path):
    assert daily_witness.default_status == dg.DefaultScheduleStatus.STOPPED
    world = generate(86, 4, whales=4, whale_trades=8)
    with complete(tmp_path, world) as (deployment, served), deployment.instance() as instance:
        result = scheduled(deployment, instance)
        assert result.success
        assert checked(result).passed
        assert asked(served) == dict.fromkeys(wallets_of(world), 1)
        run = instance.create_run_for_job(
            build(deployment.settings).resolve_job_def("witness"),
            status=dg.DagsterRunStatus.STARTED,
            tags=dict(OUR_TAGS),
        )
        told = ticked(deployment, instance)
        assert (told.run_requests, told.skip_message) == (
            [],
            f"run {run.run_id} is still comparing",
        )
        instance.report_run_canceled(run)
