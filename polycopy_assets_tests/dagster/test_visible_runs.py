"""What a command does is seen under Runs, and its report says what its runs have recorded."""

import json
from collections import Counter
from typing import Any

import dagster as dg

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.ledger.failure import beside
from polycopy_assets_tests.deployment import Deployed, truth
from polycopy_assets_tests.old_job import OldJob

S = dg.DagsterRunStatus
E = dg.DagsterEventType


class Run:
    """A run as its page shows it."""

    def __init__(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        self.status = run.status
        self._entries = list(instance.all_logs(run.run_id))

    @property
    def lines(self) -> list[str]:
        """What our code has logged."""
        return [each.user_message for each in self._entries if not each.is_dagster_event]

    def events(self, asset: str, kind: E) -> list[dg.AssetMaterialization | dg.AssetObservation]:
        """The materializations or observations of an asset."""
        every = [each.asset_materialization or each.asset_observation for each in self._of(kind)]
        return [each for each in every if each and each.asset_key == dg.AssetKey(asset)]

    def metadata(self, asset: str, name: str) -> list[Any]:
        """One item of metadata of each materialization of an asset."""
        found = self.events(asset, E.ASSET_MATERIALIZATION)
        return [each.metadata[name].value for each in found]

    def _of(self, kind: E) -> list[dg.EventLogEntry]:
        return [
            each
            for each in self._entries
            if each.dagster_event and each.dagster_event.event_type == kind
        ]


def runs(instance: dg.DagsterInstance) -> dict[str, Run]:
    """The runs by job; of each job there is one at most."""
    every = instance.get_runs()
    assert len({run.job_name for run in every}) == len(every)
    return {run.job_name: Run(instance, run) for run in every}


def test_a_backfill_is_seen_and_its_report_says_what_its_runs_recorded(deployed: Deployed):
    world = generate(51, 6, whales=2, whale_trades=30)
    wallets = [wallet.lower() for wallet in world.wallets()]
    bad, good = wallets[1], {*wallets} - {wallets[1]}
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({bad: "400"})
        deployment.want(wallets)
        done = deployment.polycopy("backfill", "--json")
        with deployment.instance() as instance:
            seen = runs(instance)
    assert {job: run.status for job, run in seen.items()} == {
        "fetch": S.FAILURE,
        "load": S.SUCCESS,
    }
    fetch, load, report = seen["fetch"], seen["load"], json.loads(done.stdout)
    recorded = fetch.events("wallet_trades", E.ASSET_MATERIALIZATION)
    observed = fetch.events("wallet_trades", E.ASSET_OBSERVATION)
    failures = [
        {"wallet": each.partition, "reason": each.metadata["reason"].value}
        for each in observed
        if each.partition
    ]
    assert sorted(str(each.partition) for each in recorded) == sorted(good)
    assert [each["wallet"] for each in failures] == [bad]
    assert report["failures"] == failures
    assert (report["complete"], report["failed"]) == (len(recorded), len(failures))
    assert report["remaining"] == len(wallets) - len(recorded)
    assert report["trades_fetched"] == sum(fetch.metadata("wallet_trades", "new_rows"))
    assert [report["table_rows"]] == load.metadata("trades", "dagster/row_count")
    assert load.metadata("trades", "rows_inserted") == [report["trades_fetched"]]
    assert f"{bad}: {beside(bad, failures[0]['reason'])}" in fetch.lines
    assert any(line.startswith("6/6 wallets, ") for line in fetch.lines)
    assert f"batch 1: {report['table_rows']:,} rows in, 0 rows out" in load.lines


def test_a_reconciliation_is_seen_and_its_report_says_what_its_run_recorded(deployed: Deployed):
    world = generate(52, 12, whales=12, whale_trades=8)
    wallets = [wallet.lower() for wallet in world.wallets()]
    known, asked = wallets[:8], wallets[8:]
    with deployed(world) as (deployment, _):
        deployment.want(known)
        deployment.backfill()
        with deployment.instance() as instance:
            before = {run.run_id for run in instance.get_runs()}
        deployment.execute("DELETE FROM trades WHERE wallet_address = @wallet", wallet=known[0])
        old = OldJob(deployment)
        for wallet in asked:
            old.tick(wallet, 3, at=LAST)
        old.write()
        done = deployment.polycopy("reconcile", "--apply", "--json")
        with deployment.instance() as instance:
            (new,) = [run for run in instance.get_runs() if run.run_id not in before]
            run = Run(instance, new)
        table = deployment.table()
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (new.job_name, run.status) == ("reconcile", S.SUCCESS)
    recorded = run.events("wallet_trades", E.ASSET_MATERIALIZATION)
    assert {each.partition for each in recorded} >= {*asked}
    assert run.metadata("reconciliation", "counts") == [report["counts"]]
    assert run.metadata("reconciliation", "left") == [report["left"]]
    assert report["counts"] == Counter(each["finding"] for each in report["findings"])
    assert report["left"] == {"consistent": len(wallets)}
    assert sum(run.metadata("trades", "rows_inserted")) >= len(world.truth(known[0]))
    assert any(line.startswith("batch ") for line in run.lines)
    assert table == truth(world)
