"""Deployments with a past: many refreshes, and everything that can be read of them."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import dagster as dg
import pytest

from polycopy_assets.automation.sensors import checks_due, dead_runs, new_trades, new_wallets
from polycopy_assets.automation.situation import deciding_runs, fetch_situation, load_situation
from polycopy_assets.cli.status import status
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.guard.ours import OUR_ASSETS
from polycopy_assets.record import attempts, counts, oldest_coverage, refetching
from polycopy_assets.record.partitions import registered, wallets_partitions
from polycopy_assets.record.private.failed_partitions import failed_partitions
from polycopy_assets.record.store_id import kept_id
from polycopy_assets.retention.maintain import Freed, maintain
from polycopy_assets.retention.old_runs import SETTLE_SECONDS
from polycopy_assets.system import clock
from polycopy_assets_tests.days import skipped, ticked
from polycopy_assets_tests.deployment import Deployment, backfill_job, records_of
from polycopy_assets_tests.deployment import new_trades as new_trades_of
from polycopy_assets_tests.of_trades import KEYS, record_in

LAG = 100_000
STEP = 2_000
LATER = 2 * SETTLE_SECONDS


def a_world(wallets: int = 8) -> World:
    """A small world; its API needs `lag_seconds=LAG`."""
    return generate(91, wallets, most_trades=12)


def live(deployment: Deployment, served: Served, world: World, refreshes: int) -> None:
    """Backfills, and refreshes so many times: some wallets trade on, one has failed since."""
    wallets = [wallet.lower() for wallet in world.wallets()]
    deployment.want(wallets)
    assert not deployment.backfill().failures
    for number in range(refreshes):
        served.state.lag_seconds -= STEP
        trading = world.wallets()[number % 3 + 1]
        # Between the horizon of the last refresh and that of this one.
        at = int(time.time()) - served.state.lag_seconds - 300 - STEP // 2
        world.add(new_trades_of(trading, at, 2))
        failing = {wallets[0]: "404"} if number >= refreshes // 2 else {}
        served.state.faults.set_wallets(failing)
        deployment.backfill(refresh=True)
        with deployment.instance() as instance:
            job(deployment, instance, "check")
            # As a person does on the page of a partition.
            backfill_job(deployment.settings).execute_in_process(
                instance=instance, raise_on_error=False, partition_key=wallets[-1]
            )


def job(deployment: Deployment, instance: dg.DagsterInstance, name: str) -> None:
    """Runs a job to its end."""
    build(deployment.settings).resolve_job_def(name).execute_in_process(
        instance=instance, raise_on_error=False
    )


def later(monkeypatch: pytest.MonkeyPatch, seconds: float = LATER) -> None:
    """From now on our clock is ahead: every run ended long ago."""
    now = time.time() + seconds
    monkeypatch.setattr(clock, "now", lambda: now)


def maintained(instance: dg.DagsterInstance, *, keep_days: int = 0, **more: Any) -> Freed:
    """Everything that may go is deleted."""
    return maintain(instance, keep_days=keep_days, kept=lambda: deciding_runs(instance), **more)


def everything(deployment: Deployment, instance: dg.DagsterInstance) -> dict[str, object]:
    """What is read of the record, by whatever reads it."""
    wallets = registered(instance)
    graph = build(deployment.settings).resolve_asset_graph()
    checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(graph.asset_check_keys)
    )
    summaries = instance.event_log_storage.get_asset_check_summary_records(
        list(graph.asset_check_keys)
    )
    return {
        "status": status(instance, deployment.settings),
        "versions": record_in(instance).versions(),
        "records": sorted(map(str, records_of(instance, wallets))),
        "read": dict(record_in(instance).read(wallets)),
        "attempts": attempts.latest(record_in(instance), wallets),
        "failed": attempts.failed(record_in(instance)),
        "marked failed": failed_partitions(instance, KEYS.wallets, wallets_partitions, wallets),
        "statuses": instance.get_status_by_partition(KEYS.wallets, wallets, wallets_partitions),
        "materialized": instance.get_materialized_partitions(KEYS.wallets),
        "revoked": record_in(instance).revoked(),
        "longest ago": oldest_coverage.longest_ago_first(
            record_in(instance), wallets, lambda wallet: None
        ),
        "refetching": refetching.unfinished(record_in(instance)),
        "counts": counts.latest(record_in(instance)),
        "uncounted": counts.failures(record_in(instance)),
        "counted": counts.longest_ago_first(record_in(instance), wallets),
        "store": kept_id(instance),
        "fetch": fetch_situation(record_in(instance)),
        "load": load_situation(record_in(instance)),
        "sensors": [
            skipped(ticked(sensor, instance, deployment))
            for sensor in (new_wallets, new_trades, checks_due, dead_runs)
        ],
        "latest": {
            key: (event.timestamp, event.run_id, str(event.asset_materialization))
            for key in sorted(OUR_ASSETS)
            if (event := instance.get_latest_materialization_event(key))
        },
        "observed": {
            key: [(item.storage_id, str(item.asset_observation)) for item in found]
            for key in sorted(OUR_ASSETS)
            if (found := instance.fetch_observations(key, limit=1).records)
        },
        "planned": instance.get_latest_planned_materialization_info(KEYS.wallets),
        "checks": {key: (each.id, each.status, str(each.event)) for key, each in checks.items()},
        "summaries": {str(key): str(value) for key, value in summaries.items()},
    }


class Killed(BaseException):
    """The process is gone."""


def killed_at_step(number: int) -> Callable[[], None]:
    """A `check` that lets `number` steps pass and then ends the maintenance."""
    left = iter(range(number))

    def check() -> None:
        if next(left, None) is None:
            raise Killed

    return check


def interrupted(instance: dg.DagsterInstance, steps: int) -> bool:
    """Whether a maintenance was ended after so many steps; False if it had ended before."""
    with suppress(Killed):
        maintained(instance, check=killed_at_step(steps))
        return False
    return True
